"""The report: both schemas, thresholds, what is new, fixes, the support archive, and no secret anywhere."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from agentd.cli import app
from agentd.doctor import memory
from agentd.doctor.finding import Code, Finding, Fix, safe
from agentd.doctor.fixing import commands
from agentd.doctor.report import Thresholds, as_text, as_v1, as_v2, cleaned
from agentd.doctor.secrecy import without
from agentd.model import Event
from agentd.states import RunState
from agentd.store import ledger
from tests.doctor.conftest import Place

SCHEMAS = Path(__file__).parents[2] / "schemas"
CANARY = "canary-7f3a9c1e5b2d"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CODE = Code("group.thing", "Thing", "it is bad", "mend it")


def validator(schema: int) -> Draft202012Validator:
    name = "doctor-report.schema.json" if schema == 1 else "doctor-report-2.schema.json"
    return Draft202012Validator(
        json.loads((SCHEMAS / name).read_text()), format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def doctor(place: Place, *arguments: str) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of the command."""
    import os

    before = Path.cwd()
    os.chdir(place.folder)
    try:
        done = CliRunner(env=dict.fromkeys(os.environ) | place.environ).invoke(app, ["doctor", *arguments])
    finally:
        os.chdir(before)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def healthy(place: Place) -> None:
    place.agentd("init", "--labels")
    _ = place.store
    rules = {"required_status_checks": {"strict": True, "contexts": ["verify"]}, "restrictions": None}
    place.act(
        "PUT", "/branches/main/protection", rules | {"enforce_admins": False, "required_pull_request_reviews": None}
    )


def broken(place: Place) -> None:
    place.environ["EXECUTOR_BOT_TOKEN"] = "ghp_wrong"
    place.state_dir.mkdir(parents=True)
    (place.state_dir / "agentd.db").write_text("nonsense " * 1000)


def half(place: Place) -> None:
    del place.environ["REPO"], place.environ["EXECUTOR_BOT_TOKEN"]


def unusable(place: Place) -> None:
    place.environ["MAX_PARALLEL"] = "many"


@pytest.mark.parametrize("schema", [1, 2])
@pytest.mark.parametrize(
    ("arrange", "fails"), [(healthy, 0), (broken, 2), (half, 1), (unusable, 1)], ids=lambda each: str(each)[:18]
)
def test_the_report_fits_its_schema(place: Place, arrange: Any, fails: int, schema: int) -> None:
    arrange(place)
    status, out, _ = doctor(place, "--format", "json", "--schema", str(schema))
    report = json.loads(out)
    assert list(validator(schema).iter_errors(report)) == []
    assert (status, report["summary"]["fail"]) == (0, fails), out
    levels = [check["level"] for check in report["checks"]]
    assert report["summary"] == {**{each: levels.count(each) for each in ("ok", "warn", "fail")}, "total": len(levels)}
    assert all("remediation" in check for check in report["checks"] if check["level"] != "ok")


def test_the_schemas_allow_nothing_else() -> None:
    finding = CODE.warn("m", "r")
    for schema, report in ((1, as_v1([finding], NOW)), (2, as_v2([finding], NOW, {}, "a/b", "1"))):
        assert list(validator(schema).iter_errors(report)) == []
        for place in (report, report["summary"], report["checks"][0]):
            place["more"] = 1
            assert list(validator(schema).iter_errors(report)) != []
            del place["more"]
    as_first = as_v1([finding], NOW)["checks"][0]
    assert as_first == {"level": "warn", "title": "Thing", "message": "m", "remediation": "r"}


@pytest.mark.parametrize(
    ("thresholds", "fails", "warns", "crossed"),
    [
        (Thresholds(), 9, 9, False),
        (Thresholds(strict=True), 0, 9, False),
        (Thresholds(strict=True), 1, 0, True),
        (Thresholds(strict=True, fail=2), 1, 0, False),
        (Thresholds(strict=True, fail=2), 2, 0, True),
        (Thresholds(strict=True, warn=3), 0, 2, False),
        (Thresholds(strict=True, warn=3), 0, 3, True),
        (Thresholds(strict=True, fail=5, warn=1), 4, 0, False),
        (Thresholds(strict=True, fail=5, warn=1), 0, 1, True),
        (Thresholds(fail=1), 1, 0, True),
        (Thresholds(fail=2), 1, 9, False),
        (Thresholds(warn=1), 0, 1, True),
        (Thresholds(warn=2), 1, 1, True),
    ],
)
def test_thresholds(thresholds: Thresholds, fails: int, warns: int, crossed: bool) -> None:
    findings = [CODE.fail("m", "r")] * fails + [CODE.warn("m", "r")] * warns + [CODE.ok("m")]
    assert thresholds.crossed(findings) is crossed


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((), 0),
        (("--strict",), 1),
        (("--strict", "--fail-threshold", "3"), 0),
        (("--fail-threshold", "2"), 1),
        (("--warn-threshold", "1"), 1),
        (("--format", "xml"), 2),
        (("--schema", "3"), 2),
        (("--fail-threshold", "0"), 2),
        (("--nonsense",), 2),
    ],
    ids=str,
)
def test_exit_codes(place: Place, arguments: tuple[str, ...], status: int) -> None:
    broken(place)
    assert doctor(place, *arguments)[0] == status


def test_the_text_has_a_line_for_each_and_what_mends_it(place: Place) -> None:
    text = as_text([CODE.ok("well"), CODE.fail("bad", "one\ntwo")])
    assert text.splitlines() == [
        "[OK] Thing: well",
        "[FAIL] Thing: bad",
        "  -> one",
        "  -> two",
        "1 ok, 0 warnings, 1 failures",
    ]


def test_only_what_is_new_is_told_and_counts(place: Place) -> None:
    broken(place)
    file = place.folder / "last.json"
    since = ("--changed-since", str(file), "--strict")
    status, first, _ = doctor(place, *since)
    assert status == 1 and "EXECUTOR_BOT_TOKEN" in first and "[OK]" not in first
    seen = {check["fingerprint"]: check["first_seen"] for check in json.loads(file.read_text())["checks"]}
    assert doctor(place, *since)[:2] == (0, "")
    assert {check["fingerprint"]: check["first_seen"] for check in json.loads(file.read_text())["checks"]} == seen
    place.environ["AGENTD_PROFILE"] = "three"
    status, out, _ = doctor(place, *since, "--format", "json", "--schema", "2")
    report = json.loads(out)
    assert status == 1 and [check["code"] for check in report["checks"]] == ["configuration.profile"]
    assert list(validator(2).iter_errors(report)) == []
    del place.environ["AGENTD_PROFILE"]
    assert doctor(place, *since)[:2] == (0, "")
    place.environ["AGENTD_PROFILE"] = "three"
    assert doctor(place, *since)[0] == 1, "what came back is new again"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"checks": [1]}'])
def test_a_file_that_is_no_report_is_refused_and_stays(place: Place, text: str) -> None:
    file = place.folder / "precious.txt"
    file.write_text(text)
    from agentd.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="is no report of the doctor"):
        memory.recall(file, named=True)
    assert memory.recall(file, named=False) == {}
    assert file.read_text() == text


def test_first_seen_stays_over_looks(place: Place) -> None:
    finding = CODE.warn("m", "r")
    first = memory.since({}, [finding], NOW)
    later = memory.since(first, [finding], NOW + timedelta(days=1))
    assert as_v2([finding], NOW, later, "a/b", "1")["checks"][0]["first_seen"] == NOW.isoformat()


def test_safe_fixes_are_said_run_and_seen(place: Place) -> None:
    _ = place.store
    place.state_dir.chmod(0o755)
    status, out, said = doctor(place, "--fix", "--dry-run")
    assert (status, oct(place.state_dir.stat().st_mode)[-3:]) == (0, "755")
    assert said.splitlines() == ["would fix: agentd init --labels", f"would fix: chmod 700 {place.state_dir}"]
    assert "open to other users" in out
    assert not (place.state_dir / memory.NAME).exists(), "a dry run remembers nothing"
    environ = {"PYTHONPATH": str(Path(__file__).parents[2])}
    place.environ |= environ
    status, out, said = doctor(place, "--fix")
    assert said.splitlines()[0] == "fix: agentd init --labels" and f"fix: chmod 700 {place.state_dir}" in said
    assert oct(place.state_dir.stat().st_mode)[-3:] == "700"
    assert "open to other users" not in out and "[OK] Labels" in out


def test_only_what_is_safe_is_ever_run_and_once() -> None:
    risky = CODE.fail("m", "r", fix=Fix(("rm", "x")))
    mild = CODE.fail("m", "r", fix=safe("true"))
    well = replace(mild, level="ok", fix=safe("false"))
    assert commands([risky, mild, well, mild]) == [("true",)]


def test_a_dry_run_by_the_settings_writes_nothing(place: Place) -> None:
    _ = place.store
    place.environ["DRY_RUN"] = "1"
    before = sorted(path.name for path in place.state_dir.iterdir())
    doctor(place, "--fix", "--bundle", str(place.folder / "help.tar.gz"), "--changed-since", str(place.folder / "last"))
    assert sorted(path.name for path in place.state_dir.iterdir()) == before
    assert not (place.folder / "help.tar.gz").exists() and not (place.folder / "last").exists()


def test_terminal_controls_and_secrets_are_taken_out() -> None:
    found = cleaned(CODE.warn(f"a\x1b[31m {CANARY}\nb", f"do {CANARY}", CANARY, (CANARY,)), (CANARY,))
    assert found == Finding(
        "group.thing", "warn", "Thing", "a�[31m ***REDACTED*** b", "do ***REDACTED***", *("***REDACTED***",),
        ("***REDACTED***",),
    )  # fmt: skip


@pytest.mark.parametrize(("secret", "shown"), [("ab1", True), ("ab12", False), ("ab12cd", False)])
def test_short_secrets_go_from_four_characters_on(secret: str, shown: bool) -> None:
    assert (f"={secret};" in without(f"x={secret};", (secret,))) is shown


def full_of_secrets(place: Place) -> str:
    """The canary in environment, settings, issue, agent's output and log; the run's id."""
    place.environ |= {
        "ANTHROPIC_API_KEY": CANARY,
        "LANGSMITH_API_KEY": f"{CANARY}-langsmith",
        "MY_MODEL": f"{CANARY}-upstream",
        "EXECUTOR_BOT_TOKEN": place.hub.add_token("bot", value=f"ghp_{CANARY}"),
    }
    place.configure(
        f'[profiles.one]\nadapter = "command"\ncommand = ["python3"]\nenv = {{ SOME_TOKEN = "{CANARY}-profile" }}\n'
        '[gateway.upstreams.mine]\nbase_url = "http://x"\ndialects = ["chat"]\nkey_env = "MY_MODEL"\n'
        f'[lockfiles]\nenv = {{ NPM_TOKEN = "{CANARY}-npm" }}\n'
    )
    number = place.issue("status:blocked", title=f"Leak {CANARY}")
    log = place.folder / ".agentd" / "logs" / "workers" / "run.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"the agent said {CANARY} and ghp_0123456789abcdefghijABCDEFGHIJ012345\n")
    (log.parents[1] / "supervisor.log").write_text(f"Authorization: token ghp_{CANARY}\n")
    run_id = place.run(
        f"issue-{number}", RunState.failed, reason=f"exit 3: {CANARY}", log_path=str(log), issue_number=number
    )
    event = Event(
        event_id="evt_1",
        timestamp=place.store.clock.now(),
        source="worker",
        event_type="run_failed",
        repo=place.repo,
        task_id=f"issue-{number}",
        run_id=run_id,
        status="failed",
        data={"message": CANARY},
    )
    ledger.append(place.store, event)
    (place.state_dir / "agentd.db").parent.chmod(0o700)
    return run_id


@pytest.mark.parametrize(
    "arguments",
    [(), ("--format", "json"), ("--format", "json", "--schema", "2"), ("--smoke",), ("--fix",)],
    ids=" ".join,
)
def test_no_secret_is_in_any_report(place: Place, arguments: tuple[str, ...]) -> None:
    full_of_secrets(place)
    _, out, said = doctor(place, *arguments)
    assert "ssue" in out
    assert CANARY not in out + said
    assert CANARY not in (place.state_dir / memory.NAME).read_text()


def test_no_secret_is_in_the_archive(place: Place) -> None:
    run_id = full_of_secrets(place)
    bundle = place.folder / "help.tar.gz"
    _, _, said = doctor(place, "--bundle", str(bundle))
    assert str(bundle) in said
    assert oct(bundle.stat().st_mode)[-3:] == "600"
    with tarfile.open(bundle) as archive:
        texts = {name: archive.extractfile(name).read().decode() for name in archive.getnames()}  # type: ignore[union-attr]
    names = {name.removeprefix("agentd-doctor/") for name in texts}
    assert names == {
        *("report.json", "settings.json", "system.json", "runs.json", "holds.json", "events.jsonl", "supervisor.log"),
        f"runs/{run_id}.log",
    }
    assert [name for name, text in texts.items() if CANARY in text or "ghp_0123" in text] == []
    assert "the agent said" in texts[f"agentd-doctor/runs/{run_id}.log"], "the rest is there"
    assert list(validator(2).iter_errors(json.loads(texts["agentd-doctor/report.json"]))) == []


def test_an_archive_never_replaces_half(place: Place) -> None:
    from agentd.errors import ConfigurationError

    _ = place.store
    with pytest.raises(ConfigurationError, match="cannot be written"):
        from agentd.doctor.bundle import write_bundle

        write_bundle(place.folder / "none" / "help.tar.gz", place.visit(), {})
