"""`agentd salvage list|show|restore|drop`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentd.cli.options import ConfigFile, DryRun, Json, load_settings
from agentd.plain import printable

if TYPE_CHECKING:
    from agentd.git.mirror import Mirror
    from agentd.git.salvage import Salvage

app = typer.Typer(help="Salvage: the work of runs that did not reach a pull request.", no_args_is_help=True)
RunId = Annotated[str, typer.Argument(help="The run whose work was kept, as `list` names it.")]


@app.command("list")
def list_salvage(config: ConfigFile = None, as_json: Json = False) -> None:
    """What is kept, the oldest first."""
    from agentd.git.salvage import salvages

    mirror = _mirror(config, required=False)
    found = salvages(mirror) if mirror else ()
    if as_json:
        typer.echo(json.dumps([_shown(one) for one in found], indent=2))
        return
    for one in found:
        count = one.manifest.changed_count
        files = f"{count} file{'' if count == 1 else 's'}"
        typer.echo(f"{one.at:%Y-%m-%d %H:%M}  {one.manifest.task_id:12} {one.name}  {files}: {_why(one)}")


@app.command()
def show(
    run_id: RunId,
    config: ConfigFile = None,
    as_json: Json = False,
    patch: Annotated[bool, typer.Option("--patch", "-p", help="The changes themselves too.")] = False,
) -> None:
    """The manifest of one run's work, and what it changes."""
    from agentd.git.collect import diff_text
    from agentd.git.salvage import find, size_bytes

    mirror = _mirror(config)
    one = find(mirror, run_id)
    text = diff_text(mirror, one.parent, one.sha) if patch else ""
    shown = _shown(one) | {"size_bytes": size_bytes(mirror, one)}
    if as_json:
        typer.echo(json.dumps(shown | ({"patch": text} if patch else {}), indent=2))
        return
    for key, value in shown.items():
        if value and key != "changed":
            typer.echo(f"{key:14} {_line(', '.join(value) if isinstance(value, (list, tuple)) else str(value))}")
    for name in one.manifest.changed:
        typer.echo(f"  {_line(name)}")
    if text:
        typer.echo("\n" + printable(text))
    typer.echo(f"\nTo have it as a branch:\n  git fetch {mirror.path} {one.ref}:salvaged/{one.name}")


@app.command()
def restore(
    run_id: RunId,
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    config: ConfigFile = None,
) -> None:
    """Write the files of one run's work into a new folder."""
    from agentd.git import salvage

    mirror = _mirror(config)
    salvage.restore(mirror, salvage.find(mirror, run_id), folder)
    typer.echo(f"{folder}: the files of {run_id}")


@app.command()
def drop(
    run_ids: Annotated[list[str] | None, typer.Argument(help="Runs whose work is not needed any more.")] = None,
    older_than_days: Annotated[
        float | None, typer.Option("--older-than-days", help="All that is older.", min=0, metavar="DAYS")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    config: ConfigFile = None,
) -> None:
    """Delete kept work for good."""
    from agentd.clock import SystemClock
    from agentd.errors import ConfigurationError
    from agentd.git import salvage

    if bool(run_ids) == (older_than_days is not None):
        raise ConfigurationError("name runs, or give --older-than-days")
    mirror = _mirror(config)
    dry_run = dry_run or load_settings(config).settings.dry_run
    if run_ids:
        chosen = [salvage.find(mirror, run_id) for run_id in dict.fromkeys(run_ids)]
    else:
        now, days = SystemClock().now(), older_than_days or 0.0
        chosen = [one for one in salvage.salvages(mirror) if (now - one.at).total_seconds() > days * 86_400]
    for one in chosen:
        typer.echo(f"{'would drop' if dry_run else 'drop'} {one.name}  {one.at:%Y-%m-%d %H:%M}  {one.sha}")
    if dry_run or not chosen:
        return
    if not yes:
        typer.confirm(f"Delete the work of {len(chosen)} runs for good?", abort=True)
    salvage.drop(mirror, chosen)


def _mirror(config: Path | None, *, required: bool = True) -> Any:
    from agentd.errors import ConfigurationError
    from agentd.git.mirror import known_mirror
    from agentd.loading import require_repo

    settings = load_settings(config).settings
    require_repo(settings, token=False)
    mirror: Mirror | None = known_mirror(settings)
    if mirror is None and required:
        raise ConfigurationError(f"nothing is kept: {settings.state_dir} holds no mirror of {settings.repo}")
    return mirror


def _shown(one: Salvage) -> dict[str, Any]:
    fields = asdict(one.manifest)
    return {
        "name": one.name,
        "ref": one.ref,
        "sha": one.sha,
        "at": one.at.isoformat(),
        **fields,
        "changed": list(one.manifest.changed),
    }


def _why(one: Salvage) -> str:
    return _line(one.manifest.reason)[:100]


def _line(text: str) -> str:
    """What agents wrote, so that it does nothing to a terminal."""
    return " ".join(printable(text).split())
