"""What the agent left: a commit made from objects, with the supervisor's own index and repository.

No git runs with the agent's configuration, hooks or index; the workspace's own commits come in by a checked fetch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentd.errors import GitError
from agentd.git.mirror import Mirror, parents_of, resolve, tree_of
from agentd.git.salvage import Manifest, message, salvage_ref
from agentd.git.workspace import Workspace, check_untampered

GITLINK = "160000"
READ_SECONDS = 180.0
"""For reading what an agent left: among its files may be one that never ends, such as a FIFO named .gitignore."""


@dataclass(frozen=True)
class Snapshot:
    """The workspace's content as a tree, and what differs from where the agent began."""

    tree: str
    changed: tuple[str, ...]
    nested: tuple[str, ...]
    """nested repositories that the agent left; their content is not part of the tree"""


@dataclass(frozen=True)
class Reader:
    """Who reads the repository that the agent could write, for git to fetch from."""

    repository: str
    """as the reader sees it"""
    upload_pack: str = ""
    """the command that serves it; empty for git's own, on the host"""
    descriptors: tuple[int, ...] = ()
    """which the command needs"""


def keep_commits(mirror: Mirror, workspace: Workspace, run_id: str, reader: Reader) -> None:
    """Bring every branch of the workspace into the mirror, so that no commit of the agent is lost."""
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
            f"+HEAD:refs/agentd/runs/{run_id}/head",
            descriptors=reader.descriptors,
            timeout_seconds=READ_SECONDS,
        )


def snapshot(mirror: Mirror, workspace: Workspace) -> Snapshot:
    """Everything in the workspace that the repository does not ignore, as a tree in the mirror."""
    environment = environment_of(workspace)
    _add(mirror, workspace, "--all")
    raw = mirror.git(
        "diff-index", "--cached", "--raw", "-z", "--no-renames", workspace.start_sha, environment=environment
    )
    fields = raw.split("\0")
    changed: list[str] = []
    nested: list[str] = []
    for header, name in zip(fields[0::2], fields[1::2], strict=False):
        old_mode, new_mode = header[1:].split(" ")[:2]
        (nested if new_mode == GITLINK != old_mode else changed).append(name)
    for name in nested:
        mirror.git("update-index", "--force-remove", "--", name, cwd=workspace.path, environment=environment)
    tree = mirror.git("write-tree", environment=environment)
    return Snapshot(tree, tuple(changed), tuple(nested))


def _add(mirror: Mirror, workspace: Workspace, option: str) -> None:
    """Bring the index up to the files. Repositories that it has as links are left out.

    To see whether such a one has changed, git would run in it, with whatever configuration the agent gave it.
    """
    environment = environment_of(workspace)
    # What a killed git left; nobody else uses this index.
    workspace.index.with_name(f"{workspace.index.name}.lock").unlink(missing_ok=True)
    entries = mirror.git("ls-files", "--stage", "-z", environment=environment).split("\0")
    links = [entry.partition("\t")[2] for entry in entries if entry.startswith(GITLINK)]
    paths = "\0".join([".", *(f":(exclude,literal){link}" for link in links)])
    mirror.git(
        "add",
        option,
        "--pathspec-from-file=-",
        "--pathspec-file-nul",
        cwd=workspace.path,
        environment=environment,
        stdin=paths.encode(errors="surrogateescape"),
        timeout_seconds=READ_SECONDS,
    )


def tracked_tree(mirror: Mirror, workspace: Workspace) -> str:
    """The tree of the last snapshot's files as they are on disk now: equal trees prove that none was changed since."""
    _add(mirror, workspace, "--update")
    return mirror.git("write-tree", environment=environment_of(workspace))


def clean(mirror: Mirror, workspace: Workspace) -> None:
    """Remove what came into the workspace after the last snapshot, except what the repository ignores."""
    mirror.git(
        "clean", "--quiet", "--force", "-d", "--", ".", cwd=workspace.path, environment=environment_of(workspace)
    )


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
    """Salvage: the workspace's content on the run's salvage ref; None when there was nothing to save.

    Works on whatever the agent left; a repository that was tampered with loses its own commits' names, no file.
    """
    commits = f"refs/agentd/runs/{run_id}/heads/"
    try:
        keep_commits(mirror, workspace, run_id, reader)
    except GitError as error:
        commits = f"could not be imported: {error}"
    found = snapshot(mirror, workspace)
    if not found.changed:
        return None
    manifest = Manifest(
        task_id,
        run_id,
        why,
        workspace.start_sha,
        found.changed,
        len(found.changed),
        found.nested,
        commits,
    )
    sha = mirror.git(
        "commit-tree",
        found.tree,
        "-p",
        workspace.start_sha,
        stdin=message(manifest).encode(errors="replace"),
        environment=mirror.author.environment(),
    )
    mirror.git("update-ref", salvage_ref(task_id, run_id), sha)
    return sha


def diff_text(mirror: Mirror, base: str, head: str, limit_bytes: int = 200_000) -> str:
    """The patch between two commits for people to read, made from objects."""
    text = mirror.git("diff", "--no-ext-diff", "--no-textconv", "--no-color", base, head)
    return text if len(text) <= limit_bytes else text[:limit_bytes] + "\n[cut]\n"


def environment_of(workspace: Workspace) -> dict[str, str]:
    return {"GIT_INDEX_FILE": str(workspace.index), "GIT_WORK_TREE": str(workspace.path)}
