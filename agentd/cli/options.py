"""Options that several commands share, and the settings made from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from agentd.config import Settings
    from agentd.loading import Loaded

Repo = Annotated[str | None, typer.Option("--repo", help="The repository, owner/name.", metavar="OWNER/NAME")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings file; default: agentd.toml here.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done; write nothing.")]
MaxParallel = Annotated[int | None, typer.Option("--max-parallel", help="Runs at the same time.")]
PollInterval = Annotated[
    float | None, typer.Option("--poll-interval-seconds", help="Seconds between two looks at GitHub.")
]

WITHOUT_SANDBOX = "WITHOUT A SANDBOX (sandbox = none): agents run as this user, free to do what it may"


def load_settings(config: Path | None = None, *, ask_gh: bool = False, **flags: Any) -> Loaded:
    """Settings from flags, environment, file and defaults; see agentd.loading.load. Raises ConfigurationError."""
    from agentd.loading import load

    return load(flags, environ=os.environ, directory=Path.cwd(), file=config, ask_gh=ask_gh)


def ready_settings(config: Path | None = None, **flags: Any) -> Settings:
    """Settings that name a repository and a token. Raises ConfigurationError."""
    from agentd.loading import require_repo

    settings = load_settings(config, ask_gh=True, **flags).settings
    require_repo(settings)
    return settings
