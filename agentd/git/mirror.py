"""The bare mirror: the supervisor's own repository, which no agent can write. One fetch at a time."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from git import Repo

from agentd.config import Settings
from agentd.errors import GitError
from agentd.git.naming import FOLDER, branch_of, claim_ref, work_ref
from agentd.git.runner import ENVIRONMENT, Author, git

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
CHECKOUTS = 2
"""Of one mirror at the same time."""
CHECKOUT_WAIT_SECONDS = 0.02
ABOVE = "refs/agentd/above"
"""Where the mirror keeps a branch of the remote that has the name of the folder of all tasks' branches."""
SHALLOW = "shallow roots are not allowed"
"""git's words for refs that it does not take from a repository without the beginning of its history."""


class NoBase(GitError):
    """The remote has no branch with the name of the base."""


@dataclass(frozen=True)
class Mirror:
    """Where the mirror is, what it mirrors, and as whom it commits."""

    path: Path
    url: str
    token: str
    base_branch: str
    author: Author

    def git(self, *arguments: str, **options: object) -> str:
        """Run git on the mirror."""
        return git(*arguments, git_dir=self.path, **options)  # type: ignore[arg-type]  # passed through unchanged

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The fetch lock: parallel fetches of one repository fail on each other's refs."""
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @property
    def bases(self) -> Path:
        """Where the base checkouts of its commits are: see agentd.git.layouts.bases."""
        return self.path.with_suffix(".bases")

    @contextmanager
    def checking_out(self) -> Iterator[None]:
        """One of the host's places for a checkout: more at a time take longer each, and none is ready sooner."""
        places = [self.path.with_suffix(f".checkout-{number}.lock") for number in range(CHECKOUTS)]
        with ExitStack() as stack:
            locks = [stack.enter_context(place.open("w")) for place in places]
            while not any(_locked_now(lock) for lock in locks):
                time.sleep(CHECKOUT_WAIT_SECONDS)
            yield


def open_mirror(settings: Settings) -> Mirror:
    """The repository's mirror below the state directory, made when it is not there."""
    mirror = _mirror_of(settings)
    path = mirror.path
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with mirror.locked():
        if not (path / "HEAD").is_file():
            git("init", "--quiet", "--bare", str(path), cwd=path.parent)
            mirror.git("hash-object", "-t", "tree", "-w", "--stdin", stdin=b"")
    require_whole(mirror)
    return mirror


def known_mirror(settings: Settings) -> Mirror | None:
    """The repository's mirror if there is one; nothing is made."""
    mirror = _mirror_of(settings)
    return mirror if (mirror.path / "HEAD").is_file() else None


def _mirror_of(settings: Settings) -> Mirror:
    owner, name = settings.repo.split("/")
    return Mirror(
        settings.state_dir / "mirrors" / owner / f"{name}.git",
        settings.remote_url,
        settings.token.get_secret_value(),
        settings.base_branch,
        Author(settings.agent_git_name, settings.agent_git_email),
    )


def require_whole(mirror: Mirror) -> None:
    """Raises GitError when the mirror lacks history or promises objects that another repository has.

    Workspaces are made of its objects where no network is, and pushes need all of its history.
    """
    for left in (mirror.path / "shallow", *(mirror.path / "objects" / "pack").glob("*.promisor")):
        if left.exists():
            raise GitError(
                f"{mirror.path}: is a shallow or partial clone ({left.name}), agentd needs a whole one; "
                "move it away, and agentd makes another"
            )


def maintain(mirror: Mirror) -> None:
    """Join small packs and loose objects and refs. Nothing is ever left out: workspaces are made of these objects.

    Not `git gc`, which takes away what no ref reaches, such as what a run is about to commit. Raises GitError.
    """
    # A linked worktree sees its own copy of what is packed, and branches only where they are loose.
    is_linked = any((mirror.path / "worktrees").glob("*"))
    tasks = ("loose-objects", "incremental-repack", *(() if is_linked else ("pack-refs",)))
    with mirror.locked():
        mirror.git("maintenance", "run", "--quiet", *(f"--task={task}" for task in tasks))


def fetch(mirror: Mirror, task_id: str | None = None) -> str:
    """Bring the base branch, and the task's branch and claim where there are any, up to date; the base's sha.

    Raises NoBase when the remote does not have it, and GitError.
    """
    refspecs = [f"+refs/heads/{mirror.base_branch}:refs/remotes/origin/{mirror.base_branch}"]
    if task_id is not None:
        # A pattern may match nothing, a plain name may not: the task's branch need not exist yet.
        branch, claim = f"refs/heads/{branch_of(task_id)}", claim_ref(task_id)
        refspecs += [f"+{branch}*:refs/remotes/origin/{branch_of(task_id)}*", f"+{claim}*:{_seen(claim)}*"]
        # A branch named as the folder of all tasks' branches, by a pattern that matches few others.
        refspecs += [f"+refs/heads/{FOLDER[:-1]}*{FOLDER[-1]}:{ABOVE}/{FOLDER[:-1]}*{FOLDER[-1]}"]
    with mirror.locked():
        try:
            mirror.git(
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
                "--prune",
                mirror.url,
                *refspecs,
                token=mirror.token,
                # It would leave the refs as they were, and end with 0.
                refuse=(SHALLOW,),
            )
        except GitError as error:
            if SHALLOW in error.stderr:
                raise GitError(
                    f"{mirror.url} has only the end of its history (a shallow clone), agentd needs all of it; "
                    "run `git fetch --unshallow` there"
                ) from None
            if "couldn't find remote ref" in error.stderr:
                raise NoBase(
                    f"base branch {mirror.base_branch!r} is not on {mirror.url}; set BASE_BRANCH to one that is"
                ) from None
            raise
    sha = resolve(mirror, f"refs/remotes/origin/{mirror.base_branch}")
    if sha is None:
        raise GitError(f"base branch {mirror.base_branch!r} was not fetched from {mirror.url}")
    return sha


def fetch_claims(mirror: Mirror) -> None:
    """Bring all claims of the remote up to date."""
    _fetch_refs(mirror, "+refs/agentd/claims/*:refs/agentd/seen/*")


def fetch_work(mirror: Mirror, task_id: str) -> None:
    """Bring what a run of the task has left on the remote, if anything."""
    ref = work_ref(task_id)
    _fetch_refs(mirror, f"+{ref}*:{ref}*")


def _fetch_refs(mirror: Mirror, refspec: str) -> None:
    with mirror.locked():
        mirror.git(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--prune",
            mirror.url,
            refspec,
            token=mirror.token,
        )


def has_commit(mirror: Mirror, sha: str) -> bool:
    """True when the mirror has the commit with all its content."""
    return mirror.git("rev-list", "--objects", "--max-count=1", sha, accept=(0, 128)) != ""


def resolve(mirror: Mirror, ref: str) -> str | None:
    """The commit that a full ref name points at, or None when there is no such ref."""
    found = mirror.git("for-each-ref", "--format=%(refname) %(objectname)", ref)
    for line in found.splitlines():
        name, sha = line.split(" ")
        if name == ref:
            return sha
    return None


def remote_branch(mirror: Mirror, task_id: str) -> str | None:
    """The task's branch as last fetched."""
    return resolve(mirror, f"refs/remotes/origin/{branch_of(task_id)}")


def branch_in_the_way(mirror: Mirror, task_id: str) -> str | None:
    """A branch of the remote, as last fetched, beside which the task's cannot be: refs are files and folders."""
    if resolve(mirror, f"{ABOVE}/{FOLDER}") is not None:
        return FOLDER
    tracked = "refs/remotes/origin/"
    below = mirror.git("for-each-ref", "--count=1", "--format=%(refname)", f"{tracked}{branch_of(task_id)}/")
    return below.removeprefix(tracked) or None


def seen_claim(mirror: Mirror, task_id: str) -> str | None:
    """The task's claim on the remote as last fetched."""
    return resolve(mirror, _seen(claim_ref(task_id)))


@contextmanager
def opened(mirror: Mirror) -> Iterator[Repo]:
    """The mirror's objects for reading, by the settings of every other git here.

    GitPython goes by those of the user, who may have forbidden bare repositories that nothing names
    (safe.bareRepository).
    """
    with Repo(mirror.path) as repo:
        repo.git.update_environment(**ENVIRONMENT, GIT_DIR=str(mirror.path))
        yield repo


def message_of(mirror: Mirror, sha: str) -> str:
    """A commit's message. Raises GitError when the object is not a commit of the mirror."""
    with opened(mirror) as repo:
        try:
            message = repo.commit(sha).message
        except (ValueError, TypeError) as error:
            raise GitError(f"{sha}: not a commit of the mirror: {error}") from None
    return message if isinstance(message, str) else message.decode(errors="replace")


def tree_of(mirror: Mirror, sha: str) -> str:
    """The tree of a commit."""
    with opened(mirror) as repo:
        return repo.commit(sha).tree.hexsha


def parents_of(mirror: Mirror, sha: str) -> list[str]:
    """The parents of a commit, the first one first."""
    return mirror.git("rev-list", "--max-count=1", "--parents", sha).split(" ")[1:]


def is_ancestor(mirror: Mirror, ancestor: str, descendant: str) -> bool:
    with opened(mirror) as repo:
        return bool(repo.is_ancestor(repo.commit(ancestor), repo.commit(descendant)))


def _seen(claim: str) -> str:
    return claim.replace("refs/agentd/claims/", "refs/agentd/seen/", 1)


def _locked_now(lock: IO[Any]) -> bool:
    """Take a lock unless somebody has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
