"""The model gateway: are there model services for the agents, who holds their keys, and what budgets have left."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from agentd.agents.endpoints import ENDPOINT_VARIABLES, families_of
from agentd.doctor.finding import EDIT, Code, Finding
from agentd.doctor.visit import Visit
from agentd.errors import ConfigurationError
from agentd.gateway.upstreams import upstreams_of
from agentd.loading import CONFIG_FILE
from agentd.model import Profile
from agentd.policy.budget_settings import NANO, Unit, limits_of
from agentd.policy.budgets import Meter
from agentd.store import spending

GATEWAY = Code(
    "gateway.enabled",
    "Model gateway",
    "agents hold the real keys of their models, and nothing is counted",
    "set `enabled = true` under `[gateway]`",
)
SERVICE = Code(
    "gateway.service",
    "Model service",
    "no model service speaks what a profile's agent does, or its address or key cannot be used",
    "set its key in agentd's environment, or add `[gateway.upstreams.<name>]`",
)
BUDGETS = Code(
    "gateway.budgets",
    "Budgets",
    "a limit of `[budgets]` that others share is used up, or nearly",
    "raise it, wait for the next day, or let limits only warn",
)
CODES = (GATEWAY, SERVICE, BUDGETS)


def checks(visit: Visit) -> Iterator[Finding]:
    """The gateway, and for each profile whether somebody serves what its agent speaks."""
    settings = visit.settings
    if not settings.gateway.enabled:
        said = "gateway.enabled = false: agents hold the real keys of their models, and nothing is counted"
        file = visit.loaded.file or visit.folder / CONFIG_FILE
        yield GATEWAY.warn(f"{said}; set enabled = true under [gateway]", f"{EDIT} {shlex.quote(str(file))}")
        return
    yield GATEWAY.ok("agents reach their models through it")
    profiles = settings.profiles.values() or (settings.profile_named("build"),)
    yield from (found for profile in profiles if (found := _served(visit, profile)) is not None)
    yield from _budgets(visit)


def _served(visit: Visit, profile: Profile) -> Finding | None:
    environ, families = visit.environ, families_of(profile, visit.environ)
    if not families:
        return None
    own = {name: value for name, value in profile.env.items() if name in ENDPOINT_VARIABLES}
    try:
        upstreams = upstreams_of({**environ, **own}, visit.settings.gateway)
    except ConfigurationError as error:
        variable = next((name for name in (*own, *environ) if name in str(error)), "")
        remedy = f"unset {variable}" if variable else "agentd config show"
        return SERVICE.fail(f"profile {profile.name!r}: {error}", remedy, subject=profile.name)
    served = [family for family in families if family in upstreams.families]
    if not served:
        said = f"profile {profile.name!r}: no service speaks what its agent does ({' or '.join(families)})"
        return SERVICE.fail(said, f"export {families[0].upper()}_API_KEY=KEY", subject=profile.name)
    return SERVICE.ok(f"profile {profile.name!r}: {', '.join(served)}", profile.name)


def _budgets(visit: Visit) -> Iterator[Finding]:
    """The limits of days, models, profiles and all together; those of runs and tasks end these alone."""
    settings, store = visit.settings, visit.store
    if store is None:
        return
    with store.read() as connection:
        said = spending.enforcement(connection)
    enforced = settings.budgets.hard_limits_enabled if said is None else said
    today = f"day:{visit.now:%Y-%m-%d}"
    short = 0
    for scope, meter in spending.all_meters(store).items():
        if scope.startswith(("run:", "task:")) or (scope.startswith("day:") and scope != today):
            continue
        for unit, limit in limits_of(settings.budgets, scope).items():
            used = _used(meter, unit)
            if limit and used >= limit * settings.budgets.soft_fraction:
                short += enforced
                told = f"{scope}: {used:g} of {limit:g} {unit}"
                if enforced:
                    yield BUDGETS.warn(told, visit.agentd("budget", "enforce", "off"), subject=f"{scope} {unit}")
    if not short:
        yield BUDGETS.ok("limits end runs, and none is near" if enforced else "limits only warn")


def _used(meter: Meter, unit: Unit) -> float:
    amount = meter.used.of(unit)
    return amount / NANO if unit == "usd" else amount
