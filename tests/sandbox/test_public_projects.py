"""The suites of public projects say the same in the sandbox, without a network, as outside of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agentd.sandbox.installations import installation
from agentd.sandbox.launch import start
from agentd.sandbox.profile import BASE_PATH, SandboxSpec
from agentd.sandbox.toolchains import find_tool_chains
from tests.sandbox.projects import PASSED, PROJECTS, Project, counted, needs, pytest_python, sources, tape

pytestmark = pytest.mark.public_projects

SUITE_SECONDS = 120


@dataclass(frozen=True)
class Suite:
    """A command that tests a project, and what of the host it needs."""

    argv: list[str]
    spec: SandboxSpec
    """with the workspace still to be set"""
    env: dict[str, str] = field(default_factory=dict)


def suite_of(project: Project, workspace: Path, home: Path) -> Suite:
    path = os.environ["PATH"]
    env = {**project.env, "PYTHONDONTWRITEBYTECODE": "1"}
    if project.runner in ("cargo", "go"):
        needs(project.runner)
        found = find_tool_chains(path, Path.home(), [project.runner, "rustc"])
        argv = {"cargo": ["cargo", "test", "--offline"], "go": ["go", "test", "-v", "./..."]}[project.runner]
        return Suite(argv, SandboxSpec(workspace, home, found.mounts, found.links, env, found.path), env)
    if project.runner == "pytest":
        program = pytest_python()
        argv = [str(program), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    else:
        needs("node")
        program = tape()
        argv = [str(program), "test/**/*.js"]
        env["NODE_PATH"] = str(program.parent.parent)
    installed = installation(program, path)
    inside = ":".join([*installed.folders, BASE_PATH])
    return Suite(argv, SandboxSpec(workspace, home, installed.mounts, installed.links, env, inside), env)


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_a_public_suite_says_the_same_inside(project: Project, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    suite = suite_of(project, tmp_path / "inside", home)
    files = sources(project)
    for name in ("inside", "outside"):
        shutil.copytree(files, tmp_path / name)
    outside_env = {**suite.env, "PATH": os.environ["PATH"], "HOME": str(Path.home()), "LANG": "C.UTF-8"}
    said = {}
    # Side by side: half the time on two cores.
    with (tmp_path / "outside.txt").open("w+b") as ours, (tmp_path / "inside.txt").open("w+b") as theirs:
        outside = subprocess.Popen(
            suite.argv, cwd=tmp_path / "outside", env=outside_env, stdout=ours, stderr=subprocess.STDOUT
        )
        try:
            with start(suite.spec, suite.argv, stdout=theirs) as contained:
                statuses = {"inside": contained.process.wait(SUITE_SECONDS), "outside": outside.wait(SUITE_SECONDS)}
        finally:
            outside.kill()
            outside.wait()
    for name in ("inside", "outside"):
        said[name] = (tmp_path / f"{name}.txt").read_text(errors="replace")
    assert statuses == {"inside": 0, "outside": 0}, said["inside"][-2000:] + said["outside"][-2000:]
    inside = counted(project.runner, said["inside"])
    assert inside == counted(project.runner, said["outside"]), said["inside"][-2000:]
    assert inside[PASSED[project.runner]] >= project.tests


@pytest.mark.parametrize(
    ("runner", "output", "counts"),
    [
        ("pytest", "= 2 failed, 190 passed, 1 skipped, 3 warnings, 1 error in 1.15s =\n", (2, 190, 1, 1)),
        ("tape", "# tests 3\n# pass  2\n# fail  1\n", (2, 1)),
        ("cargo", "ok. 88 passed; 0 failed; 1 ignored; 0\nok. 8 passed; 1 failed; 0 ignored; 0", (96, 1, 1)),
        ("go", "=== RUN TestA\n--- PASS: TestA (0.0s)\n    --- FAIL: TestA/x (0.0s)\n--- PASS: TestB (0.0s)\n", (2, 1)),
    ],
)
def test_the_words_of_every_runner_are_counted(runner: str, output: str, counts: tuple[int, ...]) -> None:
    assert tuple(counted(runner, output).values()) == counts
