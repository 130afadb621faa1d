"""What tokens cost, in billionths of a dollar. The list is `genai-prices`, which ships with its data; settings win.

The list charges all tokens of a call by the tier that its input reaches. Asking it takes a good part of a millisecond,
so its rates are asked for once a tier and a minute: some services change prices with the time of day.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from agentd.config_tables import Price
from agentd.gateway.usage import Usage
from agentd.policy.budget_settings import NANO

KEPT_SECONDS = 60.0
_MILLION = 1_000_000


@dataclass(frozen=True)
class Rates:
    """US dollars for one token, and for one search of the web."""

    input: Decimal
    output: Decimal
    cached: Decimal
    cache_write: Decimal
    hour_write: Decimal
    search: Decimal = Decimal()

    def cost(self, usage: Usage) -> int:
        """The price of a call in billionths of a dollar, rounded up."""
        fresh = usage.input - usage.cached - usage.cache_write
        usd = fresh * self.input + usage.cached * self.cached
        usd += (usage.cache_write - usage.hour_write) * self.cache_write + usage.hour_write * self.hour_write
        usd += usage.output * self.output + usage.searches * self.search
        return -int(-usd * NANO // 1)


class Prices:
    """The price list. Reading it for the first time takes about a second and 30 MB; `load` does that."""

    def __init__(self, own: Mapping[str, Price], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._own = own
        self._monotonic = monotonic
        self._tiers: dict[str, tuple[float, tuple[int, ...] | None]] = {}
        self._rates: dict[tuple[str, int], Rates] = {}

    def load(self) -> None:
        """Read the list now, so that no call waits for it."""
        _look_up("claude-sonnet-4-5", Usage(1))

    def cost(self, model: str, usage: Usage) -> int | None:
        """The price of a call in billionths of a dollar, rounded up; None for a model that nobody has a price for."""
        rates = self._own_rates(model) or self._listed(model, usage.input)
        if rates is None:
            return None
        beside = ((self.cost(name or model, each), each) for name, each in usage.beside)
        return rates.cost(usage) + sum(rates.cost(each) if cost is None else cost for cost, each in beside)

    def most(self, model: str, input_tokens: int, output_tokens: int) -> int | None:
        """The most that so many tokens may cost: all input may be put into a cache, which some services charge more."""
        plain = self.cost(model, Usage(input_tokens, output_tokens))
        written = self.cost(
            model, Usage(input_tokens, output_tokens, cache_write=input_tokens, hour_write=input_tokens)
        )
        return None if plain is None or written is None else max(plain, written)

    def _own_rates(self, model: str) -> Rates | None:
        found = self._own.get(model)
        if found is None:
            fitting = [name for name in self._own if fnmatchcase(model, name)]
            found = self._own[max(fitting, key=len)] if fitting else None
        if found is None:
            return None
        others = (found.cached, found.cache_write, found.cache_write)
        per_million = (found.input, found.output, *(found.input if rate is None else rate for rate in others))
        return Rates(*(Decimal(str(rate)) / _MILLION for rate in per_million))

    def _listed(self, model: str, input_tokens: int) -> Rates | None:
        asked_at, tiers = self._tiers.get(model, (-KEPT_SECONDS, None))
        if self._monotonic() - asked_at >= KEPT_SECONDS:
            for tier in range(len(tiers or ()) + 1):
                self._rates.pop((model, tier), None)
            tiers = _tiers(model)
            if len(self._tiers) > 1000:  # names come from outside
                self._tiers.clear()
                self._rates.clear()
            self._tiers[model] = (self._monotonic(), tiers)
        if tiers is None:
            return None
        tier = bisect.bisect_left(tiers, input_tokens)
        if (model, tier) not in self._rates:
            self._rates[model, tier] = _rates(model, tiers[tier - 1] + 1 if tier else 1)
        return self._rates[model, tier]


def _tiers(model: str) -> tuple[int, ...] | None:
    """Numbers of input tokens above which another tier begins; None for an unknown model."""
    found = _look_up(model, Usage(1))
    if found is None:
        return None
    listed = (getattr(price, "tiers", ()) for price in vars(found.model_price).values())
    return tuple(sorted({tier.start for tiers in listed for tier in tiers}))


def _rates(model: str, input_tokens: int) -> Rates:
    def price(usage: Usage) -> Decimal:
        found = _look_up(model, usage)
        assert found is not None
        return Decimal(found.total_price)

    plain = price(Usage(input_tokens))
    return Rates(
        input=plain / input_tokens,
        output=(price(Usage(input_tokens, _MILLION)) - plain) / _MILLION,
        cached=price(Usage(input_tokens, cached=input_tokens)) / input_tokens,
        cache_write=price(Usage(input_tokens, cache_write=input_tokens)) / input_tokens,
        hour_write=price(Usage(input_tokens, cache_write=input_tokens, hour_write=input_tokens)) / input_tokens,
        search=price(Usage(input_tokens, searches=1)) - plain,
    )


def _look_up(model: str, usage: Usage) -> Any:
    """What the list says; None for a model that it does not know."""
    import genai_prices  # dear, and of no use to commands that only read

    counts = {
        "cache_read_tokens": usage.cached,
        "cache_write_tokens": usage.cache_write,
        "cache_write_1h_tokens": usage.hour_write,
        "web_searches": usage.searches,
    }
    given = {name: count for name, count in counts.items() if count}
    asked = genai_prices.Usage(input_tokens=usage.input, output_tokens=usage.output, **given)
    try:
        return genai_prices.calc_price(asked, model)
    except (LookupError, ValueError):
        return None
