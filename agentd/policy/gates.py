"""The gates of a tool call: the rules of the policy document in their one order. Pure; the first that objects decides.

What a gate is told of files and meters was looked up before: a path comes with where it really leads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from agentd.model import Decision, Verdict, canonical_json

Need = Literal["read", "write", "execute", "network"]
Tier = Literal["T0", "T1", "T2", "T3", "T4"]
MAY: Mapping[Tier, frozenset[Need]] = MappingProxyType(
    {
        "T0": frozenset({"read"}),
        "T1": frozenset({"read"}),
        "T2": frozenset({"read", "write", "execute", "network"}),
        "T3": frozenset({"read", "write", "execute", "network"}),
        "T4": frozenset({"read", "write", "execute", "network"}),
    }
)
"""What tools of each tier may do within the sandbox. The first two only look and reason."""
ENDS_RUN: Mapping[str, bool] = MappingProxyType(
    {
        "kill_switch": False,
        "revoked": False,
        "tool_registry": False,
        "tier": False,
        "arg_schema": False,
        "sandbox_path": False,
        "url_allowlist": False,
        "command_policy": False,
        "cycle_detection": True,
        "loop_budget": True,
    }
)
"""Which denials end a run. The others are told to the agent, which may go on another way; a run that is killed or
revoked is being ended by whoever did that."""


class ToolCall(NamedTuple):
    """A tool call that an agent wants to make."""

    tool: str
    arguments: Any
    needs: Need = "read"
    writes: tuple[tuple[str, str], ...] = ()
    """paths that it would write: as named, and where each really leads"""
    reads: tuple[tuple[str, str], ...] = ()
    url: str = ""
    unreadable: str = ""
    """what of the arguments is not of the kind that a tool of this name has; then nothing above was found in them"""


class RunMeters(NamedTuple):
    """What is known of the run at the time of a call."""

    killed: str = ""
    """why the run is being ended; empty while it is wanted"""
    revoked: str = ""
    """why it may not act any more"""
    repeats: int = 0
    """calls of the same tool with the same arguments before this one"""
    iterations: int = 0
    """model calls"""
    tokens: int = 0
    cost_usd: float = 0.0
    wall_seconds: float = 0.0


class Limit(NamedTuple):
    """A limit of the loop budget; 0 is none."""

    kind: Literal["iterations", "tokens", "cost", "wall"]
    limit: float


@dataclass(frozen=True)
class Gates:
    """What the gates of one run go by, made of the policy document and the profile."""

    version: str
    """sha256 of the policy document"""
    allowed: frozenset[str] | None = None
    """None: every tool that is not denied"""
    denied: frozenset[str] = frozenset()
    tier: Tier = "T2"
    schemas: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)
    """by tool, what its arguments are checked by: the complaint, empty for none"""
    roots: tuple[str, ...] = ()
    """folders that may be written"""
    read_roots: tuple[str, ...] = ()
    """folders that may be read; empty for all"""
    hosts: frozenset[str] = frozenset()
    """in lower case; `*.name` stands for everything below it"""
    max_repeats: int = 0
    limits: tuple[Limit, ...] = ()


def evaluate(gates: Gates, call: ToolCall, meters: RunMeters, scope: str) -> Verdict | None:
    """The first objection as a Verdict about `scope`; None when the call may be made."""
    for rule_id, gate in GATES:
        found = gate(gates, call, meters)
        if found is not None:
            return _verdict(rule_id, found, gates, scope)
    return None


def over_budget(gates: Gates, meters: RunMeters, scope: str) -> Verdict | None:
    """The loop budget alone, for a run that calls no tools."""
    found = _loop_budget(gates, None, meters)
    return _verdict("loop_budget", found, gates, scope) if found else None


def repeat_key(call: ToolCall) -> str:
    """What calls are the same by: the sha256 of the tool and its arguments, in any order of their keys."""
    return hashlib.sha256(canonical_json([call.tool, call.arguments]).encode(errors="surrogatepass")).hexdigest()


class Objection(NamedTuple):
    """What a gate has against a call."""

    observed: str
    action: str
    limit: str = ""
    evidence: tuple[str, ...] = ()


def _verdict(rule_id: str, found: Objection, gates: Gates, scope: str) -> Verdict:
    return Verdict(
        control="policy",
        rule_id=rule_id,
        decision=Decision.halt if ENDS_RUN[rule_id] else Decision.deny,
        scope=scope,
        observed=found.observed,
        limit=found.limit,
        action=found.action,
        evidence=(*found.evidence, f"policy={gates.version[:12]}"),
    )


def _kill_switch(gates: Gates, call: ToolCall, meters: RunMeters) -> Objection | None:
    return Objection(f"the run is being ended: {meters.killed}", "stop") if meters.killed else None


def _revoked(gates: Gates, call: ToolCall, meters: RunMeters) -> Objection | None:
    return Objection(f"the run may not act any more: {meters.revoked}", "stop") if meters.revoked else None


def _tool_registry(gates: Gates, call: ToolCall, meters: RunMeters) -> Objection | None:
    if call.tool in gates.denied:
        match, said = "denied", f"the tool {call.tool!r} is denied"
    elif gates.allowed is not None and call.tool not in gates.allowed:
        match, said = "not_in_allowlist", f"the tool {call.tool!r} is not an allowed one"
    else:
        return None
    offer = f"use one of: {', '.join(sorted(gates.allowed))}" if gates.allowed else "use another tool"
    return Objection(said, offer, evidence=(f"requested_tool={call.tool}", f"registry_match={match}"))


def _tier(gates: Gates, call: ToolCall, meters: RunMeters) -> Objection | None:
    if call.needs in MAY[gates.tier]:
        return None
    said = f"the tool {call.tool!r} would {call.needs}, which tier {gates.tier} may not"
    return Objection(said, "only read, and say what should be done", gates.tier, (f"tool={call.tool}",))


def _arg_schema(gates: Gates, call: ToolCall, meters: RunMeters) -> Objection | None:
    schema = gates.schemas.get(call.tool)
    complaint = schema(call.arguments) if schema is not None else ""
    if not complaint:
        return None
    return Objection(f"the arguments of {call.tool!r} do not fit: {complaint}", "mend them", "", (f"tool={call.tool}",))


def _sandbox_path(gates: Gates, call: ToolCall, meters: RunMeters) -> Objection | None:
    for paths, roots, what in ((call.writes, gates.roots, "written"), (call.reads, gates.read_roots, "read")):
        for named, real in paths if roots else ():
            if not any(real == root or real.startswith(f"{root.rstrip('/')}/") for root in roots):
                leads = f"{named} leads to {real}, which" if real != named else named
                where = ", ".join(roots)
                return Objection(
                    f"{leads} is outside {roots[0]}; only files in {where} may be {what}",
                    "stay inside",
                    where,
                    (f"tool={call.tool}", f"target_path={named}", f"resolved_path={real}"),
                )
    return None


def _url_allowlist(gates: Gates, call: ToolCall, meters: RunMeters) -> Objection | None:
    if not call.url:
        return None
    host, trouble = _host(call.url)
    if not trouble and (host in gates.hosts or any(f"*.{parent}" in gates.hosts for parent in _parents(host))):
        return None
    offer = ", ".join(sorted(gates.hosts)) or "no host at all"
    said = trouble or f"the host {host!r} is not on the list"
    evidence = (f"tool={call.tool}", f"url={call.url}", f"host={host}")
    return Objection(said, f"allowed: {offer}", offer, evidence)


def _host(url: str) -> tuple[str, str]:
    """(host, what is wrong with the address): only plain http and https, without a user in it."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "", "the address cannot be read"
    if parts.scheme not in ("https", "http") or not host:
        return host, f"{parts.scheme or 'no scheme'} is not http or https"
    if parts.username is not None or parts.password is not None or "\\" in url:
        return host, "an address may not name a user"
    if port not in (None, 80, 443):
        return host, f"port {port} is not 80 or 443"
    return host, ""


def _parents(host: str) -> list[str]:
    parts = host.split(".")
    return [".".join(parts[at:]) for at in range(1, len(parts))]


def _cycle(gates: Gates, call: ToolCall, meters: RunMeters) -> Objection | None:
    if not gates.max_repeats or meters.repeats < gates.max_repeats:
        return None
    said = f"the tool {call.tool!r} was called {meters.repeats} times with the same arguments"
    return Objection(said, "do something else", str(gates.max_repeats), (f"tool={call.tool}",))


def _loop_budget(gates: Gates, call: ToolCall | None, meters: RunMeters) -> Objection | None:
    for kind, limit in gates.limits:
        used = {
            "iterations": meters.iterations,
            "tokens": meters.tokens,
            "cost": meters.cost_usd,
            "wall": meters.wall_seconds,
        }[kind]
        if used >= limit:
            unit = {"cost": " usd", "wall": " s"}.get(kind, f" {kind}")
            said = f"{used:g}{unit} of the run are used"
            action = "raise the limit in the policy document, or make the task smaller"
            return Objection(said, action, f"{limit:g}{unit}", (f"limit_kind={kind}",))
    return None


GATES: tuple[tuple[str, Callable[[Gates, ToolCall, RunMeters], Objection | None]], ...] = (
    ("kill_switch", _kill_switch),
    ("revoked", _revoked),
    ("tool_registry", _tool_registry),
    ("tier", _tier),
    ("arg_schema", _arg_schema),
    ("sandbox_path", _sandbox_path),
    ("url_allowlist", _url_allowlist),
    ("cycle_detection", _cycle),
    ("loop_budget", _loop_budget),
)
"""Rule and gate, in their order."""
