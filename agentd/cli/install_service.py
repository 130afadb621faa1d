"""`agentd install-service`: a systemd unit, crontab lines or a logrotate file for this installation."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agentd.cli.options import ConfigFile, DryRun, load_settings

if TYPE_CHECKING:
    from agentd.config import Settings
    from agentd.loading import Loaded

HOLD_SECRETS = ("token", "database_url")
Kind = Literal["systemd", "cron", "logrotate"]
UNIT = """[Unit]
Description=agentd for {repo}
Documentation=man:agentd(1)
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
WorkingDirectory={folder}
{variables}
EnvironmentFile=-{environment}
ExecStart={command}
# The first signal lets running runs end, as `agentd stop` does.
KillMode=mixed
TimeoutStopSec=infinity
Restart=on-failure
RestartSec=10
StandardOutput=append:{log}
StandardError=append:{log}
UMask=0077

[Install]
WantedBy=default.target
"""
CRON = """# crontab lines for agentd and {repo}; secrets stand in {environment}, readable by you alone.
SHELL=/bin/bash
{variables}
# One look, and the runs that it starts to their end; an hour that is not over skips the next.
17 * * * *  {there} && flock -n {lock} agentd once{config} --json > {logs}/once.json 2> {logs}/once.err
# Only what is new, and only when something fails: cron mails what is printed.
*/30 * * * *  {there} && agentd doctor{config} --strict --changed-since {state}/doctor-cron.json
# What ended runs have left.
41 4 * * *  {there} && agentd clean{config} > {logs}/clean.out
"""
LOGROTATE = """# Only this log: events.jsonl is made from the store, and logs of runs go with them.
{log} {{
    weekly
    rotate 8
    size 10M
    compress
    delaycompress
    missingok
    notifempty
    copytruncate
    su {user} {group}
}}
"""


def install_service(
    kind: Annotated[Kind, typer.Argument(help="systemd, cron or logrotate.")] = "systemd",
    printed: Annotated[bool, typer.Option("--print", help="Print it and install nothing.")] = False,
    config: ConfigFile = None,
    dry_run: DryRun = False,
) -> None:
    """Run agentd as a service of the user who calls this: writes a systemd unit, or prints what another needs.

    PATH and settings from the environment are taken over as they are now. Secrets are in no file that is written or
    printed: put EXECUTOR_BOT_TOKEN=..., AGENTD_DATABASE_URL=... and keys of models into the file that the unit names.
    """
    from agentd.errors import ConfigurationError
    from agentd.loading import require_repo

    loaded = load_settings(config)
    settings = loaded.settings
    require_repo(settings, token=False)
    text = text_of(kind, loaded, Path.cwd(), config)
    if printed or dry_run or settings.dry_run:
        typer.echo(text, nl=False)
        return
    if kind != "systemd":
        raise ConfigurationError(f"{kind}: is only printed; `agentd install-service {kind} --print` shows what to do")
    path = (
        Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "systemd" / "user" / unit_name(settings)
    )
    if path.exists() and path.read_text() != text:
        raise ConfigurationError(
            f"{path}: is there and differs; compare it with --print, and remove it to have another"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    settings.log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(text)
    typer.echo(f"wrote {path}")
    typer.echo(f"systemctl --user daemon-reload && systemctl --user enable --now {path.name}")
    typer.echo("loginctl enable-linger   # so that it runs when you are logged out")


def unit_name(settings: Settings) -> str:
    """`agentd-owner-name.service`."""
    return f"agentd-{settings.repo.replace('/', '-')}.service"


def text_of(kind: Kind, loaded: Loaded, folder: Path, config: Path | None) -> str:
    """The file, for the interpreter, the folders and the environment that hold now."""
    import grp
    import pwd

    settings = loaded.settings
    places = {
        "repo": settings.repo,
        "folder": folder,
        "environment": Path("~/.config/agentd/environment").expanduser(),
        "log": settings.log_dir / "supervisor.log",
        "logs": settings.log_dir,
        "state": settings.state_dir,
        "lock": settings.state_dir / "cron.lock",
    }
    broken = [str(value) for value in places.values() if any(c.isspace() or c in "%\"'\\" for c in str(value))]
    if broken:
        from agentd.errors import ConfigurationError

        raise ConfigurationError(f"{broken[0]}: a service file cannot name a path with blanks, quotes or percent signs")
    chosen = f" --config {config.absolute()}" if config else ""
    variables = _variables(loaded)
    if kind == "systemd":
        lines = "\n".join(f'Environment="{name}={_escaped(value)}"' for name, value in variables.items())
        command = f"{sys.executable} -m agentd start --foreground{chosen}"
        return UNIT.format(command=command, variables=lines, **places)
    if kind == "cron":
        lines = "\n".join(f"{name}={value}" for name, value in variables.items())
        there = f"set -a; . {places['environment']}; cd {folder}"
        return CRON.format(variables=lines, config=chosen, there=there, **places)
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    return LOGROTATE.format(user=user, group=group, **places)


def _variables(loaded: Loaded) -> dict[str, str]:
    """What a service needs of this environment: where programs are, and settings; nothing that may hold a secret."""
    from agentd.agents.environment import secret_values
    from agentd.doctor.secrecy import without_any
    from agentd.errors import ConfigurationError

    folders = [str(Path(sys.executable).parent), *os.environ.get("PATH", os.defpath).split(":")]
    found = {"PATH": ":".join(dict.fromkeys(folder for folder in folders if folder.startswith("/")))}
    for name, origin in loaded.origins.items():
        if origin in os.environ and name not in HOLD_SECRETS:
            found[origin] = os.environ[origin].strip()
    secrets = [secret for secret in secret_values(os.environ) if secret]
    for name, value in found.items():
        if without_any(value, secrets) != value:
            raise ConfigurationError(f"{name}: holds a secret of the environment, which belongs into no service file")
        if not value.isprintable():
            raise ConfigurationError(f"{name}: a service file cannot hold a line break or another control character")
    return found


def _escaped(value: str) -> str:
    """For a quoted value in a unit. Source: systemd.unit(5) "Specifiers", systemd.syntax(7) "Quoting"."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
