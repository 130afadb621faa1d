"""Differences read from objects, with names and contents that nobody expects."""

from __future__ import annotations

from agentd.git.changes import blobs, changes, is_binary, sizes, with_markers
from agentd.git.mirror import Mirror
from tests.git.test_git import source, there  # noqa: F401  # fixtures

NAMES = [
    b"plain",
    b"with space",
    b"tab\there",
    b"line\nfeed",
    b'quo"te',
    b"\xff\xfe",
    b":(glob)*",
    "ü".encode(),
]


def tree(mirror: Mirror, files: dict[bytes, bytes], mode: str = "100644") -> str:
    lines = []
    for name, content in files.items():
        sha = mirror.git("hash-object", "-w", "--stdin", stdin=content)
        lines.append(f"{mode} blob {sha}\t".encode() + name + b"\0")
    return mirror.git("mktree", "-z", stdin=b"".join(sorted(lines, key=lambda line: line.split(b"\t", 1)[1])))


def test_every_name_and_every_byte_arrives(there: Mirror) -> None:  # noqa: F811
    empty = tree(there, {})
    files = {name: b"\0\xff" + name + b"\nlast" for name in NAMES}
    found = changes(there, empty, tree(there, files))
    assert {change.path.encode(errors="surrogateescape") for change in found} == set(NAMES)
    assert all(change.is_new_content for change in found)
    text = blobs(there, [change.new_sha for change in found])
    for change in found:
        assert text[change.new_sha] == files[change.path.encode(errors="surrogateescape")]
    assert sizes(there, text) == {sha: len(content) for sha, content in text.items()}


def test_a_change_of_the_mode_alone_is_a_change_without_content(there: Mirror) -> None:  # noqa: F811
    before, after = tree(there, {b"x": b"1"}), tree(there, {b"x": b"1"}, "100755")
    [change] = changes(there, before, after)
    assert (change.old_mode, change.new_mode, change.is_new_content) == ("100644", "100755", False)


def test_attributes_have_no_say(there: Mirror) -> None:  # noqa: F811
    """A file that the tree itself calls text is binary all the same."""
    before = tree(there, {})
    after = tree(there, {b".gitattributes": b"* diff text -binary\n", b"blob": b"a\0b"})
    found = {change.path: change for change in changes(there, before, after)}
    assert is_binary(blobs(there, [found["blob"].new_sha])[found["blob"].new_sha])


def test_marks_are_found_where_a_merge_left_them(there: Mirror) -> None:  # noqa: F811
    marked = b"a\n<<<<<<< one\nours\n=======\ntheirs\n>>>>>>> two\nb\n"
    files = {
        b"marked": marked,
        b"crlf": marked.replace(b"\n", b"\r\n"),
        b"heading": b"Title\n=======\ntext\n",
        b"*": marked,
        b"half": b"<<<<<<< one\nours\n",
    }
    found = with_markers(there, tree(there, files), ["marked", "crlf", "heading", "*", "gone", "half"])
    assert set(found) == {"marked", "crlf", "*"}
