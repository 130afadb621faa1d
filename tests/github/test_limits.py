from datetime import UTC, datetime, timedelta

import pytest

from agentd.github.limits import RateState, limit_kind, rate_of, reserve_reached, retry_at

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DATE = "Sun, 01 Mar 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("status", "headers", "message", "kind"),
    [
        (403, {"x-ratelimit-remaining": "0"}, "API rate limit exceeded for user ID 1.", "primary"),
        (429, {"x-ratelimit-remaining": "0"}, "", "primary"),
        (403, {"x-ratelimit-remaining": "4000"}, "You have exceeded a secondary rate limit.", "secondary"),
        (403, {"x-ratelimit-remaining": "0"}, "You have exceeded a secondary rate limit.", "secondary"),
        (403, {"retry-after": "7"}, "slow down", "secondary"),
        (429, {}, "", "secondary"),
        (403, {}, "API rate limit exceeded", "primary"),
        (403, {"x-ratelimit-remaining": "17"}, "Resource not accessible by personal access token", None),
        (422, {"retry-after": "7"}, "", None),
    ],
)
def test_the_kind_of_limit(status: int, headers: dict[str, str], message: str, kind: str | None) -> None:
    assert limit_kind(status, headers, message) == kind


@pytest.mark.parametrize(
    ("kind", "headers", "seconds"),
    [
        ("secondary", {"retry-after": "7"}, 7),
        ("secondary", {"retry-after": "-7"}, 0),
        ("secondary", {"retry-after": "soon"}, 60),
        ("secondary", {"retry-after": "1e999"}, 60),
        ("secondary", {}, 60),
        ("secondary", {"retry-after": "Sun, 01 Mar 2026 12:00:30 GMT", "date": DATE}, 30),
        ("primary", {"x-ratelimit-reset": str(int(NOW.timestamp()) + 900)}, 900),
        ("primary", {"x-ratelimit-reset": "later"}, 60),
        ("primary", {}, 60),
    ],
)
def test_when_to_go_on(kind: str, headers: dict[str, str], seconds: int) -> None:
    assert retry_at(kind, headers, NOW) == NOW + timedelta(seconds=seconds)  # type: ignore[arg-type]


def test_a_wrong_local_clock_still_waits_the_right_time() -> None:
    headers = {"x-ratelimit-reset": str(int(NOW.timestamp()) + 900), "date": DATE}
    wrong = NOW + timedelta(hours=5)
    assert retry_at("primary", headers, wrong) == wrong + timedelta(seconds=900)


def test_the_quota_is_read_from_the_headers_of_rest_answers_only() -> None:
    headers = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4990.0", "x-ratelimit-reset": "0"}
    state = rate_of(headers, NOW)
    assert state is not None and (state.limit, state.remaining, state.used) == (5000, 4990, 10)
    assert rate_of({**headers, "x-ratelimit-resource": "graphql"}, NOW) is None
    assert rate_of({}, NOW) is None


@pytest.mark.parametrize(
    ("limit", "remaining", "reset_in", "reached"),
    [(5000, 99, 60, True), (5000, 100, 60, False), (5000, 0, -1, False), (60, 6, 60, False), (60, 5, 60, True)],
)
def test_the_reserve(limit: int, remaining: int, reset_in: int, reached: bool) -> None:
    state = RateState(limit, remaining, NOW + timedelta(seconds=reset_in), limit - remaining)
    assert reserve_reached(state, 100, NOW) is reached
    assert not reserve_reached(None, 100, NOW)
