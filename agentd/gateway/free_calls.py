"""What costs nothing: counting tokens, and which models there are."""

from __future__ import annotations

from typing import Any

import aiohttp
from aiohttp import web

from agentd.gateway import refusals
from agentd.gateway.dialects import BadRequest, model_of, parse_object
from agentd.gateway.doors import Hall
from agentd.gateway.headers import incoming, without
from agentd.gateway.refusals import Refused
from agentd.gateway.upstreams import Upstream
from agentd.gateway.visits import Visit, require_model, sent, upstream_for, whole

LONGEST_ANSWER = 4 * 1024 * 1024
"""Bytes that an answer may have."""


async def count_tokens(hall: Hall, visit: Visit, raw: bytes) -> web.StreamResponse:
    """Anthropic's counting of tokens is free, and passed through."""
    visit.dialect = "messages"
    try:
        model = model_of(parse_object(raw))
    except BadRequest as problem:
        raise Refused(400, "invalid_request", f"agentd gateway: {problem}") from None
    require_model(visit.granted, model)
    upstream = upstream_for(hall, "messages", model)
    return await _free(hall, visit, upstream, upstream.url("messages", "/messages/count_tokens"), "POST", raw)


async def models(hall: Hall, visit: Visit) -> web.StreamResponse:
    """The models that the run may name, or the service's own list."""
    grant = visit.granted
    if grant.models:
        rows: list[dict[str, Any]]
        if visit.dialect == "messages":
            rows = [{"type": "model", "id": name, "display_name": name} for name in grant.models]
        else:
            rows = [{"id": name, "object": "model", "created": 0, "owned_by": "agentd"} for name in grant.models]
        body = {"object": "list", "data": rows, "has_more": False}
        return web.json_response(body, headers=visit.headers())
    dialect = visit.dialect
    upstream = hall.upstreams.of(dialect, None) or hall.upstreams.of("responses", None)
    if upstream is None:
        raise Refused(404, "no_upstream", f"agentd gateway: no service speaks {dialect}")
    return await _free(hall, visit, upstream, upstream.url(dialect, "/models"), "GET", None)


async def _free(
    hall: Hall, visit: Visit, upstream: Upstream, url: str, method: str, body: bytes | None
) -> web.StreamResponse:
    """A call that costs nothing."""
    try:
        async with sent(hall, visit, upstream, url, method, body) as answer:
            found = await whole(answer.content, LONGEST_ANSWER)
            if found is None:
                said = f"agentd gateway: the answer of {upstream.name} has more than {LONGEST_ANSWER} bytes"
                raise Refused(502, "provider_error", said)
            if answer.status != 200:
                headers = {name.lower(): value for name, value in answer.headers.items()}
                trouble = refusals.trouble_of(upstream, answer.status, headers, found, hall.clock.now())
                if trouble is not None:
                    hall.metrics.trouble(upstream.name, trouble.verdict.rule_id)
                    raise trouble.refused
                found = without(found, hall.upstreams.secrets())
            headers_back = incoming(answer.headers, upstream.secrets())
            headers_back.update(visit.headers())
            return web.Response(status=answer.status, headers=headers_back, body=found)
    except (aiohttp.ClientError, TimeoutError) as error:
        trouble = refusals.unreachable(upstream, error)
        hall.metrics.trouble(upstream.name, trouble.verdict.rule_id)
        raise trouble.refused from None
