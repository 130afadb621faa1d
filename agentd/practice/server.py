"""From a request on the wire to an answer: faults, authentication, limits, the handler, validators, the log."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from agentd.practice import control, rest, smart_http
from agentd.practice.access import check_route, token_of
from agentd.practice.faults import Fault, strike
from agentd.practice.graphql import answer_graphql
from agentd.practice.limits import headers_of
from agentd.practice.log import RequestRecord, Seen
from agentd.practice.refusal import Refused, moved, not_found
from agentd.practice.routing import Call, Reply, find
from agentd.practice.shapes.view import View
from agentd.practice.webhooks import deliver
from agentd.practice.world import Repo, Token, World

LARGEST_BODY_BYTES = 2**30
FREE = ("/rate_limit",)
OnResponse = Callable[[str, str, int, Any], None]
"""Called with method, path, status and decoded JSON (None when there is no body) of every REST answer."""
Work = Callable[[World, web.Request, Seen], Awaitable[web.StreamResponse]]
rest.load()


class Dropped(Exception):
    """The connection was closed on purpose."""


def application(world: World, on_response: OnResponse | None = None) -> web.Application:
    """The server; one handler for everything, because paths have prefixes and old names."""

    async def serve(request: web.Request) -> web.StreamResponse:
        return await handle(world, request, on_response)

    app = web.Application(client_max_size=LARGEST_BODY_BYTES)
    app.router.add_route("*", "/{path:.*}", serve)
    return app


async def handle(world: World, request: web.Request, on_response: OnResponse | None) -> web.StreamResponse:
    """Answers one request and logs it."""
    if request.path.startswith("/_practice/"):
        return await control.answer(world, request)
    if smart_http.is_git(request):
        return await faulty(world, request, request.path, smart_http.answer)
    prefix = re.match(r"/api/v3(?=/|$)|/api(?=/graphql$)", request.path)
    skipped = prefix.end() if prefix else 0
    path = request.path[skipped:]
    raw = request.rel_url.raw_path[skipped:].rstrip("/") or "/"

    async def work(world: World, request: web.Request, seen: Seen) -> web.StreamResponse:
        return await rest_answer(world, request, seen, raw, prefix.group() if prefix else "", on_response)

    return await faulty(world, request, path, work)


async def faulty(world: World, request: web.Request, path: str, work: Work) -> web.StreamResponse:
    """Does the work, unless or although a fault strikes."""
    fault = strike(world.faults, request.method, path)
    seen = Seen(path, await request.read())
    try:
        return await struck(world, request, seen, fault, work)
    except Dropped:
        record(world, request, seen, 0)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)


async def struck(world: World, request: web.Request, seen: Seen, fault: Fault | None, work: Work) -> web.StreamResponse:
    if fault is None:
        response = await work(world, request, seen)
    else:
        await asyncio.sleep(fault.delay)
        if fault.drop == "before":
            raise Dropped
        response = web.Response()
        if fault.after or fault.drop == "after" or fault.status is None:
            response = await work(world, request, seen)
        if fault.drop == "after":
            raise Dropped
        if fault.status is not None:
            text = fault.body if fault.body is not None else json.dumps({"message": "Injected fault"})
            response = web.Response(status=fault.status, text=text, content_type="application/json")
            response.headers.update(fault.headers)
    record(world, request, seen, response.status)
    return response


def record(world: World, request: web.Request, seen: Seen, status: int) -> None:
    git, graphql = smart_http.is_git(request), seen.path == "/graphql"
    world.log.append(
        RequestRecord(
            method=request.method,
            path=seen.path,
            query=request.query_string,
            status=status,
            user=seen.user,
            charged=seen.charged,
            body=seen.body or None,
            at=world.now(),
            kind="git" if git else "graphql" if graphql else "rest",
            headers={name.lower(): value for name, value in request.headers.items() if name.lower() != "authorization"},
        )
    )


async def rest_answer(
    world: World, request: web.Request, seen: Seen, path: str, prefix: str, on_response: OnResponse | None
) -> web.StreamResponse:
    """The answer of REST or GraphQL with GitHub's headers."""
    resource = {"/graphql": "graphql", "/search": "search"}.get(re.sub(r"^(/search)/.*", r"\1", path), "core")
    token: Token | None = None
    call: Call | None = None
    headers: dict[str, str] = {}
    try:
        token = token_of(world, request.headers.get("Authorization"))
        seen.user = token.user.login if token else None
        check_limit(world, token, resource, path)
        view = View(f"{request.scheme}://{request.host}", "" if prefix == "/api" else prefix)
        call = Call(world, view, request.method, path, {}, request.query, request.headers, None, None, token)
        call.user = token.user if token else None
        call.body = parsed(seen.body)
        reply = await answer_graphql(call) if path == "/graphql" else await dispatch(call)
    except Refused as refused:
        reply = Reply(refused.body, refused.status, refused.headers)
    body = encoded(reply.data)
    if request.method in ("GET", "HEAD") and reply.status == 200:
        reply = conditional(request, reply, body)
    bucket = world.limits.bucket(token.user.login if token else "", resource, world.now())
    seen.charged = path not in FREE and reply.status not in (304, 401) and bucket.remaining > 0
    bucket.used += seen.charged
    if on_response is not None:
        on_response(request.method, call.path if call else path, reply.status, reply.data)
    headers.update(headers_of(bucket, resource))
    if token and not token.read_only:
        headers |= {"X-OAuth-Scopes": ", ".join(token.scopes), "X-Accepted-OAuth-Scopes": "repo"}
    headers |= {"X-GitHub-Media-Type": "github.v3; format=json", "X-GitHub-Request-Id": f"{len(world.log):08X}"}
    await deliver(world)
    body = b"" if reply.status == 304 else body
    response = web.Response(status=reply.status, body=body, headers={**headers, **reply.headers})
    if body and "Content-Type" not in reply.headers:
        response.headers["Content-Type"] = "application/json; charset=utf-8"
    return response


def check_limit(world: World, token: Token | None, resource: str, path: str) -> None:
    """Refuses when the points are used up."""
    name = token.user.login if token else ""
    bucket = world.limits.bucket(name, resource, world.now())
    if bucket.remaining == 0 and path not in FREE and resource != "graphql":
        who = f"user ID {token.user.id}" if token else "127.0.0.1"
        raise Refused(403, f"API rate limit exceeded for {who}.")


def parsed(body: bytes) -> Any:
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except ValueError:
        raise Refused(400, "Problems parsing JSON") from None


def encoded(data: Any) -> bytes:
    if data is None or isinstance(data, bytes):
        return data or b""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


async def dispatch(call: Call) -> Reply:
    """Finds the repository and the handler, and asks the handler; writes to one repository come one after the other."""
    by_id = re.match(r"/repositories/([0-9]+)(?=/|$)", call.path)
    if by_id:
        known = call.world.repo_by_id(int(by_id.group(1)))
        if known is None:
            raise not_found()
        call.path = f"/repos/{known.full_name}{call.path[by_id.end() :]}"
    found = find("GET" if call.method == "HEAD" else call.method, call.path)
    if found is None:
        raise not_found()
    route, call.args = found[0], {name: unquote(value) for name, value in found[1].items()}
    if "owner" in call.args and "repo" in call.args:
        full_name = f"{call.args['owner']}/{call.args['repo']}".lower()
        call.found_repo = call.world.repos.get(full_name)
        if call.found_repo is None:
            raise renamed(call, call.world.moved.get(full_name))
    check_route(call, route)
    if call.method in ("GET", "HEAD"):
        return await route.handler(call)
    check_secondary(call)
    if call.found_repo is None:
        return await route.handler(call)
    async with call.found_repo.lock:
        return await route.handler(call)


def renamed(call: Call, repo: Repo | None) -> Refused:
    """The redirect of a renamed repository; 404 when there is none or it must not be seen."""
    if repo is None or not call.world.allows(repo, call.user, "read"):
        return not_found()
    rest_of_path = call.path.split("/", 4)[4:]
    address = call.view.api("/".join([f"/repositories/{repo.id}", *rest_of_path]))
    query = "&".join(f"{name}={value}" for name, value in call.query.items())
    address += f"?{query}" if query else ""
    return moved(address, call.method)


def check_secondary(call: Call) -> None:
    config, now = call.world.config, call.world.now()
    name = call.user.login if call.user else ""
    if call.world.limits.write_refused(name, now, config.secondary_after):
        wait = config.secondary_retry_after
        raise Refused(
            403,
            "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
            headers={} if wait is None else {"Retry-After": str(wait)},
        )


def conditional(request: web.Request, reply: Reply, body: bytes) -> Reply:
    """Adds the validators to a good answer, or makes it a 304 when the client has it already."""
    etag = f'W/"{hashlib.sha256(body).hexdigest()}"'
    headers = {
        **reply.headers,
        "ETag": etag,
        "Cache-Control": "private, max-age=60, s-maxage=60",
        "Vary": "Accept, Authorization, Cookie, X-GitHub-OTP",
    }
    if reply.modified is not None:
        headers["Last-Modified"] = format_datetime(reply.modified, usegmt=True)
    asked, since = request.headers.get("If-None-Match"), request.headers.get("If-Modified-Since")
    if asked is not None:
        known = asked == "*" or etag[2:] in [each.strip().removeprefix("W/") for each in asked.split(",")]
    else:
        known = bool(since and reply.modified and reply.modified <= parsedate_to_datetime(since))
    return Reply(None, 304, headers) if known else Reply(reply.data, 200, headers)
