"""Who may do what: tokens, scopes, roles, private repositories."""

from __future__ import annotations

import pytest

from agentd.practice import PracticeGitHub

from .conftest import Caller


def test_an_unknown_token_is_refused_even_where_none_is_needed(hub: PracticeGitHub) -> None:
    answer = Caller(hub.url, "ghp_wrong")("GET", "")
    assert (answer.status_code, answer.json()["message"]) == (401, "Bad credentials")


@pytest.mark.parametrize("scheme", ["token", "Bearer", "bearer"])
def test_both_schemes_of_authorization_work(hub: PracticeGitHub, nobody: Caller, scheme: str) -> None:
    answer = nobody("GET", "//user", headers={"Authorization": f"{scheme} {hub.add_token('bob')}"})
    assert answer.json()["login"] == "bob"


def test_scopes_are_shown_for_classic_tokens_only(hub: PracticeGitHub) -> None:
    classic = Caller(hub.url, hub.add_token("bob", scopes=("repo", "workflow")))("GET", "")
    fine = Caller(hub.url, hub.add_token("bob", read_only=True))("GET", "")
    assert classic.headers["X-OAuth-Scopes"] == "repo, workflow"
    assert "X-OAuth-Scopes" not in fine.headers


def test_a_private_repository_does_not_exist_for_outsiders(
    hub: PracticeGitHub, mallory: Caller, nobody: Caller
) -> None:
    hub.add_repo("alice/secret", private=True)
    public_only = Caller(hub.url, hub.add_token("alice", scopes=("public_repo",)))
    for asking in (mallory, nobody, public_only):
        for path in ("//repos/alice/secret", "//repos/alice/secret/issues"):
            assert (asking("GET", path).status_code, path) == (404, path)
    assert Caller(hub.url, hub.add_token("alice"))("GET", "//repos/alice/secret").status_code == 200


ISSUE = {"title": "t"}
ROLES_NEEDED = [
    ("POST", "/issues", ISSUE, {"nobody": 401, "mallory": 201, "tina": 201, "bob": 201}),
    ("POST", "/issues/1/comments", {"body": "b"}, {"nobody": 401, "mallory": 201, "tina": 201, "bob": 201}),
    ("POST", "/issues/1/labels", {"labels": ["x"]}, {"nobody": 401, "mallory": 403, "tina": 200, "bob": 200}),
    ("PATCH", "/issues/1", {"state": "closed"}, {"nobody": 401, "mallory": 403, "tina": 200, "bob": 200}),
    ("POST", "/labels", {"name": "new"}, {"nobody": 401, "mallory": 403, "tina": 403, "bob": 201}),
    ("GET", "/collaborators", None, {"nobody": 401, "mallory": 403, "tina": 403, "bob": 200}),
    ("GET", "/branches/main/protection", None, {"nobody": 401, "mallory": 403, "bob": 403}),
]


@pytest.mark.parametrize(("method", "path", "body", "expected"), ROLES_NEEDED)
def test_each_role_reaches_as_far_as_on_github(
    hub: PracticeGitHub, method: str, path: str, body: object, expected: dict[str, int]
) -> None:
    hub.create_issue("alice/widget", "one")
    for login, status in expected.items():
        asking = Caller(hub.url, None if login == "nobody" else hub.add_token(login))
        assert (login, asking(method, path, body).status_code) == (login, status)


def test_an_author_without_rights_may_close_but_not_label_their_issue(hub: PracticeGitHub, mallory: Caller) -> None:
    made = mallory("POST", "/issues", {"title": "mine", "labels": ["agent-ready"]}).json()
    assert made["labels"] == []
    edited = mallory("PATCH", f"/issues/{made['number']}", {"state": "closed", "labels": ["x"]}).json()
    assert (edited["state"], edited["labels"]) == ("closed", [])


@pytest.mark.parametrize(("token", "status"), [({"read_only": True}, 403), ({"scopes": ()}, 404)])
def test_a_token_that_may_not_write_is_refused(hub: PracticeGitHub, token: dict[str, object], status: int) -> None:
    weak = Caller(hub.url, hub.add_token("alice", **token))  # type: ignore[arg-type]  # a table of keywords
    assert weak("GET", "").status_code == 200
    assert weak("POST", "/issues", ISSUE).status_code == status


def test_permission_of_a_collaborator_has_role_and_numeric_id(hub: PracticeGitHub, alice: Caller) -> None:
    expected = {
        "alice": ("admin", "admin"),
        "bob": ("write", "write"),
        "tina": ("read", "triage"),
        "mallory": ("read", "read"),
    }
    for login, words in expected.items():
        shown = alice("GET", f"/collaborators/{login}/permission").json()
        assert (shown["permission"], shown["role_name"]) == words
        assert shown["user"]["id"] == hub.add_user(login)
    assert alice("GET", "/collaborators/ghost/permission").status_code == 404


def test_a_renamed_repository_redirects_by_id(hub: PracticeGitHub, alice: Caller) -> None:
    hub.create_issue("alice/widget", "one")
    id = alice("PATCH", "", {"name": "gadget"}).json()["id"]
    answer = alice("GET", "/issues/1")
    assert answer.status_code == 301
    assert answer.headers["Location"] == f"{hub.url}/repositories/{id}/issues/1"
    assert alice("GET", f"//repositories/{id}/issues/1").json()["title"] == "one"
    assert alice("POST", "/issues", ISSUE).status_code == 307
    assert alice("GET", "//repos/alice/gadget").json()["full_name"] == "alice/gadget"


def test_repository_shows_permissions_and_merge_settings(alice: Caller, bob: Caller, nobody: Caller) -> None:
    assert bob("GET", "").json()["permissions"] == {
        "pull": True, "triage": True, "push": True, "maintain": False, "admin": False,
    }  # fmt: skip
    assert alice("GET", "").json()["allow_squash_merge"] is True
    assert "permissions" not in nobody("GET", "").json()
