"""`agentd doctor`."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from agentd.cli.options import ConfigFile, load_settings


def doctor(
    config: ConfigFile = None,
    output: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 for warnings too.")] = False,
) -> None:
    """Look at what agentd needs here, and say what is wrong and what mends it. Ends with 1 when something fails."""
    from agentd.doctor import models, report, sandbox, workspaces
    from agentd.errors import ConfigurationError

    if output not in ("text", "json"):
        raise ConfigurationError(f"--format is {output!r}, expected text or json")
    settings = load_settings(config).settings
    found = [
        *sandbox.checks(settings, os.environ),
        *workspaces.checks(settings),
        *models.checks(settings, os.environ),
    ]
    typer.echo(json.dumps(report.as_json(found), indent=2) if output == "json" else report.as_text(found))
    status = report.worst(found)
    raise typer.Exit(1 if status == "failure" or (strict and status == "warning") else 0)
