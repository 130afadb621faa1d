"""A public package, as people publish it: its own test suite decides whether the pull request comes."""

from __future__ import annotations

import socket
import subprocess
import sys
import tarfile

import pytest

from agentd.practice import PracticeGitHub
from tests.e2e.conftest import Installation

pytestmark = pytest.mark.network

PACKAGE, VERSION = "toolz", "1.2.0"
REPO = "alice/toolz"
SUITE = f"{sys.executable} -m pytest -q -p no:cacheprovider -p no:asyncio"
"""toolz makes errors of warnings, and pytest-asyncio warns where it is not configured."""

TITLE = "Add toolz.third"
BODY = "`first` and `second` are there; add `third`, the third element in a sequence, also to `toolz.curried`."

EDIT = '''
from pathlib import Path


def edit(name, old, new):
    path = Path(name)
    text = path.read_text()
    assert text.count(old) == 1, (name, old)
    path.write_text(text.replace(old, new))


edit("toolz/itertoolz.py", "'second', 'nth'", "'second', 'third', 'nth'")
edit("toolz/itertoolz.py", "def nth(n, seq):", """def third(seq):
    \\""" The third element in a sequence

    >>> third('ABC')
    'C'
    \\"""
    return nth(2, seq)


def nth(n, seq):""")
with Path("toolz/tests/test_itertoolz.py").open("a") as tests:
    tests.write("""

def test_third():
    from toolz import third
    assert third('ABCDE') == 'C'
    assert third((3, 2, 1)) == 1
""")
'''
EXPORT = 'edit("toolz/curried/__init__.py", "    second,\\n", "    second,\\n    third,\\n")\n'


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the package's source distribution by name."""
    try:
        socket.create_connection(("pypi.org", 443), timeout=5).close()
    except OSError as error:
        pytest.skip(f"PyPI cannot be reached: {error}")
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--no-binary={PACKAGE}"]
    done = subprocess.run(
        [*command, f"--dest={folder}", f"{PACKAGE}=={VERSION}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    files = {}
    with tarfile.open(folder / f"{PACKAGE}-{VERSION}.tar.gz") as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            if content is not None:
                files[member.name.partition("/")[2]] = content.read()
    return files


@pytest.fixture
def toolz(here: Installation, hub: PracticeGitHub, sources: dict[str, bytes]) -> Installation:
    """An installation that works on the package."""
    hub.add_repo(REPO, files=sources)
    hub.grant(REPO, "agentd-bot", "write")
    here.repo = here.environ["REPO"] = REPO
    here.configure("max_fix_rounds = 0\n", verify=SUITE)
    return here


def test_a_change_that_keeps_the_packages_suite_green_is_proposed_with_the_proof(toolz: Installation) -> None:
    toolz.agent(EDIT + EXPORT)
    number = toolz.issue(TITLE, BODY)
    [run] = toolz.once()["runs"]
    assert run["state"] == "in_review"
    [pull] = toolz.pulls()
    assert pull["title"] == f"[issue-{number}] {TITLE}"
    assert SUITE in pull["body"]
    assert "193 passed" in pull["body"]
    files = {row["filename"]: row["patch"] for row in toolz.get(f"/pulls/{pull['number']}/files")}
    assert set(files) == {"toolz/itertoolz.py", "toolz/tests/test_itertoolz.py", "toolz/curried/__init__.py"}
    assert "+def third(seq):" in files["toolz/itertoolz.py"]
    assert toolz.labels(number) == {"agent-ready", "status:in-review"}


def test_a_change_that_the_packages_suite_refuses_is_not_proposed(toolz: Installation) -> None:
    toolz.agent(EDIT)
    number = toolz.issue(TITLE, BODY)
    [run] = toolz.once(check=1)["runs"]
    assert run["state"] == "verify_failed"
    assert toolz.pulls("all") == []
    assert [row["name"] for row in toolz.get("/branches")] == ["main"]
    [sticky] = toolz.stickies(number)
    assert "test_curried_namespace" in sticky
    assert toolz.labels(number) == {"agent-ready", "status:blocked"}


def test_what_the_suite_said_leads_the_agent_to_the_missing_export(toolz: Installation) -> None:
    toolz.agent(
        "import sys\n"
        "if 'missing functions in toolz.curried' not in sys.stdin.read():\n"
        + "".join(f"    {line}\n" for line in [f"exec({EDIT!r})"])
        + "else:\n"
        + f"    exec({(EDIT.partition('edit(' + chr(34) + 'toolz/itertoolz.py')[0] + EXPORT)!r})\n"
    )
    toolz.configure("max_fix_rounds = 1\n", verify=SUITE)
    toolz.issue(TITLE, BODY)
    [run] = toolz.once()["runs"]
    assert run["state"] == "in_review"
    assert "193 passed" in toolz.pulls()[0]["body"]
