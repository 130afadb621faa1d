"""Scenarios of what the two sides did to files."""

from __future__ import annotations

from tests.git.corpus.building import LINKED, PERSON, Content, File, Scenario, Step, link, numbered, program, submodule

TEXT = numbered()
START: dict[str, Content] = {"a.txt": TEXT, "kept.txt": "kept\n"}
BINARY = bytes(range(256)) * 4


def up(*changes: dict[str, Content]) -> list[Step]:
    return [Step(files, by=PERSON) for files in changes]


def task(*changes: dict[str, Content]) -> list[Step]:
    return [Step(files) for files in changes]


def pointer(oid: str) -> str:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid * 64}\nsize 1234\n"


LFS: dict[str, Content] = {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "x.bin": pointer("0")}
MODULE: dict[str, Content] = {"kept": "k\n", "lib": submodule(LINKED[0])}
BLOCK = "if a:\n    one()\n    two()\nelse:\n    three()\n"
HUGE = numbered(20_000).replace("line", "a rather long line, so that there are not too many of them, and " * 2)

SCENARIOS = [
    Scenario(
        "T01-modify-modify",
        "both change the same line",
        *("conflict", START, up({"a.txt": numbered(l3="up")}), task({"a.txt": numbered(l3="task")})),
        files=("a.txt",),
        reason="(content): Merge conflict in a.txt",
    ),
    Scenario(
        "T01-second-commit-conflicts",
        "the first commit goes on top, the second does not: nothing of the first is kept half-way",
        *("conflict", START, up({"a.txt": numbered(l3="up")})),
        task({"b.txt": "b\n"}, {"a.txt": numbered(l3="task")}),
        files=("a.txt",),
    ),
    Scenario(
        "T01-several-files",
        "conflicts in many files are all named",
        *("conflict", {f"f{n}": TEXT for n in range(40)}),
        up({f"f{n}": numbered(l1="up") for n in range(40)}),
        task({f"f{n}": numbered(l1="task") for n in range(40)}),
        files=tuple(f"f{n}" for n in range(40)),
    ),
    Scenario(
        "T02-modify-delete",
        "task modifies, upstream deletes",
        *("conflict", START, up({"a.txt": None}), task({"a.txt": numbered(l3="task")})),
        files=("a.txt",),
        reason="deleted in the base and modified in the branch",
    ),
    Scenario(
        "T03-delete-modify",
        "task deletes, upstream modifies",
        *("conflict", START, up({"a.txt": numbered(l3="up")}), task({"a.txt": None})),
        files=("a.txt",),
    ),
    Scenario("T03-delete-delete", "both delete", "base", START, up({"a.txt": None}), task({"a.txt": None}), dropped=1),
    Scenario("T03-task-deletes", "only the task deletes", "rebase", START, up({"u": "u\n"}), task({"a.txt": None})),
    Scenario(
        "T04-rename-rename",
        "both rename the file, to different names",
        *("conflict", START, up({"a.txt": None, "up.txt": TEXT}), task({"a.txt": None, "task.txt": TEXT})),
        files=("a.txt", "task.txt", "up.txt"),
        reason="rename/rename",
    ),
    Scenario(
        "T04-rename-rename-same",
        "both rename it to the same name, and change different lines",
        *("rebase", START),
        up({"a.txt": None, "b.txt": numbered(l18="up")}),
        task({"a.txt": None, "b.txt": numbered(l3="task")}),
    ),
    Scenario(
        "T04-two-files-to-one-name",
        "each renames another file to the same name",
        *("conflict", {"a.txt": TEXT, "b.txt": numbered(l1="other", l2="file", l3="x", l4="y")}),
        up({"a.txt": None, "c.txt": TEXT}),
        task({"b.txt": None, "c.txt": numbered(l1="other", l2="file", l3="x", l4="y")}),
        files=("c.txt",),
    ),
    Scenario(
        "T05-rename-delete",
        "task renames, upstream deletes",
        *("conflict", START, up({"a.txt": None}), task({"a.txt": None, "b.txt": TEXT})),
        files=("b.txt",),
        reason="rename/delete",
    ),
    Scenario(
        "T05-delete-rename",
        "task deletes, upstream renames",
        *("conflict", START, up({"a.txt": None, "b.txt": TEXT}), task({"a.txt": None})),
        files=("b.txt",),
    ),
    Scenario(
        "T06-upstream-renames",
        "upstream renames a file that the task edits: the edit follows",
        *("rebase", START),
        up({"a.txt": None, "b.txt": TEXT}),
        task({"a.txt": numbered(l3="task")}),
        moved=("b.txt",),
    ),
    Scenario(
        "T06-task-renames",
        "the task renames a file that upstream edits: upstream's edit follows",
        *("rebase", START, up({"a.txt": numbered(l3="up")}), task({"a.txt": None, "b.txt": TEXT})),
        moved=("b.txt",),
    ),
    Scenario(
        "T06-folder-renamed-upstream",
        "upstream renames a folder into which the task adds a file: where it belongs is for people to say",
        *("conflict", {"d/a.txt": TEXT, "d/b.txt": TEXT + "b\n"}),
        up({"d/a.txt": None, "d/b.txt": None, "e/a.txt": TEXT, "e/b.txt": TEXT + "b\n"}),
        task({"d/new.txt": "new\n"}),
        files=("e/new.txt",),
    ),
    Scenario(
        "T06-folder-split-upstream",
        "upstream moves a folder's files to two others, the task adds one: a conflict in which no file takes part",
        *("conflict", {"d/a.txt": TEXT, "d/b.txt": numbered(9, l1="other")}),
        up({"d/a.txt": None, "d/b.txt": None, "e/a.txt": TEXT, "f/b.txt": numbered(9, l1="other")}),
        task({"d/new.txt": "new\n"}),
        files=("d",),
        reason="directory rename split",
    ),
    Scenario(
        "T07-add-add",
        "both add the same path, different content",
        *("conflict", START, up({"n.txt": "up\n"}), task({"n.txt": "task\n"})),
        files=("n.txt",),
    ),
    Scenario(
        "T08-add-add-same",
        "both add the same path, same content; the task does more",
        *("rebase", START, up({"n.txt": "same\n", "u": "u\n"}), task({"n.txt": "same\n", "m.txt": "m\n"})),
    ),
    Scenario(
        "T09-binary",
        "a binary file changed on both sides",
        *("conflict", {"b.bin": BINARY}, up({"b.bin": BINARY + b"\0u"}), task({"b.bin": BINARY + b"\0t"})),
        files=("b.bin",),
    ),
    Scenario(
        "T09-binary-one-side",
        "a binary file changed by the task only",
        *("rebase", {"b.bin": BINARY}, up({"u": "u\n"}), task({"b.bin": BINARY + b"\0t"})),
    ),
    Scenario(
        "T10-submodule",
        "a submodule moved on both sides, to commits that nobody has here",
        *("conflict", MODULE),
        up({"lib": submodule(LINKED[1])}),
        task({"lib": submodule(LINKED[2])}),
        files=("lib",),
    ),
    Scenario(
        "T10-submodule-one-side",
        "a submodule moved by the task only",
        *("rebase", MODULE, up({"u": "u\n"})),
        task({"lib": submodule(LINKED[2])}),
    ),
    Scenario(
        "T10-submodule-against-file",
        "the task makes a folder a submodule, upstream edits in it",
        *("conflict", {"lib/a": TEXT}, up({"lib/a": numbered(l3="up")})),
        task({"lib/a": None, "lib": submodule(LINKED[2])}),
        files=("lib", "lib/a"),
    ),
    Scenario(
        "T11-mode-task",
        "the task makes a script executable, upstream edits it",
        *("rebase", {"run": TEXT}, up({"run": numbered(l3="up")}), task({"run": program(TEXT)})),
    ),
    Scenario(
        "T11-mode-both",
        "both make it executable and change different lines",
        *("rebase", {"run": TEXT}, up({"run": program(numbered(l18="up"))}), task({"run": program(numbered(l3="t"))})),
    ),
    Scenario(
        "T12-mode-add-add",
        "both add the same file with different modes",
        *("conflict", START, up({"run": "x\n"}), task({"run": program("x\n")})),
        files=("run",),
    ),
    Scenario(
        "T13-symlink-task",
        "the task makes a file a symbolic link, upstream edits it",
        *("conflict", START, up({"a.txt": numbered(l3="up")}), task({"a.txt": link("kept.txt")})),
        files=("a.txt",),
    ),
    Scenario(
        "T13-symlink-both",
        "both point the link elsewhere",
        *("conflict", {"l": link("a")}, up({"l": link("b")}), task({"l": link("c")})),
        files=("l",),
    ),
    Scenario(
        "T14-file-vs-dir",
        "task adds file conf, upstream adds conf/x",
        *("conflict", START, up({"conf/x": "x\n"}), task({"conf": "c\n"})),
        files=("conf",),
    ),
    Scenario(
        "T15-dir-vs-file",
        "task adds conf/x, upstream adds file conf",
        *("conflict", START, up({"conf": "c\n"}), task({"conf/x": "x\n"})),
        files=("conf",),
    ),
    Scenario(
        "T16-crlf",
        "upstream turns the file to CRLF, task edits a line",
        *("conflict", START, up({"a.txt": TEXT.replace("\n", "\r\n")}), task({"a.txt": numbered(l3="task")})),
        files=("a.txt",),
    ),
    Scenario(
        "T16-crlf-both-edit",
        "a CRLF file edited on both sides keeps its line ends",
        *("rebase", {"a.txt": TEXT.replace("\n", "\r\n")}),
        up({"a.txt": numbered(l18="up").replace("\n", "\r\n")}),
        task({"a.txt": numbered(l3="task").replace("\n", "\r\n")}),
    ),
    Scenario(
        "T17-whitespace",
        "upstream re-indents the block the task edits",
        *("conflict", {"p.py": BLOCK}, up({"p.py": BLOCK.replace("    ", "\t")})),
        task({"p.py": BLOCK.replace("two", "second")}),
        files=("p.py",),
    ),
    Scenario(
        "T17-whitespace-only",
        "both re-indent the same block, differently: `git rebase` takes that for the same change and drops the task's",
        *("conflict", {"p.py": BLOCK}, up({"p.py": BLOCK.replace("    ", "\t")})),
        task({"p.py": BLOCK.replace("    ", "  ")}),
        files=("p.py",),
    ),
    Scenario(
        "T17-whitespace-only-first",
        "the same in the first of two commits: it must not be dropped",
        *("conflict", {"p.py": BLOCK}, up({"p.py": BLOCK.replace("    ", "\t")})),
        task({"p.py": BLOCK.replace("    ", "  ")}, {"n": "n\n"}),
        files=("p.py",),
    ),
    Scenario(
        "T18-no-end-of-line",
        "both change a file without a last line end, at its two ends",
        *("rebase", {"a.txt": TEXT + "end"}, up({"a.txt": TEXT + "END"}), task({"a.txt": numbered(l3="t") + "end"})),
    ),
    Scenario(
        "T19-markers-in-the-text",
        "text that looks like conflict markers is text",
        *("rebase", {"a.txt": "<<<<<<< x\n" + TEXT + ">>>>>>> y\n"}),
        up({"a.txt": "<<<<<<< x\n" + numbered(l18="up") + ">>>>>>> y\n"}),
        task({"a.txt": "<<<<<<< x\n" + numbered(l3="task") + ">>>>>>> y\n"}),
    ),
    Scenario(
        "T20-attribute-union",
        "built-in drivers named by the tree (union, binary) are not honoured either: a conflict stays one",
        *("conflict", {"c.md": TEXT, ".gitattributes": "c.md merge=union\n"}),
        up({"c.md": numbered(l3="up")}),
        task({"c.md": numbered(l3="task")}),
        files=("c.md",),
    ),
    Scenario(
        "T21-huge-file",
        "a text of megabytes changed at both ends",
        *("rebase", {"h": HUGE}, up({"h": HUGE + "up\n"}), task({"h": "task\n" + HUGE})),
    ),
    Scenario(
        "T23-lfs-pointer",
        "a pointer of git-lfs changed on both sides (no filter runs)",
        *("conflict", LFS, up({"x.bin": pointer("1")}), task({"x.bin": pointer("2")})),
        files=("x.bin",),
        hostile=True,
    ),
    Scenario(
        "T23-lfs-pointer-one-side",
        "a pointer changed by the task only",
        *("rebase", LFS, up({"u": "u\n"}), task({"x.bin": pointer("2")})),
        hostile=True,
    ),
    Scenario(
        "T24-emptied",
        "the task empties a file that upstream does not touch, and adds an empty one",
        *("rebase", START, up({"u": "u\n"}), task({"a.txt": "", "empty": ""})),
    ),
    Scenario(
        "T25-file-becomes-folder",
        "the task makes a file a folder",
        *("rebase", START, up({"u": "u\n"}), task({"a.txt": None, "a.txt/one": "1\n"})),
    ),
    Scenario(
        "T26-neighbouring-lines",
        "upstream and task change lines next to each other",
        *("conflict", START, up({"a.txt": numbered(l4="up")}), task({"a.txt": numbered(l3="task")})),
        files=("a.txt",),
    ),
    Scenario(
        "T27-replaced-by-upstream-binary",
        "upstream replaces a text by a binary file of the same name, the task edits the text",
        *("conflict", START, up({"a.txt": File(BINARY)}), task({"a.txt": numbered(l3="task")})),
        files=("a.txt",),
    ),
]
