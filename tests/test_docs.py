"""The documentation says what is so: links, commands, settings, rules, labels, events, dependencies, the tutorial."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from agentd.cli import app
from agentd.errors import ConfigurationError
from agentd.github.labels import LABELS
from agentd.loading import load
from agentd.model import Contract
from agentd.policy.failures import ENDINGS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
RULE = re.compile(r"[a-z]+(?:_[a-z]+)*_?")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks of these languages, without the indentation that they have in a list."""
    found = []
    for indent, language, body in BLOCK.findall(text):
        if language in languages:
            found.append(re.sub(rf"^{indent}", "", body, flags=re.MULTILINE))
    return found


def prose(text: str) -> str:
    return BLOCK.sub("", text)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ +(.*)$", prose(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for target in LINK.findall(prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_resolves(page: Path) -> None:
    assert broken_links(page, page.read_text()) == []


def test_a_broken_link_or_anchor_is_found() -> None:
    text = "[a](docs/README.md) [b](docs/nowhere.md) [c](#licence) [d](#nothing)"
    assert broken_links(ROOT / "README.md", text) == ["docs/nowhere.md", "#nothing"]


def test_every_page_is_reached_from_the_index() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in (DOCS / "README.md", ROOT / "README.md")
        for target in LINK.findall(prose(page.read_text()))
    }
    assert [name_of(page) for page in DOCS.rglob("*.md") if page not in linked and page.name != "README.md"] == []


def commands_in(text: str) -> Iterator[list[str]]:
    """Every `agentd ...` of shell, cron and unit blocks and of code spans, as words."""
    lines = [line for block in blocks(text, "sh", "console") for line in without_here_documents(block)]
    lines += [line for block in blocks(text, "cron", "ini") for line in re.findall(r"\bagentd .*", block)]
    lines += re.findall(r"`(agentd [^`|]*)`", prose(text))
    for line in lines:
        words = list(shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True))
        while words:
            end = next((at for at, word in enumerate(words) if set(word) <= set("();<>|&")), len(words))
            part, words = words[:end], words[end + 1 :]
            while part and (re.match(r"\w+=", part[0]) or part[0] in {"flock", "-n", ".agentd.lock", "$"}):
                part = part[1:]
            if part and part[0].rpartition("/")[2] == "agentd":
                yield part[1:]


def without_here_documents(block: str) -> Iterator[str]:
    lines = iter(block.replace("\\\n", " ").splitlines())
    quoted = ""
    for line in lines:
        if quoted or line.count("'") % 2:
            # A JSON body over several lines; no command of ours has one.
            quoted = "" if quoted and line.count("'") % 2 else "'"
            continue
        yield line
        here = re.search(r"<<'?(\w+)'?", line)
        if here:
            while next(lines) != here[1]:
                pass


def complaint(words: list[str]) -> str:
    """What the command line would say against these words; empty when nothing."""
    command: Any = get_command(app)
    path = "agentd"
    while hasattr(command, "commands"):
        if words and words[0] in command.commands:
            path, command, words = f"{path} {words[0]}", command.commands[words[0]], words[1:]
        elif not words or words in (["--help"], ["--version"]):
            return ""
        else:
            return f"{path} has no command {words[0]}"
    options = {name: each for each in command.params for name in each.opts if each.param_type_name == "option"}
    most = sum(1 for each in command.params if each.param_type_name == "argument")
    given = 0
    rest = iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if not word.startswith("-"):
            given += 1
        elif name not in options and name != "--help":
            return f"{path} has no option {name}"
        elif name in options and not options[name].is_flag and not equals and next(rest, None) is None:
            return f"{path} {name} needs a value"
    return f"{path} takes {most} argument(s), not {given}" if given > most else ""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_line_exists(page: Path) -> None:
    wrong = [found for words in commands_in(page.read_text()) if (found := complaint(words))]
    assert wrong == []


def test_the_command_lines_of_the_pages_are_really_read() -> None:
    read = [words for page in PAGES for words in commands_in(page.read_text())]
    assert len(read) > 60
    for expected in (["once", "--json"], ["start", "--foreground"], ["tasks", "sync", "--dry-run"], ["reset", "*"]):
        assert expected in read


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("agentd onze", "agentd has no command onze"),
        ("FOO=1 agentd once --dryrun", "agentd once has no option --dryrun"),
        ("true && agentd runs show a b", "agentd runs show takes 1 argument(s), not 2"),
        ("agentd start --max-parallel", "agentd start --max-parallel needs a value"),
    ],
)
def test_a_wrong_command_line_is_found(line: str, said: str) -> None:
    [words] = commands_in(f"```sh\n{line}\n```\n")
    assert complaint(words) == said


TOML = [(page, block) for page in PAGES for block in blocks(page.read_text(), "toml")]


@pytest.mark.parametrize(("page", "block"), TOML, ids=[name_of(page) for page, _ in TOML])
def test_every_settings_example_loads(page: Path, block: str, tmp_path: Path) -> None:
    (tmp_path / "agentd.toml").write_text(block)
    settings = load(environ={"EXECUTOR_BOT_TOKEN": "x"}, directory=tmp_path).settings
    assert settings.profile_named(settings.default_profile)


def test_a_wrong_settings_example_is_found(tmp_path: Path) -> None:
    [block] = blocks("  ```toml\n  max_paralel = 2\n  ```\n", "toml")
    (tmp_path / "agentd.toml").write_text(block)
    with pytest.raises(ConfigurationError, match="max_paralel"):
        load(environ={"EXECUTOR_BOT_TOKEN": "x"}, directory=tmp_path)


def test_the_contract_example_is_valid() -> None:
    [block] = blocks((DOCS / "how-to" / "write-task-contracts.md").read_text(), "json")
    schema = json.loads((ROOT / "schemas" / "task-contract.schema.json").read_text())
    from jsonschema import Draft202012Validator

    Draft202012Validator(schema).validate(json.loads(block))
    assert Contract.model_validate_json(block).task_id == "P0-01"


def rule_ids(source: str) -> set[str]:
    """The rule ids that a module names; one that is put together at run time ends in `_`."""
    found: set[str] = set()
    module = ast.parse(source)
    constants = {
        target.id: node.value
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def take(node: ast.expr | None) -> None:
        if isinstance(node, ast.Name):
            node = constants.get(node.id)
        if isinstance(node, ast.JoinedStr):
            node = node.values[0]  # type: ignore[assignment]  # the fixed part of an f-string
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and RULE.fullmatch(node.value):
            found.add(node.value)

    for node in ast.walk(module):
        match node:
            case ast.keyword(arg="rule_id", value=value):
                take(value)
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "rule_id":
                        take(value)
            case ast.Call(func=ast.Name(id="_hold" | "_verdict"), args=[first, *others]):
                take(first)
                if len(others) > 1 and isinstance(others[0], ast.Attribute):
                    take(others[1])  # the plan's _verdict(question, decision, rule_id, ...)
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                for name, value in zip(names, values, strict=False):
                    if isinstance(name, ast.Name) and name.id == "rule":
                        take(value)
            case ast.Assign(targets=[ast.Name(id="rule")], value=value):
                take(value)
            case ast.Return(value=ast.Tuple(elts=[ast.Constant() as first, _, _])):
                take(first)
    return found


def used_rules() -> set[str]:
    return {rule for path in (ROOT / "agentd").rglob("*.py") for rule in rule_ids(path.read_text())}


def described_rules() -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", (DOCS / "reference" / "rules.md").read_text(), re.MULTILINE))


def test_every_rule_of_the_code_is_described_and_no_other() -> None:
    used, described = used_rules(), described_rules()
    assert {"labeler_permission", "no_slot", "backoff", "rate_limit_", "dependencies", "base_branch"} <= used
    prefixes = tuple(rule for rule in used if rule.endswith("_"))
    assert sorted(used - described - set(prefixes) - set(ENDINGS)) == []  # those are in failures.md, made from it
    assert sorted(rule for rule in described - used if not rule.startswith(prefixes)) == []


@pytest.mark.parametrize(
    "source",
    [
        'Verdict(rule_id="new_rule")',
        'RULE = "new_rule"\nVerdict(rule_id=RULE)',
        'v.model_copy(update={"rule_id": "new_rule"})',
        '_hold("new_rule", task_id, observed, action)',
        '_verdict(question, Decision.allow, "new_rule", "", "start", None)',
        'wait, rule, said = 1, "new_rule", str(error)',
        'rule = "new_rule"',
        'def f():\n    return "new_rule", "seen", "do"',
    ],
)
def test_a_rule_in_any_of_the_forms_of_the_code_is_seen(source: str) -> None:
    assert rule_ids(source) == {"new_rule"}


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [name for extra in project["optional-dependencies"].values() for name in extra]
    names = {re.split(r"[^\w.-]", each, maxsplit=1)[0].lower() for each in project["dependencies"] + extras}
    page = (DOCS / "explanation" / "dependencies.md").read_text()
    told = {name.lower() for name in re.findall(r"^\| `([\w.-]+)` \| [\w`]", page, re.MULTILINE)}
    assert names - {project["name"]} == told


def test_every_event_type_is_described_and_no_other() -> None:
    schema = json.loads((ROOT / "schemas" / "agent-event.schema.json").read_text())
    types = schema["properties"]["event_type"]["enum"]
    page = (DOCS / "reference" / "events.md").read_text()
    assert re.findall(r"^\| `(\w+)` \| (?:supervisor|worker|reconciler)", page, re.MULTILINE) == sorted(
        types, key=page.index
    )
    for field in schema["properties"]:
        assert f"`{field}`" in page


def test_every_label_is_described() -> None:
    page = (DOCS / "reference" / "labels.md").read_text()
    assert [label.name for label in LABELS if f"`{label.name}`" not in page] == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial uses curl")
def test_the_tutorial_can_be_followed_to_its_end(tmp_path: Path) -> None:
    script = "\n".join(blocks((DOCS / "tutorial" / "first-issue.md").read_text(), "sh"))
    guarded = f"set -e\ntrap 'kill %1; wait' EXIT\n{script}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", guarded],
        cwd=tmp_path,
        env={"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    for expected in (
        "start issue-1 #1 Greet by name: next",
        "in_review issue-1",
        "issue-1  merged",
        "exit status 1",
        "refs/agentd/salvage/issue-3/",
    ):
        assert expected in done.stdout
