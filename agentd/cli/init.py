"""`agentd init`: a commented agentd.toml, the labels, and a look at the token's rights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentd.cli.options import DryRun, Repo, load_settings

TEMPLATE = """# Settings of agentd. Flags and environment variables win over this file.
# `agentd config show` tells what holds.
# The token never stands here: set EXECUTOR_BOT_TOKEN.

{repo}
# The command that decides whether an agent's work is good.
verify_command = "python3 -m pytest -q"

# Runs at the same time, and minutes that one agent may take.
max_parallel = 2
max_agent_runtime_minutes = 20

# An agent. adapter: deepagents, claude, codex, builtin, or command for any program.
[profiles.build]
adapter = "claude"
# adapter = "command"
# command = ["python3", "agent.py"]   # run in the workspace
# prompt = "stdin"                    # stdin | argument | file

# Whose label starts work.
[trust]
min_permission = "triage"
"""


Labels = Annotated[bool, typer.Option("--labels", help="Only create the labels.")]


def init(repo: Repo = None, labels: Labels = False, dry_run: DryRun = False) -> None:
    """Write agentd.toml if there is none, check the token's rights, create the labels. Can be repeated."""
    import time

    from agentd.clock import SystemClock
    from agentd.errors import ConfigurationError
    from agentd.github.client import connect
    from agentd.github.identity import check_rights
    from agentd.github.labels import ensure_labels
    from agentd.loading import CONFIG_FILE, require_repo
    from agentd.model import Decision

    loaded = load_settings(ask_gh=True, repo=repo, dry_run=dry_run or None)
    settings = loaded.settings
    require_repo(settings)
    typer.echo(f"token from {loaded.origins['token']}")
    gh = connect(
        settings.github_api_url,
        settings.token.get_secret_value(),
        settings.repo,
        clock=SystemClock().now,
        sleep=time.sleep,
    )
    verdicts = check_rights(gh, settings.base_branch)
    for verdict in verdicts:
        typer.echo(f"{'ok  ' if verdict.decision is Decision.allow else 'FAIL'} {verdict.rule_id}: {verdict.observed}")
    wrong = [verdict for verdict in verdicts if verdict.decision is not Decision.allow]
    if wrong:
        raise ConfigurationError(wrong[0].action or wrong[0].observed)
    path = Path.cwd() / CONFIG_FILE
    if labels:
        pass
    elif path.exists():
        typer.echo(f"{path.name} is there already")
    elif settings.dry_run:
        typer.echo(f"would write {path.name}")
    else:
        path.write_text(TEMPLATE.format(repo=f'repo = "{settings.repo}"\n'))
        typer.echo(f"wrote {path.name}")
    if settings.dry_run:
        typer.echo("would make the labels that are missing")
        return
    made = ensure_labels(gh)
    typer.echo(f"labels: {len(made)} made" if made else "labels: all there")
