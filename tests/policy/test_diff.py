"""What a run may change, rule by rule."""

from __future__ import annotations

import pytest

from agentd.config_tables import PROTECTED, DiffSettings
from agentd.policy.diff import Change, Content, DiffRules, judge, leaves_tree

FILE, LINK, MODULE, NONE = "100644", "120000", "160000", "000000"
OLD, NEW = "1" * 40, "2" * 40


def rules_of(paths: dict[str, Content], rules: DiffRules, mode: str = FILE, old: str = NONE) -> list[str]:
    changes = [Change(path, old, mode, OLD, NEW) for path in paths]
    return [verdict.rule_id for verdict in judge("P0-01", changes, paths, rules)]


@pytest.mark.parametrize(
    ("path", "target", "leaves"),
    [
        ("link", "file", False),
        ("a/link", "../file", False),
        ("a/b/link", "../../c/./d", False),
        ("link", "a//b", False),
        ("link", "..a/b..", False),
        ("link", "/etc/passwd", True),
        ("link", "..", True),
        ("a/link", "../..", True),
        ("a/link", "./../../x", True),
        ("link", "a/../../x", True),
        ("link", "here/../secret", True),  # `here` may be a link to `.`
        ("link", ".git/config", True),
        ("a/link", "../.GIT", True),
        ("link", "", False),
    ],
)
def test_a_link_may_not_lead_out(path: str, target: str, leaves: bool) -> None:
    assert leaves_tree(path, target) is leaves
    content = {path: Content(len(target), link=target)}
    assert rules_of(content, DiffRules(), LINK) == (["symlink"] if leaves else [])


@pytest.mark.parametrize(
    ("path", "is_protected"),
    [
        (".github/workflows/ci.yml", True),
        (".GitHub/Workflows/CI.yml", True),
        (".github/workflows/deep/x", True),
        (".github/ISSUE_TEMPLATE.md", False),
        ("docs/.github/workflows/ci.yml", False),
        ("CODEOWNERS", True),
        (".github/codeowners", True),
        (".gitmodules", True),
        ("agentd.toml", True),
        ("sub/agentd.toml", False),
        ("tasks/P0-01.json", True),
        ("tasks/readme.json", False),
        (".claude/settings.json", True),
        ("web/.claude/settings.json", True),
        (".codex/config.toml", True),
        (".mcp.json", True),
        ("src/codex.py", False),
    ],
)
def test_protected_paths(path: str, is_protected: bool) -> None:
    rules = DiffRules(protected=PROTECTED)
    assert rules_of({path: Content(1)}, rules) == (["protected_path"] if is_protected else [])
    removed = [Change(path, FILE, NONE, OLD, "0" * 40)]
    assert bool(judge("t", removed, {}, rules)) is is_protected, "its removal is a change too"


def test_limits_are_inclusive_and_named() -> None:
    rules = DiffRules(max_files=2, max_bytes=10)
    assert rules_of({"a": Content(5), "b": Content(5)}, rules) == []
    assert rules_of({"a": Content(5), "b": Content(6)}, rules) == ["max_bytes"]
    assert rules_of(dict.fromkeys("abc", Content(1)), rules) == ["max_files"]
    many = [Change(f"f{number}", NONE, FILE, OLD, NEW) for number in range(130)]
    [verdict] = judge("P0-01", many, {}, DiffRules())
    assert len(verdict.evidence) == 21
    assert verdict.evidence[-1] == "and 110 more"
    assert "max_files under [diff]" in verdict.limit
    assert (verdict.decision, verdict.control, verdict.scope) == ("deny", "diff", "P0-01")


def test_binary_files_and_secrets_are_allowed_where_the_settings_say_so() -> None:
    content = {"img/a.png": Content(9, is_binary=True), "tests/key.pem": Content(9, secrets=("-----... (30)",))}
    assert rules_of(content, DiffRules()) == ["binary", "secret"]
    assert rules_of(content, DiffRules(binary=("*.PNG",), secrets=("tests/",))) == []


@pytest.mark.parametrize(("old", "new"), [(NONE, MODULE), (MODULE, MODULE), (MODULE, NONE), (MODULE, FILE)])
def test_submodules_stay_as_they_are(old: str, new: str) -> None:
    [verdict] = judge("t", [Change("lib", old, new, OLD, NEW)], {}, DiffRules())
    assert verdict.rule_id == "submodule"


def test_a_pattern_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'!' is no pattern as in \.gitignore"):
        DiffSettings(protected=("!",))
