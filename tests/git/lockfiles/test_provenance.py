"""A lockfile that somebody bent is refused, whichever side it came from; what package managers do is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agentd.git.lockfiles.provenance import Finding, Side, judge, origin
from tests.git.lockfiles.formats import FORMATS, Format, Package

OLD = Package("old", needs=("deep",), digest="0")
DEEP = Package("deep", digest="d")
OURS = Package("ours", digest="1", needs=("below",))
BELOW = Package("below", digest="2")
THEIRS = Package("theirs", digest="3")
BASE = (OLD, DEEP)
SIDES = {
    "upstream's": ((*BASE, OURS, BELOW), {"old": "1", "ours": "1"}),
    "the task's": ((*BASE, THEIRS), {"old": "1", "theirs": "1"}),
    "the regenerated": ((*BASE, OURS, BELOW, THEIRS), {"old": "1", "ours": "1", "theirs": "1"}),
}
Packages = tuple[Package, ...]


def judged(
    made: Format, bent: str = "", bend: Callable[[Packages], Packages] = lambda p: p, **more: tuple[str, ...]
) -> tuple[Finding, ...]:
    """What is found when the lockfile of one side is bent. What upstream bends, the regenerated one keeps."""
    sides: dict[str, Side] = {}
    for where, (packages, direct) in SIDES.items():
        is_bent = where == bent or (bent == "upstream's" and where == "the regenerated")
        sides[where] = made.side(bend(packages) if is_bent else packages, direct)
    base = made.side(BASE, {"old": "1"})
    return judge(made.manager, base, sides["the task's"], sides["upstream's"], sides["the regenerated"], **more)


def changing(name: str, **values: object) -> Callable[[Packages], Packages]:
    return lambda packages: tuple(replace(p, **values) if p.name == name else p for p in packages)  # type: ignore[arg-type]


def adding(package: Package) -> Callable[[Packages], Packages]:
    return lambda packages: (*packages, package)


def new_host(made: Format) -> Callable[[Packages], Packages]:
    return changing("old", url=made.registry(OLD).replace("https://", "https://evil.example/", 1))


def http(made: Format) -> Callable[[Packages], Packages]:
    return changing("old", url=made.registry(OLD).replace("https://", "http://"))


def changed_integrity(made: Format) -> Callable[[Packages], Packages]:
    return changing("old", digest="f")


def dropped_integrity(made: Format) -> Callable[[Packages], Packages]:
    return changing("old", digest="")


def extra_script(made: Format) -> Callable[[Packages], Packages]:
    return adding(Package("stranger", digest="9", runs_code=made.tells_scripts))


TAMPERINGS = [
    (new_host, "old@1.0.0", "a new host"),
    (http, "old@1.0.0", "a new kind of address"),
    (changed_integrity, "old@1.0.0", "its integrity changed"),
    (dropped_integrity, "old@1.0.0", "its integrity was dropped"),
    (extra_script, "stranger@1.0.0", "package"),
]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("bend", "entry", "rule"), TAMPERINGS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("name", FORMATS)
def test_a_bent_lockfile_is_refused_and_the_entry_named(
    name: str, side: str, bend: Callable[[Format], Callable[[Packages], Packages]], entry: str, rule: str
) -> None:
    made = FORMATS[name]
    findings = judged(made, side, bend(made))
    assert [f for f in findings if f.where == side and f.entry == entry and rule in f.rule], findings
    assert {f.entry for f in findings} == {entry}, "and no other"


@pytest.mark.parametrize("name", FORMATS)
def test_what_both_sides_add_is_no_finding(name: str) -> None:
    assert judged(FORMATS[name]) == ()


@pytest.mark.parametrize("name", FORMATS)
def test_a_package_that_a_new_one_needs_may_come_in_any_version(name: str) -> None:
    assert judged(FORMATS[name], "the regenerated", changing("below", version="1.5.0", digest="e")) == ()


@pytest.mark.parametrize("name", FORMATS)
def test_a_parent_may_move_packages_to_other_versions(name: str) -> None:
    for side in ("the task's", "upstream's"):
        assert judged(FORMATS[name], side, changing("deep", version="1.0.1", digest="e")) == ()


@pytest.mark.parametrize("name", FORMATS)
def test_a_regeneration_may_not_move_packages_that_nothing_asks_for(name: str) -> None:
    findings = judged(FORMATS[name], "the regenerated", changing("deep", version="1.0.1", digest="e"))
    assert [(f.entry, f.rule) for f in findings] == [("deep@1.0.1", "a package from nowhere")]


@pytest.mark.parametrize("name", [name for name, made in FORMATS.items() if made.tells_scripts])
def test_an_install_script_comes_only_with_a_package_that_a_manifest_names(name: str) -> None:
    made = FORMATS[name]
    assert judged(made, "the regenerated", changing("theirs", version="1.1.0", digest="e", runs_code=True)) == ()
    findings = judged(made, "the regenerated", changing("below", version="1.1.0", digest="e", runs_code=True))
    assert [(f.entry, f.rule) for f in findings] == [("below@1.1.0", "a new install script")]
    for side in ("the task's", "upstream's"):
        findings = judged(made, side, changing("deep", version="1.0.1", digest="e", runs_code=True))
        assert ("deep@1.0.1", "a new install script") in [(f.entry, f.rule) for f in findings if f.where == side]


@pytest.mark.parametrize("name", [name for name, made in FORMATS.items() if made.manager.is_hashed])
def test_what_is_new_from_a_registry_has_a_hash(name: str) -> None:
    findings = judged(FORMATS[name], "the regenerated", changing("below", version="1.1.0", digest=""))
    assert [(f.entry, f.rule) for f in findings] == [("below@1.1.0", "no integrity")]


ADDRESSES = {
    "git": ("git+https://github.com/x/old.git#0123456789", "a new kind of address"),
    "ssh": ("git+ssh://git@github.com/x/old.git#0123456789", "a new kind of address"),
    "two hosts": ("https://evil.example\\@registry.npmjs.org/old/-/old-1.0.0.tgz", "a new host"),
    "user": ("https://registry.npmjs.org@evil.example/old/-/old-1.0.0.tgz", "a new host"),
    "password": ("https://me:pw@registry.npmjs.org/old/-/old-1.0.0.tgz", "a new host"),
    "port": ("https://registry.npmjs.org:8443/old/-/old-1.0.0.tgz", "a new host"),
    "subdomain": ("https://registry.npmjs.org.evil.example/old/-/old-1.0.0.tgz", "a new host"),
    "another package": ("https://registry.npmjs.org/evil/-/evil-1.0.0.tgz", "the address of another package"),
    "name in the path": ("https://registry.npmjs.org/evil/-/old-1.0.0.tgz", "the address of another package"),
    "a scope": ("https://registry.npmjs.org/@evil/old/-/old-1.0.0.tgz", "the address of another package"),
    "an escaped scope": ("https://registry.npmjs.org/@evil%2fold/-/old-1.0.0.tgz", "the address of another package"),
    "outside": ("file:../../outside", "a path outside of the tree"),
    "absolute": ("file:/etc", "a path outside of the tree"),
}


@pytest.mark.parametrize("case", ADDRESSES)
def test_an_address_that_leads_elsewhere_is_refused(case: str) -> None:
    url, rule = ADDRESSES[case]
    findings = judged(FORMATS["npm"], "the task's", changing("old", url=url))
    assert [f for f in findings if f.entry == "old@1.0.0" and rule in f.rule], findings


@pytest.mark.parametrize(
    ("manager", "name", "url", "expected"),
    [
        ("npm", "@team/old", "https://registry.npmjs.org/@team/old/-/old-1.0.0.tgz", True),
        ("npm", "@team/old", "https://registry.npmjs.org/@team%2fold/-/old-1.0.0.tgz", True),
        ("npm", "@team/old", "https://registry.npmjs.org/old/-/old-1.0.0.tgz", False),
        ("npm", "old", "https://mirror.example/-/npm/old/-/old-1.0.0.tgz", True),
        ("uv", "old-style", "https://files.pythonhosted.org/packages/old_style-1.0-py3-none-any.whl", True),
        ("uv", "old-style", "https://files.pythonhosted.org/packages/Old.Style-1.0.tar.gz", True),
        ("uv", "old-style", "https://files.pythonhosted.org/packages/old-style-1.0.post1.zip", True),
        ("uv", "old", "https://files.pythonhosted.org/packages/old_evil-1.0-py3-none-any.whl", False),
        ("uv", "old", "https://files.pythonhosted.org/packages/old-evil-1.0.tar.gz", False),
        ("uv", "old", "https://pypi.org/simple", True),
    ],
)
def test_which_package_an_address_of_a_registry_is_of(manager: str, name: str, url: str, expected: bool) -> None:
    assert FORMATS[manager].manager.names(name, url) is expected


def test_a_path_is_judged_from_the_lockfiles_folder() -> None:
    bend = changing("theirs", url="file:../shared", digest="")
    made = FORMATS["npm"]
    assert judged(made, "the task's", bend, folder="apps/web") == ()  # type: ignore[arg-type]
    assert judged(made, "the task's", bend, folder="") != ()  # type: ignore[arg-type]


def test_a_mirror_may_be_used_when_it_is_in_the_settings() -> None:
    bend = changing("theirs", url="https://mirror.example:8443/npm/theirs/-/theirs-1.0.0.tgz")
    made = FORMATS["npm"]
    assert judged(made, "the task's", bend) != ()
    assert judged(made, "the task's", bend, hosts=("mirror.example:8443",)) == ()


def test_what_the_merge_base_has_may_stay() -> None:
    made = FORMATS["npm"]
    git = replace(DEEP, url="git+https://github.com/x/deep.git#0123", digest="")
    base = made.side((OLD, git), {"old": "1"})
    same = made.side((OLD, git, THEIRS), {"old": "1", "theirs": "1"})
    assert judge(made.manager, base, same, base, same) == ()
    moved = made.side(
        (OLD, replace(git, url="git+https://github.com/x/deep.git#4567"), THEIRS), {"old": "1", "theirs": "1"}
    )
    assert [f.rule for f in judge(made.manager, base, moved, base, same)] == ["its source changed"]


def test_a_wheel_that_becomes_a_source_distribution_is_refused() -> None:
    findings = judged(FORMATS["uv"], "the task's", changing("old", runs_code=True))
    assert {f.rule for f in findings} >= {"its integrity changed", "a new install script"}


def test_a_finding_says_what_stands_there_and_what_was_expected() -> None:
    (finding,) = judged(FORMATS["cargo"], "the task's", changing("old", digest="f"))
    assert (
        str(finding) == f"the task's lockfile, old@1.0.0: its integrity changed; expected {'0' * 64}, found {'f' * 64}"
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("https://Registry.npmjs.org:443/a", "https://registry.npmjs.org"),
        ("git+ssh://git@github.com/a/b.git", "git+ssh://github.com"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("https://h:x/", "https://h:x/"),
        ("https://h\u3002example/", "https://h\u3002example/"),
        ("npm", "npm"),
    ],
)
def test_origins(source: str, expected: str) -> None:
    assert origin(source) == expected


UV = (
    'version = 1\n\n[[package]]\nname = "old"\nversion = "1.0.0"\n'
    'source = {{ registry = "https://pypi.org/simple" }}\n{files}\n'
)
FILE = '{{ url = "https://files.pythonhosted.org/packages/{name}", hash = "sha256:{digest}" }}'


def uv_side(python: str, **files: str) -> Side:
    """uv's lockfile of one package with these wheels and hashes, for these versions of Python."""
    manager = FORMATS["uv"].manager
    wheels = [
        FILE.format(name=f"old-1.0.0-{tag}.whl", digest=digest) for tag, digest in files.items() if tag != "sdist"
    ]
    text = f"wheels = [{', '.join(wheels)}]" if wheels else ""
    text += "\nsdist = " + FILE.format(name="old-1.0.0.tar.gz", digest=files["sdist"]) if "sdist" in files else ""
    manifest = f'[project]\nname = "demo"\nrequires-python = "{python}"\ndependencies = ["old"]\n'
    requirements = {"pyproject.toml": manager.requirements("pyproject.toml", manifest.encode())}
    return Side(manager.read(UV.format(files=text).encode()), requirements)


@pytest.mark.parametrize(
    ("python", "files", "rules"),
    [
        (">=3.12", {"cp312": "b", "sdist": "s"}, set()),
        (">=3.12", {"cp312": "b", "cp313": "c", "sdist": "s"}, set()),
        (">=3.11", {"cp312": "b", "sdist": "s"}, {"its integrity was dropped"}),
        (">=3.12", {"cp312": "x", "sdist": "s"}, {"its integrity changed"}),
        (">=3.12", {"cp313": "c"}, {"its integrity changed"}),
        (">=3.12", {}, {"its integrity was dropped"}),
    ],
)
def test_files_may_come_and_go_with_the_versions_of_the_language(
    python: str, files: dict[str, str], rules: set[str]
) -> None:
    base, side = uv_side(">=3.11", cp311="a", cp312="b", sdist="s"), uv_side(python, **files)
    assert {f.rule for f in judge(FORMATS["uv"].manager, base, side, base, base)} == rules


ALIASED = {
    "npm": ('"node_modules/old": {', '"node_modules/old": {"name": "evil", '),
    "pnpm": ("packages:", "importers:\n  .:\n    dependencies: {old: {specifier: ^1, version: evil@1.0.0}}\npackages:"),
    "yarn berry": ('resolution: "old@npm:1.0.0"', 'resolution: "evil@npm:1.0.0"'),
}


@pytest.mark.parametrize("name", ALIASED)
@pytest.mark.parametrize("side", SIDES)
def test_a_name_does_not_come_to_stand_for_another_package(name: str, side: str) -> None:
    made, (plain, bent) = FORMATS[name], ALIASED[name]
    sides = {where: made.side(packages, direct) for where, (packages, direct) in SIDES.items()}
    text = made.write(SIDES[side][0])
    assert plain in text
    sides[side] = replace(sides[side], entries=made.manager.read(text.replace(plain, bent, 1).encode()))
    base = made.side(BASE, {"old": "1"})
    findings = judge(made.manager, base, sides["the task's"], sides["upstream's"], sides["the regenerated"])
    assert [f for f in findings if f.where == side and f.entry == "old@alias" and "another package" in f.rule], findings


def test_a_patch_of_yarn_is_one_of_the_same_package() -> None:
    read = FORMATS["yarn berry"].manager.read
    text = '__metadata:\n  version: 8\n"a@patch:{of}":\n  version: 1.0.0\n  resolution: "a@patch:{of}"\n'
    for of, sources in {"a@npm%3A1.0.0#./p": (), "evil@npm%3A1.0.0#./p": ("patch:evil@npm%3A1.0.0#./p",)}.items():
        (entry,) = read(text.format(of=of).encode()).values()
        assert entry.sources == sources


RUNTIME = """lockfileVersion: '9.0'
importers:
  .:
    devDependencies: {node: {specifier: runtime:24.4.0, version: runtime:24.4.0}}
packages:
  node@runtime:24.4.0:
    hasBin: true
    resolution:
      type: variations
      variants:
        - resolution: {archive: tarball, bin: bin/node, integrity: sha256-aaa=, type: binary, url: https://nodejs.org/x64.tgz}
          targets: [{cpu: x64, os: linux}]
        - resolution: {archive: zip, bin: node.exe, integrity: sha256-bbb=, type: binary, url: https://nodejs.org/win.zip}
          targets: [{cpu: x64, os: win32}]
    version: 24.4.0
"""


@pytest.mark.parametrize(
    ("plain", "bent", "rules"),
    [
        ("https://nodejs.org/x64", "https://evil.example/x64", {"a new host"}),
        ("https://nodejs.org/x64", "https://nodejs.org/other", {"its integrity changed"}),
        ("sha256-aaa=", "sha256-ccc=", {"its integrity changed"}),
        ("integrity: sha256-aaa=, ", "", {"its integrity was dropped"}),
        ("24.4.0", "24.5.0", set()),
    ],
)
def test_a_runtime_of_pnpm_is_its_archives(plain: str, bent: str, rules: set[str]) -> None:
    made = FORMATS["pnpm"].manager
    base, side = (Side(made.read(text.encode())) for text in (RUNTIME, RUNTIME.replace(plain, bent)))
    assert {f.rule for f in judge(made, base, side, base, side)} == rules


def test_an_archive_in_the_place_of_a_package_of_the_registry_is_seen() -> None:
    made = FORMATS["pnpm"].manager
    text = "lockfileVersion: '9.0'\npackages:\n  old@1.0.0:\n    resolution: {integrity: sha512-a==}\n"
    bent = text.replace("1.0.0", "1.0.1").replace("{", "{type: binary, url: https://evil.example/x.tgz, ")
    base, side = (Side(made.read(each.encode())) for each in (text, bent))
    assert {f.rule for f in judge(made, base, side, base, side)} == {"a new host"}


def test_what_a_project_of_npm_bundles_comes_from_a_registry_and_what_a_package_bundles_with_that() -> None:
    made = FORMATS["npm"].manager
    text = """{"packages": {
      "node_modules/a": {"version": "1.0.0", "integrity": "x", "inBundle": true,
        "resolved": "https://registry.npmjs.org/a/-/a-1.0.0.tgz"},
      "node_modules/a/node_modules/b": {"version": "1.0.0", "inBundle": true}}}"""
    base, moved, bent = (
        Side(made.read(each.encode()))
        for each in (text, text.replace("1.0.0", "1.0.1"), text.replace("1.0.0", "1.0.1").replace("npmjs", "evil"))
    )
    assert judge(made, base, moved, base, moved) == ()
    assert {f.rule for f in judge(made, base, bent, base, bent)} == {"a new host"}
