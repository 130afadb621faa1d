"""Whether overlays work here is found out by using one, between the very folders, and said with the reason if not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentd.config import Settings
from agentd.doctor import workspaces
from agentd.doctor.finding import Finding
from agentd.doctor.visit import Visit
from agentd.errors import ConfigurationError
from agentd.git.mirror import Mirror
from agentd.git.runner import Author
from agentd.loading import Loaded
from agentd.model import Profile
from agentd.run.layout import layout_for, layout_problem
from agentd.sandbox import overlay
from agentd.sandbox.overlay import overlay_problem
from agentd.sandbox.profile import SandboxSpec, checked

PLAIN = Profile(name="plain", adapter="command")
TRUSTED = PLAIN.model_copy(update={"trusted": True})


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    overlay_problem.cache_clear()
    yield
    overlay_problem.cache_clear()


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    (tmp_path / "state").mkdir()
    return Mirror(tmp_path / "state" / "r.git", "", "", "main", Author("x", "x"))


def settings(tmp_path: Path, layout: str, sandbox: str = "required") -> Settings:
    places = {"state_dir": tmp_path / "state", "worktree_base": tmp_path / "work"}
    return Settings.model_validate({"layout": layout, "sandbox": sandbox, **places})


def refused(tmp_path: Path) -> None:
    """As where the workspaces' disk is one that no overlay can be on."""
    (tmp_path / "work").write_text("no folder")


def test_an_overlay_is_tried_and_leaves_nothing(tmp_path: Path, mirror: Mirror) -> None:
    assert layout_for(settings(tmp_path, "auto"), mirror, PLAIN, is_sandboxed=True) == "overlay"
    assert list((tmp_path / "work").iterdir()) == []
    assert [path for path in mirror.bases.iterdir() if path.is_dir()] == []


def test_where_it_does_not_work_auto_is_a_clone_and_overlay_an_error(tmp_path: Path, mirror: Mirror) -> None:
    refused(tmp_path)
    assert layout_for(settings(tmp_path, "auto"), mirror, PLAIN, is_sandboxed=True) == "clone"
    with pytest.raises(ConfigurationError, match=r"layout = overlay: no overlay can be mounted here: .*work"):
        layout_for(settings(tmp_path, "overlay"), mirror, PLAIN, is_sandboxed=True)


def test_a_worktree_is_had_by_trusted_profiles_that_ask_for_it(tmp_path: Path, mirror: Mirror) -> None:
    asked = settings(tmp_path, "worktree")
    assert layout_for(asked, mirror, TRUSTED, is_sandboxed=True) == "worktree"
    with pytest.raises(ConfigurationError, match="profile 'plain' has not trusted = true"):
        layout_for(asked, mirror, PLAIN, is_sandboxed=True)
    assert layout_problem(asked, mirror) == "", "it is the profile's matter, not the host's"
    assert layout_for(settings(tmp_path, "auto"), mirror, TRUSTED, is_sandboxed=True) != "worktree"


@pytest.mark.parametrize("layout", ["auto", "overlay", "worktree"])
def test_without_a_sandbox_it_is_a_clone(tmp_path: Path, mirror: Mirror, layout: str) -> None:
    assert layout_for(settings(tmp_path, layout, "none"), mirror, PLAIN, is_sandboxed=False) == "clone"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo oh; exit 1", "do not behave: oh"),
        ("exit 3", "a change was not seen"),
        ("kill -9 $$", "do not behave"),
        ("sleep 60", "timed out"),
    ],
)
def test_an_overlay_that_misbehaves_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setattr(overlay, "TRY", script)
    monkeypatch.setattr(overlay, "TIMEOUT_SECONDS", 1.0)
    assert said in overlay_problem(tmp_path / "bases", tmp_path / "work")


def test_an_overlay_that_writes_through_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "TRY", "true")
    monkeypatch.setattr(overlay, "Lower", lambda base, work: (base / "kept").write_text("through") and None)
    assert "reached what is below it" in overlay_problem(tmp_path / "bases", tmp_path / "work")


def test_without_an_overlay_the_try_itself_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "Lower", lambda base, work: None)
    assert "do not behave" in overlay_problem(tmp_path / "bases", tmp_path / "work")


def looked(folder: Path, layout: str, sandbox: str = "required") -> Finding:
    [found] = workspaces.checks(Visit(Loaded(settings(folder, layout, sandbox), {}, None), {}, folder))
    return found


def test_the_doctor_says_which_layout_and_why(tmp_path: Path, mirror: Mirror) -> None:
    found = looked(tmp_path, "auto")
    assert (found.level, found.message.split(":")[0]) == ("ok", "overlay")
    for layout, sandbox in (("clone", "required"), ("auto", "none")):
        found = looked(tmp_path, layout, sandbox)
        assert found.level == "ok" and found.message.startswith("clone: ")


def test_the_doctor_fails_where_an_overlay_is_asked_for_in_vain(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay, "TRY", "echo no; exit 1")
    found = looked(tmp_path, "overlay")
    assert found.level == "fail" and "LAYOUT=auto" in found.remediation
    found = looked(tmp_path, "auto")
    assert found.level == "ok" and found.message.startswith("clone, because files in an overlay")


@pytest.mark.parametrize("part", ["base", "work"])
def test_no_part_of_an_overlay_may_be_a_link(tmp_path: Path, part: str) -> None:
    for name in ("real", "upper", "base", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / part).rmdir()
    (tmp_path / part).symlink_to(tmp_path / "real")
    lower = overlay.Lower(tmp_path / "base", tmp_path / "work")
    with pytest.raises(ConfigurationError, match=f"{part} .* no symlink"):
        checked(SandboxSpec(tmp_path / "upper", lower=lower))


def test_an_overlay_works_where_names_have_the_kernels_own_signs(tmp_path: Path) -> None:
    strange = tmp_path / "a:b,c\\d e"
    assert overlay_problem(strange / "bases", strange / "work") == ""
