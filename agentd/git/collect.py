"""What the agent left: a commit made from objects, with the supervisor's own index and repository.

No git runs with the agent's configuration, hooks or index; the workspace's own commits come in by a checked fetch.
Where the workspace's tree can be seen, and so where git reads it, its layout knows: see agentd.git.layouts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from agentd.errors import GitError
from agentd.git.layouts import LAYOUTS
from agentd.git.mirror import Mirror, parents_of, resolve, tree_of
from agentd.git.salvage import Manifest, message, salvage_ref
from agentd.git.workspace import Inside, Workspace, check_untampered

GITLINK = "160000"
CLOSED = ("could not open directory", "Permission denied")
"""git's words for a folder that it cannot read. Whatever is in it is left out, and the exit status is 0."""
UNREAD = re.compile(r"^warning: could not open directory '(.+?)/?(?:': .*)?$", re.MULTILINE)
"""git cuts a long message off."""
READ_SECONDS = 180.0
"""For reading what an agent left: among its files may be one that never ends, such as a FIFO named .gitignore."""


@dataclass(frozen=True)
class Snapshot:
    """The workspace's content as a tree, and what differs from where the agent began."""

    tree: str
    changed: tuple[str, ...]
    nested: tuple[str, ...]
    """nested repositories that the agent left; their content is not part of the tree"""
    refused: tuple[str, ...] = ()
    """what git cannot read: closed to its owner, or a pipe in the place of a file; not part of the tree"""

    @property
    def is_whole(self) -> bool:
        """Whether the tree has all that the repository does not ignore."""
        return not self.nested and not self.refused


@dataclass(frozen=True)
class Reader:
    """Who reads the repository that the agent could write, for git to fetch from."""

    repository: str
    """as the reader sees it"""
    upload_pack: str = ""
    """the command that serves it; empty for git's own, on the host"""
    descriptors: tuple[int, ...] = ()
    """which the command needs"""
    inside: Inside | None = None
    """runs git where the workspace's tree can be seen; None on the host"""


def stash_ref(run_id: str) -> str:
    """Where the mirror keeps what a run's agent stashed last."""
    return f"refs/agentd/runs/{run_id}/stash"


def keep_commits(mirror: Mirror, workspace: Workspace, run_id: str, reader: Reader) -> None:
    """Bring every branch of the workspace, and what was stashed last, into the mirror: nothing of the agent is lost."""
    check_untampered(mirror, workspace)
    with mirror.locked():
        mirror.git(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            *([f"--upload-pack={reader.upload_pack}"] if reader.upload_pack else []),
            reader.repository,
            f"+refs/heads/*:refs/agentd/runs/{run_id}/heads/*",
            # Patterns, because they may match nothing: HEAD can name a branch without a commit.
            f"+HEAD*:refs/agentd/runs/{run_id}/head*",
            f"+refs/stash*:{stash_ref(run_id)}*",
            descriptors=reader.descriptors,
            timeout_seconds=READ_SECONDS,
        )


def snapshot(mirror: Mirror, workspace: Workspace, reader: Reader | None = None) -> Snapshot:
    """Everything in the workspace that the repository does not ignore, as a tree in the mirror."""
    look = Look(mirror, workspace, reader)
    empty, refused = _add_all(look)
    raw = look.git("diff-index", "--cached", "--raw", "-z", "--no-renames", workspace.start_sha)
    fields = raw.split("\0")
    changed: list[str] = []
    nested: list[str] = []
    for header, name in zip(fields[0::2], fields[1::2], strict=False):
        old_mode, new_mode = header[1:].split(" ")[:2]
        (nested if new_mode == GITLINK != old_mode else changed).append(name)
    for name in nested:
        look.git("update-index", "--force-remove", "--", name)
    tree = look.git("write-tree")
    look.gather(tree)
    return Snapshot(tree, tuple(changed), (*nested, *empty), tuple(refused))


class Look:
    """git on the content of one workspace, as its layout does it."""

    def __init__(self, mirror: Mirror, workspace: Workspace, reader: Reader | None) -> None:
        self.mirror, self.workspace = mirror, workspace
        self.inside = reader.inside if reader else None
        self.layout = LAYOUTS[workspace.layout]

    def git(self, *arguments: str, stdin: bytes | None = None, refuse: Sequence[str] = ()) -> str:
        found: str = self.layout.run_git(
            self.mirror,
            self.workspace,
            self.inside,
            *arguments,
            stdin=stdin,
            timeout_seconds=READ_SECONDS,
            refuse=refuse,
        )
        return found

    def gather(self, tree: str) -> None:
        """Bring the objects of a tree that was written into the mirror."""
        self.layout.gather(self.mirror, self.workspace, self.inside, tree)

    def unlock(self) -> None:
        """Let the owner into every folder of the tree and write there, which git keeps no record of."""
        self.layout.unlock(self.mirror, self.workspace, self.inside)


def _add_all(look: Look) -> tuple[list[str], list[str]]:
    """Bring every file into the index that git takes: (repositories without a commit, what it cannot read).

    A submodule keeps its link, unless other files stand in its place, or nothing.
    """
    links = _links_of_start(look)
    if links:  # else git would see nothing of what stands in their places
        look.git("update-index", "--force-remove", "-z", "--stdin", stdin=_lines(links))
    empty, refused = _add_files(look)
    if links:
        _put_back(look, links)
    return [name for name in empty if name not in links], refused


def _links_of_start(look: Look) -> dict[str, str]:
    """Path -> commit of each submodule that the workspace began with."""
    listed = look.mirror.git("ls-tree", "-r", "-z", "--full-tree", look.workspace.start_sha).split("\0")
    entries = (entry.partition("\t") for entry in listed if entry.startswith(GITLINK))
    return {path: about.split(" ")[2] for about, _, path in entries}


def _put_back(look: Look, links: dict[str, str]) -> None:
    """The links of submodules whose folders are there without files, or are repositories again."""
    listed = [entry.partition("\t") for entry in look.git("ls-files", "--stage", "-z").split("\0") if entry]
    found = {path: about.split(" ")[0] for about, _, path in listed}
    folders = {str(folder) for path in found for folder in PurePosixPath(path).parents}
    kept = [link for link in links if link not in folders and found.get(link, GITLINK) == GITLINK]
    look.git("update-index", "-z", "--index-info", stdin=_lines(f"{GITLINK} {links[link]}\t{link}" for link in kept))
    # Takes out those whose folder is gone; of a repository it would take the commit.
    look.git("update-index", "--remove", "-z", "--stdin", stdin=_lines(link for link in kept if link not in found))


def _lines(texts: Iterable[str]) -> bytes:
    return "".join(f"{text}\0" for text in texts).encode(errors="surrogateescape")


def _add_files(look: Look) -> tuple[list[str], list[str]]:
    closed: list[str] = []
    try:
        _add(look, "--all")
    except GitError as error:
        try:
            _add(look, "--all", "--ignore-errors")
        except GitError as again:
            if again.exit_status not in (0, 1):
                raise error from None
            closed = sorted(set(UNREAD.findall(again.stderr)))
    else:
        return [], []
    told = look.git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignore-submodules=all")
    left = [line[3:] for line in told.split("\0") if line and line[1] != " "]
    files = [name for name in left if not name.endswith("/")]
    return [name.rstrip("/") for name in left if name.endswith("/")], [*files, *closed]


def _add(look: Look, *options: str) -> None:
    """Bring the index up to the files. Repositories that it has as links are left out.

    To see whether such a one has changed, git would run in it, with whatever configuration the agent gave it.
    Folders that the agent closed to itself are opened. Raises GitError also when git cannot read one nevertheless.
    """
    # What a killed git left; nobody else uses this index.
    look.workspace.index.with_name(f"{look.workspace.index.name}.lock").unlink(missing_ok=True)
    entries = look.git("ls-files", "--stage", "-z").split("\0")
    links = [entry.partition("\t")[2] for entry in entries if entry.startswith(GITLINK)]
    paths = "\0".join([".", *(f":(exclude,literal){link}" for link in links)])
    stdin = paths.encode(errors="surrogateescape")
    arguments = ("add", *options, "--pathspec-from-file=-", "--pathspec-file-nul")
    try:
        look.git(*arguments, stdin=stdin, refuse=CLOSED)
    except GitError as error:
        if not any(words in error.stderr for words in CLOSED):
            raise
        look.unlock()
        look.git(*arguments, stdin=stdin, refuse=CLOSED)


def tracked_tree(mirror: Mirror, workspace: Workspace, reader: Reader | None = None) -> str:
    """The tree of the last snapshot's files as they are on disk now: equal trees prove that none was changed since."""
    look = Look(mirror, workspace, reader)
    _add(look, "--update")
    return look.git("write-tree")


def clean(mirror: Mirror, workspace: Workspace, reader: Reader | None = None) -> None:
    """Remove what came into the workspace after the last snapshot, except what the repository ignores."""
    look = Look(mirror, workspace, reader)
    arguments = ("clean", "--quiet", "--force", "-d", "--", ".")
    try:
        look.git(*arguments)
    except GitError:
        look.unlock()  # folders that nobody may write to, as Go's module cache makes them
        look.git(*arguments)


def commit(mirror: Mirror, tree: str, parents: Sequence[str], message: str, run_id: str) -> str:
    """One commit of `tree` on `parents`, kept under the run's ref; the same one again when it is there already."""
    ref = f"refs/agentd/runs/{run_id}/result"
    made = resolve(mirror, ref)
    if made is not None and tree_of(mirror, made) == tree and parents_of(mirror, made) == list(parents):
        return made
    options = [word for parent in parents for word in ("-p", parent)]
    sha = mirror.git("commit-tree", tree, *options, stdin=message.encode(), environment=mirror.author.environment())
    mirror.git("update-ref", ref, sha)
    return sha


def save(mirror: Mirror, workspace: Workspace, task_id: str, run_id: str, why: str, reader: Reader) -> str | None:
    """Salvage: the ref that the workspace's content is kept on now; None when there was nothing to save.

    Where nothing but a stash differs from the start, its own ref, with which `git stash apply` can do something.
    Works on whatever the agent left; a repository that was tampered with loses its own commits' names, no file.
    """
    commits = f"refs/agentd/runs/{run_id}/heads/"
    try:
        keep_commits(mirror, workspace, run_id, reader)
    except GitError as error:
        commits = f"could not be imported: {error}"
    found = snapshot(mirror, workspace, reader)
    if not found.changed:
        return stash_ref(run_id) if resolve(mirror, stash_ref(run_id)) else None
    manifest = Manifest(
        task_id,
        run_id,
        why,
        workspace.start_sha,
        found.changed,
        len(found.changed),
        found.nested,
        commits,
        found.refused,
    )
    sha = mirror.git(
        "commit-tree",
        found.tree,
        "-p",
        workspace.start_sha,
        stdin=message(manifest).encode(errors="replace"),
        environment=mirror.author.environment(),
    )
    ref = salvage_ref(task_id, run_id)
    number = 1
    # What was set aside earlier in the same run is another piece of work.
    while (there := resolve(mirror, ref)) is not None and tree_of(mirror, there) != found.tree:
        number += 1
        ref = salvage_ref(task_id, f"{run_id}.{number}")
    mirror.git("update-ref", ref, sha)
    return ref


def diff_text(mirror: Mirror, base: str, head: str, limit_bytes: int = 200_000) -> str:
    """The patch between two commits for people to read, made from objects."""
    text = mirror.git("diff", "--no-ext-diff", "--no-textconv", "--no-color", base, head)
    return text if len(text) <= limit_bytes else text[:limit_bytes] + "\n[cut]\n"
