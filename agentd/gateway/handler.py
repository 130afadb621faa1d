"""One HTTP request through the gateway: whose it is, whether it may go out, out and back, and what it used."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import replace

import aiohttp
from aiohttp import web

from agentd.errors import StoreError
from agentd.gateway import refusals
from agentd.gateway.dialects import COUNT_TOKENS, MODELS, PATHS, Asked, BadRequest, error_body, read_request
from agentd.gateway.doors import Door, Hall
from agentd.gateway.free_calls import count_tokens, models
from agentd.gateway.headers import incoming, without
from agentd.gateway.refusals import Refused, Trouble
from agentd.gateway.tickets import CLIENT_GONE, Ticket, slip_of
from agentd.gateway.upstreams import Upstream
from agentd.gateway.usage import Tee
from agentd.gateway.visits import Visit, body_of, key_hash_of, require_model, sent, upstream_for, whole
from agentd.policy.budget_settings import Caller
from agentd.policy.budgets import needs_price

LONGEST_ERROR = 1024 * 1024
"""Bytes of an error that are looked at and passed on."""
AT_ONCE_BYTES = 4 * 1024 * 1024
"""An answer of a known length up to this is passed on in one piece."""
TIMED_OUT = (408, 504, 524)
"""Of whoever waited for the model, which went on meanwhile: Azure may charge for a 408, and a proxy knows of nothing.
https://learn.microsoft.com/azure/ai-services/openai/how-to/manage-costs"""
_NO_USAGE = re.compile(rb"stream_options|include_usage")
"""In the error of a service that does not know how a client asks for the usage of a stream."""
_log = logging.getLogger("agentd.gateway")


async def handle(hall: Hall, door: Door, request: web.BaseRequest) -> web.StreamResponse:
    """The answer to one request. Whatever goes wrong is told in the dialect of its path."""
    dialect = PATHS.get(request.path) or ("messages" if _speaks_anthropic(request) else "chat")
    visit = Visit(request, dialect)
    try:
        return await _route(hall, door, visit)
    except Refused as refused:
        if refused.status < 500:
            hall.metrics.refused(refused.code)
        return _error(visit, refused)
    except StoreError:
        said = "agentd gateway: its store cannot be used now"
        return _error(visit, Refused(503, "store_unavailable", said, {"retry-after": "5"}, is_retryable=True))
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:  # a mistake of ours; its text might hold what nobody should read
        _log.error("a request failed: %s", type(error).__name__)
        return _error(visit, Refused(500, "gateway_error", f"agentd gateway: {type(error).__name__}"))


async def _route(hall: Hall, door: Door, visit: Visit) -> web.StreamResponse:
    request = visit.request
    path, method = request.path, request.method
    if door.is_public and method == "GET" and path == "/metrics":
        return web.Response(body=hall.metrics.text(), headers={"content-type": "text/plain; version=0.0.4"})
    if method == "GET" and path == "/healthz":
        return web.json_response({"status": "ok"})
    wanted = {**dict.fromkeys((*PATHS, COUNT_TOKENS), "POST"), MODELS: "GET"}.get(path)
    if wanted is None:
        raise Refused(404, "not_found", f"agentd gateway: serves {', '.join((*PATHS, COUNT_TOKENS, MODELS))}")
    if method != wanted:
        raise Refused(405, "method_not_allowed", f"agentd gateway: {path} takes {wanted}", {"allow": wanted})
    key_hash = key_hash_of(request)
    visit.grant = await hall.grant_of(door, key_hash, is_free=path in (MODELS, COUNT_TOKENS))
    if path == MODELS:
        return await models(hall, visit)
    raw = await body_of(request, hall.settings.max_body_bytes)
    if path == COUNT_TOKENS:
        return await count_tokens(hall, visit, raw)
    return await _call(hall, door, visit, key_hash, raw)


async def _call(hall: Hall, door: Door, visit: Visit, key_hash: str, raw: bytes) -> web.StreamResponse:
    """A call that costs something."""
    grant, dialect = visit.granted, visit.dialect
    try:
        asked = read_request(dialect, raw, grant.request_extra)
    except BadRequest as problem:
        raise Refused(400, "invalid_request", f"agentd gateway: {problem}") from None
    for model in (asked.model, *asked.beside):
        require_model(grant, model)
    upstream = upstream_for(hall, dialect, asked.model)
    now = hall.clock.now()
    day = now.date().isoformat()
    found = hall.bounds(Caller(grant.run_id, grant.task_id, grant.profile, asked.model), day)
    await hall.priced()
    slip = slip_of(grant, dialect, asked, upstream, hall.prices, hall.settings)
    money = needs_price(found)
    if money is not None and slip.nano_usd is None and await hall.is_hard():
        refused, verdict = refusals.no_price(money.key, asked.model)
        door.tell("hard", grant.run_id, verdict)
        raise refused
    call = slip.row(hall.writer.gateway, hall.clock, day)
    ticket = Ticket(
        call,
        hall.prices,
        hall.metrics,
        hall.writer.settle,
        lambda verdict: door.tell("soft", grant.run_id, verdict),
    )
    said = await hall.writer.reserve(ticket.reservation(found, key_hash, door.name), hall.settings.wait_seconds)
    if said.outcome == "key":
        raise refusals.no_key()
    if said.outcome != "admit" and said.verdict is not None:
        if said.outcome == "wait":
            raise refusals.no_room(said.verdict)
        door.tell("hard", grant.run_id, said.verdict)
        hall.metrics.refused(said.verdict.rule_id)
        raise refusals.over_budget(said.verdict, hall.clock.now())
    with hall.metrics.in_flight.track_inprogress():
        try:
            return await _exchange(hall, door, visit, upstream, asked, ticket)
        finally:
            ticket.settle()


async def _exchange(
    hall: Hall, door: Door, visit: Visit, upstream: Upstream, asked: Asked, ticket: Ticket
) -> web.StreamResponse:
    """Out to the service and back."""
    try:
        async with sent(hall, visit, upstream, upstream.url(visit.dialect), "POST", asked.body) as answer:
            if not 200 <= answer.status < 300:
                ticket.is_free, ticket.status = answer.status not in TIMED_OUT, answer.status
                # One that is too long counts by its status alone: cut, it might end in the first half of a key.
                said = await whole(answer.content, LONGEST_ERROR) or b""
                if asked.body == asked.as_wanted or answer.status not in (400, 422) or not _NO_USAGE.search(said):
                    return _failed(hall, door, visit, upstream, answer, said, ticket)
                ticket.is_free, ticket.status = False, CLIENT_GONE
                plain = replace(asked, body=asked.as_wanted)
                return await _exchange(hall, door, visit, upstream, plain, ticket)
            # Some servers name a stream text/plain, or nothing at all; and some answer with JSON, whatever was asked.
            is_stream = asked.is_stream and answer.content_type != "application/json"
            is_stream = is_stream or answer.content_type == "text/event-stream"
            ticket.tee = Tee(visit.dialect, is_stream=is_stream)
            return await _passed_on(visit, upstream, answer, ticket)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        ticket.is_free = True
        raise _told(hall, door, visit, refusals.unreachable(upstream, error), upstream, ticket) from None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _told(hall, door, visit, refusals.unreachable(upstream, error), upstream, ticket) from None


async def _passed_on(
    visit: Visit, upstream: Upstream, answer: aiohttp.ClientResponse, ticket: Ticket
) -> web.StreamResponse:
    """The answer's bytes, unchanged. The call is settled before the client reads the last of them."""
    headers = incoming(answer.headers, upstream.secrets())
    headers.update(visit.headers())
    headers.setdefault("x-request-id", visit.request_id)
    tee = ticket.tee
    assert tee is not None
    length = answer.content_length
    if length is not None and length <= AT_ONCE_BYTES and answer.content_type != "text/event-stream":
        body = await answer.read()
        tee.feed(body)
        ticket.status, ticket.is_whole = answer.status, True
        ticket.settle()
        return web.Response(status=answer.status, headers=headers, body=body)
    response = web.StreamResponse(status=answer.status, headers=headers)
    if length is not None:
        response.content_length = length
    try:
        await response.prepare(visit.request)
        while True:
            try:
                piece = await answer.content.readany()
            except (aiohttp.ClientError, TimeoutError):
                # The client must see that something is missing.
                ticket.status = 502
                _cut(visit.request)
                return response
            if not piece:
                break
            tee.feed(piece)
            await response.write(piece)
        ticket.status, ticket.is_whole = answer.status, True
        ticket.settle()
        await response.write_eof()
    except ConnectionError:  # aiohttp has one for both sides; here it is the client that is gone
        _cut(visit.request)
    return response


def _failed(
    hall: Hall,
    door: Door,
    visit: Visit,
    upstream: Upstream,
    answer: aiohttp.ClientResponse,
    body: bytes,
    ticket: Ticket,
) -> web.Response:
    """An error of the service: as one of the gateway's own, or passed on when it is about the request."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    trouble = refusals.trouble_of(upstream, answer.status, headers, body, hall.clock.now())
    passed = incoming(answer.headers, upstream.secrets())
    if trouble is not None:
        ids = {name: value for name, value in passed.items() if name.lower() in ("x-request-id", "request-id")}
        refused = _told(hall, door, visit, trouble, upstream, ticket)
        refused.headers = {**ids, **refused.headers}
        raise refused
    passed.update(visit.headers(retryable=False))
    passed.setdefault("x-request-id", visit.request_id)
    ticket.settle()
    return web.Response(status=answer.status, headers=passed, body=without(body, hall.upstreams.secrets()))


def _told(
    hall: Hall, door: Door, visit: Visit, trouble: Trouble, upstream: Upstream, ticket: Ticket | None = None
) -> Refused:
    """Tell the owner, and return what the client is told."""
    if ticket is not None:
        ticket.status = trouble.refused.status
        ticket.settle()
    hall.metrics.trouble(upstream.name, trouble.verdict.rule_id)
    door.tell(trouble.kind, visit.granted.run_id, trouble.verdict)
    return trouble.refused


def _speaks_anthropic(request: web.BaseRequest) -> bool:
    return request.path == COUNT_TOKENS or "anthropic-version" in request.headers


def _error(visit: Visit, refused: Refused) -> web.Response:
    headers: Mapping[str, str] = {
        "x-request-id": visit.request_id,
        **visit.headers(retryable=refused.is_retryable),
        **refused.headers,
    }
    body = error_body(visit.dialect, refused.status, refused.code, refused.message)
    return web.json_response(body, status=refused.status, headers=headers)


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
