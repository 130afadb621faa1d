"""Scenarios of names and messages: every byte that git allows in a path, and messages in any encoding."""

from __future__ import annotations

from tests.git.corpus.building import PERSON, Scenario, Step, numbered

AWKWARD = {
    "newline": "line\nbreak.txt",
    "quotes": "a \"quoted\" 'name'\\t.txt",
    "tab": "tab\there.txt",
    "not-utf8": "latin-\udce9.txt",
    "dash": "-rf",
    "pathspec": ":(glob)**",
    "star": "sta*r[1]?.txt",
    "space": " leading and trailing ",
    "bidi": "a\u202etxt.exe",
    "deep": "/".join(["d"] * 60) + "/f",
    "long": "n" * 250,
}


def conflicting(kind: str, path: str) -> Scenario:
    start, up, task = {path: numbered(), "kept.txt": "k\n"}, {path: numbered(l3="up")}, {path: numbered(l3="task")}
    stands = f"a conflict in a path with {kind}"
    return Scenario(f"N01-conflict-{kind}", stands, "conflict", start, [Step(up, by=PERSON)], [Step(task)], (path,))


def merging(kind: str, path: str) -> Scenario:
    start, up, task = {path: numbered(), "kept.txt": "k\n"}, {path: numbered(l18="up")}, {path: numbered(l3="task")}
    return Scenario(
        f"N02-merge-{kind}", f"a merge in a path with {kind}", "rebase", start, [Step(up, by=PERSON)], [Step(task)]
    )


def _message(name: str, stands: str, message: bytes, author: bytes = b"", encoding: str = "") -> Scenario:
    step = Step({"t": "t\n"}, message=message, encoding=encoding, author=author or Step().author)
    return Scenario(name, stands, "rebase", upstream=[Step({"u": "u\n"}, by=PERSON)], task=[step])


SCENARIOS = [
    *(conflicting(kind, path) for kind, path in AWKWARD.items()),
    *(merging(kind, path) for kind, path in AWKWARD.items()),
    Scenario(
        "T22-case-rename",
        "upstream adds Readme.md while task adds README.md (case only)",
        "rebase",
        upstream=[Step({"Readme.md": "up\n"}, by=PERSON)],
        task=[Step({"README.md": "task\n"})],
    ),
    Scenario(
        "T22-task-renames-case",
        "the task changes only the case of a name, upstream edits the file",
        *("rebase", {"Readme.md": numbered()}, [Step({"Readme.md": numbered(l18="up")}, by=PERSON)]),
        [Step({"Readme.md": None, "README.md": numbered()})],
        moved=("README.md",),
    ),
    Scenario(
        "N03-unicode-normalisation",
        "upstream adds a name composed, the task the same name decomposed: two files",
        "rebase",
        upstream=[Step({"caf\u00e9.txt": "up\n"}, by=PERSON)],
        task=[Step({"cafe\u0301.txt": "task\n"})],
    ),
    Scenario(
        "N04-two-latin-names",
        "names that differ only in bytes that are no UTF-8",
        "rebase",
        upstream=[Step({"x\udce9": "up\n"}, by=PERSON)],
        task=[Step({"x\udce8": "task\n"})],
    ),
    _message("N05-message-latin1", "a message in latin-1 that says so", b"caf\xe9\n", encoding="ISO-8859-1"),
    _message("N05-message-not-utf8", "a message that is no UTF-8 and does not say so", b"caf\xe9 \xff\n"),
    _message("N05-message-empty", "no message at all", b""),
    _message("N05-message-no-line-end", "a message without a last line end", b"subject"),
    _message(
        "N05-message-like-headers", "a message that looks like a commit's head", b"\n\ntree 123\nparent x\n\n y\n"
    ),
    _message("N05-message-comment", "lines that git's editor would strip", b"# 12: x\n\n\n\n  end  \n\n\n"),
    _message("N06-author-not-utf8", "an author in latin-1", b"m\n", b"Ren\xe9 <rene@example.org> 1234567890 -0530"),
    _message("N06-author-brackets", "an author of few letters", b"m\n", b"a <> 0 +0000"),
]
