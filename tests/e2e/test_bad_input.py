"""Whatever is wrong is said in one clear line, or ends one run with its reason; nothing else is touched by it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentd.git.runner import git
from agentd.practice import PracticeGitHub
from tests.conftest import path_without
from tests.e2e.conftest import REPO, Installation, written
from tests.e2e.test_restart import agents, wait_for
from tests.test_contracts import GOOD


def one_line(here: Installation, *arguments: str, says: tuple[str, ...], **environ: str) -> str:
    """The command fails with one line that has these words, and nothing reaches GitHub."""
    said = here.run(*arguments, check=1, **environ)
    assert "Traceback" not in said
    [line] = said.splitlines()
    assert line.startswith("agentd: ")
    for word in says:
        assert word in line
    assert here.writes() == []
    return line


PLACES = {
    "no token": ({"EXECUTOR_BOT_TOKEN": ""}, ("EXECUTOR_BOT_TOKEN",)),
    "wrong token": ({"EXECUTOR_BOT_TOKEN": "ghp_wrong"}, ("token", "set a new one")),
    "no repository": ({"REPO": ""}, ("REPO=owner/name",)),
    "unknown repository": ({"REPO": "alice/gadget"}, ("alice/gadget", "does not exist")),
    "a repository that is no name": ({"REPO": "alice/../widget"}, ("repo", "owner/name")),
    "missing base branch": ({"BASE_BRANCH": "trunk"}, ("trunk", "base_branch")),
    "a number that is none": ({"MAX_PARALLEL": "many"}, ("max_parallel", "MAX_PARALLEL")),
    "a number without an end": ({"POLL_INTERVAL_SECONDS": "inf"}, ("POLL_INTERVAL_SECONDS", "finite number")),
    "half an address": ({"GITHUB_API_URL": "http://[::1"}, ("GITHUB_API_URL", "Invalid IPv6 URL")),
    "a log directory that is a file": ({"AGENT_LOG_DIR": "/dev/null"}, ("/dev/null", "log directory")),
    "a state directory with too long a name": ({"AGENT_STATE_DIR": f"/{'x' * 300}"}, ("/xxx", "too long")),
    "no GitHub there": ({"GITHUB_API_URL": "http://127.0.0.1:9"}, ("127.0.0.1", "no answer")),
}


@pytest.mark.parametrize("case", PLACES)
def test_a_setting_that_cannot_be_used_is_named(here: Installation, case: str) -> None:
    here.issue()
    environ, says = PLACES[case]
    line = one_line(here, "once", says=says, **environ)
    assert "ghp_wrong" not in line


@pytest.mark.parametrize("command", [["once"], ["start"], ["why", "1"], ["init", "--repo", REPO]])
def test_a_token_that_is_more_than_one_word_is_refused_and_never_shown(here: Installation, command: list[str]) -> None:
    here.issue()
    says = ("EXECUTOR_BOT_TOKEN", "it must be the token alone")
    line = one_line(here, *command, says=says, EXECUTOR_BOT_TOKEN="ghp_SECRETSECRET\nbot account")
    assert "SECRET" not in line
    kept = [file.read_bytes() for file in here.folder.rglob("*") if file.is_file()]
    assert not any(b"SECRETSECRET" in text for text in kept)


FILES = {
    "unknown setting": ("maximum = 3\n", ("agentd.toml", "maximum")),
    "no TOML": ("= 3\n", ("agentd.toml",)),
    "TOML without a bottom": (f"a = {'[' * 100_000}", ("agentd.toml", "nested too deeply")),
    "a token in the file": ('token = "x"\n', ("agentd.toml", "EXECUTOR_BOT_TOKEN")),
    "unknown adapter": ('[profiles.build]\nadapter = "magic"\n', ("magic", "build")),
    "a program that is not there": (
        '[profiles.build]\nadapter = "command"\ncommand = ["no-such-agent"]\n',
        ("no-such-agent",),
    ),
    "a profile that is not there": ('profile = "quick"\n', ("quick",)),
}


@pytest.mark.parametrize("case", FILES)
def test_a_settings_file_that_cannot_be_used_is_named(here: Installation, case: str) -> None:
    here.issue()
    text, says = FILES[case]
    (here.folder / "agentd.toml").write_text(f'verify_command = "true"\n{text}' if "[" in text else text)
    one_line(here, "once", says=says)


def test_a_log_directory_that_is_a_file_starts_no_supervisor(here: Installation) -> None:
    one_line(here, "start", says=("/dev/null", "log directory"), AGENT_LOG_DIR="/dev/null")


def test_a_file_that_cannot_be_used_is_one_line_wherever_it_is_met(here: Installation) -> None:
    one_line(here, "status", says=("/xxx", "File name too long"), AGENT_STATE_DIR=f"/{'x' * 300}")


NAMES = ("runs show", "runs cancel", "runs retry", "reset", "follow", "gateway revoke --run", "why", "evidence show")


@pytest.mark.parametrize("command", NAMES)
def test_a_name_that_is_no_text_is_one_line(here: Installation, command: str) -> None:
    here.run("once")
    one_line(here, *command.split(), "\udcff", says=("agentd: ",))


def test_a_task_that_nobody_knows_is_not_reset(here: Installation) -> None:
    here.issue()
    here.once()
    said = here.run("reset", "isue-1", check=1)
    assert said == "agentd: isue-1: no such task here; `agentd runs list` shows them\n"
    assert here.run("reset", "issue-1") == "issue-1: attempts and claim forgotten\n"


def test_an_account_that_may_only_read_is_refused(here: Installation, hub: PracticeGitHub) -> None:
    here.issue()
    hub.grant(REPO, "agentd-bot", "read")
    one_line(here, "once", says=("agentd-bot may only read", "write access"))


def test_a_token_that_may_only_read_holds_with_its_reason(here: Installation, hub: PracticeGitHub) -> None:
    """GitHub does not tell what such a token may do before it is used."""
    number = here.issue()
    said = here.run("once", check=1, EXECUTOR_BOT_TOKEN=hub.add_token("agentd-bot", read_only=True))
    assert "Traceback" not in said
    assert "403" in said
    assert here.labels(number) == {"agent-ready", "status:todo"}
    assert here.pulls("all") == []
    assert [row["name"] for row in here.get("/branches")] == ["main"]


def contract(task_id: str, **more: object) -> dict[str, object]:
    return GOOD | {"task_id": task_id} | more


def test_every_problem_of_every_contract_is_told_at_once(here: Installation) -> None:
    folder = here.folder / "tasks"
    folder.mkdir()
    wrong = {
        "P0-01": contract("P0-01", priority="urgent", goal=7),
        "P0-02": contract("P0-03"),
        "P0-04": contract("P0-04", dependencies=["P0-99"]),
        "P0-05": contract("P0-05", dependencies=["P0-06"]),
        "P0-06": contract("P0-06", dependencies=["P0-05"]),
    }
    for name, value in wrong.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "P0-07.json").write_text("{")
    said = here.run("tasks", "validate", check=1)
    assert "Traceback" not in said
    assert "6 problem(s)" in said
    for expected in (
        "P0-01.json: $.priority: 'urgent'",
        "P0-01.json: $.goal: 7",
        "P0-02.json: $.task_id: is 'P0-03'",
        "P0-04.json: $.dependencies: 'P0-99' has no contract",
        "$.dependencies: cycle P0-0",
        "P0-07.json: not JSON",
    ):
        assert expected in said
    number = here.issue("[P0-01] Broken")
    assert "[contract_invalid]" in here.run("once", "--dry-run")
    assert here.once()["runs"] == []
    assert here.labels(number) == {"agent-ready", "status:todo"}


AGENT = """
import os, pathlib, signal, sys, time
prompt = sys.stdin.read()
what = next(line for line in prompt.splitlines() if line.startswith("## Task: ")).removeprefix("## Task: ").split()[0]
if what == "nothing":
    sys.exit(0)
pathlib.Path("done.txt").write_text("done")
pathlib.Path("prompt.txt").write_text(prompt)
if what == "loud":
    for _ in range(50):
        sys.stdout.write("many words here\\n" * 65536)
elif what == "endless":
    sys.stdout.write("x" * 20_000_000)
elif what == "stuck":
    pathlib.Path("hang.txt").write_text("hang")
elif what == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
elif what == "slow":
    time.sleep(2)
elif what == "asleep":
    time.sleep(600)
"""
KEPT = 1 << 20


def test_strange_agents_and_strange_issues_end_well_or_with_a_reason(here: Installation, hub: PracticeGitHub) -> None:
    here.agent(AGENT)
    here.configure(
        f"max_parallel = 9\nmax_output_bytes = {KEPT}\nverify_timeout_minutes = 0.05\n",
        verify="test ! -f hang.txt || sleep 600; test -f done.txt",
    )
    evil = "../../etc; rm -rf / $(id) `id` --upload-pack=x @{-1}.lock"
    numbers = {
        "loud": here.issue("loud"),
        "endless": here.issue("endless"),
        "nothing": here.issue("nothing"),
        "stuck": here.issue("stuck"),
        "evil": here.issue(evil),
        "nul": here.issue("nul \x00 inside", "before\x00after"),
        "long": here.issue("long", "x" * 65_535 + "\n"),
        "backwards": here.issue("back\u202ewards", "right\u202eto left\u2066"),
    }
    done = {run["issue_number"]: run for run in here.once(check=1)["runs"]}
    states = {name: done[number]["state"] for name, number in numbers.items()}
    good = ("loud", "endless", "evil", "nul", "long", "backwards")
    assert states == {**dict.fromkeys(good, "in_review"), "nothing": "no_changes", "stuck": "verify_failed"}
    pulls = {pull["head"]["ref"]: pull for pull in here.pulls()}
    assert pulls.keys() == {f"agent/issue-{numbers[name]}" for name in good}
    assert pulls[f"agent/issue-{numbers['evil']}"]["title"].endswith(evil)
    for name in ("loud", "endless"):
        run = done[numbers[name]]
        assert KEPT <= Path(run["log_path"]).stat().st_size <= KEPT + 4096
    [sticky] = here.stickies(numbers["stuck"])
    assert "did not end within 0.05 minutes" in sticky
    folder = hub.world.root / f"{REPO}.git"
    prompts = {name: git("show", f"agent/issue-{numbers[name]}:prompt.txt", git_dir=folder) for name in good}
    assert "x" * 65_535 in prompts["long"]
    for character in "\u202e\u2066\x00":
        assert character not in "".join(prompts.values()) + "".join(pull["title"] for pull in pulls.values())
    assert here.stickies(numbers["nothing"])[0].splitlines()[1] == "**Blocked: the agent changed nothing**"
    assert agents(here.folder) == []


def test_an_agent_that_ignores_its_end_is_killed_and_says_why(here: Installation) -> None:
    here.agent(AGENT)
    here.configure("max_agent_runtime_minutes = 0.02\n")
    number = here.issue("stubborn")
    began = time.monotonic()
    [run] = here.once(check=1)["runs"]
    assert run["state"] == "halted"
    assert time.monotonic() - began < 60, "the agent would go on for minutes"
    assert agents(here.folder) == []
    [sticky] = here.stickies(number)
    assert "did not end within 0.02 minutes" in sticky
    assert here.labels(number) == {"agent-ready", "status:blocked"}
    assert git("show", f"{salvage(run)}:done.txt", git_dir=mirror(here)) == "done"


def mirror(here: Installation) -> Path:
    return here.folder / ".agentd" / "state" / "mirrors" / f"{REPO}.git"


def salvage(run: dict[str, str]) -> str:
    return f"refs/agentd/salvage/{run['task_id']}/{run['run_id']}"


def test_labels_and_issues_that_people_change_while_a_run_lives_are_obeyed(here: Installation) -> None:
    here.agent(AGENT)
    here.configure("poll_interval_seconds = 0.5\nmax_parallel = 3\n")
    kept, unlabelled, closed = (here.issue(f"asleep {number}") for number in range(3))
    here.run("start")
    try:
        wait_for(lambda: len(written(here.folder, "worktrees/alice/widget/issue-*", "done.txt")) == 3)
        here.act("DELETE", f"/issues/{kept}/labels/status:in-progress")
        here.act("DELETE", f"/issues/{unlabelled}/labels/agent-ready")
        here.act("PATCH", f"/issues/{closed}", {"state": "closed"})
        wait_for(lambda: here.labels(kept) == {"agent-ready", "status:in-progress"})
        wait_for(lambda: here.status()["counts"] == {"running": 1, "cancelled": 2})
        wait_for(lambda: len(agents(here.folder)) <= 3)
        ended = {run["issue_number"]: run for run in here.status()["recent"]}
    finally:
        here.run("stop", "--now")
    assert "closed" in ended[closed]["reason"]
    assert "agent-ready" in ended[unlabelled]["reason"]
    for number in (unlabelled, closed):
        assert git("show", f"{salvage(ended[number])}:done.txt", git_dir=mirror(here)) == "done"
        assert here.labels(number) & {"status:blocked", "status:in-progress"} == set()
    assert here.pulls("all") == []
    assert agents(here.folder) == []


def test_a_file_whose_name_is_no_text_is_refused_like_any_other(here: Installation) -> None:
    here.agent("open(b'bad-\\xff.bin', 'wb').write(b'x'); open('done.txt', 'w').write('x')")
    here.configure("max_fix_rounds = 0\n[diff]\nprotected = ['bad*']\n")
    number = here.issue()
    [run] = here.once(check=1)["runs"]
    assert (run["state"], run["reason"]) == ("halted", "what the agent left may not be published")
    assert "bad-" in here.stickies(number)[0]


@pytest.mark.parametrize(("title", "signals", "status"), [("slow", 1, 0), ("asleep", 2, 130)])
def test_the_first_interrupt_drains_and_the_second_stops(
    here: Installation, title: str, signals: int, status: int
) -> None:
    here.agent(AGENT)
    here.issue(title)
    command = subprocess.Popen(
        [sys.executable, "-m", "agentd", "once"],
        cwd=here.folder,
        env=here.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(lambda: written(here.folder, "worktrees/alice/widget/issue-*", "done.txt"))
        for _ in range(signals):
            command.send_signal(signal.SIGINT)
            time.sleep(0.3)
        said, _ = command.communicate(timeout=20)
    finally:
        command.kill()
    assert command.returncode == status, said
    assert "Traceback" not in said
    assert agents(here.folder) == []
    assert here.status()["counts"] == {"in_review" if status == 0 else "running": 1}


def test_a_state_directory_that_is_a_file_is_named(here: Installation) -> None:
    here.issue()
    (here.folder / "state").write_text("precious")
    one_line(here, "once", says=(str(here.folder / "state"),), AGENT_STATE_DIR=str(here.folder / "state"))
    assert (here.folder / "state").read_text() == "precious"


@pytest.mark.parametrize("command", ["once", "status", "start"])
@pytest.mark.parametrize("damage", [b"no database at all" * 500, b"SQLite format 3\x00" + b"\xff" * 9000])
def test_a_damaged_store_is_named_and_left_alone(here: Installation, damage: bytes, command: str) -> None:
    here.issue()
    store = here.folder / ".agentd" / "state" / "agentd.db"
    store.parent.mkdir(parents=True)
    store.write_bytes(damage)
    one_line(here, command, says=("agentd.db", "damaged"))
    assert store.read_bytes() == damage


@pytest.mark.parametrize("command", ["once", "start"])
def test_a_damaged_store_of_the_engine_is_named(here: Installation, command: str) -> None:
    here.issue()
    store = here.folder / ".agentd" / "state" / "engine.db"
    store.parent.mkdir(parents=True)
    store.write_bytes(b"no database at all" * 500)
    one_line(here, command, says=("engine.db",))


@pytest.mark.parametrize("command", ["once", "start"])
def test_without_git_it_is_one_line(here: Installation, command: str) -> None:
    here.issue()
    path = path_without("git", here.environ["PATH"], here.folder / "programs")
    one_line(here, command, says=("git cannot be run", "install git"), PATH=path)


def test_without_git_the_doctor_finds_it_and_looks_at_all_else(here: Installation) -> None:
    path = path_without("git", here.environ["PATH"], here.folder / "programs")
    found = {row["code"]: row["level"] for row in here.doctor(PATH=path)}
    assert found["git.version"] == "fail"
    assert "doctor.unfinished" not in found
    assert here.run("salvage", "list", PATH=path) == here.run("salvage", "list")


@pytest.mark.parametrize("kilobytes", [60, 300, 700])
def test_a_full_disk_is_one_line(here: Installation, kilobytes: int) -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system takes root and a mount namespace of one's own")
    here.issue()
    state = here.folder / "state"
    state.mkdir()
    script = f'mount -t tmpfs -o size={kilobytes}k none "$0" && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, state, sys.executable, "-m", "agentd", "once"],
        cwd=here.folder,
        env=here.environ | {"AGENT_STATE_DIR": str(state)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    assert str(state) in done.stdout
    assert here.pulls("all") == []


@pytest.mark.parametrize("log", ["full", "read by nobody", "closed"])
def test_a_log_that_takes_no_words_ends_no_supervisor_and_no_run(here: Installation, log: str) -> None:
    number = here.issue()
    here.configure("poll_interval_seconds = 0.5\n")
    (here.folder / "events").mkdir()
    reading, unread = os.pipe()
    os.close(reading)
    output = os.open("/dev/full", os.O_WRONLY) if log == "full" else unread
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"] if log == "closed" else []
    supervisor = subprocess.Popen(
        [*closing, sys.executable, "-m", "agentd", "start", "--foreground"],
        cwd=here.folder,
        env=here.environ | {"AGENT_EVENTS_FILE": str(here.folder / "events")},
        stdout=output,
        stderr=output,
    )
    for descriptor in {output, unread}:
        os.close(descriptor)
    try:
        wait_for(lambda: here.labels(number) == {"agent-ready", "status:in-review"})
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(20) == 0
    finally:
        supervisor.kill()


@pytest.mark.parametrize("command", ["--version", "status --json", "doctor"])
def test_an_output_without_room_is_one_line(here: Installation, command: str) -> None:
    words = [sys.executable, "-m", "agentd", *command.split()]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            words, cwd=here.folder, env=here.environ, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (1, "agentd: standard output, or a file: No space left on device\n")


def test_a_start_that_can_log_nothing_says_so(here: Installation) -> None:
    folder = here.folder / "programs"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import os, sys\nif '--foreground' in sys.argv: os._exit(120)\n")
    path = f"{folder}:{here.environ['PYTHONPATH']}"
    one_line(here, "start", says=("exit status 120", "supervisor.log", "is its disk full?"), PYTHONPATH=path)


def test_a_start_is_one_whatever_else_is_logged_before(here: Installation) -> None:
    folder = here.folder / "programs"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nif '--foreground' in sys.argv: print('a warning')\n")
    try:
        here.run("start", PYTHONPATH=f"{folder}:{here.environ['PYTHONPATH']}")
    finally:
        here.run("stop", "--now")


def test_of_two_starts_at_the_same_moment_one_starts_the_supervisor_and_both_name_it(here: Installation) -> None:
    command = [sys.executable, "-m", "agentd", "start"]
    starts = [
        subprocess.Popen(command, cwd=here.folder, env=here.environ, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        told = sorted(start.communicate(timeout=120)[0] for start in starts)
        pid = here.status()["supervisor"]["pid"]
        assert [start.returncode for start in starts] == [0, 0]
        assert told[0].startswith(f"supervisor started (process {pid})")
        assert told[1] == f"the supervisor is running already (process {pid})\n"
    finally:
        here.run("stop", "--now")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other accounts may pass through; pytest's own are for one account."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for inside in folder.iterdir():
        if inside.is_dir() and not inside.is_symlink():
            inside.chmod(0o700)  # a test may have taken the rights away
    shutil.rmtree(folder)


def test_a_state_directory_without_rights_is_named(here: Installation, open_folder: Path) -> None:
    nobody = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable]
    if os.geteuid() == 0 and subprocess.run([*nobody, "-c", "import agentd.cli"], capture_output=True).returncode != 0:
        pytest.skip("this account sees everything, and no other one may run this Python")
    here.issue()
    (open_folder / "state").mkdir(mode=0o700 if os.geteuid() == 0 else 0o000)
    shutil.copy(here.folder / "agentd.toml", open_folder)
    done = subprocess.run(
        [*(nobody if os.geteuid() == 0 else [sys.executable]), "-m", "agentd", "once"],
        cwd=open_folder,
        env=here.environ | {"AGENT_STATE_DIR": str(open_folder / "state"), "HOME": str(open_folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    [line] = done.stdout.splitlines()
    assert str(open_folder / "state") in line
    assert here.writes() == []


@pytest.mark.parametrize(("author", "ends"), [("alice", ["failed"]), ("mallory", [])])
def test_an_issue_that_takes_no_more_comments_keeps_no_other_waiting(
    here: Installation, hub: PracticeGitHub, author: str, ends: list[str]
) -> None:
    full = here.issue(author=author)
    said = '{"message": "Commenting is disabled on issues with more than 2500 comments"}'
    hub.fault("POST", f"/issues/{full}/comments$", status=403, body=said, times=1000)
    assert [run["state"] for run in here.once(check=None)["runs"]] == ends
    other = here.issue()
    done = here.once()
    assert [(run["issue_number"], run["state"]) for run in done["runs"]] == [(other, "in_review")]
    assert here.labels(full) == {"agent-ready", "status:blocked" if ends else "status:todo"}
    before = here.writes()
    here.once()
    assert here.writes() == before


@pytest.mark.parametrize("room", [0, 1])
def test_an_issue_with_as_many_labels_as_one_can_have_keeps_no_other_waiting(here: Installation, room: int) -> None:
    crowded = here.issue()
    here.once()
    here.act("DELETE", f"/issues/{crowded}/labels/status:in-review")
    here.act("POST", f"/issues/{crowded}/labels", {"labels": [f"area:{place}" for place in range(99 - room)]})
    other = here.issue()
    assert [run["issue_number"] for run in here.once()["runs"]] == [other]
    kept = {row["name"] for row in here.get(f"/issues/{crowded}/labels?per_page=100")}
    assert ("status:in-review" in kept) == bool(room)
