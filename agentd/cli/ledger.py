"""`agentd ledger`: the record of everything that happened, checked, signed and handed on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentd.cli.options import ConfigFile, Json, load_settings

if TYPE_CHECKING:
    from agentd.config import Settings
    from agentd.store.connection import Store

app = typer.Typer(help="The ledger: every event in a chain of hashes that shows any change.", no_args_is_help=True)
Output = Annotated[Path | None, typer.Option("--output", help="The file; standard output when not given.")]


@app.command()
def verify(
    config: ConfigFile = None,
    as_json: Json = False,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Checkpoints that were kept elsewhere; default: those in the state directory.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The public key they are signed with (key.pub), likewise.")] = None,
) -> None:
    """Check the chain and the checkpoints; every place that was changed by hand is named. Exit status 1 then."""
    from agentd.store import ledger, verification
    from agentd.store.checkpoints import folder_of, read

    settings = load_settings(config).settings
    store, folder = _store(settings), folder_of(settings.state_dir)
    notes = checkpoints or folder.notes
    kept = checkpoints is not None or key is not None or notes.exists()
    signed, found = read(notes, key or folder.verifier) if kept else ([], [])
    found += verification.problems(store, signed)
    rows = ledger.count(store)
    if as_json:
        typer.echo(json.dumps({"ok": not found, "rows": rows, "checkpoints": len(signed), "problems": found}, indent=2))
    else:
        for line in found:
            typer.echo(line)
        told = f"{rows} events, {len(signed)} checkpoints"
        typer.echo(f"{told}: {'the ledger verifies' if not found else f'{len(found)} problems'}")
    if found:
        raise typer.Exit(1)


@app.command()
def export(
    config: ConfigFile = None,
    format: Annotated[str, typer.Option("--format", help="jsonl or parquet.")] = "jsonl",
    output: Output = None,
) -> None:
    """Write the whole ledger as it is now; what happens meanwhile is not in it."""
    from agentd.errors import ConfigurationError
    from agentd.store.export import write_jsonl, write_parquet

    if format not in ("jsonl", "parquet"):
        raise ConfigurationError(f"agentd ledger export: --format is jsonl or parquet, not {format!r}")
    store = _store(load_settings(config).settings)
    if output is None:
        if format == "parquet":
            raise ConfigurationError("agentd ledger export: --format parquet needs --output FILE")
        write_jsonl(store, sys.stdout.buffer)
        return
    new = output.with_name(f".{output.name}.new")
    try:
        if format == "parquet":
            number = write_parquet(store, new)
        else:
            with new.open("wb") as file:
                number = write_jsonl(store, file)
        new.rename(output)
    except OSError as error:
        raise ConfigurationError(f"{output}: cannot be written: {error.strerror or error}") from None
    finally:
        new.unlink(missing_ok=True)
    typer.echo(f"{number} events in {output}", err=True)


@app.command()
def tail(
    config: ConfigFile = None,
    as_json: Json = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last events.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
) -> None:
    """The last events, a line each: number, time, type, status, task, run."""
    import time

    from agentd.cli.events import describe
    from agentd.store.export import lines_after
    from agentd.store.ledger import last_row

    store = _store(load_settings(config).settings)
    seq = max(0, last_row(store)[0] - lines)
    while True:
        for number, event in lines_after(store, seq):
            typer.echo(json.dumps({"seq": number, "event": event}) if as_json else f"{number:7} {describe(event)}")
            seq = number
        if not follow:
            return
        time.sleep(0.5)


@app.command()
def checkpoint(config: ConfigFile = None) -> None:
    """Sign how far the ledger has come, and print the signed note: keep it where nobody can change it."""
    from agentd.store.checkpoints import checkpoint as sign
    from agentd.store.checkpoints import folder_of

    settings = load_settings(config).settings
    note = sign(_store(settings, read_only=False), folder_of(settings.state_dir))
    typer.echo(note.rstrip("\n") if note else "nothing has happened since the last checkpoint")


def _store(settings: Settings, *, read_only: bool = True) -> Store:
    from agentd.clock import SystemClock
    from agentd.store.connection import open_store

    return open_store(settings.database_url, settings.state_dir, SystemClock(), create=False, read_only=read_only)
