"""Agents that hang are ended by their silence, long before their time is over, and the run says which limit it was."""

from __future__ import annotations

from tests.e2e.conftest import Installation
from tests.e2e.test_restart import agents

AGENT = """
import pathlib, sys, time
what = next(line for line in sys.stdin if line.startswith("## Task: ")).removeprefix("## Task: ").split()[0]
if what == "quiet":
    for number in range(12):
        time.sleep(0.3)
        pathlib.Path("done.txt").write_text(str(number))
    sys.exit(0)
if what == "hung":
    pathlib.Path("done.txt").write_text("half")
    print("half done", flush=True)
time.sleep(600)
"""


def test_an_agent_without_a_sign_of_life_is_ended(here: Installation) -> None:
    here.agent(AGENT)
    here.configure("agent_startup_minutes = 0.03\nagent_silence_minutes = 0.03\nmax_parallel = 3\n")
    numbers = {name: here.issue(name) for name in ("dead", "hung", "quiet")}
    runs = {run["issue_number"]: run for run in here.once(check=None)["runs"]}
    states = {name: runs[number]["state"] for name, number in numbers.items()}
    assert states == {"dead": "failed_retry", "hung": "failed_retry", "quiet": "in_review"}
    assert agents(here.folder) == []
    said = {name: runs[number]["reason"] for name, number in numbers.items()}
    assert said["dead"] == ("the agent showed no sign of life for 0.03 minutes after its start (agent_startup_minutes)")
    assert said["hung"] == "the agent wrote nothing and changed no file for 0.03 minutes (agent_silence_minutes)"
    [sticky] = here.stickies(numbers["hung"])
    assert "agent_silence_minutes" in sticky
    assert "half done" in sticky
