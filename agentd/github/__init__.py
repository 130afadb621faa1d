"""The only place that speaks to GitHub. Everything here is synchronous; callers use `asyncio.to_thread`.

`client.connect` gives a `GitHub`, which the functions of the other files take first. Every failure is a
`agentd.errors.GitHubError`; a write is never repeated without looking first.
"""

from agentd.github.client import GitHub, connect
from agentd.github.limits import RateState

__all__ = ["GitHub", "RateState", "connect"]
