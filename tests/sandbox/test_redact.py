from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.sandbox.redact import KEY_BYTES, MARK, Redactor, redact

VALUE = "s3cret-value-of-this-test"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n" + "\n".join(["QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo" * 2] * 12)
KEY += "\n-----END OPENSSH PRIVATE KEY-----"
# Put together here, so that no scanner takes this file for a leak.
SHAPES = {
    "github": "ghp_" + "a1B2" * 9,
    "github app": "ghs_" + "a1B2" * 9,
    "github fine": "github_pat_" + "11ABCDEFG0" * 8,
    "anthropic": "sk-ant-" + "api03-abcDEF_123" * 5,
    "openai": "sk-proj-" + "abcDEF_123" * 8,
    "aws": "AKIA" + "ABCDEFGH12345678",
    "google": "AIza" + "abcDE" * 7,
    "slack": "xoxb-" + "123456789012-abcdef",
    "gitlab": "glpat-" + "abcdefghij0123456789",
    "npm": "npm_" + "a1B2" * 9,
    "langsmith": "lsv2_pt_" + "0123456789abcdef" * 2,
    "jwt": "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0NTY3" + ".abcdefghijklmnop",
    "value": VALUE,
    "value in base64": base64.b64encode(VALUE.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_secret_is_taken_out_and_what_stands_around_it_stays(name: str) -> None:
    assert redact(f"before {SHAPES[name]} after\n", [VALUE]) == f"before {MARK.decode()} after\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://bot:hunter2hunter2@github.com/a/b", "https://bot:***REDACTED***@github.com/a/b"),
        ("Authorization: Bearer abcdefghijklmnopqrst\n", "Authorization: Bearer ***REDACTED***\n"),
        (f"a\n{KEY}\nb", "a\n***REDACTED***\nb"),
        (f"{VALUE}{VALUE}", "***REDACTED******REDACTED***"),
    ],
)
def test_other_forms(text: str, left: str) -> None:
    assert redact(text, [VALUE]) == left


@pytest.mark.parametrize(
    "text", ["task-force desk-abcdef", "ghp_short", "AKIAlower", "https://example.org:443/a@b", "é\x00\r\n"]
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text, [VALUE, "abc"]) == text


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(st.sampled_from([*SHAPES.values(), KEY, " plain words ", "\n", " ", "x" * 900 + " "]), max_size=14),
    cuts=st.lists(st.integers(1, 700), min_size=1, max_size=30),
)
def test_the_result_does_not_depend_on_where_the_stream_is_cut(parts: list[str], cuts: list[int]) -> None:
    data = " ".join(parts).encode()
    whole = Redactor([VALUE])
    expected = whole.feed(data) + whole.flush()
    redactor, pieces, at = Redactor([VALUE]), [], 0
    while at < len(data):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(redactor.feed(data[at : at + size]))
        at += size
    assert b"".join([*pieces, redactor.flush()]) == expected
    assert not any(secret.encode() in expected for secret in (*SHAPES.values(), KEY[40:90]))


FROM_ENVIRONMENT = os.fsdecode(b"p\xe4ssw\xf6rd-of-this-test")
"""Not UTF-8, which no variable of the environment has to be."""


@pytest.mark.parametrize(
    "around", ["plain", "half a character \ud83d", "a byte that is no text \udcff", "\ud83d\udcff"]
)
@pytest.mark.parametrize("value", [VALUE, FROM_ENVIRONMENT, "half-a-secret-\ud83d"])
def test_text_that_is_no_unicode_keeps_what_it_says_and_loses_its_secrets(value: str, around: str) -> None:
    assert redact(f"{around} {value} {around}\n", [value]) == f"{around} {MARK.decode()} {around}\n"


@pytest.mark.parametrize(
    "said",
    [
        os.fsencode(FROM_ENVIRONMENT),
        os.fsencode(FROM_ENVIRONMENT).decode(errors="replace").encode(),
        base64.b64encode(os.fsencode(FROM_ENVIRONMENT)).rstrip(b"="),
    ],
)
def test_a_secret_that_is_not_utf_8_is_found_in_what_a_program_prints(said: bytes) -> None:
    redactor = Redactor([FROM_ENVIRONMENT])
    assert redactor.feed(b"before " + said + b" after\n") + redactor.flush() == b"before " + MARK + b" after\n"


def test_a_secret_of_several_lines_goes_line_by_line() -> None:
    assert redact("one first-line-secret\nsecond-line-secret two", ["first-line-secret\nsecond-line-secret"]) == (
        "one ***REDACTED***\n***REDACTED*** two"
    )


def test_a_key_without_an_end_hides_only_so_much() -> None:
    text = "-----BEGIN RSA PRIVATE KEY-----\n" + "A" * (KEY_BYTES + 100) + "\nafter\n"
    assert redact(text).endswith("after\n")


def test_a_line_without_an_end_is_passed_on() -> None:
    redactor = Redactor([VALUE])
    assert len(b"".join(redactor.feed(b"x" * 10_000) for _ in range(100))) > 950_000
