"""Ten public projects, as their makers publish them, and where they come from: the ordinary registries and clients."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.git.lockfiles.world import works

CACHE = Path(os.environ.get("AGENTD_PROJECTS_DIR") or Path.home() / ".cache" / "agentd-projects")
"""Sources and test runners are fetched once; nothing in it is changed by a suite."""

PYTEST = "pytest==8.4.2"
TAPE = (
    *("tape@5.9.0", "es-value-fixtures@1.7.1", "for-each@0.3.5", "has-bigints@1.1.0", "has-override-mistake@1.0.1"),
    *("has-property-descriptors@1.0.2", "has-proto@1.2.0", "has-symbols@1.1.0", "iconv-lite@0.5.2"),
    *("mock-property@1.1.2", "object-inspect@1.13.4", "qs-iconv@1.0.4", "safer-buffer@2.1.2", "side-channel@1.1.0"),
)


@dataclass(frozen=True)
class Project:
    """A project with its suite."""

    registry: str
    """pypi, npm or debian"""
    name: str
    """as the registry has it"""
    version: str
    """"" for the one that Debian's release has"""
    runner: str
    """pytest, tape, cargo or go"""
    tests: int
    """that pass, at least"""
    env: Mapping[str, str] = field(default_factory=dict)


PROJECTS = (
    Project("pypi", "toolz", "1.2.0", "pytest", 190, {"PYTHONPATH": "."}),
    Project("pypi", "h11", "0.16.0", "pytest", 75, {"PYTHONPATH": "."}),
    Project("pypi", "tabulate", "0.10.0", "pytest", 270, {"PYTHONPATH": "."}),
    Project("pypi", "inflection", "0.5.1", "pytest", 450, {"PYTHONPATH": "."}),
    Project("pypi", "cachetools", "8.0.1", "pytest", 460, {"PYTHONPATH": "src"}),
    Project("npm", "qs", "6.17.1", "tape", 1600),
    Project("npm", "minimist", "1.2.8", "tape", 150),
    Project("npm", "function-bind", "1.1.2", "tape", 45),
    Project("debian", "librust-strsim-dev", "", "cargo", 100),
    Project("debian", "golang-github-google-uuid-dev", "", "go", 30, {"GOFLAGS": "-mod=mod", "GOPROXY": "off"}),
)

HOSTS = {"pypi": "pypi.org", "npm": "registry.npmjs.org"}
DEBIAN_SOURCES = ("usr/share/cargo/registry/*/Cargo.toml", "usr/share/gocode/src/*/*/*/go.mod")
COUNTS = {
    "pytest": re.compile(r"(?P<count>\d+) (?P<what>passed|failed|skipped|xfailed|xpassed|errors?)(?=[, ])"),
    "tape": re.compile(r"^# (?P<what>pass|fail|skip|todo) +(?P<count>\d+)$", re.MULTILINE),
    "cargo": re.compile(r"(?P<count>\d+) (?P<what>passed|failed|ignored)(?=;)"),
    "go": re.compile(r"^ *--- (?P<what>PASS|FAIL|SKIP):(?P<count>)", re.MULTILINE),
}
PASSED = {"pytest": "passed", "tape": "pass", "cargo": "passed", "go": "PASS"}


def counted(runner: str, output: str) -> dict[str, int]:
    """How many tests passed, failed, were skipped, by the runner's own words."""
    found: dict[str, int] = {}
    for match in COUNTS[runner].finditer(output):
        found[match["what"]] = found.get(match["what"], 0) + int(match["count"] or 1)
    return found


def sources(project: Project) -> Path:
    """The project's files. Skips the test when they are not in the cache and the registry cannot be reached."""
    folder = CACHE / project.registry / f"{project.name}-{project.version or 'release'}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as scratch:
            fetched = {"pypi": _from_pypi, "npm": _from_npm, "debian": _from_debian}[project.registry]
            fetched(project, Path(scratch)).rename(folder)
    return folder


def pytest_python() -> Path:
    """The interpreter of a virtual environment that has pytest and nothing else."""
    folder = CACHE / f"pytest-{sys.version_info.major}.{sys.version_info.minor}"
    if not (folder / "complete").exists():
        _must_be_reachable("pypi")
        _run(CACHE, sys.executable, "-m", "venv", "--clear", str(folder))
        _run(CACHE, str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", PYTEST)
        (folder / "complete").touch()
    return folder / "bin" / "python"


def tape() -> Path:
    """The command of npm's tape, in a folder that also has what the projects' tests ask for."""
    folder = CACHE / "tape"
    if not (folder / "complete").exists():
        _must_be_reachable("npm")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        options = ("--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        _run(folder, "npm", "install", *options, *TAPE)
        (folder / "complete").touch()
    return folder / "node_modules" / ".bin" / "tape"


def needs(program: str) -> None:
    """Skips the test when a program is not installed."""
    if not works(program):
        pytest.skip(f"{program} is not installed")


def _from_pypi(project: Project, scratch: Path) -> Path:
    _must_be_reachable("pypi")
    wanted = f"{project.name}=={project.version}"
    _run(
        scratch, sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--no-binary={project.name}", wanted
    )
    return _unpacked(scratch)


def _from_npm(project: Project, scratch: Path) -> Path:
    needs("npm")
    _must_be_reachable("npm")
    _run(scratch, "npm", "pack", "--silent", f"{project.name}@{project.version}")
    return _unpacked(scratch)


def _from_debian(project: Project, scratch: Path) -> Path:
    needs("apt-get")
    done = subprocess.run(["apt-get", "download", project.name], cwd=scratch, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"apt-get cannot download {project.name}: {done.stderr.strip()[-200:]}")
    [package] = scratch.glob("*.deb")
    _run(scratch, "dpkg-deb", "-x", str(package), "unpacked")
    [settings] = [found for pattern in DEBIAN_SOURCES for found in (scratch / "unpacked").glob(pattern)]
    return settings.parent


def _unpacked(scratch: Path) -> Path:
    [archive] = [*scratch.glob("*.tar.gz"), *scratch.glob("*.tgz")]
    (scratch / "unpacked").mkdir()
    _run(scratch / "unpacked", "tar", "--no-same-owner", "-xzf", str(archive))
    [folder] = (scratch / "unpacked").iterdir()
    return folder


def _must_be_reachable(registry: str) -> None:
    try:
        socket.create_connection((HOSTS[registry], 443), timeout=5).close()
    except OSError as error:
        pytest.skip(f"{HOSTS[registry]} cannot be reached: {error}")


def _run(folder: Path, *argv: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
