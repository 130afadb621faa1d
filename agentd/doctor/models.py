"""Are there model services for the agents, and who holds their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agentd.agents.endpoints import ENDPOINT_VARIABLES, families_of
from agentd.config import Settings
from agentd.doctor.report import Check
from agentd.errors import ConfigurationError
from agentd.gateway.upstreams import upstreams_of
from agentd.model import Profile


def checks(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """The gateway, and for each profile whether somebody serves what its agent speaks."""
    if not settings.gateway.enabled:
        observed = "gateway.enabled = false: agents hold the real keys of their models, and nothing is counted"
        yield Check(name="models.gateway", status="warning", observed=observed, remedy="set gateway.enabled = true")
        return
    budgets = "limits end runs" if settings.budgets.hard_limits_enabled else "limits only warn"
    yield Check(name="models.gateway", status="ok", observed=f"agents reach their models through it; {budgets}")
    profiles = settings.profiles.values() or (settings.profile_named("build"),)
    yield from (check for profile in profiles if (check := _served(settings, profile, environ)) is not None)


def _served(settings: Settings, profile: Profile, environ: Mapping[str, str]) -> Check | None:
    name, families = "models.service", families_of(profile, environ)
    if not families:
        return None
    own = {name: value for name, value in profile.env.items() if name in ENDPOINT_VARIABLES}
    try:
        upstreams = upstreams_of({**environ, **own}, settings.gateway)
    except ConfigurationError as error:
        return Check(name=name, status="failure", observed=f"profile {profile.name!r}: {error}", remedy="correct it")
    served = [family for family in families if family in upstreams.families]
    if not served:
        observed = f"profile {profile.name!r}: no service speaks what its agent does ({' or '.join(families)})"
        keys = " or ".join(f"{family.upper()}_API_KEY" for family in families)
        remedy = f"set {keys} in agentd's environment, or add [gateway.upstreams.<name>]"
        return Check(name=name, status="failure", observed=observed, remedy=remedy)
    return Check(name=name, status="ok", observed=f"profile {profile.name!r}: {', '.join(served)}")
