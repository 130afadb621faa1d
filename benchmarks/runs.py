"""What agentd adds to a run: from the claim to the pull request, and from the label to the agent."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.rows import Row
from benchmarks.site import REPO, TOKEN, Site, site, wait_for

BARE = Path(__file__).with_name("bare.sh")
AGENT = 'echo "$AGENTD_RUN_ID" > work.txt'
FILE_BYTES = 1000
FILES_A_FOLDER = 100
ROUNDS = 5
LABELS = 9
POLL_SECONDS = 0.05
STARTED = "started"


def overhead(files: int) -> list[Row]:
    """A run of agentd less its agent and its verify command, over a shell script that does the same things barely.

    In each layout, on a base that has just moved. The overlay's first run from a commit makes the checkout that the
    others share, so a second one is measured; the first one is in the note.
    """
    with site() as place:
        _push_tree(place, files)
        clone = place.folder / "clone"
        _git("clone", "--quiet", "--no-checkout", place.remote, str(clone))
        place.configure(agent=AGENT)
        place.issue("warm up")
        place.agentd("once")
        taken: dict[str, list[float]] = {"bare": [], "clone": [], "first": [], "overlay": []}
        for turn in range(ROUNDS):
            for kind, found in taken.items():
                if kind != "overlay":  # which goes on from the commit of the first one
                    change = {"repo": REPO, "branch": "main", "files": {f"change-{turn}-{kind}.txt": "x"}}
                    place.control("commits", change)
                if kind != "bare":
                    place.configure(f'layout = "{"clone" if kind == "clone" else "overlay"}"', agent=AGENT)
                found.append(_bare(place) if kind == "bare" else _ours(place))
        seconds = {kind: statistics.median(found) for kind, found in taken.items()}
        beside = f"bare script {seconds['bare']:.2f} s, {files} files"
        first = f"the first of a commit {seconds['first']:.2f} s"
        return [
            Row(
                "run overhead, overlay",
                seconds["overlay"] / seconds["bare"],
                "x",
                0.8,
                f"{seconds['overlay']:.2f} s, {first}; {beside}",
            ),
            Row(
                "run overhead, clone",
                seconds["clone"] / seconds["bare"],
                "x",
                1.3,
                f"{seconds['clone']:.2f} s; {beside}",
            ),
        ]


def _bare(place: Site) -> float:
    number = place.issue("by hand", ("status:todo",))
    environ = {
        **place.environ,
        **_credential(),
        "API": f"{place.url}/repos/{REPO}",
        "TOKEN": TOKEN,
        "CLONE": str(place.folder / "clone"),
        "PLACE": str(place.folder / f"tree-{number}"),
        "ISSUE": str(number),
    }
    began = time.perf_counter()
    subprocess.run([str(BARE)], env=environ, check=True)
    return time.perf_counter() - began


def _ours(place: Site) -> float:
    number = place.issue("by agentd")
    place.agentd("once")
    told = [row for row in _events(place) if row["issue_number"] == number]
    at = {row["event_type"]: datetime.fromisoformat(row["timestamp"]) for row in told}
    results = (place.state / "runs" / told[0]["run_id"]).glob("*.result.json")
    work = sum(json.loads(path.read_text())["seconds"] for path in results)
    return (at["run_completed"] - at["dispatch_started"]).total_seconds() - work


def label_to_agent() -> list[Row]:
    """From the labelled issue to the first instruction of the agent, less the making of the same working tree."""
    with site() as place:
        place.configure(f"poll_interval_seconds = {POLL_SECONDS}", agent=f"date +%s.%N > {STARTED}; cat > work.txt")
        waits = []
        with place.supervisor():
            for number in range(LABELS):
                issue = place.issue(f"Number {number}", ("status:todo",))
                began = time.time()
                place.label(issue, "agent-ready")
                tree = place.folder / "worktrees" / REPO / f"issue-{issue}"
                marks = (tree / STARTED, tree / "upper" / STARTED)
                wait_for(lambda marks=marks: any(map(_is_written, marks)), 0.005)
                waits.append(float(next(filter(_is_written, marks)).read_text()) - began)
                wait_for(lambda: not place.status()["running"], 0.1)
        tree = statistics.median(_clone_seconds(place, number) for number in range(LABELS))
        value = 1000 * (statistics.median(waits[1:]) - tree)
        note = f"p50 of {LABELS - 1}; the working tree itself takes {1000 * tree:.0f} ms"
        return [Row("label to agent start", value, "ms", 400, note)]


def _is_written(mark: Path) -> bool:
    return mark.exists() and mark.read_text().endswith("\n")


def _clone_seconds(place: Site, number: int) -> float:
    mirror, target = place.state / "mirrors" / f"{REPO}.git", place.folder / f"peer-{number}"
    began = time.perf_counter()
    _git("clone", "--quiet", "--shared", "--no-checkout", "--template=", "--branch=main", str(mirror), str(target))
    _git("-C", str(target), "checkout", "--quiet", "-B", "work")
    return time.perf_counter() - began


def _events(place: Site) -> list[dict[str, Any]]:
    lines = (place.folder / ".agentd" / "logs" / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _push_tree(place: Site, files: int) -> None:
    """Set `main` of the practice GitHub's repository to a tree of so many small files."""
    source = place.folder / "source"
    _git("clone", "--quiet", place.remote, str(source))
    for number in range(files):
        path = source / f"part-{number // FILES_A_FOLDER:04}" / f"file-{number:06}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{number}\n".ljust(FILE_BYTES, "."))
    _git("-C", str(source), "add", "--all")
    _git("-C", str(source), "commit", "--quiet", "--message", f"{files} files")
    _git("-C", str(source), "push", "--quiet", "origin", "HEAD:main")


def _git(*arguments: str) -> None:
    environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", **_credential()}
    subprocess.run(["git", *arguments], check=True, env=environ)


def _credential() -> dict[str, str]:
    """git's configuration from the environment: the bot's token, and a name."""
    settings = {
        "credential.helper": f"!f() {{ echo username=x; echo password={TOKEN}; }}; f",
        "user.name": "peer",
        "user.email": "peer@example.org",
    }
    numbered = {
        f"GIT_CONFIG_{part}_{n}": v
        for n, pair in enumerate(settings.items())
        for part, v in zip(("KEY", "VALUE"), pair, strict=True)
    }
    return {"GIT_CONFIG_COUNT": str(len(settings)), **numbered}
