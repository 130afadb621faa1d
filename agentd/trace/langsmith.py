"""LangSmith: which project a trace goes to, and what its spans say more there.

The projects are asked for with the `langsmith` client; the spans go over OTLP, since the client's own format has ids of
its own and copies the environment into them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from agentd.trace import names
from agentd.trace.span import Span

Mode = Literal["disabled_no_api_key", "default", "explicit", "fallback_existing_project", "fallback_default"]
ENDPOINT = "https://api.smith.langchain.com"
KEYS = ("LANGSMITH_API_KEY", "LANGCHAIN_API_KEY")
ENDPOINTS = ("LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT")
PROJECTS = ("DEEPAGENTS_LANGSMITH_PROJECT", "LANGSMITH_PROJECT", "LANGCHAIN_PROJECT")
MOST_PROJECTS = 200
ASK_MILLISECONDS = 5_000
KINDS = {"llm_call": "llm", "tool_call": "tool"}
"""What LangSmith calls a span; any other is a `chain`."""


@dataclass(frozen=True)
class Project:
    """Where LangSmith puts the traces, and how that was decided."""

    mode: Mode
    name: str = ""
    """empty is LangSmith's own default"""
    note: str = ""
    endpoint: str = ENDPOINT
    api_key: str = ""


def resolve_project(environ: Mapping[str, str]) -> Project:
    """The project that the environment asks for, when LangSmith has it; else the first one that it has, or none."""
    key, endpoint = _first(environ, KEYS), (_first(environ, ENDPOINTS) or ENDPOINT).rstrip("/")
    if not key:
        return Project("disabled_no_api_key", note=f"no {' or '.join(KEYS)} is set")
    found = Project("default", endpoint=endpoint, api_key=key)
    wanted = _first(environ, PROJECTS)
    if not wanted:
        return found
    try:
        known = _projects(endpoint, key)
    except Exception as error:  # of the client's, of its transport's, or that it is not installed
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        return replace(found, mode="fallback_default", note=f"the projects cannot be listed: {said}")
    if wanted in known:
        return replace(found, mode="explicit", name=wanted)
    if known:
        return replace(found, mode="fallback_existing_project", name=known[0], note=f"there is no project {wanted!r}")
    return replace(found, mode="fallback_default", note="there is no project at all")


def as_langsmith(spans: Sequence[Span]) -> list[Span]:
    """The spans with what LangSmith sorts and names them by."""
    if not spans:
        return []
    title = str(spans[0].attributes.get(names.TASK, spans[0].name))
    run_id = str(spans[0].attributes.get(names.RUN_ID, ""))
    return [
        replace(
            span,
            attributes={
                **span.attributes,
                names.LANGSMITH_KIND: KINDS.get(str(span.attributes.get(names.SPAN_KIND)), "chain"),
                names.LANGSMITH_TRACE: title,
                f"{names.LANGSMITH_METADATA}correlation_key": f"{title}:{run_id}",
            },
        )
        for span in spans
    ]


def _projects(endpoint: str, api_key: str) -> list[str]:
    """Names of the projects, in the order in which LangSmith has them."""
    from langsmith import Client

    client = Client(api_url=endpoint, api_key=api_key, timeout_ms=ASK_MILLISECONDS, auto_batch_tracing=False)
    return [str(each.name) for each in islice(client.list_projects(limit=MOST_PROJECTS), MOST_PROJECTS)]


def _first(environ: Mapping[str, str], variables: Sequence[str]) -> str:
    return next((environ[name] for name in variables if environ.get(name)), "")
