"""Scenarios of lockfiles: where upstream's version may stand until the tool makes the file anew, and where not."""

from __future__ import annotations

import posixpath

from tests.git.corpus.building import PERSON, Content, Scenario, Step, link, numbered, program

MANIFESTS = {
    "pnpm-lock.yaml": ("package.json",),
    "package-lock.json": ("package.json",),
    "yarn.lock": ("package.json",),
    "bun.lock": ("package.json",),
    "uv.lock": ("pyproject.toml",),
    "poetry.lock": ("pyproject.toml",),
    "Pipfile.lock": ("Pipfile",),
    "Cargo.lock": ("Cargo.toml",),
    "go.sum": ("go.mod",),
    "Gemfile.lock": ("Gemfile",),
    "composer.lock": ("composer.json",),
}


def manifests_of(path: str) -> tuple[str, ...]:
    """A small table of the kind that the lockfile room supplies."""
    folder, name = posixpath.split(path)
    return tuple(posixpath.join(folder, manifest) for manifest in MANIFESTS.get(name, ()))


PACKAGE = {
    "pnpm-lock.yaml": "  /{name}@{version}:\n    resolution: {{integrity: sha512-{name}{version}}}\n",
    "package-lock.json": '    "node_modules/{name}": {{\n      "version": "{version}"\n    }},\n',
    "yarn.lock": '{name}@^1:\n  version "{version}"\n\n',
    "yarn.lock (berry)": '"{name}@npm:^1":\n  version: {version}\n  linkType: hard\n\n',
    "bun.lock": '    "{name}": ["{name}@{version}", "", {{}}, "sha512-{name}{version}"],\n',
    "uv.lock": '[[package]]\nname = "{name}"\nversion = "{version}"\n\n',
    "poetry.lock": '[[package]]\nname = "{name}"\nversion = "{version}"\nfiles = []\n\n',
    "Pipfile.lock": '        "{name}": {{\n            "version": "=={version}"\n        }},\n',
    "Cargo.lock": '[[package]]\nname = "{name}"\nversion = "{version}"\nchecksum = "{name}{version}"\n\n',
    "go.sum": "example.org/{name} v{version} h1:{name}{version}=\n",
    "Gemfile.lock": "    {name} ({version})\n",
    "composer.lock": '        {{\n            "name": "v/{name}",\n            "version": "{version}"\n        }},\n',
}
OLD = {"bbb": "1", "mmm": "1", "nnn": "1", "ooo": "1", "yyy": "1"}
TASK = {**OLD, "aaa": "1", "mmm": "2"}
UPSTREAM = {**OLD, "zzz": "1", "mmm": "3"}


def lock(name: str, packages: dict[str, str]) -> str:
    return "".join(PACKAGE[name].format(name=key, version=packages[key]) for key in sorted(packages))


def manifest(*names: str) -> str:
    """Names far enough from each other that two additions do not touch."""
    wanted = sorted({"bbb", "ccc", "ddd", "nnn", "xxx", "yyy", *names})
    return "".join(f"need {name}\n\n" for name in wanted)


def pair(lockfile: str, packages: dict[str, str], *names: str, kind: str = "") -> dict[str, Content]:
    """A lockfile and its manifest."""
    return {lockfile: lock(kind or posixpath.basename(lockfile), packages), manifests_of(lockfile)[0]: manifest(*names)}


def both_add(number: str, kind: str) -> Scenario:
    name = kind.split(" ")[0]
    return Scenario(
        f"L{number}-{kind}",
        "both sides add a dependency and bump the same transitive one",
        *("rebase", pair(name, OLD, kind=kind)),
        [Step(pair(name, UPSTREAM, "zzz", kind=kind), by=PERSON)],
        [Step(pair(name, TASK, "aaa", kind=kind))],
        lockfiles=(name,),
    )


P = "pnpm-lock.yaml"
START = {**pair(P, OLD), "a.txt": numbered()}
UP = Step(pair(P, UPSTREAM, "zzz"), by=PERSON)
TASKS = Step(pair(P, TASK, "aaa"))
MEMBER = "packages/a/package.json"


def moved(folder: str, packages: dict[str, str], *names: str) -> dict[str, Content]:
    return {f"{folder}/{name}": content for name, content in pair(P, packages, *names).items()}


def gone(folder: str) -> dict[str, Content]:
    return {f"{folder}/{name}": None for name in (P, "package.json", "main.ts")}


SCENARIOS = [
    *(both_add(f"{number:02}", kind) for number, kind in enumerate(PACKAGE, 1)),
    Scenario("L20-merge-commit", "as L01 where a person committed too", "merge", START, [UP],
             [TASKS, Step({"h": "h\n"}, by=PERSON)], lockfiles=(P,)),
    Scenario("L21-merge-commit-pin", "as M10 by a person", "conflict", START, [UP],
             [Step({P: lock(P, TASK)}, by=PERSON)], files=(P,), reason="no manifest of it"),
    Scenario("L22-add-add", "both begin to use the tool", "rebase", {"a.txt": numbered(), "package.json": manifest()},
             [UP], [TASKS], lockfiles=(P,)),
    Scenario("L23-link", "the lockfile is a symbolic link on one side", "conflict", START,
             [Step({P: link("elsewhere"), "package.json": manifest("zzz")}, by=PERSON)], [TASKS], files=(P,)),
    Scenario("L23-links", "it is a link on all sides", "conflict", {P: link("a"), "package.json": manifest()},
             [Step({P: link("b")}, by=PERSON)], [Step({P: link("c"), "package.json": manifest("aaa")})], files=(P,),
             reason="no plain file"),
    Scenario("L24-executable", "an executable lockfile is a file all the same", "rebase",
             {P: program(lock(P, OLD)), "package.json": manifest()},
             [Step({P: program(lock(P, UPSTREAM))}, by=PERSON)],
             [Step({P: program(lock(P, TASK)), "package.json": manifest("aaa")})], lockfiles=(P,)),
    Scenario("L25-unknown", "a lockfile that nobody knows is a file like others", "conflict",
             {"x.lock": "1\n", "package.json": manifest()}, [Step({"x.lock": "2\n"}, by=PERSON)],
             [Step({"x.lock": "3\n", "package.json": manifest("aaa")})], files=("x.lock",)),
    Scenario("M01-lock-and-source", "lockfile and source conflict in the same commit", "conflict", START,
             [Step({**UP.files, "a.txt": numbered(l3="up")}, by=PERSON)],
             [Step({**TASKS.files, "a.txt": numbered(l3="task")})], files=("a.txt", P)),
    Scenario("M02-manifest-conflict", "the manifest conflicts too", "conflict", START,
             [Step({P: lock(P, UPSTREAM), "package.json": manifest("bbc")}, by=PERSON)],
             [Step({P: lock(P, TASK), "package.json": manifest("bbd")})], files=("package.json", P)),
    Scenario("M02-go-mod-conflict", "new direct requirements of go touch both files", "conflict",
             pair("go.sum", OLD), [Step({"go.sum": lock("go.sum", UPSTREAM), "go.mod": manifest("bbc")}, by=PERSON)],
             [Step({"go.sum": lock("go.sum", TASK), "go.mod": manifest("bbd")})], files=("go.mod", "go.sum")),
    Scenario("M03-monorepo-nested", "root pnpm-lock, services/api/uv.lock, crates/x/Cargo.lock all conflict", "rebase",
             {**START, **pair("services/api/uv.lock", OLD), **pair("crates/x/Cargo.lock", OLD)},
             [Step({**UP.files, **pair("services/api/uv.lock", UPSTREAM), **pair("crates/x/Cargo.lock", UPSTREAM)},
                   by=PERSON)],
             [Step({**TASKS.files, **pair("services/api/uv.lock", TASK, "aaa"),
                    **pair("crates/x/Cargo.lock", TASK, "aaa")})],
             lockfiles=("crates/x/Cargo.lock", P, "services/api/uv.lock")),
    Scenario("M03-one-of-them-pinned", "of two lockfiles one has a manifest that the task changed", "conflict",
             {**START, **pair("api/uv.lock", OLD)},
             [Step({**UP.files, **pair("api/uv.lock", UPSTREAM)}, by=PERSON)],
             [Step({**TASKS.files, "api/uv.lock": lock("uv.lock", TASK)})],
             files=("api/uv.lock", P), reason="api/uv.lock and no manifest of it"),
    Scenario("M04-workspace-member", "the root's lockfile follows from a member's manifest", "rebase",
             {**START, MEMBER: manifest()}, [UP], [Step({P: lock(P, TASK), MEMBER: manifest("aaa")})], lockfiles=(P,)),
    Scenario("M04-no-member", "the manifest further down has a lockfile of its own: the root's is only pinned",
             "conflict", {**START, MEMBER: manifest(), f"packages/a/{P}": lock(P, OLD)}, [UP],
             [Step({P: lock(P, TASK), MEMBER: manifest("aaa")})], files=(P,), reason="no manifest of it"),
    Scenario("M04-same-manifest-change", "both add the same dependency, and only the lockfiles differ", "rebase", START,
             [Step(pair(P, {**UPSTREAM, "aaa": "1"}, "aaa"), by=PERSON)], [TASKS], lockfiles=(P,)),
    Scenario("M05-multi-commit-lock", "three task commits, the lockfile conflicts in each", "rebase", START, [UP],
             [Step({P: lock(P, {**OLD, "mmm": str(n)}), "package.json": manifest(*["aaa", "aab", "aac"][: n - 3])})
              for n in (4, 5, 6)], lockfiles=(P,)),
    Scenario("M05-manifest-in-another-commit", "the lockfile's commit and the manifest's are two: an empty one stays",
             "rebase", START, [UP], [Step({P: lock(P, TASK)}), Step({"package.json": manifest("aaa")})],
             lockfiles=(P,)),
    Scenario("M05-clean-after-conflict", "the second commit's change to the lockfile would merge into upstream's",
             "rebase", START, [UP], [TASKS, Step({P: lock(P, {**TASK, "ooo": "2"})})], lockfiles=(P,)),
    Scenario("M05-conflict-after-clean", "the first commit's change merges, the second's conflicts: upstream's stands",
             "rebase", START, [UP],
             [Step(pair(P, {**OLD, "ooo": "2"})), Step(pair(P, {**TASK, "ooo": "2"}, "aaa"))], lockfiles=(P,)),
    Scenario("M06-multi-commit-lock-then-source", "commit 1 conflicts in the lockfile only, commit 2 in source",
             "conflict", START, [Step({**UP.files, "a.txt": numbered(l3="up")}, by=PERSON)],
             [TASKS, Step({"a.txt": numbered(l3="task")})], files=("a.txt", P)),
    Scenario("M07-lock-deleted-upstream", "upstream gave up the lockfile, the task changed it: it stays away", "rebase",
             START, [Step({P: None}, by=PERSON)], [TASKS], lockfiles=(P,)),
    Scenario("M07-lock-deleted-upstream-merge", "the same in a merge commit", "merge", START,
             [Step({P: None}, by=PERSON)], [TASKS, Step({"h": "h\n"}, by=PERSON)], lockfiles=(P,)),
    Scenario("M07-lock-deleted-upstream-twice", "and two commits of the task", "rebase", START,
             [Step({P: None}, by=PERSON)], [TASKS, Step(pair(P, {**TASK, "bbb": "2"}, "aab"))], lockfiles=(P,)),
    Scenario("M08-lock-deleted-by-task", "task migrates npm->pnpm (deletes package-lock.json), upstream modified it",
             "conflict", pair("package-lock.json", OLD), [Step(pair("package-lock.json", UPSTREAM, "zzz"), by=PERSON)],
             [Step({"package-lock.json": None, **pair(P, TASK, "aaa")})], files=("package-lock.json",),
             reason="the task deletes the lockfile package-lock.json"),
    Scenario("M08-changed-then-deleted", "the task changes the lockfile in one commit and deletes it in the next",
             "conflict", START, [UP], [TASKS, Step({P: None})], files=(P,), reason="deletes the lockfile"),
    Scenario("M08-deleted-by-a-person", "the same by a person's commit", "conflict", START, [UP],
             [Step({P: None, "package.json": manifest("aaa")}, by=PERSON)], files=(P,), reason="deletes the lockfile"),
    Scenario("M09-both-delete", "both delete it", "base", START, [Step({P: None}, by=PERSON)], [Step({P: None})],
             dropped=1),
    Scenario("M10-task-only-changes-lock", "the whole task is a pin, without a manifest", "conflict", START, [UP],
             [Step({P: lock(P, TASK)})], files=(P,), reason="no manifest of it"),
    Scenario("M10-pin-and-source", "a pin and source, without a manifest", "conflict", START, [UP],
             [Step({P: lock(P, TASK), "a.txt": numbered(l3="task")})], files=(P,), reason="no manifest of it"),
    Scenario("M10-pin-alone-upstream-elsewhere", "a pin that nothing stands against", "rebase", START,
             [Step({"u": "u\n"}, by=PERSON)], [Step({P: lock(P, TASK)})]),
    Scenario("M11-lock-merges-cleanly", "both sides change the lockfile in distant hunks", "rebase", START,
             [Step(pair(P, {**OLD, "zzz": "1"}, "zzz"), by=PERSON)], [Step(pair(P, {**OLD, "aaa": "1"}, "aaa"))],
             merged_lockfiles=(P,)),
    Scenario("M11-lock-merges-cleanly-merge", "the same in a merge commit", "merge", START,
             [Step(pair(P, {**OLD, "zzz": "1"}, "zzz"), by=PERSON)],
             [Step(pair(P, {**OLD, "aaa": "1"}, "aaa"), by=PERSON)], merged_lockfiles=(P,)),
    Scenario("M11-one-merges-one-conflicts", "two lockfiles, one in conflict and one merged as text", "rebase",
             {**START, **pair("api/uv.lock", OLD)},
             [Step({**UP.files, **pair("api/uv.lock", {**OLD, "zzz": "1"}, "zzz")}, by=PERSON)],
             [Step({**TASKS.files, **pair("api/uv.lock", {**OLD, "aaa": "1"}, "aaa")})],
             lockfiles=(P,), merged_lockfiles=("api/uv.lock",)),
    Scenario("M12-one-side-only", "only the task changed the lockfile: nothing to check", "rebase", START,
             [Step({"u": "u\n"}, by=PERSON)], [TASKS]),
    Scenario("M13-lock-dir-renamed-upstream", "upstream moves apps/web -> packages/web, conflict at the new place",
             "rebase", {**moved("apps/web", OLD), "apps/web/main.ts": numbered()},
             [Step({**gone("apps/web"), **moved("packages/web", UPSTREAM, "zzz"), "packages/web/main.ts": numbered()},
                   by=PERSON)],
             [Step(moved("apps/web", TASK, "aaa"))], lockfiles=(f"packages/web/{P}",),
             moved=("packages/web/package.json",)),
    Scenario("M14-lock-dir-renamed-by-task", "the task moves the folder, upstream changes its lockfile", "rebase",
             {**moved("apps/web", OLD), "apps/web/main.ts": numbered()}, [Step(moved("apps/web", UPSTREAM), by=PERSON)],
             [Step({**gone("apps/web"), **moved("lib/web", TASK, "aaa"), "lib/web/main.ts": numbered()})],
             lockfiles=(f"lib/web/{P}",)),
    Scenario("M14-moved-after-conflict", "the task changes the lockfile, then moves its folder: not in steps",
             "merge", {**moved("apps/web", OLD), "apps/web/main.ts": numbered()},
             [Step(moved("apps/web", UPSTREAM), by=PERSON)],
             [Step(moved("apps/web", TASK, "aaa")),
              Step({**gone("apps/web"), **moved("lib/web", TASK, "aaa"), "lib/web/main.ts": numbered()})],
             lockfiles=(f"lib/web/{P}",)),
    Scenario("M14-renamed-and-deleted", "the task moves the folder, upstream deletes its lockfile: no plain conflict",
             "conflict", {**moved("apps/web", OLD), "apps/web/main.ts": numbered()},
             [Step({f"apps/web/{P}": None}, by=PERSON)],
             [Step({**gone("apps/web"), **moved("lib/web", OLD, "aaa"), "lib/web/main.ts": numbered()})],
             files=(f"lib/web/{P}",), reason="rename/delete"),
    Scenario("M16-edit-then-revert-and-lock", "source conflicts on the way only, the lockfile at the end", "merge",
             START, [Step({**UP.files, "a.txt": numbered(l3="up")}, by=PERSON)],
             [Step({"a.txt": numbered(l3="task")}), Step({"a.txt": numbered(), **TASKS.files})], lockfiles=(P,)),
    Scenario("M17-binary-lock", "a lockfile that git takes for binary", "rebase",
             {P: b"\0old", "package.json": manifest()}, [Step({P: b"\0up"}, by=PERSON)],
             [Step({P: b"\0task", "package.json": manifest("aaa")})], lockfiles=(P,)),
    Scenario("M20-awkward-folder", "a lockfile in a folder with a line break and bytes that are no UTF-8", "rebase",
             pair(f"w\n\udcff*/{P}", OLD), [Step(pair(f"w\n\udcff*/{P}", UPSTREAM, "zzz"), by=PERSON)],
             [Step(pair(f"w\n\udcff*/{P}", TASK, "aaa"))], lockfiles=(f"w\n\udcff*/{P}",)),
    Scenario("M21-rewritten-base", "the base was rewritten and the lockfile conflicts", "rebase", START,
             [Step({"secret": "s\n"}, by=PERSON), Step(UP.files, on=("0",), by=PERSON)],
             [Step(TASKS.files, on=("u1",))], lockfiles=(P,), recorded="u1"),
]  # fmt: skip
