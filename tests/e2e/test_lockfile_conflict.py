"""Both sides add a dependency: the lockfile is made anew by its own tool, in the run, and verified."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Installation
from tests.e2e.test_base_moves import WAITING_AGENT, content, once_while, steps, write
from tests.git.lockfiles.world import works

MANIFEST = """[package]
name = "widget"
version = "0.1.0"
edition = "2021"
rust-version = "1.56"

[dependencies]
{}
# -----------------
# Between the two tables, so that the manifests merge.
# -----------------

[dev-dependencies]
{}
"""
CRATE = '[package]\nname = "{0}"\nversion = "0.{1}.0"\nedition = "2021"\n'
OURS, THEIRS = 'alpha = { path = "alpha" }', 'beta = { path = "beta" }'


@pytest.fixture
def locks(tmp_path: Path) -> dict[str, str]:
    """What cargo writes for the base, for the task's manifest and for the other one; all files of the base."""
    if not works("cargo"):
        pytest.skip("cargo is not installed")
    folder = tmp_path / "crate"
    files = {"src/lib.rs": "\n"}
    for number, name in enumerate(("alpha", "beta"), start=1):
        files |= {f"{name}/Cargo.toml": CRATE.format(name, number), f"{name}/src/lib.rs": "\n"}
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    found = {}
    for side, manifest in {
        "base": MANIFEST.format("", ""),
        "ours": MANIFEST.format(OURS, ""),
        "theirs": MANIFEST.format("", THEIRS),
    }.items():
        (folder / "Cargo.toml").write_text(manifest)
        subprocess.run(["cargo", "update", "--workspace", "--offline", "-q"], cwd=folder, check=True)
        found[f"{side} Cargo.toml"], found[f"{side} Cargo.lock"] = manifest, (folder / "Cargo.lock").read_text()
    return found | files


@pytest.fixture
def crate(here: Installation, locks: dict[str, str]) -> Installation:
    for path, text in locks.items():
        if not path.startswith(("ours ", "theirs ")):
            write(here, path.removeprefix("base "), text)
    sources = {name: locks[f"ours {name}"] for name in ("Cargo.toml", "Cargo.lock")}
    here.agent(WAITING_AGENT + f"for name, text in {sources!r}.items():\n    open(name, 'w').write(text)\n")
    here.configure(verify="grep -q alpha Cargo.lock")
    return here


def test_a_conflict_in_the_lockfile_alone_is_resolved(crate: Installation, locks: dict[str, str]) -> None:
    number = crate.issue()
    theirs = [(name, locks[f"theirs {name}"]) for name in ("Cargo.toml", "Cargo.lock")]
    run = once_while(crate, number, lambda: [write(crate, *file) for file in theirs])
    assert run["state"] == "in_review", run["reason"]
    assert "branch_sync lockfile_resolved" in steps(crate)
    [pull] = crate.pulls()
    lock = content(crate, "Cargo.lock", pull["head"]["ref"])
    assert lock.count('name = "alpha"') == lock.count('name = "beta"') == 1
    commits = [row["commit"]["message"].splitlines()[0] for row in crate.get(f"/pulls/{pull['number']}/commits")]
    assert commits == [f"feat(issue-{number}): Do it", "chore: regenerate lockfiles after sync"]
    assert {row["filename"] for row in crate.get(f"/pulls/{pull['number']}/files")} == {"Cargo.toml", "Cargo.lock"}


def test_where_it_is_switched_off_it_is_a_conflict_like_any_other(crate: Installation, locks: dict[str, str]) -> None:
    crate.environ["DISABLE_LOCKFILE_AUTO_RESOLVE"] = "1"
    number = crate.issue()
    theirs = [(name, locks[f"theirs {name}"]) for name in ("Cargo.toml", "Cargo.lock")]
    run = once_while(crate, number, lambda: [write(crate, *file) for file in theirs])
    assert run["state"] == "conflict_retry"
    [sticky] = crate.stickies(number)
    assert "- `Cargo.lock`" in sticky


def test_a_lockfile_that_somebody_has_tampered_with_is_refused(crate: Installation, locks: dict[str, str]) -> None:
    """Upstream's lockfile has a package that no manifest asks for, from a registry of its own."""
    evil = '\n[[package]]\nname = "evil"\nversion = "1.0.0"\nsource = "registry+https://evil.example/index"\n'
    number = crate.issue()
    theirs = [("Cargo.toml", locks["theirs Cargo.toml"]), ("Cargo.lock", locks["theirs Cargo.lock"] + evil)]
    run = once_while(crate, number, lambda: [write(crate, *file) for file in theirs])
    assert run["state"] == "conflict_retry"
    lines = (crate.folder / ".agentd" / "logs" / "events.jsonl").read_text().splitlines()
    told = [event["data"] for event in map(json.loads, lines) if event["event_type"] == "conflict_recovery"]
    assert told[0]["recovery_type"] == "lockfile_regeneration"
    assert "evil" in told[0]["message"]
    assert crate.pulls("all") == []
