"""What agentd writes for a program, where an earlier turn of the agent has been at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentd.errors import ConfigurationError
from agentd.git.workspace import Workspace
from agentd.model import Profile
from agentd.run.enclosure import Enclosure, programs_in, reach_of
from agentd.sandbox.limits import Limits

INSIDE = Path("/home/agent")


@pytest.fixture
def enclosure(tmp_path: Path) -> Enclosure:
    (tmp_path / "home").mkdir()
    (tmp_path / "outside").mkdir()
    place = Workspace(tmp_path / "work", tmp_path / "index", "0" * 40)
    return Enclosure(Path("/workspace"), INSIDE, {}, place, tmp_path / "home", Limits())


def test_a_file_is_written_into_the_home_for_its_owner_alone(enclosure: Enclosure, tmp_path: Path) -> None:
    for text in ("one", "two"):
        enclosure.write(INSIDE / ".claude" / "settings.json", text)
    written = tmp_path / "home" / ".claude" / "settings.json"
    assert written.read_text() == "two" and written.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in written.parent.iterdir()] == ["settings.json"]


def test_no_symlink_of_the_agent_is_followed(enclosure: Enclosure, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "kept").write_text("kept")
    (tmp_path / "home" / ".claude").symlink_to(outside)
    with pytest.raises(ConfigurationError, match=r"\.claude"):
        enclosure.write(INSIDE / ".claude" / "settings.json", "x")
    (tmp_path / "home" / "prompt").symlink_to(outside / "kept")
    (tmp_path / "home" / ".prompt.new").symlink_to(outside / "kept")
    enclosure.write(INSIDE / "prompt", "x")
    assert [path.name for path in outside.iterdir()] == ["kept"] and (outside / "kept").read_text() == "kept"
    assert not (tmp_path / "home" / "prompt").is_symlink()


def test_programs_are_found_in_a_verify_command_by_their_whole_paths() -> None:
    found = programs_in("cd x && (/bin/sh -c 'true'); \"/usr/bin/env\" python3 /etc/passwd ./y /no/such")
    assert found == [Path("/bin/sh"), Path("/usr/bin/env")]


CLAUDE = Profile(name="c", adapter="claude")


@pytest.mark.parametrize(
    ("profile", "environ", "hosts", "local"),
    [
        (CLAUDE, {}, {("api.anthropic.com", 443)}, set()),
        (CLAUDE, {"OPENAI_BASE_URL": "https://other.example"}, {("api.anthropic.com", 443)}, set()),
        (CLAUDE, {"APP_BASE_URL": "http://localhost:5432"}, {("api.anthropic.com", 443)}, set()),
        (CLAUDE, {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9000/x"}, set(), {9000}),
        (CLAUDE, {"ANTHROPIC_BASE_URL": "https://gateway.example:8443/v1"}, {("gateway.example", 8443)}, set()),
        (
            CLAUDE.model_copy(update={"hosts": ("pypi.org", "mirror.example:8080")}),
            {},
            {("api.anthropic.com", 443), ("pypi.org", 443), ("mirror.example", 8080)},
            set(),
        ),
        (
            Profile(name="m", adapter="command", env={"MY_API_BASE": "http://localhost:8001"}),
            {"MY_BASE_URL": "https://x.example"},
            set(),
            {8001},
        ),
    ],
)
def test_a_run_reaches_its_model_and_what_its_profile_lists(
    profile: Profile, environ: dict[str, str], hosts: set[tuple[str, int]], local: set[int]
) -> None:
    found = reach_of(profile, environ, agent=True)
    assert (found.hosts, found.local) == (hosts, local)
    assert not reach_of(profile, environ, agent=False).local


@pytest.mark.parametrize("address", ["http://10.0.0.7/v1", "http://x:abc/", "gateway.example"])
def test_an_address_of_a_model_that_cannot_be_reached_is_named(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"'c'.*ANTHROPIC_BASE_URL"):
        reach_of(CLAUDE, {"ANTHROPIC_BASE_URL": address}, agent=True)
