"""Answers of the API: JSON, and one envelope for every error: {"error": {"code", "message"}}."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from agentd.errors import AgentdError, ConfigurationError, StoreError
from agentd.web.source import NotHere

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_log = logging.getLogger("agentd.web")


def answer(value: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.json_response(value, status=status)


def refuse(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error in the envelope."""
    return web.json_response({"error": {"code": code, "message": message}}, status=status, headers=headers)


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error becomes an answer in the envelope; one that nobody foresaw shows nothing of itself."""
    try:
        return await handler(request)
    except NotHere as error:
        return refuse(404, "not_found", str(error))
    except ConfigurationError as error:
        return refuse(409, "refused", str(error))
    except StoreError as error:
        return refuse(503, "store", str(error))
    except AgentdError as error:
        return refuse(500, "failed", str(error))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return refuse(405, "method_not_allowed", f"takes {allowed}", {"Allow": allowed})
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return refuse(error.status, (error.reason or "error").lower().replace(" ", "_"), error.reason or "error")
    except (ConnectionResetError, TimeoutError):
        raise
    except Exception:
        _log.exception("%s %s", request.method, request.path)
        return refuse(500, "internal", "an error that nobody foresaw; it stands in the log")
