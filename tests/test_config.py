"""Settings: precedence, the original's names, and one clear line for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agentd.config import Settings, environment_names
from agentd.errors import ConfigurationError
from agentd.loading import load, require_repo

SMALLEST = """
verify_command = "python3 -m pytest -q"
[profiles.build]
adapter = "command"
command = ["python3", "agent.py"]
prompt = "stdin"
"""
ENVIRONMENT = {"REPO": "alice/widget", "EXECUTOR_BOT_TOKEN": "secret-token"}


def settings_of(folder: Path, environ: dict[str, str] | None = None, **flags: Any) -> Settings:
    return load(flags, environ=environ or ENVIRONMENT, directory=folder).settings


def test_the_smallest_file_is_enough(tmp_path: Path) -> None:
    (tmp_path / "agentd.toml").write_text(SMALLEST)
    settings = settings_of(tmp_path)
    assert settings.default_profile == "build"
    assert settings.profile_named("build").command == ("python3", "agent.py")
    assert (settings.max_parallel, settings.poll_interval_seconds, settings.max_agent_runtime_minutes) == (2, 60, 20)


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "agentd.toml").write_text("max_parallel = 3\npoll_interval_seconds = 7\nbase_branch = 'trunk'\n")
    environ = ENVIRONMENT | {"MAX_PARALLEL": "4", "POLL_INTERVAL_SECONDS": "8"}
    loaded = load({"max_parallel": 5}, environ=environ, directory=tmp_path)
    assert (loaded.settings.max_parallel, loaded.settings.poll_interval_seconds) == (5, 8)
    assert loaded.settings.base_branch == "trunk"
    origins = {
        name: loaded.origins[name] for name in ("max_parallel", "poll_interval_seconds", "base_branch", "log_dir")
    }
    assert origins == {
        "max_parallel": "flag",
        "poll_interval_seconds": "POLL_INTERVAL_SECONDS",
        "base_branch": "agentd.toml",
        "log_dir": "default",
    }


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("REPO", "o/r", "repo", "o/r"),
        ("BASE_BRANCH", "dev", "base_branch", "dev"),
        ("MAX_PARALLEL", "9", "max_parallel", 9),
        ("POLL_INTERVAL_SECONDS", "5", "poll_interval_seconds", 5),
        ("MAX_AGENT_RUNTIME_MINUTES", "3", "max_agent_runtime_minutes", 3),
        ("DRY_RUN", "1", "dry_run", True),
        ("DEEPAGENTS_AGENT", "x", "deepagents_agent", "x"),
        ("DEEPAGENTS_MODEL", "m", "deepagents_model", "m"),
        ("DEEPAGENTS_SHELL_ALLOW_LIST", "ls,git", "deepagents_shell_allow_list", "ls,git"),
        ("AGENT_STATE_DIR", "/s", "state_dir", Path("/s")),
        ("AGENT_LOG_DIR", "/l", "log_dir", Path("/l")),
        ("WORKTREE_BASE", "/w", "worktree_base", Path("/w")),
        ("REPO_ROOT", "/r", "repo_root", Path("/r")),
        ("DISABLE_LOCKFILE_AUTO_RESOLVE", "1", "disable_lockfile_auto_resolve", True),
        ("AGENT_GIT_NAME", "n", "agent_git_name", "n"),
        ("AGENT_GIT_EMAIL", "e@x", "agent_git_email", "e@x"),
        ("AGENT_DEBUG", "1", "agent_debug", True),
        ("GITHUB_API_URL", "http://h/api/v3/", "github_api_url", "http://h/api/v3"),
        ("GITHUB_SERVER_URL", "http://h", "github_server_url", "http://h"),
    ],
)
def test_the_original_variables_work_under_their_names(
    tmp_path: Path, variable: str, value: str, field: str, expected: object
) -> None:
    assert getattr(settings_of(tmp_path, ENVIRONMENT | {variable: value}), field) == expected
    assert variable in environment_names(field)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_paralel = 2", "unknown setting max_paralel"),
        ("max_parallel = 'two'", "max_parallel (from agentd.toml)"),
        ("token = 'x'", "token must not stand in a file"),
        ("[profiles.a]\nadapter = 'claude'\ncolour = 1", "profiles.a.colour"),
        ("repo = 'no-slash'", "must be owner/name"),
        ("not toml", "cannot be read"),
    ],
)
def test_a_bad_file_is_one_line_naming_it(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "agentd.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load({}, environ={}, directory=tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


FLOATS = (
    *("poll_interval_seconds", "host_max_load", "claim.lease_seconds", "retention.run_days", "gateway.wait_seconds"),
    *("lockfiles.timeout_minutes", "ledger.events_max_mib", "budgets.day.usd", 'gateway.prices."m"'),
)


@pytest.mark.parametrize("number", ["inf", "nan", "-inf"])
@pytest.mark.parametrize("key", FLOATS)
def test_a_number_without_an_end_is_refused(tmp_path: Path, key: str, number: str) -> None:
    price = f"{{ input = {number}, output = 1 }}"
    (tmp_path / "agentd.toml").write_text(f"{key} = {price if 'prices' in key else number}\n")
    with pytest.raises(ConfigurationError, match="finite number"):
        settings_of(tmp_path)


@pytest.mark.parametrize("url", ["http://[::1", "http://", "http://host:many", "http://host:99999", "ftp://host"])
@pytest.mark.parametrize("variable", ["GITHUB_API_URL", "GITHUB_SERVER_URL"])
@pytest.mark.parametrize("token", ["", "secret-token"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, variable: str, url: str, token: str) -> None:
    environ = ENVIRONMENT | {variable: url, "EXECUTOR_BOT_TOKEN": token}
    with pytest.raises(ConfigurationError, match=variable):
        load({}, environ=environ, directory=tmp_path, ask_gh=True)


@pytest.mark.parametrize("rest", ["\nbot account", "\rx", " x", "\x7f", "\x01", "\u2028x", "é"])
def test_a_token_that_is_more_than_one_word_is_refused_and_not_quoted(tmp_path: Path, rest: str) -> None:
    with pytest.raises(ConfigurationError, match=r"EXECUTOR_BOT_TOKEN.*it must be the token alone") as caught:
        settings_of(tmp_path, ENVIRONMENT | {"EXECUTOR_BOT_TOKEN": f"ghp_SECRET{rest}x"})
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ValidationError) as other:
        Settings.model_validate({"token": f"ghp_SECRET{rest}x"})
    assert "SECRET" not in str(other.value)


def test_the_first_of_the_token_variables_wins_and_is_named(tmp_path: Path) -> None:
    environ = {"GH_TOKEN": "gh-token-1", "GITHUB_TOKEN": "github-token-1"}
    loaded = load({}, environ=environ, directory=tmp_path)
    assert loaded.settings.token.get_secret_value() == "github-token-1"
    assert loaded.origins["token"] == "GITHUB_TOKEN"


def test_the_token_of_gh_is_the_last_resort(tmp_path: Path) -> None:
    program = tmp_path / "gh"
    program.write_text('#!/bin/sh\ntest "$*" = "auth token --hostname ghe.example.org" && echo from-gh\n')
    program.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GITHUB_SERVER_URL": "https://ghe.example.org"}
    assert load({}, environ=environ, directory=tmp_path).origins["token"] == "default"
    loaded = load({}, environ=environ, directory=tmp_path, ask_gh=True)
    assert loaded.settings.token.get_secret_value() == "from-gh"
    assert loaded.origins["token"] == "gh auth token"


@pytest.mark.parametrize(("environ", "said"), [({}, "no repository"), ({"REPO": "a/b"}, "no GitHub token")])
def test_what_is_missing_is_named(tmp_path: Path, environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        require_repo(load({}, environ=environ, directory=tmp_path).settings)


def test_a_secret_is_not_in_the_settings_text(tmp_path: Path) -> None:
    assert "secret-token" not in repr(settings_of(tmp_path))


def test_a_changed_profile_has_another_revision(tmp_path: Path) -> None:
    (tmp_path / "agentd.toml").write_text(SMALLEST)
    profile = settings_of(tmp_path).profile_named("build")
    assert profile.address == f"build@{profile.revision}"
    assert profile.model_copy(update={"model": "other"}).revision != profile.revision
