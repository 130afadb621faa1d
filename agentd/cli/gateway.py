"""`agentd gateway serve|key|revoke`: the model gateway by itself, and keys for it."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from agentd.cli.options import ConfigFile, Json, load_settings

if TYPE_CHECKING:
    from agentd.config import Settings
    from agentd.store.connection import Store

app = typer.Typer(help="The model gateway by itself, for programs that no run of agentd starts.", no_args_is_help=True)
RunName = Annotated[str, typer.Option("--run", help="Name that its calls are counted under.", metavar="NAME")]


@app.command()
def serve(
    config: ConfigFile = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8383,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Let --host be an address that others reach, without TLS.")
    ] = False,
) -> None:
    """Serve the gateway until Ctrl-C, with the keys of `agentd gateway key`; /metrics and /healthz beside it."""
    from agentd.errors import ConfigurationError
    from agentd.gateway.service import Gateway, upstreams_of

    if not _is_loopback(host) and not allow_remote:
        raise ConfigurationError(
            f"--host {host}: others may reach that address, and keys would pass in the clear; "
            "put TLS before it and add --allow-remote, or use 127.0.0.1"
        )
    settings = load_settings(config).settings
    upstreams = upstreams_of(os.environ, settings.gateway)
    if not upstreams.all:
        raise ConfigurationError(
            "no model service: set ANTHROPIC_API_KEY, OPENAI_API_KEY or INFERENCE_BASE_URL, "
            "or [gateway.upstreams.<name>] in agentd.toml"
        )
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    store = _store(settings)
    gateway = Gateway(store, upstreams, settings.budgets, settings.gateway)
    try:
        with gateway.serving(host, port) as taken:
            typer.echo(f"http://{f'[{host}]' if ':' in host else host}:{taken}")
            typer.echo(f"serves {', '.join(sorted(upstreams.dialects))}; Ctrl-C ends it")
            sys.stdout.flush()
            stopped.wait()
    finally:
        gateway.close()
        store.close()
    typer.echo("stopped")


@app.command()
def key(
    run: RunName,
    profile: Annotated[str, typer.Option(help="Profile whose budget, models and extras hold.", metavar="NAME")],
    config: ConfigFile = None,
    hours: Annotated[float, typer.Option(min=0.001, max=87_600, help="How long it is good.")] = 24.0,
    as_json: Json = False,
) -> None:
    """Make a key for `agentd gateway serve`. It is shown once; only its hash is kept."""
    from agentd.errors import ConfigurationError
    from agentd.gateway.doors import key_row
    from agentd.gateway.grants import Grant, grant_for, hash_of, make_key
    from agentd.store import spending

    settings = load_settings(config).settings
    found = settings.profile_named(profile)
    if not run or len(run) > 200 or not run.isprintable():
        raise ConfigurationError("--run: must be a name of at most 200 printable letters")
    made = make_key(run)
    grant: Grant = grant_for(found, run, task_id=run, seconds=hours * 3600)
    store = _store(settings)
    row = key_row(grant, hash_of(made) or "", "", store.clock)
    spending.add_key(store, row)
    if as_json:
        typer.echo(json.dumps({"key": made, "run": run, "profile": profile, "expires_at": row.expires_at.isoformat()}))
        return
    typer.echo(made)


@app.command()
def revoke(run: RunName, config: ConfigFile = None) -> None:
    """End all keys of a name, at once and for good."""
    from agentd.errors import AgentdError
    from agentd.store import spending

    ended = spending.revoke(_store(load_settings(config).settings), run_id=run)
    if not ended:
        raise AgentdError(f"{run}: has no key that is not revoked already")
    typer.echo(f"{run}: {ended} key{'s' if ended > 1 else ''} revoked")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _store(settings: Settings) -> Store:
    from agentd.clock import SystemClock
    from agentd.store.connection import open_store

    return open_store(settings.database_url, settings.state_dir, SystemClock())
