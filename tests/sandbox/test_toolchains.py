from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from agentd.sandbox.launch import start
from agentd.sandbox.profile import SandboxSpec
from agentd.sandbox.toolchains import ToolChains, find_tool_chains


def output_of(workspace: Path, found: ToolChains, *argv: str) -> str:
    spec = SandboxSpec(workspace, mounts=found.mounts, links=found.links, path=found.path)
    with start(spec, list(argv)) as contained:
        said = contained.process.communicate(timeout=20)[0].decode()
    assert contained.process.returncode == 0, said
    return said.strip()


def fabricate(home: Path, *programs: str) -> None:
    for path in programs:
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)


def test_tool_chains_are_found_without_what_lies_beside_them(tmp_path: Path) -> None:
    home = tmp_path / "home"
    fabricate(
        home,
        *(".pyenv/shims/python3", ".pyenv/versions/3.9.20/bin/python3", ".pyenv/versions/3.12.1/bin/python3"),
        *(".nvm/versions/node/v22.1.0/bin/node", ".cargo/bin/cargo", ".rustup/toolchains/stable-x/bin/cargo"),
        *(".local/bin/uv", "jdk-21/bin/java", "jdk-21/lib/jrt-fs.jar"),
    )
    (home / ".cargo" / "credentials.toml").write_text("token")
    (home / ".local" / "share").mkdir()
    folders = (".pyenv/shims", ".nvm/versions/node/v22.1.0/bin", ".cargo/bin", ".local/bin", "jdk-21/bin")
    found = find_tool_chains(":".join(str(home / folder) for folder in folders), home)
    mounted = sorted(str(mount.source.relative_to(home)) for mount in found.mounts)
    node, python = ".nvm/versions/node/v22.1.0", ".pyenv/versions/3.12.1"
    assert mounted == [".local/bin/uv", node, python, ".rustup/toolchains/stable-x", "jdk-21"]
    assert f"{home}/{python}/bin" in found.path and f"{home}/.rustup/toolchains/stable-x/bin" in found.path
    assert "shims" not in found.path and ".cargo" not in found.path
    assert found.refused == ()


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [("", "stable-x"), ('default_toolchain = "1.80-x"', "1.80-x"), ('default_toolchain = "gone"', "stable-x")],
)
def test_rust_is_the_tool_chain_that_rustup_would_choose(tmp_path: Path, settings: str, chosen: str) -> None:
    chains = [f".rustup/toolchains/{name}/bin/cargo" for name in ("1.80-x", "nightly-x", "stable-x")]
    fabricate(tmp_path, ".cargo/bin/cargo", *chains)
    (tmp_path / ".rustup" / "settings.toml").write_text(settings)
    found = find_tool_chains(str(tmp_path / ".cargo/bin"), tmp_path, ["cargo"])
    assert [mount.source for mount in found.mounts] == [tmp_path / ".rustup/toolchains" / chosen]


def test_a_tool_chain_that_cannot_be_inside_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fabricate(tmp_path, "bin/ruby", "lib/ruby/x")
    found = find_tool_chains(str(tmp_path / "bin"), tmp_path, ["ruby"])
    assert found.mounts == ()
    [why] = found.refused
    assert f"{tmp_path}/bin/ruby" in why and "a home" in why


def test_the_tool_chains_of_this_host_run_inside(tmp_path: Path) -> None:
    found = find_tool_chains(os.environ["PATH"], Path.home())
    assert found.refused == ()
    script = "import ssl, sqlite3, sys, json; print(sys.version_info[:2])"
    python = "python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
    assert output_of(tmp_path, found, python, "-c", script).startswith("(3, ")
    for program, version in (("node", "--version"), ("npm", "--version"), ("cargo", "--version"), ("go", "version")):
        if any(os.access(Path(folder) / program, os.X_OK) for folder in found.path.split(":")):
            assert output_of(tmp_path, found, program, version)
