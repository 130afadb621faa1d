"""Who may look and who may order."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from agentd.errors import ConfigurationError
from agentd.web.peers import address_of, owner_of
from agentd.web.server import serving
from agentd.web.source import Source
from tests.web.conftest import Ask, served

TOKEN = "let-me-in"
NOBODY = 65534


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as somebody else")
def test_other_users_of_this_machine_need_a_token(source: Source) -> None:
    def asked(address: str, path: str, more: str = "") -> int:
        port = urlsplit(address).port
        request = f"GET {path} HTTP/1.0\\r\\nHost: 127.0.0.1:{port}\\r\\n{more}\\r\\n"
        script = f"exec 3<>/dev/tcp/127.0.0.1/{port}; printf '{request}' >&3; head -n1 <&3"
        done = subprocess.run(["bash", "-c", script], user=NOBODY, capture_output=True, text=True, cwd="/")
        return int(done.stdout.split()[1])

    with served(source) as address:
        assert [asked(address, path) for path in ("/", "/api/v1/session", "/api/v1/state", "/metrics")] == [403] * 4
        assert asked(address, "/healthz") == 200
        assert _session()("GET", f"{address}/metrics").status_code == 200
    with served(source, TOKEN) as address:
        assert asked(address, "/metrics") == 401
        assert asked(address, "/metrics", f"Authorization: Bearer {TOKEN}\\r\\n") == 200


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_owner_of_a_connection_is_known_by_its_addresses(family: socket.AddressFamily, tmp_path: Path) -> None:
    with socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family) as server:
        mine = address_of(server.getsockname())
        with socket.create_connection(server.getsockname()[:2]) as client:
            peer = address_of(client.getsockname())
            assert owner_of(peer, mine) == os.geteuid()
            assert owner_of((peer[0], peer[1] + 1), mine) is None
            assert owner_of(peer, mine, [tmp_path / "no-such-table"]) is None
            other = "::2" if family == socket.AF_INET6 else "127.0.0.2"
            assert owner_of((other, peer[1]), mine) is None


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
