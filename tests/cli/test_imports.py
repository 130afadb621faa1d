"""Commands that only read start quickly: they import no engine, no GitHub client and no git library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agentd.states import RunState
from agentd.store import runs
from agentd.store.connection import bind, open_store
from tests.conftest import TurnedClock
from tests.store.test_store import a_run
from tests.test_contracts import GOOD

RUN = "p0-01-1-aaaaaa"
DEAR = {
    "dbos",
    "github",
    "git",
    "gitdb",
    "requests",
    "aiohttp",
    "opentelemetry",
    "psycopg",
    "rich",
    "pydantic_settings",
    "genai_prices",
    "prometheus_client",
}
READING = (
    ("--help",),
    ("--version",),
    ("status",),
    ("status", "--json"),
    ("runs", "list"),
    ("runs", "show", RUN),
    ("claims", "list"),
    ("workers", "list"),
    ("budget",),
    ("budget", "--json"),
    ("tasks", "list"),
    ("tasks", "validate"),
    ("config", "show"),
    ("follow", RUN),
)
PROGRAM = """
import json, sys
from agentd.cli import main
try:
    main()
except SystemExit as end:
    status = end.code
finally:
    print(json.dumps(sorted(name for name in sys.modules if "." not in name)), file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with one run that has ended, and one contract."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "agentd.toml").write_text('repo = "alice/widget"\nstate_dir = "state"\nlog_dir = "logs"\n')
    (folder / "tasks").mkdir()
    (folder / "tasks" / "P0-01.json").write_text(json.dumps(GOOD | {"task_id": "P0-01"}))
    store = open_store("", folder / "state", TurnedClock())
    bind(store, "alice/widget")
    a_run(store, RUN)
    runs.change_state(store, RUN, RunState.cancelled)
    store.close()
    return folder


def imported(home: Path, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_a_command_that_only_reads_imports_nothing_dear(home: Path, arguments: tuple[str, ...]) -> None:
    assert imported(home, *arguments) & DEAR == set()


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("status", "--json"), ("claims", "list"), ("follow", RUN), ("follow", "--raw")],
    ids=" ".join,
)
def test_what_is_looked_at_often_does_without_the_query_builder(home: Path, arguments: tuple[str, ...]) -> None:
    assert imported(home, *arguments) & (DEAR | {"sqlalchemy"}) == set()


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("start", "--help")], ids=" ".join)
def test_help_does_not_even_import_the_store(home: Path, arguments: tuple[str, ...]) -> None:
    assert imported(home, *arguments) & {"sqlalchemy", "psutil"} == set()


def test_a_command_that_works_does_import_them(home: Path, tmp_path: Path) -> None:
    """Shows that the test above can fail. Nothing is reached: the address is nobody's."""
    folder = tmp_path / "home"
    shutil.copytree(home, folder)
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GH_TOKEN": "x", "GITHUB_API_URL": "http://127.0.0.1:9"}
    program = PROGRAM.replace("status = end.code", "status = 0")
    done = subprocess.run(
        [sys.executable, "-c", program, "once"], cwd=folder, env=environ, capture_output=True, text=True, timeout=60
    )
    assert {"dbos", "github", "git"} <= set(json.loads(done.stderr.splitlines()[-1]))
