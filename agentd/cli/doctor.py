"""`agentd doctor`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from agentd.cli.options import ConfigFile, DryRun, Repo, load_settings

if TYPE_CHECKING:
    from agentd.doctor.finding import Finding
    from agentd.doctor.visit import Visit


def doctor(
    config: ConfigFile = None,
    repo: Repo = None,
    output: Annotated[Literal["text", "json"], typer.Option("--format", help="text or json.")] = "text",
    schema: Annotated[int, typer.Option("--schema", min=1, max=2, help="Version of the JSON report: 1 or 2.")] = 1,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 when something fails.")] = False,
    fail_threshold: Annotated[
        int | None, typer.Option("--fail-threshold", min=1, metavar="N", help="Exit 1 from N failures on; 1 is usual.")
    ] = None,
    warn_threshold: Annotated[
        int | None, typer.Option("--warn-threshold", min=1, metavar="N", help="Exit 1 from N warnings on.")
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Start each agent's program in the sandbox, too.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Run the fixes that can do no harm, and look again.")] = False,
    dry_run: DryRun = False,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="FILE", help="Write a .tar.gz without secrets for whoever helps.")
    ] = None,
    changed_since: Annotated[
        Path | None,
        typer.Option("--changed-since", metavar="FILE", help="Tell only what FILE does not have, and write it anew."),
    ] = None,
) -> None:
    """Look at everything that agentd needs, and say what is wrong and what mends it.

    Exits 0 whatever it finds, unless --strict or a threshold is given: then 1 when it is crossed. Exits 1 too when
    the doctor itself could not look at everything.
    """
    from agentd.cli.progress import progress
    from agentd.doctor import memory
    from agentd.doctor.examine import GROUPS, examine, is_whole
    from agentd.doctor.report import Thresholds, as_text, as_v1

    thresholds = Thresholds(strict, fail_threshold, warn_threshold)
    visit, found = _visit(config, repo, smoke)
    before: dict[str, str] = {}
    shown = found
    if visit is not None:
        file = changed_since or visit.settings.state_dir / memory.NAME
        before = memory.recall(file, named=changed_since is not None)
        with progress("looking", len(GROUPS)) as done:
            shown = found = examine(visit, done)
        if fix:
            found = shown = _fixed(visit, found, dry_run or visit.settings.dry_run)
    report = _second(visit, found, before)
    if changed_since is not None:
        shown = [finding for finding in found if memory.is_new(finding, before)]
    if output == "json":
        v2 = _second(visit, shown, before)
        typer.echo(json.dumps(v2 if schema == 2 else as_v1(shown, _now()), indent=2))
    elif shown or changed_since is None:
        typer.echo(as_text(shown))
    if visit is not None and not dry_run and not visit.settings.dry_run:
        _remember(visit, changed_since, report)
        if bundle is not None:
            from agentd.doctor.bundle import write_bundle

            names = write_bundle(bundle, visit, report)
            typer.echo(f"{bundle}: {len(names)} files, without secrets", err=True)
    raise typer.Exit(1 if thresholds.crossed(shown) or not is_whole(found) else 0)


def _visit(config: Path | None, repo: str | None, smoke: bool) -> tuple[Visit | None, list[Finding]]:
    """What to look at; None with the one finding when there are no settings that can be used."""
    from agentd.doctor.configuration import unusable
    from agentd.doctor.report import cleaned
    from agentd.doctor.visit import Visit
    from agentd.errors import ConfigurationError

    try:
        loaded = load_settings(config, ask_gh=True, repo=repo)
    except ConfigurationError as error:
        from agentd.agents.environment import secret_values

        return None, [cleaned(unusable(error), secret_values(os.environ))]
    return Visit(loaded, os.environ, Path.cwd(), config, smoke), []


def _fixed(visit: Visit, found: list[Finding], dry_run: bool) -> list[Finding]:
    """Mend what is safe, each told first, and look again."""
    import shlex

    from agentd.doctor.examine import examine
    from agentd.doctor.fixing import commands, mend
    from agentd.doctor.secrecy import without
    from agentd.doctor.visit import Visit

    chosen = commands(found)
    if dry_run or not chosen:
        for argv in chosen:
            typer.echo(f"would fix: {shlex.join(argv)}", err=True)
        return found
    mend(chosen, visit.folder, visit.environ, lambda line: typer.echo(without(line, visit.secrets), err=True))
    return examine(Visit(visit.loaded, visit.environ, visit.folder, visit.config, visit.smoke))


def _second(visit: Visit | None, found: list[Finding], before: dict[str, str]) -> dict[str, Any]:
    from importlib.metadata import version

    from agentd.doctor.memory import since
    from agentd.doctor.report import as_v2

    now = visit.now if visit is not None else _now()
    repo = visit.settings.repo if visit is not None else ""
    return as_v2(found, now, since(before, found, now), repo, version("agentd"))


def _remember(visit: Visit, named: Path | None, report: dict[str, Any]) -> None:
    """Keep the report for the next look; in the state directory only where there is one."""
    from agentd.doctor import memory
    from agentd.errors import ConfigurationError

    if named is not None:
        memory.remember(named, report)
    elif visit.settings.state_dir.is_dir():
        try:
            memory.remember(visit.settings.state_dir / memory.NAME, report)
        except ConfigurationError:
            return  # the report says that the folder cannot be written


def _now() -> Any:
    from agentd.clock import SystemClock

    return SystemClock().now()
