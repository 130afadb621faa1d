"""Which commits of a branch the base has gained too: cherry-picked, or all together as a squash merge."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from agentd.git.mirror import Mirror


def landed(mirror: Mirror, commits: Collection[str], branch: str, base: str, *without: str) -> frozenset[str]:
    """Those of the commits that have the same patch as one that the base has gained since it and the branch parted.

    `commits` may hold one beside the branch's own, such as all of them in one. git's patch ids, which find the
    candidates, leave out white space: to `git rebase` two different indentations of a block are the same change, and
    it drops the second. So the patches of candidates are compared as they are.
    """
    marked = mirror.git(
        "rev-list", "--cherry-mark", "--no-merges", f"{base}...{branch}", *commits, *(f"^{sha}" for sha in without)
    )
    alike = {line[1:] for line in marked.splitlines() if line.startswith("=")}
    ours = alike & set(commits)
    if not ours:
        return frozenset()
    patches = _patches(mirror, alike)
    theirs = {patches.get(sha) for sha in alike - ours}
    return frozenset(sha for sha in ours if patches.get(sha) in theirs)


def _patches(mirror: Mirror, shas: Collection[str]) -> dict[str, str]:
    """A digest of each commit's patch, whatever lines of the files it is at. A commit without changes has none."""
    options = ("--stdin", "-r", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")
    text = mirror.git("diff-tree", *options, stdin="".join(f"{sha}\n" for sha in shas).encode())
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.split("\n"):
        if line in shas:
            current = found.setdefault(line, [])
        elif line.startswith("@@ "):
            current.append("@@")
        elif not line.startswith("index "):
            current.append(line)
    return {
        sha: hashlib.sha256("\n".join(lines).rstrip("\n").encode(errors="surrogateescape")).hexdigest()
        for sha, lines in found.items()
    }
