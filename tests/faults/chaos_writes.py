"""The practice GitHub's log, read for fencing tokens: who wrote what under which generation of which claim."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agentd.git.runner import git
from agentd.practice.log import RequestRecord
from agentd.supervisor.lead import LEAD

CLAIMS = "refs/agentd/claims/"
ZERO = "0" * 40
BOT = "agentd-bot"


@dataclass
class Writes:
    """What was wrong with the bot's writes, one line each."""

    count: int = 0
    stale: list[str] = field(default_factory=list)
    """under an older generation than a write before, or than the newest claim on the remote"""
    ahead: list[str] = field(default_factory=list)
    """under a generation that no claim on the remote had yet"""
    bare: list[str] = field(default_factory=list)
    """without a fencing token"""
    lead_stale: list[str] = field(default_factory=list)
    """of a supervisor that had lost the lead already"""


def judge(log: list[RequestRecord], remote: Path, remote_claims: bool) -> Writes:
    """Reads the log from its beginning. `remote_claims`: whether the fleet puts its claims on the remote too."""
    found, newest, written = Writes(), dict[str, int](), dict[str, int]()
    for record in log:
        if record.user != BOT or not 200 <= record.status < 300:
            continue
        moves = list(moves_of(record))
        for task, sha in [(ref.removeprefix(CLAIMS), new) for ref, _, new in moves if ref.startswith(CLAIMS)]:
            generation = generation_of(remote, sha)
            newest[task] = max(newest.get(task, 0), generation)
        others = [ref for ref, _, _ in moves if not ref.startswith(CLAIMS)]
        if not others and (record.kind != "rest" or record.method == "GET"):
            continue
        found.count += 1
        what = f"{record.at:%H:%M:%S.%f} {record.method} {record.path} {' '.join(others)}"
        token = record.headers.get("x-agentd-claim", "")
        task, _, number = token.partition("/")
        if not number.isdigit():
            found.bare.append(what)
            continue
        generation, line = int(number), f"{what} under {token}"
        if generation < written.get(task, 0):
            (found.lead_stale if task == LEAD else found.stale).append(f"{line}, after {written[task]}")
        elif remote_claims and task != LEAD and generation != newest.get(task, 0):
            kind = found.stale if generation < newest.get(task, 0) else found.ahead
            kind.append(f"{line}, the claim on the remote has {newest.get(task, 0)}")
        written[task] = max(written.get(task, 0), generation)
    return found


def moves_of(record: RequestRecord) -> Iterator[tuple[str, str, str]]:
    """(ref, old, new) of each update that a push asked for: the pkt-lines of its body up to the first flush."""
    if record.kind != "git" or record.method != "POST" or not record.path.endswith("git-receive-pack"):
        return
    body, at = record.body or b"", 0
    if record.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    while length := int(body[at : at + 4] or b"0", 16):
        line = body[at + 4 : at + length].split(b"\0")[0].decode().rstrip("\n")
        at += length
        if found := re.fullmatch(r"([0-9a-f]{40}) ([0-9a-f]{40}) (\S+)", line):
            yield found[3], found[1], found[2]


def generation_of(remote: Path, sha: str) -> int:
    """The generation that a claim's commit carries; 0 for a removal, and for a push that the remote did not take."""
    if sha == ZERO:
        return 0
    text = git("cat-file", "commit", sha, git_dir=remote, accept=(0, 128))
    words = text.partition("\n\n")[2]
    return int(json.loads(words)["generation"]) if words else 0
