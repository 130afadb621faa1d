"""What agentd writes for a program, where an earlier turn of the agent has been at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentd.errors import ConfigurationError
from agentd.git.workspace import Workspace
from agentd.run.enclosure import Enclosure, programs_in
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
