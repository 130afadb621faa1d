"""Prices: exactly those of the list, at every tier, and those of the settings before them."""

from __future__ import annotations

from decimal import Decimal

import genai_prices
import pytest

from agentd.config_tables import Price
from agentd.gateway.prices import Prices
from agentd.gateway.usage import Usage

MODELS = ("claude-sonnet-4-5", "gpt-5", "gpt-5-mini", "gemini-2.5-pro", "claude-opus-4-1", "o3")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "size", [1, 999, 127_999, 128_001, 199_999, 200_000, 200_001, 271_999, 272_000, 272_001, 900_000]
)
def test_a_call_costs_what_the_list_says(model: str, size: int) -> None:
    usage = Usage(size, 777, cached=size // 3, cache_write=size // 7)
    asked = genai_prices.Usage(
        input_tokens=size, output_tokens=777, cache_read_tokens=size // 3, cache_write_tokens=size // 7
    )
    wanted = genai_prices.calc_price(asked, model).total_price * 1_000_000_000
    found = Prices({}).cost(model, usage)
    assert found is not None
    assert 0 <= Decimal(found) - wanted < 2


@pytest.mark.parametrize("model", MODELS)
def test_what_stays_in_a_cache_for_an_hour_costs_what_the_list_says(model: str) -> None:
    usage = Usage(1000, 0, cache_write=700, hour_write=400)
    asked = genai_prices.Usage(input_tokens=1000, output_tokens=0, cache_write_tokens=700, cache_write_1h_tokens=400)
    prices = Prices({})
    found = prices.cost(model, usage)
    assert found == genai_prices.calc_price(asked, model).total_price * 1_000_000_000
    # Nobody knows before how long it will stay: as much is reserved as it may cost.
    assert (prices.most(model, 1000, 0) or 0) >= found


def test_a_search_of_the_web_costs_what_the_list_says() -> None:
    prices = Prices({})
    for model in MODELS:
        asked = genai_prices.Usage(input_tokens=1000, output_tokens=0, web_searches=3)
        wanted = genai_prices.calc_price(asked, model).total_price * 1_000_000_000
        assert prices.cost(model, Usage(1000, 0, searches=3)) == wanted
    assert (prices.cost("claude-sonnet-4-5", Usage(1000, searches=3)) or 0) > 30_000_000


def test_an_unknown_model_has_no_price() -> None:
    prices = Prices({})
    assert prices.cost("practice", Usage(1, 1)) is None
    assert prices.most("practice", 1, 1) is None


def test_the_settings_win_by_name_then_by_the_longest_pattern() -> None:
    own = {
        "gpt-*": Price(input=1, output=2),
        "gpt-5*": Price(input=10, output=20, cached=5, cache_write=30),
        "gpt-5": Price(input=0, output=0),
    }
    prices = Prices(own)
    assert prices.cost("gpt-5", Usage(1000, 1000)) == 0
    assert prices.cost("gpt-4x", Usage(1_000_000, 1_000_000, cached=500_000)) == 3_000_000_000
    assert prices.cost("gpt-5-x", Usage(4, 1, cached=1, cache_write=1)) == 2 * 10_000 + 5_000 + 30_000 + 20_000
    assert prices.most("gpt-5-x", 10, 1) == 320_000


def test_prices_are_asked_for_again_after_a_minute() -> None:
    now = [0.0]
    prices = Prices({}, lambda: now[0])
    first = prices.cost("gpt-5", Usage(10, 10))
    prices._rates.clear()
    prices._rates["gpt-5", 0] = prices._listed("gpt-5", 10) or pytest.fail("no price")
    object.__setattr__(prices._rates["gpt-5", 0], "input", Decimal(1))
    assert prices.cost("gpt-5", Usage(10, 10)) != first
    now[0] = 61
    assert prices.cost("gpt-5", Usage(10, 10)) == first
