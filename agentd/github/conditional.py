"""Conditional GET: a list that did not change is answered 304 and costs nothing of the quota.

PyGithub sends If-None-Match only for single objects, never for lists. Source:
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#use-conditional-requests-if-appropriate
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from requests.utils import parse_header_links

from agentd.errors import GitHubError
from agentd.github.client import GitHub
from agentd.github.limits import server_time
from agentd.model import canonical_json

PER_PAGE = 100
DEFAULT_PER_PAGE = "30"
"""What GitHub takes when the address does not say."""


@dataclass(frozen=True)
class Page:
    """One page: the JSON, the address of the next page as GitHub gave it, and whether it is new to the cache."""

    data: Any
    next: str | None
    changed: bool
    answered_at: datetime
    """by GitHub's clock"""


def conditional(gh: GitHub, path: str, params: Mapping[str, Any] | None = None, slot: str | None = None) -> Page:
    """One GET with the ETag that the cache has for it.

    `slot` names the place in the cache when the parameters change from call to call (`since=`), so that it does not
    grow. Raises GitHubError.
    """
    address = f"{path}?{urlencode(sorted(params.items()))}" if params else path
    key = f"{gh.api_url} {slot or address}"
    etag, data, following = _kept(gh, key, address)
    if following is None and _is_full(data, address):
        # What has come since stands on a page that this one does not name: its ETag is that of its body alone.
        etag = ""
    answer = gh.request("GET", path, params, headers={"If-None-Match": etag} if etag else None)
    now = server_time(answer.headers, gh.clock())
    if answer.status == 304:
        if not etag:
            raise GitHubError(f"GET {address}: 304 without a condition", 304)
        return Page(data, following, False, now)
    following = _next(answer.headers.get("link", ""))
    new_etag = answer.headers.get("etag")
    if new_etag:
        gh.cache.put(key, new_etag, canonical_json({"address": address, "data": answer.data, "next": following}))
    return Page(answer.data, following, True, now)


def pages(gh: GitHub, path: str, params: Mapping[str, Any] | None = None) -> Iterator[Page]:
    """All pages of a list, 100 a page. Follows Link as given: GitHub writes /repositories/{id}/..., not our path."""
    page = conditional(gh, path, {**(params or {}), "per_page": PER_PAGE})
    seen = set[str]()
    yield page
    while page.next is not None:
        if page.next in seen:
            raise GitHubError(f"GET {path}: the pages go round in a circle at {page.next}")
        seen.add(page.next)
        page = conditional(gh, page.next)
        yield page


def _kept(gh: GitHub, key: str, address: str) -> tuple[str, Any, str | None]:
    """(etag, data, next) from the cache; an empty etag when there is nothing usable under the key."""
    found = gh.cache.get(key)
    if found is None:
        return "", None, None
    try:
        body = json.loads(found[1])
        return (found[0], body["data"], body["next"]) if body["address"] == address else ("", None, None)
    except (ValueError, KeyError, TypeError):
        return "", None, None


def _is_full(data: Any, address: str) -> bool:
    """Whether a page has no room for another entry."""
    most = parse_qs(urlsplit(address).query).get("per_page", [DEFAULT_PER_PAGE])[0]
    return isinstance(data, list) and len(data) >= int(most)


def _next(link: str) -> str | None:
    """The address with rel="next" in a Link header (RFC 8288)."""
    return next((item["url"] for item in parse_header_links(link) if item.get("rel") == "next"), None)
