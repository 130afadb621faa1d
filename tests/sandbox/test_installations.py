from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentd.errors import ConfigurationError
from agentd.sandbox.installations import Installed, behind_shim, installation, root_of
from agentd.sandbox.launch import start
from agentd.sandbox.profile import BASE_PATH, SandboxSpec

SECRET = "secret-beside-the-program"


@dataclass(frozen=True)
class Host:
    """A home with credentials in it, and an empty workspace."""

    home: Path
    workspace: Path

    def write(self, name: str, text: str | bytes, mode: int = 0o644) -> Path:
        file = self.home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(mode)
        return file

    def program(self, name: str, text: str | bytes) -> Path:
        return self.write(name, text, 0o755)

    def link(self, name: str, target: Path | str) -> Path:
        place = self.home / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
        return place

    def run(self, installed: Installed, *argv: str | Path) -> str:
        """What the program prints in a sandbox with nothing but its installation."""
        path = ":".join([*installed.folders, BASE_PATH])
        spec = SandboxSpec(self.workspace, mounts=installed.mounts, links=installed.links, path=path)
        with start(spec, [str(word) for word in argv]) as contained:
            said = contained.process.communicate(timeout=30)[0].decode()
        assert contained.process.returncode == 0, said
        return said.strip()

    def seen_inside(self, installed: Installed, *places: str) -> list[str]:
        """Which of the places of this home are there too."""
        names = [str(self.home / place) for place in places]
        script = 'for each; do [ -e "$each" ] && echo "$each"; done; :'
        found = self.run(installed, "/bin/sh", "-c", script, "sh", *names).split()
        return [os.path.relpath(each, self.home) for each in found]

    def mounted(self, installed: Installed) -> set[str]:
        assert all(str(mount.source) == mount.target and not mount.writable for mount in installed.mounts)
        own = [mount.source for mount in installed.mounts if self.home in mount.source.parents]
        return {str(source.relative_to(self.home)) for source in own}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path / "home", tmp_path / "workspace")
    for folder in (made.home, made.workspace):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(made.home))
    made.write(".ssh/id_ed25519", SECRET)
    made.write(".npmrc", SECRET)
    return made


def venv(folder: Path, *options: str) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", *options, str(folder)], check=True)
    return folder


def packages(folder: Path) -> Path:
    [found] = folder.glob("lib/python3.*/site-packages")
    return found


def test_a_command_of_a_virtual_environment_runs_under_the_name_it_was_found_by(host: Host) -> None:
    """As pipx and `uv tool install` leave it."""
    tool = venv(host.home / ".local/share/pipx/venvs/tool")
    (packages(tool) / "tool_code.py").write_text("import sys, ssl\nprint(sys.argv[0], sys.prefix)\n")
    script = tool / "bin" / "tool"
    script.write_text(f"#!{tool}/bin/python\nimport tool_code\n")
    script.chmod(0o755)
    program = host.link(".local/bin/tool", script)
    installed = installation(program)
    assert host.run(installed, "tool") == f"{program} {tool}"
    assert host.mounted(installed) == {".local/share/pipx/venvs/tool"}
    assert installed.folders == (str(program.parent),)
    assert host.seen_inside(installed, ".ssh", ".npmrc", ".local/bin/tool") == [".local/bin/tool"]


@pytest.mark.parametrize("options", [(), ("--copies",), ("--system-site-packages",)])
def test_the_interpreter_of_a_virtual_environment_finds_it(host: Host, options: tuple[str, ...]) -> None:
    environment = venv(host.home / "project" / ".venv", *options)
    python = environment / "bin" / "python"
    said = host.run(installation(python), python, "-c", "import sys, json; print(sys.prefix, sys.base_prefix)")
    assert said == f"{environment} {sys.base_prefix}"


def test_a_virtual_environment_behind_a_link_is_found_by_both_names(host: Host) -> None:
    host.link("current", venv(host.home / "environments" / "one"))
    python = host.home / "current" / "bin" / "python"
    installed = installation(python)
    said = host.run(installed, python, "-c", "import sys; print(sys.prefix)")
    assert said == str(host.home / "current")
    assert host.mounted(installed) == {"environments/one"}


def test_a_virtual_environment_whose_python_went_away_is_refused(host: Host) -> None:
    environment = venv(host.home / "old", "--copies")
    host.write("old/pyvenv.cfg", f"home = {host.home}/gone/bin\n")
    with pytest.raises(ConfigurationError, match="gone/bin"):
        installation(environment / "bin" / "python")


NODE = shutil.which("node", path=os.environ["PATH"]) or ""
PATH = f"{Path(NODE).parent}:{BASE_PATH}"
CLI = "#!/usr/bin/env node\nconsole.log(process.argv[1], __filename, require('dependency'), require('own'))\n"


@pytest.fixture
def npm_tool(host: Host, request: pytest.FixtureRequest) -> Path:
    """A package with dependencies beside it and in it, below the folder that the test names."""
    modules = Path(request.param)
    host.program(f"{modules}/@maker/tool/cli.js", CLI)
    host.write(f"{modules}/@maker/tool/node_modules/own/index.js", "module.exports = 'own'")
    host.write(f"{modules}/dependency/index.js", "module.exports = __dirname")
    return host.home / modules


@pytest.mark.skipif(not NODE, reason="node is not installed")
@pytest.mark.parametrize(
    ("npm_tool", "place", "target"),
    [
        ("lib/node_modules", "bin/tool", "../lib/node_modules/@maker/tool/cli.js"),
        ("project/node_modules", "project/node_modules/.bin/tool", "../@maker/tool/cli.js"),
        (".config/yarn/global/node_modules", ".yarn/bin/tool", "../../.config/yarn/global/node_modules/.bin/tool"),
    ],
    indirect=["npm_tool"],
)
def test_a_command_of_an_npm_package_runs_with_its_packages_and_nothing_else(
    host: Host, npm_tool: Path, place: str, target: str
) -> None:
    host.link(str(npm_tool / ".bin" / "tool"), "../@maker/tool/cli.js") if ".yarn" in place else None
    program = host.link(place, target)
    installed = installation(program, PATH)
    said = host.run(installed, program)
    assert said == f"{program} {npm_tool}/@maker/tool/cli.js {npm_tool}/dependency own"
    assert host.mounted(installed) == {str(npm_tool.relative_to(host.home))}
    assert host.seen_inside(installed, ".ssh", ".npmrc") == []


@pytest.mark.skipif(not NODE, reason="node is not installed")
def test_a_command_of_pnpm_runs_with_the_packages_of_its_store(host: Host) -> None:
    store = "pnpm/global/5/.pnpm"
    host.program(f"{store}/tool@1/node_modules/tool/cli.js", CLI.replace("'own'", "'./own.js'"))
    host.write(f"{store}/tool@1/node_modules/tool/own.js", "module.exports = 'own'")
    host.write(f"{store}/dependency@2/node_modules/dependency/index.js", "module.exports = __dirname")
    host.link(f"{store}/tool@1/node_modules/dependency", "../../dependency@2/node_modules/dependency")
    host.link("pnpm/global/5/node_modules/tool", "../.pnpm/tool@1/node_modules/tool")
    wrapper = '#!/bin/sh\nbasedir=$(dirname "$0")\nexec node  "$basedir/global/5/node_modules/tool/cli.js" "$@"\n'
    program = host.program("pnpm/tool", wrapper)
    installed = installation(program, PATH)
    assert f"{host.home}/{store}/dependency@2/node_modules/dependency own" in host.run(installed, "tool")
    assert host.mounted(installed) == {"pnpm/tool", store}


def test_a_program_that_looks_at_its_own_name_sees_it(host: Host) -> None:
    host.program("opt/box-1.2/box", '#!/bin/sh\necho "$0"; readlink -f "$0"\n')
    host.link("opt/box", "box-1.2")
    host.link("opt/first", "box/box")
    program = host.link(".local/bin/ls-like", host.home / "opt" / "first")
    installed = installation(program)
    assert host.run(installed, program).split() == [str(program), str(host.home / "opt/box-1.2/box")]
    assert host.mounted(installed) == {"opt/box-1.2/box"}


def test_links_and_mounts_of_two_programs_go_together(host: Host) -> None:
    host.program("tools/versions/2/both", "#!/bin/sh\necho both\n")
    first, second = (host.link(f"bin/{name}", "../tools/versions/2/both") for name in ("one", "two"))
    one, two = installation(first), installation(second)
    assert one.mounts == two.mounts
    both = Installed(one.mounts, (*one.links, *two.links, *one.links), one.folders)
    assert host.run(both, "sh", "-c", "one && two").split() == ["both", "both"]


def test_an_interpreter_is_looked_up_on_the_path_and_comes_along(host: Host) -> None:
    host.program("languages/bin/shout", Path("/bin/cat").read_bytes())
    program = host.program("tools/hello", "#!/usr/bin/env -S shout\nhello\n")
    installed = installation(program, f"{host.home}/languages/bin:{BASE_PATH}")
    assert "hello" in host.run(installed, "hello")
    assert host.mounted(installed) == {"languages/bin/shout", "tools/hello"}
    with pytest.raises(ConfigurationError, match="'shout', which is not on PATH"):
        installation(program)


def test_a_shim_stands_for_the_version_that_is_set_else_the_newest(host: Host) -> None:
    for version in ("3.9.1", "3.11.2", "3.12.0"):
        host.program(f".pyenv/versions/{version}/bin/tool", f"#!/bin/sh\necho {version}\n")
    (host.home / ".pyenv/versions/3.12.0/bin/tool").rename(host.home / ".pyenv/versions/3.12.0/bin/other")
    shim = host.program(".pyenv/shims/tool", "#!/usr/bin/env bash\nexec pyenv exec tool\n")
    assert host.run(installation(shim), shim) == "3.11.2"
    assert host.run(installation(shim), "tool") == "3.11.2"
    host.write(".pyenv/version", "3.9\n")
    installed = installation(shim)
    assert host.run(installed, shim) == "3.9.1"
    assert host.mounted(installed) == {".pyenv/versions/3.9.1"}
    host.write(".pyenv/version", "system\n")
    assert behind_shim(shim) == host.home / ".pyenv/versions/3.11.2/bin/tool"


@pytest.mark.parametrize(
    ("program", "beside", "root"),
    [
        ("home/u/.nvm/versions/node/v22.1.0/bin/node", (), "home/u/.nvm/versions/node/v22.1.0"),
        ("home/u/.pyenv/versions/3.12.1/bin/python3.12", (), "home/u/.pyenv/versions/3.12.1"),
        ("home/u/.asdf/installs/nodejs/20.1.0/bin/node", (), "home/u/.asdf/installs/nodejs/20.1.0"),
        ("home/u/share/uv/python/cpython-3.12.1-x/bin/python3.12", (), "home/u/share/uv/python/cpython-3.12.1-x"),
        ("home/u/fnm/node-versions/v20.1.0/installation/bin/node", (), "home/u/fnm/node-versions/v20.1.0"),
        ("home/u/.local/share/agent/versions/7/agent", (), "home/u/.local/share/agent/versions/7"),
        ("home/u/.local/share/claude/versions/2.1.3", (), "home/u/.local/share/claude/versions/2.1.3"),
        ("home/u/.local/bin/uv", ("home/u/.local/lib/node_modules/npm/x",), "home/u/.local/bin/uv"),
        ("home/u/bin/deno", (), "home/u/bin/deno"),
        ("home/u/sdk/go1.22/bin/go", ("home/u/sdk/go1.22/pkg/tool/x",), "home/u/sdk/go1.22"),
        ("home/u/jdk-21/bin/java", ("home/u/jdk-21/lib/jrt-fs.jar",), "home/u/jdk-21"),
        ("srv/py/bin/python3.13", ("srv/py/lib/python3.13/os.py",), "srv/py"),
        ("srv/x/lib/node_modules/a/node_modules/b/cli.js", (), "srv/x/lib/node_modules"),
    ],
)
def test_the_smallest_folder_that_is_whole_is_mounted(
    tmp_path: Path, program: str, beside: Iterable[str], root: str
) -> None:
    for name in (program, *beside):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert root_of(tmp_path / program) == tmp_path / root


@pytest.mark.parametrize(
    ("program", "root"),
    [("/opt/agent/lib/x/agent", "/opt/agent"), ("/opt/bin/agent", "/opt/bin/agent"), ("/opt/agent", "/opt/agent")],
)
def test_a_folder_in_opt_is_an_installation(program: str, root: str) -> None:
    assert root_of(Path(program)) == Path(root)


def test_what_every_sandbox_has_needs_nothing(host: Host) -> None:
    for name in ("/bin/sh", "/usr/bin/env", "/bin/ls"):
        assert installation(Path(name)) == Installed()


@pytest.mark.parametrize(
    ("files", "links", "program", "said"),
    [
        ({}, {}, "missing", "there is no file"),
        ({"folder/x": ""}, {}, "folder", "there is no file"),
        ({}, {"a": "b", "b": "a"}, "a", "circle"),
        ({}, {"a": "gone"}, "a", "gone"),
        ({"pyvenv.cfg": "home = /usr/bin\n", "bin/tool": "#!/bin/sh\n"}, {}, "bin/tool", "is a home"),
        ({"p/.env": SECRET, "p/pyvenv.cfg": "home = /usr/bin\n", "p/bin/tool": ""}, {}, "p/bin/tool", "credentials"),
        ({".pyenv/shims/tool": "#!/bin/sh\n"}, {}, ".pyenv/shims/tool", "no installed version"),
        ({"tool": "#!/nowhere/python\n"}, {}, "tool", "/nowhere/python"),
        (
            {
                ".local/bin/tool": "#!/bin/sh\nimport sys\nfrom tool.cli import main\n",
                ".local/lib/python3.11/site-packages/tool/cli.py": "",
            },
            {},
            ".local/bin/tool",
            "pipx",
        ),
    ],
)
def test_what_cannot_run_inside_is_refused_by_name(
    host: Host, files: dict[str, str], links: dict[str, str], program: str, said: str
) -> None:
    for name, text in files.items():
        host.program(name, text)
    for name, target in links.items():
        host.link(name, target)
    with pytest.raises(ConfigurationError, match=said) as refused:
        installation(host.home / program)
    assert program in str(refused.value)


def test_a_program_given_by_a_relative_path_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="whole path"):
        installation(Path("bin/tool"))
