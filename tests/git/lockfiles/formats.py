"""Lockfiles and manifests of six formats, written from the same list of packages, so that tests can bend one thing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from agentd.git.lockfiles import cargo, npm, pnpm, uv, yarn_berry, yarn_classic
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.provenance import Side


@dataclass(frozen=True)
class Package:
    """One package of a made lockfile."""

    name: str
    version: str = "1.0.0"
    needs: tuple[str, ...] = ()
    url: str = ""
    """where it comes from; empty: the format's registry, as its package manager writes it"""
    digest: str = "a"
    """what its hash is made of; empty: none"""
    runs_code: bool = False
    """has an install script, or for uv no wheel"""


@dataclass(frozen=True)
class Format:
    """A format: how to write it."""

    manager: Manager
    write: Callable[[Sequence[Package]], str]
    requirements: Callable[[dict[str, str]], dict[str, str]]
    """manifest path -> content"""
    registry: Callable[[Package], str]
    """the address of a package on the registry"""
    tells_scripts: bool = field(default=True)

    def side(self, packages: Sequence[Package], direct: dict[str, str]) -> Side:
        manifests = self.requirements(direct)
        return Side(
            self.manager.read(self.write(packages).encode()),
            {path: self.manager.requirements(path, text.encode()) for path, text in manifests.items()},
        )


def _sri(package: Package) -> str:
    return f"sha512-{package.digest * 8}=={package.name}{package.version}" if package.digest else ""


def _tarball(package: Package) -> str:
    return f"https://registry.npmjs.org/{package.name}/-/{package.name}-{package.version}.tgz"


def _yarn_tarball(package: Package) -> str:
    return f"https://registry.yarnpkg.com/{package.name}/-/{package.name}-{package.version}.tgz"


def _wheel(package: Package) -> str:
    return f"https://files.pythonhosted.org/packages/ab/{package.name}-{package.version}-py3-none-any.whl"


def _node(direct: dict[str, str]) -> dict[str, str]:
    return {"package.json": json.dumps({"name": "demo", "dependencies": direct})}


def _python(direct: dict[str, str]) -> dict[str, str]:
    listed = ", ".join(f'"{name}=={version}"' for name, version in direct.items())
    return {"pyproject.toml": f'[project]\nname = "demo"\ndependencies = [{listed}]\n'}


def _rust(direct: dict[str, str]) -> dict[str, str]:
    listed = "\n".join(f'{name} = "{version}"' for name, version in direct.items())
    return {"Cargo.toml": f'[package]\nname = "demo"\n[dependencies]\n{listed}\n'}


def write_npm(packages: Sequence[Package]) -> str:
    found: dict[str, object] = {"": {"name": "demo"}}
    for package in packages:
        entry: dict[str, object] = {"version": package.version, "resolved": package.url or _tarball(package)}
        entry |= {"integrity": _sri(package)} if package.digest else {}
        entry |= {"hasInstallScript": True} if package.runs_code else {}
        entry |= {"dependencies": dict.fromkeys(package.needs, "*")} if package.needs else {}
        found[f"node_modules/{package.name}"] = entry
    return json.dumps({"name": "demo", "lockfileVersion": 3, "packages": found})


def write_pnpm(packages: Sequence[Package]) -> str:
    lines = ["lockfileVersion: '9.0'", "packages:"]
    for package in packages:
        parts = [f"integrity: {_sri(package)}"] if package.digest else []
        parts += [f"tarball: {package.url}"] if package.url else []
        lines += [f"  {package.name}@{package.version}:", f"    resolution: {{{', '.join(parts)}}}"]
        lines += ["    requiresBuild: true"] if package.runs_code else []
    lines.append("snapshots:")
    for package in packages:
        lines.append(f"  {package.name}@{package.version}:")
        lines += ["    dependencies:", *(f"      {need}: 1.0.0" for need in package.needs)] if package.needs else []
    return "\n".join(lines) + "\n"


def write_classic(packages: Sequence[Package]) -> str:
    lines = ["# yarn lockfile v1", ""]
    for package in packages:
        fragment = f"#{package.digest * 40}" if package.digest else ""
        lines += [f"{package.name}@^1:", f'  version "{package.version}"']
        lines += [f'  resolved "{package.url or _yarn_tarball(package)}{fragment}"']
        lines += [f"  integrity {_sri(package)}"] if package.digest else []
        lines += ["  dependencies:", *(f'    {need} "*"' for need in package.needs)] if package.needs else []
        lines.append("")
    return "\n".join(lines)


def write_berry(packages: Sequence[Package]) -> str:
    lines = ["__metadata:", "  version: 8", "", '"demo@workspace:.":', '  resolution: "demo@workspace:."', ""]
    for package in packages:
        bound = f"::__archiveUrl={quote(package.url, safe='')}" if package.url else ""
        lines += [f'"{package.name}@npm:^1":', f"  version: {package.version}"]
        lines += [f'  resolution: "{package.name}@npm:{package.version}{bound}"']
        lines += ["  dependencies:", *(f'    {need}: "npm:*"' for need in package.needs)] if package.needs else []
        lines += [f"  checksum: 10c0/{package.digest * 16}"] if package.digest else []
        lines.append("")
    return "\n".join(lines)


def write_uv(packages: Sequence[Package]) -> str:
    lines = ["version = 1", "", "[[package]]", 'name = "demo"', 'version = "0"', 'source = { virtual = "." }', ""]
    for package in packages:
        url = package.url or _wheel(package)
        lines += ["[[package]]", f'name = "{package.name}"', f'version = "{package.version}"']
        lines += ['source = { registry = "https://pypi.org/simple" }']
        needs = ", ".join('{ name = "' + need + '" }' for need in package.needs)
        lines += [f"dependencies = [{needs}]"]
        digest = f', hash = "sha256:{package.digest * 64}"' if package.digest else ""
        source = f"https://files.pythonhosted.org/packages/ab/{package.name}-{package.version}.tar.gz"
        if package.runs_code:
            lines += [f'sdist = {{ url = "{package.url or source}"{digest} }}']
        else:
            lines += [f'wheels = [{{ url = "{url}"{digest} }}]']
        lines.append("")
    return "\n".join(lines)


def write_cargo(packages: Sequence[Package]) -> str:
    lines = ["version = 4", "", "[[package]]", 'name = "demo"', 'version = "0.1.0"', ""]
    for package in packages:
        lines += ["[[package]]", f'name = "{package.name}"', f'version = "{package.version}"']
        lines += [f'source = "{package.url or cargo.CRATES_IO[0]}"']
        lines += [f'checksum = "{package.digest * 64}"'] if package.digest else []
        lines += [f"dependencies = {json.dumps(package.needs)}", ""]
    return "\n".join(lines)


FORMATS = {
    "npm": Format(npm.MANAGER, write_npm, _node, _tarball),
    "pnpm": Format(pnpm.MANAGER, write_pnpm, _node, _tarball),
    "yarn classic": Format(yarn_classic.MANAGER, write_classic, _node, _yarn_tarball, tells_scripts=False),
    "yarn berry": Format(yarn_berry.MANAGER, write_berry, _node, _yarn_tarball, tells_scripts=False),
    "uv": Format(uv.MANAGER, write_uv, _python, _wheel),
    "cargo": Format(cargo.MANAGER, write_cargo, _rust, lambda _: "https://index.crates.io/", tells_scripts=False),
}
