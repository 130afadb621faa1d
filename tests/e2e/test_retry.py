"""`agentd runs retry`: from the beginning, from verify, from publish; what cannot be tried again is refused."""

from __future__ import annotations

import pytest

from agentd.practice import PracticeGitHub
from tests.e2e.conftest import Installation

AGENT = """
import pathlib, sys
sys.stdin.read()
count = pathlib.Path({count!r})
count.write_text(count.read_text() + "x" if count.exists() else "x")
pathlib.Path("done.txt").write_text("done")
"""


@pytest.fixture
def blocked(here: Installation) -> tuple[Installation, str]:
    """An installation whose run ended because verify failed for a cause that a person can mend, and that run."""
    here.agent(AGENT.format(count=str(here.folder / "count")))
    here.configure(
        'max_fix_rounds = 0\nsandbox = "none"\n', verify=f"test -f done.txt && test -f {here.folder / 'gate'}"
    )
    here.issue()
    [run] = here.once(check=1)["runs"]
    assert run["state"] == "verify_failed"
    (here.folder / "gate").touch()
    return here, run["run_id"]


@pytest.mark.parametrize(("options", "agents"), [((), "xx"), (("--from", "verify"), "x")])
def test_a_retry_does_only_what_is_missing(
    blocked: tuple[Installation, str], options: tuple[str, ...], agents: str
) -> None:
    here, run_id = blocked
    here.run("runs", "retry", run_id, *options)
    [run] = here.once()["runs"]
    assert (run["state"], run["attempt"]) == ("in_review", 2)
    assert (here.folder / "count").read_text() == agents
    assert here.labels(1) == {"agent-ready", "status:in-review"}
    assert len(here.stickies(1)) == 1
    [pull] = here.pulls()
    assert [row["filename"] for row in here.get(f"/pulls/{pull['number']}/files")] == ["done.txt"]


def test_a_retry_from_publish_pushes_what_was_verified(here: Installation, hub: PracticeGitHub) -> None:
    here.agent(AGENT.format(count=str(here.folder / "count")))
    here.configure('max_fix_rounds = 0\nsandbox = "none"\n', verify="test -f done.txt")
    number = here.issue()
    hub.fault("POST", "/repos/alice/widget/pulls$", status=422, times=3)
    [run] = here.once(check=1)["runs"]
    assert run["state"] == "failed"
    here.run("runs", "retry", run["run_id"], "--from", "publish")
    [again] = here.once()["runs"]
    assert again["state"] == "in_review"
    assert (here.folder / "count").read_text() == "x"
    assert here.labels(number) == {"agent-ready", "status:in-review"}


def test_what_cannot_be_tried_again_is_refused_in_one_line(blocked: tuple[Installation, str]) -> None:
    here, run_id = blocked
    for arguments, said in (
        (("nothing",), "no such run"),
        ((run_id, "--from", "nowhere"), "no such stage"),
        ((run_id, "--from", "publish"), "never got there"),
    ):
        assert said in here.run("runs", "retry", *arguments, check=1)
    here.run("runs", "retry", run_id)
    assert "is not the newest run" in here.run("runs", "retry", run_id, check=1)
    here.once()
    newest = here.status()["recent"][0]["run_id"]
    assert "is in_review" in here.run("runs", "retry", newest, check=1)
