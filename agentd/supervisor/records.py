"""What is made of runs that have come to their end: evidence, and their trace for each sink.

It follows the store, as every projection: what a crash has kept from being written is written by the next tick, and a
sink that is down is asked again later, a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial

from agentd import __version__
from agentd.errors import AgentdError, ConfigurationError
from agentd.evidence import writing
from agentd.evidence.making import Sources, cleaner_of, evidence_for
from agentd.run.context import Context
from agentd.store import claims, exports, runs
from agentd.store.attempts import backoff_seconds
from agentd.trace.langsmith import Project, resolve_project
from agentd.trace.otlp import resource_of
from agentd.trace.record import record_of
from agentd.trace.sinks import Sink, SinkFailed, Trace, cleaned, send_langsmith, send_otlp, write_file
from agentd.trace.spans import spans_of

EVIDENCE = "evidence"
AT_ONCE = 50
"""Runs that are looked at in one go; the next tick goes on."""
MOST_IN_FLEET = 10_000
MOST_TRIES = 6
"""of a sink, for one run; then its trace is dropped there, with an Event"""


def make_records(context: Context) -> None:
    """Evidence and traces of what has ended since. Never raises for a sink, nor for a run that is not like others."""
    for run_id, tries in _due(context, EVIDENCE):
        _attempt(context, run_id, EVIDENCE, tries, partial(write_evidence, context, run_id))
    for sink, send in _sinks(context):
        for run_id, tries in _due(context, sink):
            if not _attempt(context, run_id, sink, tries, partial(_send, context, run_id, send)):
                break  # the others of this tick would wait in vain as well


def _due(context: Context, kind: str) -> list[tuple[str, int]]:
    """What is due here: in a fleet, a run's records are made where its files are.

    A run that has its claim is still saying its last words, and would not be what its record says when it is through.
    """
    speaking = {row.claim.run_id for row in claims.list_claims(context.store) if row.seconds_left > 0}
    found = exports.due(context.store, kind, AT_ONCE if context.store.is_sqlite else MOST_IN_FLEET)
    here = (each for each in found if context.store.is_sqlite or context.run_dir(each[0]).is_dir())
    return [each for each in here if each[0] not in speaking][:AT_ONCE]


def sources_of(context: Context) -> Sources:
    """What evidence is made from, in this process."""
    return Sources(context.settings, context.store, context.mirror, context.environ, context.policy.sha256)


def write_evidence(context: Context, run_id: str) -> None:
    """Write the evidence of a run. Raises OSError, AgentdError."""
    sources = sources_of(context)
    writing.write(sources.folder(run_id), evidence_for(sources, run_id))


def _attempt(context: Context, run_id: str, kind: str, tries: int, act: Callable[[], None]) -> bool:
    """Do it, and write down how it went; False when it is to be tried again."""
    try:
        act()
    except (AgentdError, OSError, ValueError, LookupError) as error:
        tries += 1
        given_up = tries >= MOST_TRIES or isinstance(error, ConfigurationError)
        later = context.clock.now() + timedelta(seconds=backoff_seconds(tries))
        exports.note(context.store, run_id, kind, done=given_up, tries=tries, retry_at=None if given_up else later)
        if given_up and (run := runs.get_run(context.store, run_id)) is not None:
            told = {"kind": kind, "tries": tries, "message": cleaner_of(sources_of(context), run)(str(error))[:500]}
            context.emit("record_dropped", run, told, status="failed", source="supervisor")
        return given_up
    exports.note(context.store, run_id, kind, done=True, tries=tries + 1)
    return True


def _sinks(context: Context) -> Iterable[tuple[Sink, Callable[[Trace], object]]]:
    tracing, environ = context.settings.tracing, context.environ
    if "file" in tracing.sinks:
        yield "file", partial(write_file, folder=context.settings.log_dir / "traces")
    if "otlp" in tracing.sinks:
        yield "otlp", partial(send_otlp, endpoint=tracing.endpoint, environ=environ)
    if "langsmith" in tracing.sinks:
        yield "langsmith", lambda trace: _to_langsmith(context, trace)


def _to_langsmith(context: Context, trace: Trace) -> None:
    send_langsmith(trace, langsmith_project(context))


def langsmith_project(context: Context) -> Project:
    """LangSmith's project, asked for once a process. Raises ConfigurationError without a key."""
    known = context.remembered
    if "langsmith" not in known:
        known["langsmith"] = resolve_project(context.environ)
    project = known["langsmith"]
    assert isinstance(project, Project)
    if project.mode == "disabled_no_api_key":
        raise ConfigurationError(f"[tracing] sinks: langsmith: {project.note}")
    return project


def _send(context: Context, run_id: str, send: Callable[[Trace], object]) -> None:
    record = record_of(context.store, run_id, context.settings.repo)
    spans = cleaned(spans_of(record), cleaner_of(sources_of(context), record.run))
    try:
        send(Trace(run_id, spans, resource_of(__version__)))
    except OSError as error:
        raise SinkFailed(str(error)) from None
