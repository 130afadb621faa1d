"""A workspace in each layout, with programs of the run that work in it from within its sandbox."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agentd.git import collect, mirror, workspace
from agentd.git.mirror import Mirror
from agentd.git.naming import branch_of
from agentd.run.views import run_inside, spec_of
from agentd.sandbox import profile
from agentd.sandbox.launch import command_line, start
from tests.git.test_git import TASK
from tests.sandbox.world import GIT_ENV, PYTHON, python_mounts

LAYOUTS: tuple[workspace.LayoutName, ...] = ("clone", "overlay", "worktree")
FILES = {
    "a.txt": "one\n",
    "b.txt": "two\n",
    ".gitignore": "ignored\n",
    "folder/c.txt": "three\n",
    "folder/deep/d.txt": "four\n",
    "tool.sh": "#!/bin/sh\n",
}
PLAIN = collect.Reader("", inside=run_inside)
"""Enough for everything but fetching the workspace's own commits."""


@dataclass(frozen=True)
class Scene:
    """One run's workspace."""

    there: Mirror
    place: workspace.Workspace
    run_dir: Path
    layout: workspace.LayoutName

    def act(self, script: str, seconds: float = 20.0, view: workspace.View | None = None) -> str:
        """What a shell script of the agent printed; `%python%` is a Python. It need not succeed."""
        spec = spec_of(view or workspace.view(self.there, self.place), env=GIT_ENV)
        spec = replace(spec, mounts=(*spec.mounts, *python_mounts()))
        script = script.replace("%python%", PYTHON)
        with start(spec, ["/bin/sh", "-c", script]) as contained:
            return contained.process.communicate(timeout=seconds)[0].decode(errors="replace")

    def read(self, name: str) -> str:
        """A file of the tree as the run sees it."""
        return self.act(f"cat {shlex.quote(name)}")

    def snapshot(self) -> collect.Snapshot:
        return collect.snapshot(self.there, self.place, PLAIN)

    def tracked(self) -> str:
        return collect.tracked_tree(self.there, self.place, PLAIN)

    def again(self, kept: str = "", run_dir: Path | None = None) -> Scene:
        """The same task's workspace, asked for once more."""
        found = make(self.there, self.place.path, run_dir or self.run_dir, self.layout, self.place.start_sha, kept)
        return replace(self, place=found, run_dir=run_dir or self.run_dir)

    def content(self, tree: str) -> dict[str, str]:
        """Mode and text of every file of a tree of the mirror."""
        found = {}
        for line in self.there.git("ls-tree", "-r", "-z", tree).split("\0"):
            if line:
                (mode, kind, sha), name = line.split("\t")[0].split(" "), line.split("\t")[1]
                found[name] = f"{mode} {self.there.git('cat-file', kind, sha)}"
        return found

    @contextmanager
    def reader(self) -> Iterator[collect.Reader]:
        """As agentd.run.enclosure.reading."""
        spec = spec_of(workspace.view(self.there, self.place))
        with command_line(spec) as (command, descriptors):
            clean = ["env", "-i", *(f"{name}={value}" for name, value in profile.environment(spec).items())]
            serve = shlex.join([*clean, *command, "--", "git-upload-pack", "--strict", "--timeout=60"])
            yield collect.Reader("/workspace/.git", serve, tuple(descriptors), run_inside)


def make(
    there: Mirror, path: Path, run_dir: Path, layout: workspace.LayoutName, start_sha: str, kept: str = ""
) -> workspace.Workspace:
    run_dir.mkdir(exist_ok=True)
    return workspace.prepare(there, path, run_dir, branch_of(TASK), start_sha, kept, layout, run_inside)


def scene(there: Mirror, folder: Path, layout: workspace.LayoutName, name: str = "run") -> Scene:
    """A new one at the base."""
    base = mirror.fetch(there, TASK)
    run_dir = folder / name
    return Scene(there, make(there, folder / "work" / name / TASK, run_dir, layout, base), run_dir, layout)
