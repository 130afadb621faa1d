"""Bounded retry: how often, how long, and always the same for one seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agentd.policy.retry import RetryRules, backoff_ms, is_retryable, outcome_of, wait_seconds

RULES = RetryRules(max_retries=3, backoff_base_ms=100, backoff_cap_ms=2000)


@given(st.integers(0, 20), st.integers(1, 10_000), st.integers(1, 100_000), st.integers(1, 200), st.text(max_size=8))
def test_a_wait_doubles_up_to_the_cap_and_is_a_fifth_more_or_less(
    retries: int, base: int, cap: int, attempt: int, seed: str
) -> None:
    rules = RetryRules(max_retries=retries, backoff_base_ms=base, backoff_cap_ms=cap)
    plain = min(base * 2 ** (attempt - 1), cap)
    wait = backoff_ms(rules, attempt, seed)
    assert isinstance(wait, int) and wait >= 0 and plain * 0.8 - 1 <= wait <= plain * 1.2 + 1
    assert wait == backoff_ms(rules, attempt, seed)


def test_the_jitter_depends_on_the_seed_and_the_attempt() -> None:
    waits = [backoff_ms(RULES.model_copy(update={"backoff_cap_ms": 100}), attempt, "0") for attempt in range(1, 40)]
    assert len(set(waits)) > 20 and min(waits) < 90 and max(waits) > 110
    assert [backoff_ms(RULES, 1, seed) for seed in "abcdef"] != [backoff_ms(RULES, 1, "a")] * 6


def test_tries_are_one_more_than_retries() -> None:
    assert [outcome_of(RULES, attempt, failed=True) for attempt in (1, 2, 3, 4)] == [
        *("transient_failure", "transient_failure", "transient_failure", "exhausted"),
    ]
    assert outcome_of(RULES, 4, failed=False) == "success"
    assert wait_seconds(RULES, 4, "s", None) is None
    assert wait_seconds(RULES, 4, "s", 7.0) is None
    assert wait_seconds(RetryRules(max_retries=0), 1, "s", None) is None


def test_what_the_other_side_asks_for_is_waited() -> None:
    assert wait_seconds(RULES, 1, "s", 7.5) == 7.5
    assert wait_seconds(RULES, 1, "s", -3.0) == 0.0
    assert wait_seconds(RULES, 1, "s", None) == backoff_ms(RULES, 1, "s") / 1000


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (OSError("x"), True),
        (TimeoutError(), True),
        (KeyboardInterrupt(), False),
        (SystemExit(1), False),
        (MemoryError(), False),
        (BaseException(), False),
        (GeneratorExit(), False),
    ],
)
def test_what_ends_the_program_is_not_tried_again(error: BaseException, retryable: bool) -> None:
    assert is_retryable(error) is retryable


@pytest.mark.parametrize("values", [{"max_retries": -1}, {"backoff_base_ms": 0}, {"backoff_cap_ms": 0}])
def test_settings_that_cannot_be(values: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        RetryRules(**values)
