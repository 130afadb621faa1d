"""Where a path inside leads: links are followed as the kernel would inside, and told apart from what only looks so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentd.sandbox.paths import MOST_PARTS, Shown, leads_to, shown_by
from agentd.sandbox.profile import Lower, Mount, SandboxSpec


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    for folder in ("upper/src", "base/src", "base/docs", "home", "tools"):
        (tmp_path / folder).mkdir(parents=True)
    for name, target in (
        ("upper/out", "/etc"),
        ("upper/up", "../../etc/x"),
        ("upper/in", "src/a"),
        ("upper/home", "/home/agent/there"),
        ("upper/one", "two"),
        ("upper/two", "one"),
        ("upper/src/back", "../out/passwd"),
        ("base/old", "/root"),
        ("base/hidden", "/root"),
        ("home/there", "/workspace/docs"),
        ("tools/py", "/usr/bin/python3"),
    ):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "upper/hidden").mkdir()
    spec = SandboxSpec(
        tmp_path / "upper",
        tmp_path / "home",
        (Mount(tmp_path / "tools", "/opt/tools"),),
        lower=Lower(tmp_path / "base", tmp_path / "work"),
    )
    return shown_by(spec)


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/workspace/src/a", "/workspace/src/a"),
        ("/workspace/./src//a/", "/workspace/src/a"),
        ("/workspace/new/file", "/workspace/new/file"),
        ("/workspace/out/passwd", "/etc/passwd"),
        ("/workspace/out/../workspace/a", "/workspace/a"),
        ("/workspace/up", "/etc/x"),
        ("/workspace/in", "/workspace/src/a"),
        ("/workspace/src/back", "/etc/passwd"),
        ("/workspace/home/x", "/workspace/docs/x"),
        ("/workspace/old/x", "/root/x"),
        ("/workspace/hidden/x", "/workspace/hidden/x"),
        ("/opt/tools/py", "/usr/bin/python3"),
        ("/workspace/../etc/x", "/etc/x"),
        ("/../..", "/"),
        ("/etc/passwd", "/etc/passwd"),
    ],
)
def test_a_path_leads_where_it_would_inside(shown: Shown, path: str, real: str) -> None:
    assert leads_to(path, shown) == real


def test_links_that_go_round_lead_nowhere_and_end(shown: Shown) -> None:
    assert leads_to("/workspace/one/x", shown).startswith("/workspace/")


def test_a_path_that_takes_too_long_to_follow_is_none(shown: Shown) -> None:
    outside = shown[0][1]
    (outside / "many").symlink_to("src/../" * (MOST_PARTS // 4) + "src")
    assert leads_to("/workspace/many", shown) == "/workspace/src"
    for path in ("/workspace/many/../many", "/workspace" + "/a" * MOST_PARTS, "/workspace/" + "a" * 256):
        with pytest.raises(ValueError, match=r"parts|too long"):
            leads_to(path, shown)


def test_a_link_at_the_end_of_a_path_that_is_too_long_outside_is_not_passed_over(tmp_path: Path) -> None:
    deep = "/".join(["d" * 200] * 20)
    workspace = tmp_path / ("w" * 100)
    workspace.mkdir()
    at = os.open(workspace, os.O_RDONLY)
    for part in deep.split("/"):
        os.mkdir(part, dir_fd=at)
        below = os.open(part, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.symlink("/etc", "l", dir_fd=at)
    os.close(at)
    path = f"/w/{deep}/l"
    assert len(path) < 4096 < len(f"{workspace}/{deep}/l")
    with pytest.raises(ValueError, match="too long"):
        leads_to(path, (("/w", workspace),))
