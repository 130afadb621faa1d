"""The labels of agentd and the one status label that an issue carries."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from agentd.errors import NotFound, Rejected
from agentd.github.answers import expecting
from agentd.github.client import GitHub
from agentd.github.conditional import pages

READY = "agent-ready"
MOST_LABELS = 100
"""of one issue. Source: https://github.com/github/docs/issues/161"""
STATUS = ("status:todo", "status:in-progress", "status:in-review", "status:blocked")


@dataclass(frozen=True)
class Label:
    """A label: name, colour (six hex digits), what it means (at most 100 characters)."""

    name: str
    colour: str
    meaning: str


LABELS = (
    Label(READY, "5319e7", "Eligible for agents"),
    Label("status:todo", "d4c5f9", "Waiting for an agent"),
    Label("status:in-progress", "fbca04", "An agent works on it"),
    Label("status:in-review", "bfd4f2", "Its pull request is open"),
    Label("status:blocked", "b60205", "Needs a person; the comment says why"),
    Label("priority:high", "d73a4a", "First"),
    Label("priority:medium", "fbca04", "After high"),
    Label("priority:low", "0e8a16", "Last"),
    Label("risk:high", "b60205", "Read the change with care"),
    Label("risk:medium", "fbca04", "Usual risk"),
    Label("risk:low", "0e8a16", "Little can go wrong"),
    Label("phase:foundation", "1d76db", "Phase: foundation"),
    Label("phase:hardening", "1d76db", "Phase: hardening"),
    Label("phase:methodology", "1d76db", "Phase: methodology"),
    Label("phase:rollout", "1d76db", "Phase: rollout"),
    Label("track:runtime", "c2e0c6", "Track: runtime"),
    Label("track:control-plane", "c2e0c6", "Track: control plane"),
    Label("track:evaluation", "c2e0c6", "Track: evaluation"),
    Label("track:feedback-loop", "c2e0c6", "Track: feedback loop"),
    Label("track:rollout", "c2e0c6", "Track: rollout"),
)


_OURS = {label.name.casefold(): label.name for label in LABELS}


def our_name(label: str) -> str:
    """A label's name as agentd writes it, if it is one of agentd's: to GitHub `Status:Todo` is the same one."""
    return _OURS.get(label.casefold(), label)


def ensure_labels(gh: GitHub, labels: Iterable[Label] = LABELS) -> tuple[str, ...]:
    """Makes the labels that the repository lacks; their names. A colour that a person chose stays. GitHubError."""
    with gh.writing():
        there = _repository_labels(gh)
        missing = [label for label in labels if label.name.casefold() not in there]
        for label in missing:
            try:
                gh.repository().create_label(label.name, label.colour, label.meaning)
            except Rejected:
                if label.name.casefold() not in _repository_labels(gh):
                    raise
    return tuple(label.name for label in missing)


def set_status(gh: GitHub, issue_number: int, label: str | None, current: Iterable[str] | None = None) -> bool:
    """Leaves exactly this status label on the issue (none for None); whether a write was needed.

    `current` is the issue's labels when they are freshly known; otherwise they are looked at (1 request). The new
    label comes before the old ones go, so that the issue is never without one, unless it has as many labels as an
    issue can have. Raises GitHubError, ValueError.
    """
    if label is not None and label not in STATUS:
        raise ValueError(f"{label!r} is no status label; expected one of {', '.join(STATUS)}")
    with gh.writing():
        has = _issue_labels(gh, issue_number) if current is None else {name.casefold() for name in current}
        superfluous = [name for name in STATUS if name in has and name != label]
        wanting = label is not None and label not in has
        issue = gh.issue(issue_number)
        full = len(has) >= MOST_LABELS
        if wanting and label is not None and not full:
            issue.add_to_labels(label)
        for name in superfluous:
            with suppress(NotFound):
                issue.remove_from_labels(name)
        if wanting and label is not None and full:
            issue.add_to_labels(label)
    return wanting or bool(superfluous)


def _repository_labels(gh: GitHub) -> set[str]:
    with expecting("labels"):
        return {item["name"].casefold() for page in pages(gh, f"{gh.base}/labels") for item in page.data}


def _issue_labels(gh: GitHub, issue_number: int) -> set[str]:
    with expecting(f"labels of issue {issue_number}"):
        answer = gh.request("GET", f"{gh.base}/issues/{issue_number}/labels", {"per_page": 100})
        return {item["name"].casefold() for item in answer.data}
