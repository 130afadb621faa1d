"""Fingerprints: what changes from one run of a program to the next is left out, what tells failures apart is not."""

from __future__ import annotations

import pytest

from agentd.policy.fingerprints import fingerprint, history_of, normalised_output
from agentd.policy.run_controls import RunControls, evaluate


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1 failed in 0.12s", "1 failed in 13.4s"),
        ("took 3 ms", "took 120 ms"),
        ("Duration 1.21 s (transform 30ms)", "Duration 2 s (transform 41ms)"),
        ("2026-01-02T03:04:05.678Z boom", "2026-02-12 13:14:15+02:00 boom"),
        ("[12:30:01] boom", "[9:01:59.123] boom"),
        ("<Foo object at 0x7f001234>", "<Foo object at 0x7fffabcd>"),
        ("commit 1a2b3c4d", "commit 9f8e7d6c5b4a"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id 00000000-e89b-12d3-a456-426614174fff"),
        ("listening on 127.0.0.1:41234", "listening on 10.0.0.3:80"),
        ("cannot open /tmp/pytest-1/x/config.json", "cannot open /home/me/config.json"),
        ("\x1b[31mred\x1b[0m  \n", "red"),
    ],
)
def test_what_changes_by_itself_makes_no_difference(one: str, other: str) -> None:
    assert normalised_output(one) == normalised_output(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("src/a.js:12:30 error", "src/a.js:13:30 error"),
        ("src/a.rs:12:30:01", "src/a.rs:12:30:02"),
        ("tests/test_a.py:12: assert 1 == 2", "tests/test_a.py:13: assert 1 == 2"),
        ("tests/test_a.py::x FAILED", "tests/test_b.py::x FAILED"),
        ("expected 3, got 4", "expected 3, got 5"),
        ("2 failed, 3 passed", "1 failed, 4 passed"),
        ("/tmp/a/one.py", "/tmp/a/two.py"),
        ("exit status 1", "exit status 2"),
    ],
)
def test_what_tells_failures_apart_stays(one: str, other: str) -> None:
    assert normalised_output(one) != normalised_output(other)


def test_parts_of_a_fingerprint_do_not_run_together() -> None:
    assert fingerprint("a", "b") != fingerprint("ab") != fingerprint("a\n", "b")


def test_half_a_character_has_a_fingerprint_too() -> None:
    assert len({fingerprint(text) for text in ("\udcff", "\ud83d", "\ude00", "?", "")}) == 5


def rounds(*pairs: tuple[str, str], verified: bool = True) -> list[dict[str, object]]:
    return [{"tree": tree, "said": said, "verified": verified} for tree, said in pairs]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (rounds(("t1", "a"), ("t2", "a"), ("t3", "a"), ("t4", "a")), None),
        (rounds(("t1", "a"), ("t1", "b"), ("t1", "c"), ("t1", "d")), None),
        (rounds(("t1", "a in 1s"), ("t1", "a in 2s")), None),
        (rounds(("t1", "a in 1s"), ("t1", "a in 2s"), ("t1", "a in 3s")), "repeated-identical-action"),
        (rounds(("t1", "a"), ("t2", "b"), ("t1", "a"), ("t2", "b")), "alternating-diff-fingerprint"),
        (rounds(*[("t1", "x")] * 3, verified=False), None),
        (rounds(*[("t1", "x")] * 4, verified=False), "repeated-identical-action"),
    ],
)
def test_rounds_that_go_nowhere_are_seen(found: list[dict[str, object]], reason: str | None) -> None:
    result = evaluate(history_of(found), RunControls().for_rounds(3))
    assert (result["reason"] or {"reason": None})["reason"] == reason
