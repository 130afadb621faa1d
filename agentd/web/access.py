"""Who may look and who may order: the address that was asked for, the token, and the mark against forged orders."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from aiohttp import web

from agentd.web.answers import refuse
from agentd.web.peers import address_of, owner_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
COOKIE = "agentd_web"
CSRF = "X-Agentd-CSRF"
"""Header of every order: only a page that could read `/api/v1/session` knows its value."""
OPEN = frozenset({"/healthz", "/login", "/static/app.css"})
"""What is answered without a token."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def guarded(access: Access) -> Any:
    """The middleware that checks every request before its handler, and adds what keeps a browser safe."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = access.objection(request)
        response = refused if refused is not None else await handler(request)
        if not response.prepared:
            response.headers.update(HEADERS)
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return check


@dataclass(frozen=True)
class Access:
    """The rules of one server. `token` may be empty where only this machine reaches it."""

    token: str = ""
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    session: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """value of the cookie of who has shown the token; another one after each start"""
    _owners: WeakKeyDictionary[asyncio.BaseTransport, int | None] = field(default_factory=WeakKeyDictionary)
    """user ids by connection"""

    def objection(self, request: web.Request) -> web.Response | None:
        """Why a request is not taken, as its answer; None when it is."""
        host = urlsplit(f"//{request.host}").hostname or ""
        if not self.token and not is_loopback(host):
            # A name that somebody has pointed at this machine: its pages would be of the same origin.
            return refuse(421, "wrong_host", "ask for the page by 127.0.0.1 or localhost")
        if not self.token and request.path not in OPEN and not self._is_own(request):
            said = "another user of this machine asks; set AGENTD_WEB_TOKEN, and send it as `Authorization: Bearer`"
            return refuse(403, "other_user", said)
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        has_token = bool(self.token) and hmac.compare_digest(bearer, self.token.encode())
        if self.token and request.path not in OPEN and not has_token and not self._has_cookie(request):
            if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
                return web.Response(status=303, headers={"Location": "/login"})
            return refuse(401, "no_token", "send `Authorization: Bearer <token>`, or log in at /login")
        if request.method not in ("GET", "HEAD") and request.path != "/login" and not has_token:
            return self._forged(request)
        return None

    def _is_own(self, request: web.Request) -> bool:
        """Whether agentd's own user asks, or root: what the page shows is in files that only they may read."""
        connection = request.transport
        if connection is None:
            return False
        if connection not in self._owners:
            peer, mine = (address_of(connection.get_extra_info(name)) for name in ("peername", "sockname"))
            self._owners[connection] = owner_of(peer, mine)
        return self._owners[connection] in (0, os.geteuid())

    def _has_cookie(self, request: web.Request) -> bool:
        return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self.session.encode())

    def _forged(self, request: web.Request) -> web.Response | None:
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return refuse(403, "other_origin", f"orders are taken from this page only, not from {origin[:200]}")
        if not hmac.compare_digest(request.headers.get(CSRF, "").encode(), self.csrf.encode()):
            return refuse(403, "no_csrf", f"send {CSRF} with the value of /api/v1/session")
        return None

    async def login(self, request: web.Request) -> web.Response:
        """The form, and what is sent with it."""
        said = ""
        if request.method == "POST":
            given = str((await request.post()).get("token", ""))
            if self.token and hmac.compare_digest(given.encode(), self.token.encode()):
                response = web.Response(status=303, headers={"Location": "/"})
                response.set_cookie(COOKIE, self.session, httponly=True, samesite="Strict", secure=request.secure)
                return response
            said = "<p role=alert>That is not the token.</p>"
        page = LOGIN.replace("<!-- said -->", said)
        return web.Response(text=page, content_type="text/html", status=403 if said else 200)


LOGIN = """<!doctype html><html lang=en><meta charset=utf-8><title>agentd: log in</title>
<meta name=viewport content="width=device-width"><link rel=stylesheet href=/static/app.css>
<main class=login><h1>agentd</h1><!-- said --><form method=post action=/login>
<label for=token>Token (AGENTD_WEB_TOKEN)</label>
<input id=token name=token type=password autocomplete=current-password required autofocus>
<button>Log in</button></form></main></html>"""
