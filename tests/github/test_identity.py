import pytest

from agentd.errors import Moved, Unauthorized
from agentd.github import connect
from agentd.github.identity import check_rights, whoami
from agentd.github.issues import get_issue
from agentd.github.poller import poll_issues
from agentd.model import Decision


def denied(verdicts):
    return [verdict.rule_id for verdict in verdicts if verdict.decision is not Decision.allow]


def test_who_the_token_is(gh, seen):
    me = whoami(gh)
    assert me.login == "bot" and me.type == "User" and me.scopes
    watch = seen()
    assert whoami(gh) is me and watch.requests == []


def test_an_installation_token_has_no_identity_and_that_is_allowed(gh, hub):
    hub.fault(method="GET", path="^/user$", status=403, body='{"message": "Resource not accessible by integration"}')
    assert whoami(gh).login is None
    assert denied(check_rights(gh, "main")) == []


def test_all_is_well(gh):
    assert [v.rule_id for v in check_rights(gh, "main")] == ["token", "repository", "write_access", "base_branch"]
    assert denied(check_rights(gh, "main")) == []


def test_a_wrong_token(hub, time):
    gh = connect(hub.url, "wrong", "alice/widget", clock=time, sleep=time.sleep)
    assert denied(check_rights(gh, "main")) == ["token"]
    with pytest.raises(Unauthorized):
        whoami(gh)


def test_an_unknown_repository(hub, time):
    gh = connect(hub.url, hub.add_token("bot"), "alice/nowhere", clock=time, sleep=time.sleep)
    (verdict,) = [v for v in check_rights(gh, "main") if v.decision is not Decision.allow]
    assert verdict.rule_id == "repository" and "alice/nowhere" in verdict.action


def test_a_renamed_repository_is_told_by_its_new_name(gh, login):
    login("alice").request("PATCH", gh.base, body={"name": "gadget"})
    (verdict,) = [v for v in check_rights(gh, "main") if v.decision is not Decision.allow]
    assert verdict.rule_id == "repository" and verdict.action.endswith("/gadget")
    with pytest.raises(Moved, match="set its new name"):
        poll_issues(gh, "agent-ready")
    with pytest.raises(Moved):
        get_issue(gh, 1)


def test_an_account_that_may_only_read(login):
    assert denied(check_rights(login("mallory"), "main")) == ["write_access"]


def test_a_token_without_the_scope(gh, hub):
    gh.memory.clear()
    hub.fault(
        method="GET",
        path="^/user$",
        status=200,
        headers={"X-OAuth-Scopes": "read:org, gist"},
        body='{"login": "bot", "id": 1, "type": "User"}',
    )
    (verdict,) = [v for v in check_rights(gh, "main") if v.decision is not Decision.allow]
    assert verdict.rule_id == "write_access" and "gist" in verdict.observed


def test_a_missing_base_branch(gh):
    (verdict,) = [v for v in check_rights(gh, "trunk") if v.decision is not Decision.allow]
    assert verdict.rule_id == "base_branch" and "trunk" in verdict.action
    assert denied(check_rights(gh, "mai")) == ["base_branch"]
