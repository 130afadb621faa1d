"""The ways in which GitHub says no, with its bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DOCS = "https://docs.github.com/rest"
BODY_LIMIT = 65536


class Refused(Exception):
    """Ends a request with an error answer."""

    def __init__(
        self, status: int, message: str, errors: list[Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body: dict[str, Any] = {"message": message}
        if errors is not None:
            self.body["errors"] = errors
        self.body["documentation_url"] = DOCS
        self.body["status"] = str(status)


def not_found() -> Refused:
    return Refused(404, "Not Found")


def moved(address: str, method: str) -> Refused:
    """What was asked for has another address now; only a read may be repeated there as another kind of request."""
    refused = Refused(301 if method in ("GET", "HEAD") else 307, "Moved Permanently", headers={"Location": address})
    refused.body["url"] = address
    return refused


def no_access() -> Refused:
    """A visible repository, but the role or the token's permissions do not reach."""
    return Refused(403, "Resource not accessible by personal access token")


def invalid(resource: str, field: str, code: str = "invalid", **extra: Any) -> Refused:
    """422 as for a field with a bad value; `code` is one of missing, missing_field, invalid, already_exists, custom."""
    return Refused(422, "Validation Failed", [{"resource": resource, "code": code, "field": field, **extra}])


def custom(resource: str, message: str, field: str | None = None) -> Refused:
    """422 with a sentence, as pull requests have it."""
    error = {"resource": resource, "code": "custom", "message": message}
    return Refused(422, "Validation Failed", [error | ({"field": field} if field else {})])


def check_body(resource: str, body: str | None) -> None:
    """Refuses a text that is longer than GitHub stores."""
    if body is not None and len(body) > BODY_LIMIT:
        raise custom(resource, f"body is too long (maximum is {BODY_LIMIT} characters)", "body")
