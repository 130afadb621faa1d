"""`agentd why`: what decides about an issue now."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentd.cli.options import ConfigFile, Json, Repo, ready_settings

if TYPE_CHECKING:
    from agentd.cli.tables import Block

Reference = Annotated[str, typer.Argument(help="7, #7, owner/repo#7, the issue's address, or a task's id.")]


def why(issue: Reference, repo: Repo = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """Say why an issue is not worked on: every rule with what it says now, what was, and what would change it.

    For any issue, also one that agentd never touched. Reads GitHub and the store, and writes nothing.
    """
    from agentd.views.why import why as view

    found = view(ready_settings(config, repo=repo), os.environ, issue)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from agentd.cli.tables import tell

    tell(_blocks(found))


def _blocks(found: dict[str, Any]) -> list[Block]:
    from agentd.cli.tables import Table

    name = f"#{found['issue_number']} " if found["issue_number"] else ""
    told: list[Block] = [f"{name}{found['task_id']} {found['title']}".strip()]
    cause = found["cause"]
    if cause is None:
        told.append("Starts at the next tick: nothing speaks against it.")
    else:
        until = f" until {cause['retry_at']}" if cause["retry_at"] else ""
        told.append(f"Waits: {cause['observed']} [{cause['rule_id']}]{until}")
        told += [f"  -> {action}" for action in found["what_would_change_it"]]
    rows = [
        ("yes" if each["holds"] else "NO", each["asks"], each["observed"] + _rule(each)) for each in found["predicates"]
    ]
    told.append(Table("Rules", ("", "asks", "now"), rows))
    if found["attempts"]:
        used = ", ".join(f"{cause} {each['used']} of {each['limit']}" for cause, each in found["attempts"].items())
        told.append(f"Attempts used: {used}")
    if found["spent"]:
        usd = f", {found['spent']['usd']:.4f} usd" if found["spent"]["usd"] is not None else ""
        told.append(f"Spent: {found['spent']['calls']} calls, {found['spent']['tokens']:,} tokens{usd}")
    if found["transitions"]:
        changes = [
            (each["at"][:19], f"{each['before'] or '-'} -> {each['after']}", each["reason"])
            for each in found["transitions"]
        ]
        told.append(Table(f"Last run {found['runs'][-1]['run_id']}", ("at", "change", "because"), changes))
    if found["timers"]:
        told.append(Table("Timers", ("at", "what"), [(each["at"][:19], each["what"]) for each in found["timers"]]))
    return told


def _rule(predicate: dict[str, Any]) -> str:
    return "" if predicate["holds"] else f" [{predicate['rule_id']}]"
