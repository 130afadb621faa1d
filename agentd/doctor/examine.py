"""The groups of checks in their order, and looking at all of them at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from agentd.doctor import (
    agents,
    claims,
    configuration,
    gateway,
    git,
    github,
    labels,
    runs,
    sandbox,
    store,
    stranded,
    supervisor,
    tracing,
    workspaces,
)
from agentd.doctor.finding import Code, Finding
from agentd.doctor.report import cleaned
from agentd.doctor.visit import Visit
from agentd.errors import AgentdError


class Group(Protocol):
    """One file of this folder."""

    @property
    def CODES(self) -> tuple[Code, ...]:
        """Every kind of finding that it has."""

    def checks(self, visit: Visit) -> Iterator[Finding]:
        """What it finds."""


GROUPS: dict[str, Group] = {
    "configuration": configuration,
    "github": github,
    "labels": labels,
    "stranded": stranded,
    "claims": claims,
    "runs": runs,
    "store": store,
    "git": git,
    "sandbox": sandbox,
    "workspaces": workspaces,
    "agents": agents,
    "gateway": gateway,
    "tracing": tracing,
    "supervisor": supervisor,
}
UNFINISHED = Code(
    "doctor.unfinished",
    "Doctor",
    "a group of checks came to no end: what it would have said is not known",
    "as the message says; the doctor exits with 1",
)
CODES: tuple[Code, ...] = (*(code for group in GROUPS.values() for code in group.CODES), UNFINISHED)


def examine(
    visit: Visit, done: Callable[[str], None] = lambda group: None, groups: Mapping[str, Group] = GROUPS
) -> list[Finding]:
    """Every group's findings in their order, without secrets. `done` hears of each group that is through."""

    def look(name: str) -> list[Finding]:
        found = _looked(name, groups[name], visit)
        done(name)
        return found

    with ThreadPoolExecutor(len(groups)) as pool:
        looks = list(pool.map(look, groups))
    secrets = visit.secrets
    return [cleaned(finding, secrets) for found in looks for finding in found]


def is_whole(findings: Sequence[Finding]) -> bool:
    """Whether every group came to its end."""
    return all(finding.code != UNFINISHED.code for finding in findings)


def _looked(name: str, group: Group, visit: Visit) -> list[Finding]:
    try:
        return list(group.checks(visit))
    except AgentdError as error:
        said = str(error)
    except Exception as error:  # one group's mistake must not hide what the others have found
        said = f"{type(error).__name__}: {error}"
    return [UNFINISHED.fail(f"{name}: {said}", visit.agentd("doctor"), subject=name)]
