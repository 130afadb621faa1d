"""Following a run: its state changes, its agent's events and its verify command's output, as they come.

Everything is read from what the run keeps on disk and in the store, so it works for a run that is over as well, and
disturbs none that lives.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from agentd.agents import EventParser, adapter_of
from agentd.clock import Clock, SystemClock
from agentd.config import Settings
from agentd.doctor.secrecy import secrets_of, without
from agentd.errors import AgentdError, ConfigurationError
from agentd.model import Profile
from agentd.plain import printable
from agentd.states import ACTIVE
from agentd.store.glance import Glance, Row, glance
from agentd.views.moments import Kind, Moment, moment_of

LINE_BYTES = 1 << 20
"""A longer line is cut."""
_ACTIVE = ", ".join(f"'{state}'" for state in sorted(ACTIVE))


@dataclass
class Tail:
    """A file that grows, read line by line; one that was begun anew is read from its beginning."""

    path: Path
    position: int = 0
    rest: bytes = b""

    def lines(self) -> list[bytes]:
        """The whole lines that are new."""
        data = self._read()
        *whole, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > LINE_BYTES:
            whole, self.rest = [*whole, self.rest], b""
        return whole

    def last(self) -> list[bytes]:
        """What is left without a line end, when nothing more comes."""
        rest, self.rest = self.rest, b""
        return [rest] if rest else []

    def _read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                if self.path.stat().st_size < self.position:
                    self.position, self.rest = 0, b""
                file.seek(self.position)
                data = file.read()
        except OSError:
            return b""
        self.position += len(data)
        return data


@dataclass
class _Program:
    """An agent's turn or a verify command."""

    tail: Tail
    read: Callable[[bytes], Iterable[Moment | None]]


@dataclass
class Follower:
    """One run, and how far it was told."""

    settings: Settings
    run_id: str
    profile: Profile | None
    """None when what it was asked to do cannot be read: its output is shown as it is"""
    secrets: tuple[str, ...]
    told: int = 0
    """the last state change"""
    programs: dict[str, _Program] = field(default_factory=dict)

    def look(self, look: Glance, *, over: bool) -> list[Moment]:
        """What is new, in its order. `over`: nothing more will come."""
        found: list[Moment] = []
        changes = look.rows("SELECT * FROM transitions WHERE run_id = ? AND id > ? ORDER BY id", self.run_id, self.told)
        for name, began in self._begun():
            while changes and datetime.fromisoformat(changes[0]["at"]) <= began:
                found.append(self._changed(changes.pop(0)))
            found += self._printed(name, over=over)
        found += [self._changed(change) for change in changes]
        return [self._clean(moment) for moment in found]

    def _begun(self) -> list[tuple[str, datetime]]:
        """Its programs in the order in which they were started."""
        folder = self.settings.state_dir / "runs" / self.run_id
        begun = [(path.stem, path.stat().st_mtime) for path in folder.glob("*.started")]
        begun.sort(key=lambda each: each[1])
        return [(name, datetime.fromtimestamp(at, UTC)) for name, at in begun]

    def _printed(self, name: str, *, over: bool) -> list[Moment]:
        program = self.programs.get(name) or self.programs.setdefault(name, self._program(name))
        lines = program.tail.lines() + (program.tail.last() if over else [])
        return [moment for line in lines for moment in program.read(line) if moment is not None]

    def _program(self, name: str) -> _Program:
        folder = self.settings.state_dir / "runs" / self.run_id
        if name.startswith("agent-") and self.profile is not None:
            return _Program(Tail(folder / f"{name}.out"), self._by(adapter_of(self.profile).parser()))
        path = folder / (f"{name}.out" if name.startswith("agent-") else f"{name}.log")
        kind: Kind = "output" if name.startswith("agent-") else "verify"
        return _Program(Tail(path), lambda line: [Moment(self.run_id, kind, _text(line))])

    def _by(self, parser: EventParser) -> Callable[[bytes], Iterable[Moment | None]]:
        return lambda line: [moment_of(self.run_id, event) for event in parser.feed(line)]

    def _changed(self, change: Row) -> Moment:
        self.told = int(change["id"])
        reason = f": {change['reason']}" if change["reason"] and change["before"] else ""
        return Moment(self.run_id, "state", printable(f"{change['after']}{reason}"))

    def _clean(self, moment: Moment) -> Moment:
        lines = tuple(without(line, self.secrets) for line in moment.lines)
        return Moment(moment.run_id, moment.kind, without(moment.text, self.secrets), lines)


def follow_all(
    settings: Settings, environ: Mapping[str, str], run_ids: list[str], clock: Clock | None = None
) -> Callable[[], tuple[list[Moment], list[Row]]]:
    """A function that gives what is new in these runs, and those of them that are over (once each is told to its end).

    Raises AgentdError for a run that is not there.
    """
    clock = clock or SystemClock()
    with _opened(settings, clock) as look:
        followers = {run_id: _follower(settings, environ, look, run_id) for run_id in run_ids}
    ended: dict[str, Row] = {}

    def new() -> tuple[list[Moment], list[Row]]:
        moments: list[Moment] = []
        with _opened(settings, clock) as look:
            for run_id, follower in followers.items():
                if run_id in ended:
                    continue
                [run] = look.rows("SELECT * FROM runs WHERE run_id = ?", run_id)
                over = run["state"] not in ACTIVE
                moments += follower.look(look, over=over)
                if over:
                    ended[run_id] = run
        return moments, list(ended.values())

    return new


def chosen(settings: Settings, *, every: bool, clock: Clock | None = None) -> list[str]:
    """The newest run that is under way, else the newest; with `every` all that are under way. Raises AgentdError."""
    with _opened(settings, clock or SystemClock()) as look:
        active = look.rows(f"SELECT run_id FROM runs WHERE state IN ({_ACTIVE}) ORDER BY started_at, run_id")
        if every and active:
            return [row["run_id"] for row in active]
        newest = active[-1:] or look.rows("SELECT run_id FROM runs ORDER BY started_at DESC, run_id LIMIT 1")
    if not newest:
        raise AgentdError("there is no run yet")
    return [newest[0]["run_id"]]


def log_of(settings: Settings, run_id: str) -> Path:
    """Where everything is that a run's agents print, as it came."""
    return settings.log_dir / "workers" / f"{run_id}.log"


@contextmanager
def _opened(settings: Settings, clock: Clock) -> Iterator[Glance]:
    """The store, which must be there."""
    with glance(settings.database_url, settings.state_dir, clock) as look:
        if look is None:
            raise AgentdError(f"{settings.state_dir}: no store yet; `agentd start` or `agentd once` makes it")
        yield look


def _follower(settings: Settings, environ: Mapping[str, str], look: Glance, run_id: str) -> Follower:
    if not look.rows("SELECT run_id FROM runs WHERE run_id = ?", run_id):
        raise AgentdError(f"{run_id}: no such run; `agentd runs list` shows them")
    order = look.value("SELECT body FROM orders WHERE run_id = ?", run_id)
    profile = None
    try:
        profile = Profile.model_validate(json.loads(order)["profile"])
        adapter_of(profile)
    except (ValueError, TypeError, KeyError, ConfigurationError):
        profile = None
    return Follower(settings, run_id, profile, secrets_of(settings, environ))


def _text(line: bytes) -> str:
    return printable(line.decode(errors="replace").rstrip("\r"))
