"""What a hostile run can try from within its workspace, in each layout. Each has a twin that shows what it would do."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from agentd.errors import GitError
from agentd.git import collect
from agentd.git.mirror import Mirror
from tests.git.scene import FILES, LAYOUTS, PLAIN, Scene, scene
from tests.git.test_git import HOSTILE, commit, source, there  # noqa: F401  # fixtures


@pytest.fixture(params=LAYOUTS)
def here(request: pytest.FixtureRequest, source: Path, there: Mirror, tmp_path: Path) -> Scene:  # noqa: F811
    commit(source, FILES)
    return scene(there, tmp_path, request.param)


def prints(folder: Path) -> dict[str, tuple[int, int, int, str]]:
    """Everything of a tree that a change would change: mode, size, change time, content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        text = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        found[str(path.relative_to(folder))] = (stat.st_mode, stat.st_size, stat.st_ctime_ns, text)
    return found


ON_THE_BASE = {
    "write": "echo x > a.txt; echo x >> b.txt; : > tool.sh",
    "truncate": "truncate -s 0 a.txt; truncate -s 1G b.txt",
    "modes and owners": "chmod 777 a.txt folder; chown 0:0 b.txt; touch -d 1999-01-01 a.txt",
    "hard link": "ln a.txt h && echo x >> h && chmod 777 h",
    "rename over": "echo x > n; mv n a.txt; mv b.txt tool.sh; mv folder other",
    "remove": "rm -rf ..?* .[!.]* *",
    "memory": """%python% -c '
import mmap
f = open("a.txt", "r+b"); m = mmap.mmap(f.fileno(), 0); m[0:1] = b"X"; m.flush()'""",
    "attributes": """%python% -c '
import os
for name in ("opaque", "redirect", "metacopy", "whiteout", "origin"):
    for place in ("folder", "a.txt"):
        for prefix in ("user.", "user.overlay.", "trusted.overlay."):
            try: os.setxattr(place, prefix + name, b"y")
            except OSError: pass'""",
    "whiteouts": "mknod b.txt.new c 0 0; mknod w c 0 0; rm -r folder; mkdir folder; echo x > folder/new",
    "its repository": "rm -rf .git/refs .git/objects; echo x > .git/config; rm .git/index; echo y > .git/HEAD",
    "fallocate": "fallocate -l 4096 a.txt; fallocate -p -o 0 -l 1 b.txt; head -c 9 /dev/zero 1<> tool.sh",
    "flags": "chattr +i a.txt; chattr +a b.txt; setfattr -n user.y -v 1 folder/c.txt",
}


@pytest.mark.parametrize("attack", ON_THE_BASE.values(), ids=ON_THE_BASE.keys())
def test_the_base_is_never_changed_and_no_other_run_sees_anything(
    source: Path,  # noqa: F811
    there: Mirror,  # noqa: F811
    tmp_path: Path,
    attack: str,
) -> None:
    commit(source, FILES)
    one, two = (scene(there, tmp_path, "overlay", name) for name in ("one", "two"))
    assert one.place.base is not None and one.place.base == two.place.base
    before = prints(one.place.base)
    one.act(attack)
    assert prints(one.place.base) == before
    assert two.snapshot().changed == () and two.act("git status --porcelain; git cat-file -e HEAD^{tree}") == ""
    three = scene(there, tmp_path, "overlay", "three")
    assert three.snapshot().changed == () and three.act("ls -A") == two.act("ls -A")


HOSTILE_HERE = HOSTILE | {
    "common folder": "git config core.fsmonitor {trap}; cp -r .git evil; echo ../evil > .git/commondir",
    "alternates": "echo /elsewhere/objects > .git/objects/info/alternates",
    "git file": "git config core.fsmonitor {trap}; cp -r .git evil; rm -rf .git; echo 'gitdir: evil' > .git",
    "long filter": "git config filter.x.process {trap}; echo '* filter=x text eol=crlf ident' > .gitattributes",
    "work tree elsewhere": "git config core.worktree /tmp; git config core.bare false",
}


@pytest.mark.parametrize("attack", HOSTILE_HERE.values(), ids=HOSTILE_HERE.keys())
def test_no_configuration_of_the_workspace_is_obeyed(here: Scene, attack: str) -> None:
    trap, fired = "/workspace/trap", here.place.files / "fired"
    here.act(f"printf '#!/bin/sh\\ntouch /workspace/fired {fired}\\necho falsified\\n' > trap; chmod 755 trap")
    here.act(attack.replace("{trap}", trap))
    here.act("echo changed > a.txt; echo '%python%' > b.txt; rm -f fired")
    with here.reader() as reader:
        try:
            collect.keep_commits(here.there, here.place, "run", reader)
        except GitError as error:
            assert "tampered" in str(error)
        found = collect.snapshot(here.there, here.place, reader)
        assert collect.tracked_tree(here.there, here.place, reader) == found.tree
        collect.clean(here.there, here.place, reader)
    content = here.content(found.tree)
    assert content["a.txt"] == "100644 changed" and "b.txt" in content
    assert not fired.exists() and "fired" not in here.act("ls")
    assert all("falsified" not in text for name, text in content.items() if name != "trap")


def test_what_the_agents_own_git_would_have_collected(here: Scene) -> None:
    """The twin of the above: with the workspace's own repository the filter runs, and the content is another."""
    if here.layout == "worktree":
        pytest.skip("it has no configuration of its own: see test_worktree_attacks.py")
    here.act("printf '#!/bin/sh\\necho falsified\\n' > trap; chmod 755 trap; git config filter.x.clean /workspace/trap")
    here.act("echo 'a.txt filter=x' > .gitattributes; echo changed > a.txt")
    assert here.act("git add a.txt && git show :a.txt") == "falsified\n"


OF_ITS_OWN = (".git/objects", ".git/commondir")
"""Places of a repository that a linked worktree has not: there the words come to nothing."""


@pytest.mark.parametrize(
    "bend",
    [
        "echo /elsewhere/objects >> .git/objects/info/alternates",
        "rm .git/objects/info/alternates",
        "ln -sf /etc/passwd .git/objects/info/alternates",
        "truncate -s 1T .git/objects/info/alternates",
        "cp -r .git elsewhere; rm -rf .git; ln -s elsewhere .git",
        "rm -rf .git; echo 'gitdir: /elsewhere' > .git",
        "rm -rf .git; git init -q .",
        "rm -rf .git",
        "rm -rf .git/objects; mkdir -p .git/objects/info",
        "echo /elsewhere > .git/commondir",
    ],
)
def test_a_bent_repository_is_refused_and_its_files_are_saved_all_the_same(here: Scene, bend: str) -> None:
    here.act(f"echo work > a.txt; {bend}")
    with here.reader() as reader:
        if here.layout != "worktree" or not any(name in bend for name in OF_ITS_OWN):
            with pytest.raises(GitError, match="tampered"):
                collect.keep_commits(here.there, here.place, "run", reader)
        saved = collect.save(here.there, here.place, "P0-01", "run", "why", reader)
    assert saved == "refs/agentd/salvage/P0-01/run"
    assert here.content(saved)["a.txt"] == "100644 work"


def test_an_unbent_repository_is_not_refused(here: Scene) -> None:
    here.act("echo x > a.txt; git add -A; git commit -qm x; git gc -q; git repack -adq; git stash list; git branch y")
    with here.reader() as reader:
        collect.keep_commits(here.there, here.place, "run", reader)


def test_links_out_of_the_tree_are_stored_as_links(here: Scene, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("canary")
    here.act(f"ln -s {tmp_path}/secret/file s; rm -r folder; ln -s {tmp_path}/secret folder; ln -s /agentd.git g")
    found = here.snapshot()
    content = here.content(found.tree)
    assert content["s"] == f"120000 {tmp_path}/secret/file" and content["folder"] == f"120000 {tmp_path}/secret"
    assert "canary" not in str(content) and content["g"] == "120000 /agentd.git"
    collect.clean(here.there, here.place, PLAIN)
    assert (tmp_path / "secret" / "file").read_text() == "canary"


def test_pipes_and_sockets_hold_nobody_up(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    here.act("mkfifo p folder/p; %python% -c 'import socket; socket.socket(1).bind(\"s\")'")
    found = here.snapshot()
    assert found.changed == () and here.tracked() == found.tree
    here.act("rm a.txt; mkfifo a.txt")
    assert here.snapshot().refused == ("a.txt",)
    here.act("rm a.txt")
    monkeypatch.setattr(collect, "READ_SECONDS", 1.0)
    here.act("rm .gitignore; mkfifo .gitignore")
    with pytest.raises(GitError, match="did not end within"):
        here.snapshot()
    assert "git add" not in subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True).stdout
    here.act("rm .gitignore")
    assert here.snapshot().changed == (".gitignore", "a.txt")


def test_objects_that_git_would_refuse_do_not_come_in(
    source: Path,  # noqa: F811
    there: Mirror,  # noqa: F811
    tmp_path: Path,
) -> None:
    here = scene(there, tmp_path, "overlay")
    here.act("printf '[submodule \"x\"]\\n path = -x\\n url = -u./evil\\n' > .gitmodules")
    with pytest.raises(GitError, match="gitmodules"):
        here.snapshot()


def test_the_supervisors_repository_is_no_part_of_what_a_run_sees(here: Scene) -> None:
    assert "agentd.git" not in here.act("ls -a / /workspace; cat /proc/mounts")
    scratch = here.run_dir / "scratch.git"
    closed = here.there.path / ("objects/pack" if here.layout == "worktree" else "objects")
    seen = here.act(f"ls {scratch} {here.run_dir}; touch {closed}/x")
    assert "No such file" in seen and "Read-only" in seen
    if os.getuid() == 0 and here.layout == "overlay":
        assert scratch.is_dir()
