"""What reaches an agent's environment, and what never does."""

from __future__ import annotations

import pytest

from agentd.agents import ADAPTERS
from agentd.errors import ConfigurationError

GITHUB_TOKEN = "ghp_" + "a1B2" * 9
EVERY_ADAPTER = sorted(ADAPTERS)


@pytest.mark.parametrize("adapter", EVERY_ADAPTER)
def test_only_the_allowlist_is_inherited(launch_of, adapter: str) -> None:
    base = {
        "LANG": "C.UTF-8",
        "LC_ALL": "C",
        "TZ": "UTC",
        "USER": "u",
        "LOGNAME": "u",
        "TMPDIR": "/t",
        "HOME": "/root",
        "SSH_AUTH_SOCK": "/s",
        "HTTPS_PROXY": "http://proxy",
        "AWS_SECRET_ACCESS_KEY": "s",
        "EXECUTOR_BOT_TOKEN": GITHUB_TOKEN,
    }
    env = launch_of(adapter, base, command=("agent",)).env
    assert {name: env[name] for name in ("PATH", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "TMPDIR")} == {
        "PATH": "/usr/bin",
        **{name: base[name] for name in ("LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "TMPDIR")},
    }
    assert (env["HOME"], env["TERM"], env["CI"]) == ("/runs/r1/home", "dumb", "1")
    assert not set(env) & {"SSH_AUTH_SOCK", "HTTPS_PROXY", "AWS_SECRET_ACCESS_KEY", "EXECUTOR_BOT_TOKEN"}


def test_the_profile_adds_names_it_passes_and_values_it_sets(launch_of) -> None:
    env = launch_of("command", {"A": "1", "B": "2"}, command=("x",), pass_env=("A", "C"), env={"B": "3"}).env
    assert (env["A"], env["B"], "C" in env) == ("1", "3", False)


def test_what_the_profile_says_wins_over_the_adapters_own_settings(launch_of) -> None:
    env = launch_of(
        "claude", {"ANTHROPIC_API_KEY": "outer"}, env={"ANTHROPIC_API_KEY": "k", "DISABLE_TELEMETRY": "0"}
    ).env
    assert (env["ANTHROPIC_API_KEY"], env["DISABLE_TELEMETRY"]) == ("k", "0")


@pytest.mark.parametrize("adapter", EVERY_ADAPTER)
@pytest.mark.parametrize(
    "name", ["EXECUTOR_BOT_TOKEN", "GITHUB_TOKEN", "GH_TOKEN", "gh_token", "GH_ENTERPRISE_TOKEN", "MY_GITHUB_PAT"]
)
def test_a_github_token_is_refused_by_name(launch_of, adapter: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'p'.*{name}"):
        launch_of(adapter, {name: "x"}, command=("x",), pass_env=(name,))
    with pytest.raises(ConfigurationError, match=f"'p'.*{name}"):
        launch_of(adapter, command=("x",), env={name: "x"})


@pytest.mark.parametrize("value", [GITHUB_TOKEN, f"Bearer {GITHUB_TOKEN}", "github_pat_" + "a" * 60, "the-bots-secret"])
def test_a_github_token_is_refused_under_any_other_name(launch_of, value: str) -> None:
    base = {"EXECUTOR_BOT_TOKEN": "the-bots-secret", "MINE": value}
    with pytest.raises(ConfigurationError, match="MINE") as refused:
        launch_of("command", base, command=("x",), pass_env=("MINE",))
    assert value not in str(refused.value)


def test_a_home_of_the_profiles_own_is_refused(launch_of) -> None:
    with pytest.raises(ConfigurationError, match="HOME"):
        launch_of("command", command=("x",), env={"HOME": "/root"})


def test_a_proxy_that_is_passed_leaves_loopback_alone(launch_of) -> None:
    base = {"https_proxy": "http://proxy:3128", "no_proxy": "example.org"}
    env = launch_of("command", base, command=("x",), pass_env=("https_proxy", "no_proxy")).env
    assert env["NO_PROXY"] == env["no_proxy"] == "example.org,127.0.0.1,localhost,::1"


def test_harmless_names_that_only_look_alike_are_passed(launch_of) -> None:
    base = {"GITHUB_REPOSITORY": "o/r", "TOKEN_LIMIT": "5", "HIGH_TOKEN": "x"}
    env = launch_of("command", base, command=("x",), pass_env=tuple(base)).env
    assert base.items() <= env.items()
