import json
from datetime import UTC, datetime

import pytest

from agentd.errors import (
    Forbidden,
    GitHubError,
    Moved,
    NotFound,
    RateLimited,
    Rejected,
    Unauthorized,
    Unavailable,
)
from agentd.github.answers import error_of, expecting

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (410, NotFound),
        (405, Rejected),
        (409, Rejected),
        (422, Rejected),
        (429, RateLimited),
        (500, Unavailable),
        (502, Unavailable),
        (400, GitHubError),
        (307, Moved),
    ],
)
def test_every_status_has_its_error(status: int, kind: type[GitHubError]) -> None:
    error = error_of("PUT /x", status, {}, '{"message": "no"}', NOW)
    assert type(error) is kind and error.status == status
    assert "PUT /x" in str(error) and str(status) in str(error) and "no" in str(error)


@pytest.mark.parametrize("text", ['"abcd"', "<html>", '{"a": ', "17"])
def test_a_good_status_without_a_json_object_is_an_error(text: str) -> None:
    assert type(error_of("GET /x", 200, {}, text, NOW)) is GitHubError
    assert type(error_of("POST /x", 201, {}, text, NOW, read=False)) is Unavailable


def test_good_answers_are_good() -> None:
    for status, text in ((200, "[]"), (201, "{}"), (204, ""), (304, ""), (202, "")):
        assert error_of("GET /x", status, {}, text, NOW) is None


def test_the_message_is_one_printable_line_with_the_details() -> None:
    text = json.dumps(
        {"message": "Validation\nFailed\x1b[31m", "errors": [{"resource": "Label", "code": "already_exists"}, "odd"]}
    )
    assert str(error_of("POST /x", 422, {}, text, NOW)) == (
        "POST /x: 422 Validation Failed [31m; Label already_exists; odd"
    )
    assert len(str(error_of("POST /x", 422, {}, json.dumps({"message": "a" * 9999}), NOW))) < 400


def test_an_unexpected_shape_is_a_github_error() -> None:
    with pytest.raises(GitHubError, match=r"issue 7.*KeyError"), expecting("issue 7"):
        {}["title"]
