"""Which manager a lockfile is of, what its reader sees, and what it says to files that are none."""

# ruff: noqa: E501  (a sample is easier to read on one line)

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.git.lockfiles import MANAGERS, manager_of, manifests_of, reading
from agentd.git.lockfiles.entry import Entry, LockfileUnreadable
from agentd.git.lockfiles.manager import Manager
from tests.git.lockfiles.formats import FORMATS, Package

BY_NAME = {manager.name: manager for manager in MANAGERS}


@pytest.mark.parametrize(
    ("path", "content", "name", "manifests"),
    [
        ("pnpm-lock.yaml", None, "pnpm", ("package.json", "pnpm-workspace.yaml")),
        ("a/b/package-lock.json", None, "npm", ("a/b/package.json",)),
        ("npm-shrinkwrap.json", None, "npm", ("package.json",)),
        ("web/yarn.lock", b"# yarn lockfile v1\n", "yarn classic", ("web/package.json",)),
        ("web/yarn.lock", b"__metadata:\n  version: 8\n", "yarn berry", ("web/package.json",)),
        ("yarn.lock", None, "yarn berry", ("package.json",)),
        ("yarn.lock", b"", "yarn berry", ("package.json",)),
        ("bun.lock", None, "bun", ("package.json",)),
        ("services/api/uv.lock", None, "uv", ("services/api/pyproject.toml",)),
        ("poetry.lock", None, "poetry", ("pyproject.toml",)),
        ("Pipfile.lock", None, "pipenv", ("Pipfile",)),
        ("crates/x/Cargo.lock", None, "cargo", ("crates/x/Cargo.toml",)),
        ("go.sum", None, "go", ("go.mod",)),
        ("Gemfile.lock", None, "bundler", ("Gemfile",)),
        ("composer.lock", None, "composer", ("composer.json",)),
    ],
)
def test_a_lockfile_is_known_by_its_name_in_any_folder(
    path: str, content: bytes | None, name: str, manifests: tuple[str, ...]
) -> None:
    manager = manager_of(path, content)
    assert manager is not None and manager.name == name
    assert manifests_of(path) == manifests


@pytest.mark.parametrize(
    "path", ["package.json", "src/main.rs", "cargo.lock", "my-yarn.lock", "bun.lockb", "uv.lock/x"]
)
def test_other_files_are_no_lockfiles(path: str) -> None:
    assert manager_of(path) is None and manifests_of(path) == ()


def test_a_yarn_lock_of_neither_kind_is_no_lockfile() -> None:
    assert manager_of("yarn.lock", b"<<<<<<< ours\n") is None


def test_every_manager_says_what_is_needed_of_it() -> None:
    for manager in MANAGERS:
        assert manager.regenerate[0] == manager.check[0] == manager.program
        assert manager.hosts and all("/" not in host for host in manager.hosts)


READ: list[tuple[str, str, list[Entry]]] = [
    (
        "npm",
        """{"lockfileVersion": 3, "packages": {"": {"name": "x"}, "packages/a": {"name": "a", "version": "1"},
        "node_modules/a": {"resolved": "packages/a", "link": true},
        "node_modules/alias": {"name": "real", "version": "2", "resolved": "https://r/real/-/real-2.tgz"},
        "node_modules/real/node_modules/in": {"version": "3", "inBundle": true}}}""",
        [
            Entry("a", "", ("file:packages/a",), has_install_script=False),
            Entry("real", "2", ("https://r/real/-/real-2.tgz",), has_install_script=False),
            Entry("alias", "alias", ("bundled:",), needs=("real",)),
            Entry("in", "3", ("bundled:",), has_install_script=False),
        ],
    ),
    (
        "pnpm",
        """lockfileVersion: '9.0'
importers:
  .:
    dependencies: {used: {specifier: 'npm:real@1', version: real@1.0.0}}
packages:
  '@s/n@1.0.0(peer@2.0.0)': {resolution: {integrity: sha512-x}}
  real@1.0.0: {resolution: {type: git, repo: 'https://h/r.git', commit: abc}}
snapshots:
  '@s/n@1.0.0(peer@2.0.0)': {dependencies: {peer: 2.0.0, used: real@1.0.0}}
""",
        [
            Entry("@s/n", "1.0.0", (), frozenset(["sha512-x"]), None, ("peer", "real")),
            Entry("real", "1.0.0", ("git+https://h/r.git#abc",)),
            Entry("used", "alias", ("bundled:",), needs=("real",)),
        ],
    ),
    (
        "pnpm",
        "lockfileVersion: '6.0'\npackages:\n  /a@1.0.0:\n    resolution: {integrity: sha512-a}\n    requiresBuild: true\n"
        "    dependencies:\n      b: 2.0.0\n",
        [Entry("a", "1.0.0", (), frozenset(["sha512-a"]), True, ("b",))],
    ),
    (
        "yarn classic",
        '# yarn lockfile v1\n\n"@s/n@^1", "@s/n@^1.2":\n  version "1.2.0"\n'
        '  resolved "https://r/@s/n/-/n-1.2.0.tgz#abc"\n  integrity sha512-x\n  dependencies:\n    "@s/o" "^1"\n\n'
        "used@npm:real@^1:\n  version \"1.0.0\"\n\nlocal@file:./x:\n  version \"0\"\n",
        [
            Entry("@s/n", "1.2.0", ("https://r/@s/n/-/n-1.2.0.tgz",), frozenset(["sha512-x", "sha1#abc"]), None, ("@s/o",)),
            Entry("used", "alias", ("bundled:",), needs=("real",)),
            Entry("local", "0", ("file:./x",)),
        ],
    ),
    (
        "yarn berry",
        '__metadata:\n  version: 8\n"used@npm:real@^1":\n  version: 1.0.0\n  resolution: "real@npm:1.0.0"\n'
        '  checksum: 10c0/x\n"p@patch:p@npm%3A1.0.0#./fix.patch":\n  version: 1.0.0\n'
        '  resolution: "p@patch:p@npm%3A1.0.0#./fix.patch::version=1.0.0&hash=1&locator=demo%40workspace%3A."\n'
        '"g@https://h/g.git":\n  version: 1.0.0\n  resolution: "g@https://h/g.git#commit=abc"\n'
        '"l@link:../l::locator=a%40workspace%3Apackages%2Fa":\n  version: 0\n'
        '  resolution: "l@link:../l::locator=a%40workspace%3Apackages%2Fa"\n',
        [
            Entry("real", "1.0.0", (), frozenset(["10c0/x"])),
            Entry("used", "alias", ("bundled:",), needs=("real",)),
            Entry("p", "1.0.0"),
            Entry("g", "1.0.0", ("https://h/g.git#commit=abc",)),
            Entry("l", "0", ("file:packages/a/../l",)),
        ],
    ),
    (
        "bun",
        '{"lockfileVersion": 1, "packages": {"a": ["a@1.0.0", "", {"dependencies": {"b": "1",}}, "sha512-x"],}}',
        [Entry("a", "1.0.0", (), frozenset(["sha512-x"]), None, ("b",))],
    ),
    (
        "uv",
        'version = 1\n[[package]]\nname = "a"\nversion = "1"\nsource = { registry = "https://i/simple" }\n'
        'dependencies = [{ name = "b" }]\nsdist = { url = "https://f/a-1.tar.gz", hash = "sha256:x" }\n',
        [Entry("a", "1", ("https://i/simple", "https://f/a-1.tar.gz"), frozenset(["a-1.tar.gz sha256:x"]), True, ("b",))],
    ),
    (
        "poetry",
        '[[package]]\nname = "A_b"\nversion = "1"\nfiles = [{file = "a.whl", hash = "sha256:x"}]\n'
        '[package.dependencies]\nC = "*"\n[package.source]\ntype = "legacy"\nurl = "https://i/simple"\n'
        '[metadata]\nlock-version = "2.1"\n',
        [Entry("a-b", "1", ("https://i/simple",), frozenset(["a.whl sha256:x"]), False, ("c",))],
    ),
    (
        "pipenv",
        '{"_meta": {"sources": [{"name": "pypi", "url": "https://i/simple"}]}, '
        '"default": {"a": {"version": "==1", "hashes": ["sha256:x"], "index": "pypi"}}}',
        [Entry("a", "1", ("https://i/simple",), frozenset(["sha256:x"]))],
    ),
    (
        "cargo",
        'version = 4\n[[package]]\nname = "a"\nversion = "1"\nsource = "git+https://h/a#c"\ndependencies = ["b 1", "c"]\n',
        [Entry("a", "1", ("git+https://h/a#c",), frozenset(), None, ("b", "c"))],
    ),
    ("go", "m.example/a v1.0.0/go.mod h1:x=\n", [Entry("m.example/a", "v1.0.0/go.mod", (), frozenset(["h1:x="]), False)]),
    (
        "bundler",
        "GIT\n  remote: https://h/g.git\n  revision: abc\n  specs:\n    g (1.0)\n\nGEM\n  remote: https://rubygems.org/\n"
        "  specs:\n    rack (3.0)\n      base64 (>= 0.1)\n\nCHECKSUMS\n  rack (3.0) sha256=x\n",
        [
            Entry("g", "1.0", ("git+https://h/g.git#abc",)),
            Entry("rack", "3.0", ("https://rubygems.org/",), frozenset(["sha256=x"]), None, ("base64",)),
        ],
    ),
    (
        "composer",
        '{"packages": [{"name": "V/a", "version": "1", "type": "composer-plugin", "require": {"v/b": "*"}, '
        '"dist": {"url": "https://h/a.zip", "shasum": "s"}}], "packages-dev": []}',
        [Entry("v/a", "1", ("https://h/a.zip",), frozenset(["s"]), True, ("v/b",))],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "expected"), READ, ids=[name for name, _, _ in READ])
def test_what_a_lockfile_says(name: str, text: str, expected: list[Entry]) -> None:
    found = list(BY_NAME[name].read(text.encode()).values())
    assert [entry for entry in expected if entry not in found] == [], found


MANIFESTS = [
    ("pnpm", "pnpm-workspace.yaml", "catalog:\n  a: ^1\ncatalogs:\n  old:\n    b: ^2\noverrides:\n  c>d: '3'\n", "abcd"),
    ("npm", "package.json", '{"dependencies": {"a": "1"}, "overrides": {"b": {"c": "1"}}, "devDependencies": {"d": "1"}}', "abcd"),
    (
        *("uv", "pyproject.toml"),
        '[project]\ndependencies = ["A[x]>=1; python_version > \'3\'"]\noptional-dependencies = {x = ["b"]}\n'
        '[dependency-groups]\ndev = ["c", {include-group = "x"}]\n[tool.uv.sources]\nd = {path = "d"}\n',
        "abcd",
    ),
    ("poetry", "pyproject.toml", '[tool.poetry.dependencies]\na = "1"\n[tool.poetry.group.x.dependencies]\nb = {version = "1"}\n', "ab"),
    ("pipenv", "Pipfile", '[packages]\na = "*"\n[dev-packages]\nb = "*"\n', "ab"),
    (
        *("cargo", "Cargo.toml"),
        '[dependencies]\nx = {package = "a"}\n[target.\'cfg(unix)\'.dependencies]\nb = "1"\n[workspace.dependencies]\nc = "1"\n',
        "abc",
    ),
    ("go", "go.mod", "module m\nrequire (\n\ta.b/c v1.0.0 // indirect\n)\nreplace d.e/f => ./f\n", ["a.b/c", "d.e/f"]),
    ("bundler", "Gemfile", "gem 'a', '~> 1'\n  gem(\"b\")\n", "ab"),
    ("composer", "composer.json", '{"require": {"V/a": "1"}}', ["v/a"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "text", "expected"), MANIFESTS, ids=[f"{m[0]} {m[1]}" for m in MANIFESTS])
def test_what_a_manifest_asks_for(name: str, path: str, text: str, expected: list[str]) -> None:
    assert sorted(BY_NAME[name].requirements(path, text.encode()).keys() - {"python"}) == sorted(expected)


PACKAGES = (Package("a", needs=("b",)), Package("b", version="2.0.0"))
SAMPLES = [(manager, text.encode()) for name, text, _ in READ for manager in [BY_NAME[name]]]
SAMPLES += [(made.manager, made.write(PACKAGES).encode()) for made in FORMATS.values()]


def quietly(act: Callable[[], object]) -> None:
    """Whatever comes, or the one named error."""
    try:
        act()
    except LockfileUnreadable as error:
        assert 0 < len(str(error)) < 1000


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_reader_takes_anything_or_says_that_it_is_unreadable(data: st.DataObject) -> None:
    manager, sample = data.draw(st.sampled_from(SAMPLES))
    cut = data.draw(st.tuples(st.integers(0, len(sample)), st.integers(0, len(sample))))
    piece = data.draw(
        st.one_of(st.binary(max_size=40), st.sampled_from([b"{}", b"[]", b"null", b"1", b"- x\n", b"'", b"\0"]))
    )
    bent = sample[: min(cut)] + piece + sample[max(cut) :]
    quietly(lambda: manager.read(bent))
    for path in manager.manifests:
        quietly(lambda path=path: manager.requirements(path, bent))  # type: ignore[misc]


def test_an_address_that_is_none_is_text_like_any_other() -> None:
    text = FORMATS["uv"].write((Package("a", url="https://[x/a-1.0.0-py3-none-any.whl"),))
    assert "https://[x/a-1.0.0-py3-none-any.whl" in str(BY_NAME["uv"].read(text.encode()))


DEEP = 200_000
BOMBS = {
    "json": b'{"packages": ' + b"[" * DEEP,
    "json objects": b'{"a":' * DEEP,
    "yaml flow": b"packages: " + b"[" * DEEP,
    "yaml block": b"".join(b" " * i + b"a:\n" for i in range(500)),
    "toml": b"a = " + b"[" * DEEP,
    "toml inline": b"a = " + b"{a=" * DEEP,
    "toml keys": b"a" + b".a" * 1_000_000 + b" = 1",
    "aliases": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (b, b, *[b - 1] * 7) for b in range(98, 110)),
    "a long number": b'{"packages": ' + b"9" * 10_000 + b"}",
    "no text": bytes(range(256)),
    "nothing": b"",
    "blank lines": b"\n" * 1_000_000,
    "escaped quotes": b"# yarn lockfile v1\n" + b'\\"' * 30_000 + b":\n",
    "a long word": b'__metadata: {}\nx: {resolution: "a@' + b"a" * 1_000_000 + b'"}\n',
    "a long line": b"# yarn lockfile v1\n" + b"a" * 1_000_000 + b":\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: manager.name)
@pytest.mark.timeout(20)
def test_a_bomb_is_unreadable_and_costs_little(manager: Manager, bomb: str) -> None:
    quietly(lambda: manager.read(BOMBS[bomb]))
    quietly(lambda: manager.format and manager.format.search(BOMBS[bomb]))
    for path in manager.manifests:
        quietly(lambda path=path: manager.requirements(path, BOMBS[bomb]))  # type: ignore[misc]


def test_anchors_are_refused_in_yaml() -> None:
    for text in ("a: &x 1\nb: *x\n", "a: &x [1]\n"):
        with pytest.raises(LockfileUnreadable, match="anchor"):
            reading.yaml_table(text.encode())


@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: manager.name)
def test_a_file_that_is_too_large_is_not_parsed(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    with pytest.raises(LockfileUnreadable, match="at most 100"):
        manager.read(b" " * 101)


def test_values_of_yaml_stay_texts() -> None:
    text = "a: 1.10\nb: yes\nc: 2001-01-01\nd: !!python/object/apply:os.system [x]\n"
    assert reading.yaml_table(text.encode()) == {"a": "1.10", "b": "yes", "c": "2001-01-01", "d": ["x"]}


def test_lines_end_where_package_managers_end_them() -> None:
    assert reading.lines_of("a\u2028#b\x0cc\r\nd".encode()) == ["a\u2028#b\x0cc", "d"]
    text = '# yarn lockfile v1\na@^1:\n  version "1.0.0"\n  resolved "https://evil.example/a\u2028#.tgz"\n'
    (entry,) = BY_NAME["yarn classic"].read(text.encode()).values()
    assert entry.sources == ("https://evil.example/a\u2028",)


@pytest.mark.parametrize(
    "bent",
    [
        '  resolved: "https://evil.example/a.tgz"\n',
        '  "resolved": "https://evil.example/a.tgz"\n',
        '  x, resolved "https://evil.example/a.tgz"\n',
        '  resolved "https://evil.example/a.tgz" dependencies:\n    b "1"\n',
        'b@^1: resolved "https://evil.example/a.tgz" dependencies:\n    c "1"\n',
    ],
)
def test_what_yarn_1_reads_and_never_writes_is_refused(bent: str) -> None:
    text = '# yarn lockfile v1\n\na@^1, "a@^1 || ^2":\n  version "1.0.0"\n'
    read = BY_NAME["yarn classic"].read
    assert read(f'{text}  resolved "https://a/a.tgz"\n  dependencies:\n    b "1"\n'.encode())
    with pytest.raises(LockfileUnreadable, match="is not what yarn 1 writes"):
        read((text + bent).encode())
