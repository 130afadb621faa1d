import pytest

from agentd.errors import Forbidden
from agentd.github.comments import issue_comments, marker_of, upsert_sticky
from agentd.github.text import BODY_LIMIT


@pytest.fixture
def number(hub):
    return hub.create_issue("alice/widget", "t", "b", [], "alice")


def bodies(gh, number):
    return [comment.body for comment in issue_comments(gh, number)]


def test_one_comment_is_made_then_edited_then_left_alone(gh, number, seen):
    first = upsert_sticky(gh, number, "run", "one")
    assert upsert_sticky(gh, number, "run", "two") == first
    assert bodies(gh, number) == ["<!-- agentd:run -->\ntwo"]
    watch = seen()
    assert upsert_sticky(gh, number, "run", "two") == first
    assert watch.writes == []


def test_another_key_is_another_comment(gh, number):
    assert upsert_sticky(gh, number, "run", "one") != upsert_sticky(gh, number, "run-2", "one")
    assert len(bodies(gh, number)) == 2


def test_somebody_elses_comment_with_our_marker_is_not_ours(gh, login, number):
    forged = login("mallory").issue(number).create_comment(f"{marker_of('run')}\nforged")
    assert upsert_sticky(gh, number, "run", "ours") != forged.id
    assert bodies(gh, number) == [f"{marker_of('run')}\nforged", f"{marker_of('run')}\nours"]


def test_a_marker_that_we_quoted_is_not_the_comment(gh, number):
    gh.issue(number).create_comment(f"look: {marker_of('run')}")
    upsert_sticky(gh, number, "run", "ours")
    assert len(bodies(gh, number)) == 2


def test_a_comment_that_is_deleted_meanwhile_is_made_again(gh, number, hub):
    first = upsert_sticky(gh, number, "run", "one")
    hub.fault(method="PATCH", path=f"/issues/comments/{first}", status=404, body='{"message": "Not Found"}')
    upsert_sticky(gh, number, "run", "two")
    assert bodies(gh, number) == [f"{marker_of('run')}\ntwo"]


def test_a_long_body_is_cut_to_what_github_takes(gh, number):
    upsert_sticky(gh, number, "run", "```\n" + "🙂" * 70_000)
    (body,) = bodies(gh, number)
    assert len(body.encode("utf-16-le")) // 2 <= BODY_LIMIT and "were cut" in body and "\n```\n" in body
    assert upsert_sticky(gh, number, "run", "```\n" + "🙂" * 70_000)
    assert len(bodies(gh, number)) == 1


def test_the_comment_is_found_behind_a_hundred_others(gh, number):
    first = upsert_sticky(gh, number, "run", "one")
    for i in range(101):
        gh.issue(number).create_comment(str(i))
    assert upsert_sticky(gh, number, "run", "two") == first
    late = upsert_sticky(gh, number, "late", "one")
    assert upsert_sticky(gh, number, "late", "two") == late


def test_a_list_of_three_pages_can_be_read_again(gh, number):
    for i in range(201):
        gh.issue(number).create_comment(str(i))
    assert bodies(gh, number) == bodies(gh, number) == [str(i) for i in range(201)]


def test_an_app_that_may_not_ask_who_it_is_edits_only_a_bots_comment(gh, login, hub, number):
    gh.memory.clear()
    hub.fault(method="GET", path="^/user$", status=403, body='{"message": "Resource not accessible by integration"}')
    login("mallory").issue(number).create_comment(f"{marker_of('run')}\nforged")
    try:
        upsert_sticky(gh, number, "run", "ours")
    except Forbidden:
        pytest.fail("tried to edit a person's comment")
    assert len(bodies(gh, number)) == 2


@pytest.mark.parametrize("key", ["", "a b", "a-->", "a--b", "a-", "-a", "<x", "a\n"])
def test_a_key_that_would_break_the_marker_is_refused(key):
    with pytest.raises(ValueError):
        marker_of(key)


def test_usual_keys_are_taken():
    assert marker_of("run:P0-01/3@ab.c_d") == "<!-- agentd:run:P0-01/3@ab.c_d -->"
