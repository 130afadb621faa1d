"""`agentd tasks validate|list|sync`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from agentd.cli.options import ConfigFile, DryRun, Json, Repo, load_settings, ready_settings

if TYPE_CHECKING:
    from pathlib import Path

    from agentd.model import Contract

app = typer.Typer(help="Task contracts in tasks/*.json.", no_args_is_help=True)


@app.command()
def validate(config: ConfigFile = None) -> None:
    """Check all contracts; every error at once, each with its file and JSON path."""
    typer.echo(f"{len(_contracts(config))} contract(s), all valid")


@app.command("list")
def list_tasks(config: ConfigFile = None, as_json: Json = False) -> None:
    """The contracts in the order of dispatch."""
    contracts = sorted(_contracts(config).values(), key=_order)
    if as_json:
        typer.echo(json.dumps([contract.model_dump(mode="json") for contract in contracts], indent=2))
        return
    for contract in contracts:
        needs = f"  needs {', '.join(contract.dependencies)}" if contract.dependencies else ""
        typer.echo(f"{contract.task_id}  {contract.priority:6}  {contract.phase:11}  {contract.title}{needs}")


@app.command()
def sync(repo: Repo = None, config: ConfigFile = None, dry_run: DryRun = False) -> None:
    """Create the labels, and an issue for each contract that has none. Can be repeated."""
    import time

    from agentd.clock import SystemClock
    from agentd.github.client import connect
    from agentd.supervisor.contract_issues import sync_contracts

    settings = ready_settings(config, repo=repo, dry_run=dry_run or None)
    contracts = _contracts(config)
    gh = connect(
        settings.github_api_url,
        settings.token.get_secret_value(),
        settings.repo,
        clock=SystemClock().now,
        sleep=time.sleep,
    )
    for row in sync_contracts(gh, contracts, dry_run=settings.dry_run):
        if row.number is None:
            typer.echo(f"{row.task_id}: would be made")
        else:
            typer.echo(f"{row.task_id}: #{row.number}{' made' if row.made else ''}")


def _contracts(config: Path | None) -> dict[str, Contract]:
    from agentd.contracts import read_contracts, require_valid

    folder = load_settings(config).settings.repo_root / "tasks"
    return require_valid(read_contracts(folder), folder)


def _order(contract: Contract) -> tuple[int, int, str]:
    from agentd.model import LEVELS, PHASES

    return LEVELS.index(contract.priority), PHASES.index(contract.phase), contract.task_id
