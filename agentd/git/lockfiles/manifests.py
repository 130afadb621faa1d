"""What the manifests of each ecosystem ask for: name -> requirement, over all of a manifest's sections."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from agentd.git.lockfiles.entry import LockfileUnreadable
from agentd.git.lockfiles.reading import Table, json_table, lines_of, rows, table, toml_table, yaml_table

NODE_SECTIONS = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
RUST_SECTIONS = ("dependencies", "dev-dependencies", "build-dependencies")
PYTHON = "python"
"""The name of the versions of Python that a project is for, as Poetry has it."""
_NODE_NAME = re.compile(r"@?[^@>\s/*]+(?:/[^@>\s/*]+)?")
_PYTHON_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_GEM = re.compile(r"""[ \t]*gem[ \t]*\(?[ \t]*["']([^"']+)["'](.*)""")


def node(path: str, content: bytes) -> dict[str, str]:
    """package.json, with what it overrides; or the catalogs and overrides of pnpm-workspace.yaml."""
    found: dict[str, list[str]] = {}
    if PurePosixPath(path).name == "pnpm-workspace.yaml":
        document = yaml_table(content)
        catalogs = [document.get("catalog"), *table(document.get("catalogs"), "catalogs").values()]
        sections: list[Any] = [*catalogs, document.get("overrides")]
    else:
        document = json_table(content)
        pnpm = table(document.get("pnpm"), "pnpm")
        sections = [document.get(name) for name in (*NODE_SECTIONS, "overrides", "resolutions")]
        sections += [pnpm.get("overrides"), pnpm.get("packageExtensions")]
    for number, section in enumerate(sections):
        for name, requirement in _pairs(table(section, "a section of dependencies")):
            found.setdefault(name, []).append(f"{number} {requirement}")
    return {name: "\n".join(sorted(each)) for name, each in found.items()}


def _pairs(section: Table) -> Iterator[tuple[str, str]]:
    """Every name in a section; an override names several in one key (`a>b@2`), or in tables within it."""
    for key, value in section.items():
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        for name in _NODE_NAME.findall(key):
            yield name, text
        if isinstance(value, dict):
            yield from _pairs(value)


def python(path: str, content: bytes) -> dict[str, str]:
    """pyproject.toml (PEP 621, PEP 735, uv and Poetry) or a Pipfile."""
    document = toml_table(content)
    project = table(document.get("project"), "project")
    tool = table(document.get("tool"), "tool")
    uv, poetry = table(tool.get("uv"), "tool.uv"), table(tool.get("poetry"), "tool.poetry")
    lists = [project.get("dependencies"), uv.get("dev-dependencies")]
    lists += [uv.get("constraint-dependencies"), uv.get("override-dependencies")]
    lists += table(project.get("optional-dependencies"), "optional-dependencies").values()
    lists += table(document.get("dependency-groups"), "dependency-groups").values()
    sections = [poetry.get("dependencies"), poetry.get("dev-dependencies"), uv.get("sources")]
    sections += [table(each, "group").get("dependencies") for each in table(poetry.get("group"), "group").values()]
    sections += [document.get("packages"), document.get("dev-packages")] if _is_pipfile(path) else []
    versions = [project.get("requires-python"), uv.get("environments"), document.get("requires")]
    found = {PYTHON: [json.dumps(each, default=str) for each in versions if each is not None]}
    for section in sections:
        for key, value in table(section, "dependencies").items():
            found.setdefault(python_name(key), []).append(json.dumps(value, sort_keys=True, default=str))
    for requirement in (each for group in lists for each in rows(group, "dependencies")):
        if isinstance(requirement, str) and (match := _PYTHON_NAME.match(requirement)):
            found.setdefault(python_name(match[1]), []).append(requirement)
    return {name: "\n".join(sorted(each)) for name, each in found.items() if each}


def _is_pipfile(path: str) -> bool:
    return PurePosixPath(path).name == "Pipfile"


def python_name(name: str) -> str:
    """A name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def rust(path: str, content: bytes) -> dict[str, str]:
    """Cargo.toml, its targets, its workspace and what it patches."""
    document = toml_table(content)
    workspace = table(document.get("workspace"), "workspace")
    places = [document, *(table(each, "target") for each in table(document.get("target"), "target").values())]
    sections = [place.get(name) for place in places for name in RUST_SECTIONS]
    sections += [workspace.get("dependencies"), *table(document.get("patch"), "patch").values()]
    found: dict[str, list[str]] = {}
    for section in sections:
        for key, value in table(section, "dependencies").items():
            renamed = value.get("package", key) if isinstance(value, dict) else key
            found.setdefault(str(renamed), []).append(json.dumps(value, sort_keys=True, default=str))
    return {name: "\n".join(sorted(each)) for name, each in found.items()}


def go(path: str, content: bytes) -> dict[str, str]:
    """go.mod."""
    found = {}
    for line in lines_of(content):
        words = [word for word in line.partition("//")[0].split() if word not in ("require", "replace", "(", ")")]
        if len(words) >= 2 and (words[1] == "=>" or re.match(r"v\d", words[1])):
            found[words[0]] = " ".join(words[1:])
    return found


def ruby(path: str, content: bytes) -> dict[str, str]:
    """The gems that a Gemfile names plainly; it is a program, so there may be others."""
    matches = (_GEM.fullmatch(line) for line in lines_of(content))
    return {match[1]: match[2].strip() for match in matches if match}


def php(path: str, content: bytes) -> dict[str, str]:
    """composer.json."""
    document = json_table(content)
    found: dict[str, str] = {}
    for section in ("require", "require-dev"):
        for name, requirement in table(document.get(section), section).items():
            if not isinstance(requirement, str):
                raise LockfileUnreadable(f"{section}: {name} is no text")
            found[name.lower()] = requirement
    return found
