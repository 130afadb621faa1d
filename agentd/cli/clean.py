"""`agentd clean`: remove what ended runs have left."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from agentd.cli.options import ConfigFile, DryRun, Json, ready_settings

if TYPE_CHECKING:
    from agentd.supervisor.cleanup import Item


def clean(config: ConfigFile = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Remove workspaces, files, salvage and merged branches that are older than `[retention]` says.

    No workspace goes before its content is proven to be in a commit that is kept, or is salvaged. The supervisor does
    the same from time to time. Exits 1 when something that should go had to stay.
    """
    from agentd.supervisor.cleanup import clean_up
    from agentd.supervisor.daemon import open_context
    from agentd.supervisor.rehearsal import rehearse_clean_up, require_used

    settings = ready_settings(config)
    require_used(settings)
    dry_run = dry_run or settings.dry_run
    items = rehearse_clean_up(settings, os.environ) if dry_run else clean_up(open_context(settings, os.environ))
    if as_json:
        typer.echo(json.dumps({"dry_run": dry_run, "items": [asdict(item) for item in items]}, indent=2))
    else:
        for item in items:
            typer.echo(_line(item, dry_run))
        gone = [item for item in items if item.goes]
        size = sum(item.size_bytes for item in gone) / (1 << 20)
        typer.echo(f"{'would remove' if dry_run else 'removed'} {len(gone)} of {len(items)}, {size:,.0f} MiB")
    if any(item.why.startswith("stays") for item in items):
        raise typer.Exit(1)


def _line(item: Item, dry_run: bool) -> str:
    verb = ("would remove" if dry_run else "removed") if item.goes else "keep"
    return f"{verb:12} {item.kind:9} {item.name}: {item.why}"
