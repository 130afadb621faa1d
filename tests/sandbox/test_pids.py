"""The count of processes that the kernel keeps for root: where it is made, that it holds, and that nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentd.sandbox import pids
from agentd.sandbox.pids import BWRAP, PidsGroup, parents_of, pids_group

V1 = "18 39 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids"
V1_OTHER = "14 35 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
V1_PART = "18 39 0:36 /docker/abc /sys/fs/cgroup/pids rw shared:9 - cgroup cgroup rw,pids"
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"


@pytest.mark.parametrize(
    ("mounts", "groups", "parents"),
    [
        ([V1_OTHER, V1], "8:pids:/", ["/sys/fs/cgroup/pids"]),
        ([V1], "8:pids:/user.slice/a\n0::/b", ["/sys/fs/cgroup/pids/user.slice/a"]),
        ([V1_PART], "8:pids:/docker/abc", ["/sys/fs/cgroup/pids"]),
        ([V2], "0::/", ["/sys/fs/cgroup"]),
        ([V2], "0::/system.slice/a", ["/sys/fs/cgroup/system.slice/a", "/sys/fs/cgroup/system.slice"]),
        ([V1_OTHER], "4:memory:/x\n8:pids:/", []),
        ([], "0::/", []),
    ],
)
def test_where_a_group_may_be_made(mounts: list[str], groups: str, parents: list[str]) -> None:
    assert parents_of("\n".join(mounts), groups) == parents


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A group of this test's own in which groups are made: other programs make theirs meanwhile."""
    group = pids_group(1000)
    if group is None:
        pytest.skip("an ordinary user, for whom RLIMIT_NPROC holds, or root without pids cgroups")
    monkeypatch.setattr(pids, "parents_of", lambda *_: [group.folder])
    yield Path(group.folder)
    group.remove()
    assert not Path(group.folder).exists()


def made(most: int) -> PidsGroup:
    group = pids_group(most)
    assert group is not None
    return group


def test_a_group_holds_and_goes(parent: Path) -> None:
    group = made(3)
    script = "for i in 1 2 3 4 5 6 7; do sleep 9 & done; wait"
    with subprocess.Popen(["bash", "-c", script], preexec_fn=group.enter, stderr=subprocess.PIPE, text=True) as shell:
        assert shell.stderr is not None and "Resource temporarily unavailable" in shell.stderr.readline()
        members = (Path(group.folder) / "cgroup.procs").read_text().split()
        assert len(members) <= 3 + BWRAP
        for member in members:
            os.kill(int(member), signal.SIGKILL)
    while Path(group.folder).exists():
        group.remove()
    assert list(parent.glob("agentd-*")) == []


def test_a_group_that_a_killed_guardian_left_is_removed(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, inhabited = made(1), made(9)
    with subprocess.Popen(["sleep", "99"], preexec_fn=inhabited.enter) as sleeping:
        monkeypatch.setattr(pids, "STALE_SECONDS", -1.0)
        another = made(1)
        assert set(map(str, parent.glob("agentd-*"))) == {inhabited.folder, another.folder}
        sleeping.kill()
    for group in (left, inhabited, another):
        group.remove()


def test_groups_that_come_and_go_meanwhile_keep_nobody_from_one(parent: Path) -> None:
    def one(_: int) -> bool:
        group = pids_group(1)
        if group is not None:
            group.remove()
        return group is not None

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(2_000)))
