"""Services from the environment and the settings: which one serves what, where, with which key."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from agentd.config_tables import GatewaySettings
from agentd.errors import ConfigurationError
from agentd.gateway.headers import outgoing
from agentd.gateway.upstreams import upstreams_of
from agentd.loading import load

NONE = GatewaySettings()


def named(**values: Any) -> GatewaySettings:
    return GatewaySettings.model_validate({"upstreams": {"own": {"dialects": ["chat"], **values}}})


@pytest.mark.parametrize(
    ("environ", "families"),
    [
        ({}, set()),
        ({"OPENAI_API_KEY": "k"}, {"openai"}),
        ({"ANTHROPIC_API_KEY": "k"}, {"anthropic"}),
        ({"CLAUDE_CODE_OAUTH_TOKEN": "k"}, {"anthropic"}),
        ({"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}, {"anthropic"}),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, {"openai"}),
        ({"INFERENCE_BASE_URL": "http://127.0.0.1:1"}, {"openai", "anthropic"}),
    ],
)
def test_a_family_is_served_where_a_key_or_an_address_is_set(environ: dict[str, str], families: set[str]) -> None:
    assert upstreams_of(environ, NONE).families == families


@pytest.mark.parametrize(
    ("environ", "dialect", "url"),
    [
        ({"OPENAI_API_KEY": "k"}, "chat", "https://api.openai.com/v1/chat/completions"),
        ({"OPENAI_API_KEY": "k"}, "responses", "https://api.openai.com/v1/responses"),
        ({"OPENAI_BASE_URL": "https://h/paas/v4/"}, "chat", "https://h/paas/v4/chat/completions"),
        ({"ANTHROPIC_API_KEY": "k"}, "messages", "https://api.anthropic.com/v1/messages"),
        ({"INFERENCE_BASE_URL": "http://h:8000"}, "chat", "http://h:8000/v1/chat/completions"),
        ({"INFERENCE_BASE_URL": "http://h:8000/v1"}, "messages", "http://h:8000/v1/messages"),
        ({"INFERENCE_BASE_URL": "http://h", "OPENAI_API_KEY": "k"}, "chat", "http://h/v1/chat/completions"),
    ],
)
def test_where_a_call_goes(environ: dict[str, str], dialect: Any, url: str) -> None:
    found = upstreams_of(environ, NONE).of(dialect, "m")
    assert found is not None
    assert found.url(dialect) == url


@pytest.mark.parametrize(
    ("environ", "dialect", "sent"),
    [
        ({"OPENAI_API_KEY": "k"}, "chat", {"authorization": "Bearer k"}),
        ({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_AUTH_TOKEN": "t"}, "messages", {"x-api-key": "k"}),
        ({"ANTHROPIC_AUTH_TOKEN": "t"}, "messages", {"authorization": "Bearer t"}),
        (
            {"CLAUDE_CODE_OAUTH_TOKEN": "o"},
            "messages",
            {"authorization": "Bearer o", "anthropic-beta": "mine,oauth-2025-04-20"},
        ),
        ({"INFERENCE_BASE_URL": "http://h"}, "chat", {}),
    ],
)
def test_which_credential_goes_out(environ: dict[str, str], dialect: Any, sent: dict[str, str]) -> None:
    found = upstreams_of(environ, NONE).of(dialect, "m")
    assert found is not None
    client = CIMultiDictProxy(
        CIMultiDict({"authorization": "Bearer avk_x", "x-api-key": "avk_x", "anthropic-beta": "mine"})
    )
    wanted = {"accept-encoding": "identity", "anthropic-beta": "mine", **sent}
    assert {name.lower(): value for name, value in outgoing(client, found).items()} == wanted


def test_a_service_of_the_settings_is_asked_first_for_its_models() -> None:
    settings = named(base_url="http://own/v1", key_env="OWN_KEY", models=["qwen*"])
    upstreams = upstreams_of({"OWN_KEY": "secret-own", "OPENAI_API_KEY": "k"}, settings)
    names = [found.name if found else None for found in (upstreams.of("chat", "qwen3"), upstreams.of("chat", "gpt-5"))]
    assert names == ["own", "openai"]
    assert upstreams.of("messages", "qwen3") is None
    assert upstreams.all[0].credential == f"own:{hashlib.sha256(b'secret-own').hexdigest()[:8]}"
    assert "secret-own" not in repr(upstreams)
    assert upstreams.secrets() == ("secret-own", "k")


@pytest.mark.parametrize(
    ("environ", "settings", "said"),
    [
        ({"OPENAI_BASE_URL": "ftp://h"}, NONE, "OPENAI_BASE_URL: must begin with"),
        ({"INFERENCE_BASE_URL": "http://me:pw@h"}, NONE, "INFERENCE_BASE_URL: must hold no user"),
        ({"OPENAI_API_KEY": "two words"}, NONE, "OPENAI_API_KEY: is no key"),
        ({}, named(base_url="http://own", key_env="OWN_KEY"), "gateway.upstreams.own.key_env: OWN_KEY is not set"),
    ],
)
def test_what_cannot_be_used_is_named(environ: dict[str, str], settings: GatewaySettings, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        upstreams_of(environ, settings)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gateway.upstreams.x]\nbase_url = 'h'\ndialects = ['chat']", "gateway.upstreams.x.base_url"),
        (
            "[gateway.upstreams.x]\nbase_url = 'http://h?key=1'\ndialects = ['chat']",
            "a key belongs into the environment",
        ),
        ("[gateway.upstreams.x]\nbase_url = 'http://h'\ndialects = []", "gateway.upstreams.x.dialects"),
        ("[gateway.upstreams.x]\nbase_url = 'http://h'\ndialects = ['gemini']", "gateway.upstreams.x.dialects.0"),
        ("[gateway.upstreams.'a/b']\nbase_url = 'http://h'\ndialects = ['chat']", "'a/b'"),
        ("[gateway.upstreams.x]\nbase_url = 'http://h'\ndialects = ['chat']\nkey_env = 'sk-1'", "key_env"),
        ("[gateway.prices.m]\ninput = -1\noutput = 1", "gateway.prices.m.input"),
        ("[gateway]\nwait = 1", "gateway.wait"),
        ("[budgets.run]\nusd = -1", "budgets.run.usd"),
        ("[budgets]\nhard = true", "budgets.hard"),
        (
            "[[budgets.overrides]]\nscope = 'run'\nusd = 1\n[[budgets.overrides]]\nscope = 'run'\nusd = 2",
            "two overrides",
        ),
    ],
)
def test_settings_that_cannot_be_are_one_line_naming_them(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "agentd.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load({}, environ={}, directory=tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ({"all_proxy": "http://p:1"}, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "x,.openai.com"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "nopenai.com"}, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, None),
    ],
)
def test_the_proxy_of_the_environment_is_used(environ: dict[str, str], proxy: str | None) -> None:
    assert upstreams_of({"OPENAI_API_KEY": "k", **environ}, NONE).all[0].proxy == proxy


def test_loopback_needs_no_proxy() -> None:
    environ = {"INFERENCE_BASE_URL": "http://127.0.0.1:1", "HTTP_PROXY": "http://p:1"}
    assert upstreams_of(environ, NONE).all[0].proxy is None
