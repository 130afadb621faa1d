"""Who may look and who may order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from agentd.errors import ConfigurationError
from agentd.web.server import serving
from agentd.web.source import Source
from tests.web.conftest import Ask, served

TOKEN = "let-me-in"


async def test_other_machines_need_a_token(source: Source) -> None:
    with pytest.raises(ConfigurationError, match="AGENTD_WEB_TOKEN"):
        async with serving(source, "0.0.0.0", 0, ""):
            pass
    async with serving(source, "0.0.0.0", 0, TOKEN) as address:
        assert address.startswith("http://0.0.0.0:")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "169.254.0.1"])
def test_a_name_that_somebody_pointed_here_is_refused(ask: Ask, host: str) -> None:
    assert ask("/api/v1/state", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8484"])
def test_this_machines_own_names_are_taken(ask: Ask, host: str) -> None:
    assert ask("/api/v1/session", headers={"Host": host}).status_code == 200


def test_orders_of_other_pages_are_refused(ask: Ask, page: str) -> None:
    mark = {"X-Agentd-CSRF": ask("/api/v1/session").json()["csrf"]}
    cases: list[tuple[dict[str, str], int]] = [
        ({}, 403),
        ({"X-Agentd-CSRF": "x"}, 403),
        ({**mark, "Origin": "http://evil.example"}, 403),
        ({**mark, "Origin": page}, 202),
        (mark, 202),
    ]
    assert [ask("/api/v1/pause", "POST", headers=sent).status_code for sent, _ in cases] == [code for _, code in cases]


def test_a_browser_is_told_to_run_nothing_of_others(ask: Ask) -> None:
    for path in ("/", "/static/app.js", "/api/v1/state", "/nothing"):
        headers = ask(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_with_a_token_nothing_is_shown_without_it(source: Source) -> None:
    with served(source, TOKEN) as address:
        send = _session()
        assert send("GET", f"{address}/healthz").status_code == 200
        for path in ("/api/v1/state", "/metrics", "/", "/static/app.js", "/api/v1/stream"):
            assert send("GET", address + path).status_code == 401, path
        for sent in ("", "Bearer ", "Bearer wrong", f"Basic {TOKEN}"):
            assert send("GET", f"{address}/api/v1/state", headers={"Authorization": sent}).status_code == 401
        mine = {"Authorization": f"Bearer {TOKEN}"}
        assert send("GET", f"{address}/api/v1/state", headers=mine).status_code == 200
        assert send("POST", f"{address}/api/v1/pause", headers=mine).status_code == 202
        assert send("POST", f"{address}/api/v1/pause").status_code == 401


def test_a_person_logs_in_with_the_token(source: Source) -> None:
    with served(source, TOKEN) as address:
        send = _session()
        assert send("GET", f"{address}/", headers={"Accept": "text/html"}).headers["Location"] == "/login"
        assert send("POST", f"{address}/login", data={"token": "wrong"}).status_code == 403
        answer = send("POST", f"{address}/login", data={"token": TOKEN})
        cookie = answer.headers["Set-Cookie"]
        assert (
            answer.status_code == 303 and "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
        )
        assert send("GET", f"{address}/api/v1/state").status_code == 200
        assert send("POST", f"{address}/api/v1/pause").status_code == 403, "a cookie alone orders nothing"


def _session() -> Callable[..., requests.Response]:
    session = requests.Session()
    session.trust_env = False

    def send(method: str, address: str, **how: Any) -> requests.Response:
        return session.request(method, address, timeout=20, allow_redirects=False, **how)

    return send
