"""`agentd demo`: see the whole way once, without an account and without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Keep = Annotated[Path | None, typer.Option("--keep", help="Leave everything in this folder afterwards.")]


def demo(keep: Keep = None) -> None:
    """Play one issue through: label, agent, verify, pull request, merge, clean-up, on a GitHub in this process."""
    from agentd.practice.demo import run_demo

    run_demo(typer.echo, keep)
