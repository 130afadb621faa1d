"""Which services an agent's models are at, and that behind the gateway nothing else says where they are."""

from __future__ import annotations

import pytest

from agentd.agents import ADAPTERS
from agentd.agents.endpoints import ENDPOINT_VARIABLES, credentials_of, endpoint, families_of
from agentd.model import Profile

GATEWAY = endpoint(("anthropic", "openai"), 8383, "avk_run_1")


def profile(adapter: str, **more: object) -> Profile:
    return Profile.model_validate({"name": "p", "adapter": adapter, **more})


@pytest.mark.parametrize(
    ("adapter", "more", "environ", "families"),
    [
        ("claude", {}, {}, ("anthropic",)),
        ("codex", {}, {"ANTHROPIC_API_KEY": "a"}, ("openai",)),
        ("deepagents", {}, {}, ("anthropic", "openai")),
        ("deepagents", {}, {"OPENAI_API_KEY": "o"}, ("openai",)),
        ("deepagents", {"env": {"ANTHROPIC_API_KEY": "a"}}, {}, ("anthropic",)),
        ("deepagents", {}, {"OPENAI_API_KEY": "o", "INFERENCE_BASE_URL": "http://x"}, ("anthropic", "openai")),
        ("command", {}, {"OPENAI_API_KEY": "o"}, ()),
        ("command", {"pass_env": ("OPENAI_API_KEY",)}, {}, ("openai",)),
        ("command", {"env": {"OPENAI_API_BASE": "http://x"}}, {}, ("openai",)),
    ],
)
def test_the_services_are_those_that_the_agent_speaks_and_anybody_names(
    adapter: str, more: dict[str, object], environ: dict[str, str], families: tuple[str, ...]
) -> None:
    assert families_of(profile(adapter, **more), environ) == families


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
def test_behind_the_gateway_nothing_else_says_where_a_model_is_or_brings_a_key(launch_of, adapter: str) -> None:
    real = dict.fromkeys(ENDPOINT_VARIABLES, "https://real.example/secret")
    launch = launch_of(
        adapter,
        real,
        {"endpoint": GATEWAY},
        command=("agent",),
        pass_env=tuple(real),
        env={"OPENAI_API_KEY": "secret"},
        model="openai:practice",
    )
    assert {name: value for name, value in launch.env.items() if name in ENDPOINT_VARIABLES} == GATEWAY
    assert not any("secret" in text for text in (*launch.argv, *launch.files.values()))


def test_profiles_share_a_credential_when_they_use_the_same_key() -> None:
    environ = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o"}
    assert credentials_of(profile("claude"), environ) == {"a"}
    assert credentials_of(profile("claude", env={"ANTHROPIC_API_KEY": "own"}), environ) == {"own"}
    assert credentials_of(profile("codex"), environ) & credentials_of(profile("deepagents"), environ) == {"o"}
    assert credentials_of(profile("command"), environ) == frozenset()
