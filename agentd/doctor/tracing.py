"""Tracing to LangSmith: a project without a key is the usual mistake, and nothing says so anywhere else."""

from __future__ import annotations

from collections.abc import Iterator

from agentd.doctor.finding import Code, Finding
from agentd.doctor.visit import Visit

PROJECTS = ("DEEPAGENTS_LANGSMITH_PROJECT", "LANGSMITH_PROJECT", "LANGCHAIN_PROJECT")
"""In the order in which they count."""
KEYS = ("LANGSMITH_API_KEY", "LANGCHAIN_API_KEY")
SWITCHES = ("LANGSMITH_TRACING", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2")

KEY = Code(
    "tracing.key",
    "LangSmith key",
    "traces are wanted (a project, or the switch), and there is no key",
    "set `LANGSMITH_API_KEY`, or unset the switch and the project",
)
PROJECT = Code(
    "tracing.project",
    "LangSmith configured project",
    "several variables name different projects: the first in the order of the message counts",
    "unset all but one",
)
CODES = (KEY, PROJECT)


def checks(visit: Visit) -> Iterator[Finding]:
    """From the environment alone; LangSmith is not asked."""
    environ = visit.environ
    key = next((name for name in KEYS if environ.get(name)), "")
    named = {name: environ[name] for name in PROJECTS if environ.get(name)}
    switched = [name for name in SWITCHES if environ.get(name, "").lower() in ("1", "true", "yes")]
    if key:
        yield KEY.ok(f"{key} is set")
    elif named or switched:
        wanted = ", ".join([*named, *switched])
        yield KEY.warn(f"{wanted}: traces are wanted, and there is no key", "export LANGSMITH_API_KEY=KEY")
    else:
        yield KEY.ok("not set; traces stay on this machine")
    if len(set(named.values())) > 1:
        first, *others = named
        said = ", ".join(f"{name}={value}" for name, value in named.items())
        yield PROJECT.warn(f"{said}; {first} counts", f"unset {' '.join(others)}")
    else:
        yield PROJECT.ok(next(iter(named.values()), "none"))
