"""Figures for Prometheus, in a registry of the gateway's own. Names of models come from outside and are left out."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from agentd.gateway.usage import Usage
from agentd.policy.budget_settings import NANO

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of one gateway since its start."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._children: dict[tuple[Any, tuple[str, ...]], Any] = {}
        known: dict[str, Any] = {"registry": self._registry}
        self.in_flight = Gauge("agentd_gateway_in_flight", "Calls on their way to a model.", **known)
        self._calls = Counter(
            "agentd_gateway_calls",
            "Calls that went to a model.",
            ["dialect", "upstream", "status", "estimated"],
            **known,
        )
        self._tokens = Counter("agentd_gateway_tokens", "Tokens used.", ["dialect", "upstream", "kind"], **known)
        self._usd = Counter(
            "agentd_gateway_cost_usd", "US dollars, of calls with a known price.", ["upstream"], **known
        )
        self._refusals = Counter("agentd_gateway_refusals", "Calls that were refused here.", ["rule"], **known)
        self._errors = Counter(
            "agentd_gateway_upstream_errors", "Errors of model services.", ["upstream", "rule"], **known
        )
        self._seconds = Histogram(
            "agentd_gateway_call_seconds", "From admission to the answer's end.", ["dialect"], buckets=_SECONDS, **known
        )

    def refused(self, rule: str) -> None:
        """Count a call that never went out."""
        self._refusals.labels(rule).inc()

    def trouble(self, upstream: str, rule: str) -> None:
        """Count an error of a service."""
        self._errors.labels(upstream, rule).inc()

    def settled(
        self,
        dialect: str,
        upstream: str,
        status: int,
        usage: Usage,
        nano_usd: int | None,
        seconds: float,
        *,
        estimated: bool,
    ) -> None:
        """Count a call that went out."""
        calls = self._child(self._calls, dialect, upstream, str(status), str(estimated).lower())
        calls.inc()
        kinds = (
            ("input", usage.input),
            ("output", usage.output),
            ("cached", usage.cached),
            ("reasoning", usage.reasoning),
        )
        for kind, count in kinds:
            if count:
                self._child(self._tokens, dialect, upstream, kind).inc(count)
        if nano_usd:
            self._child(self._usd, upstream).inc(nano_usd / NANO)
        self._child(self._seconds, dialect).observe(seconds)

    def _child(self, family: Any, *labels: str) -> Any:
        """The metric with these labels; finding it anew would take a good part of a call's time."""
        found = self._children.get((family, labels))
        if found is None:
            found = self._children[family, labels] = family.labels(*labels)
        return found

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
