"""Programs that write files."""

from __future__ import annotations

import re

from agentd.policy.allowlist import CommandRules
from agentd.policy.paths import check_inside
from agentd.policy.script import Call, Refused, Word

_MOVERS = ("cp", "mv", "ln")
"""They may be told a folder to write to, which is judged like an operand."""
_VALUED = ("--target-directory", "--suffix", "--no-preserve", "--sparse")
"""Long options of theirs whose value may be the next word. Then words cannot be told apart: `mv -S -- -t../x a` writes
outside, and cp's last word is no longer where it writes to."""


def check_writer(call: Call, rules: CommandRules) -> None:
    """Every operand must be inside the workspace or /tmp."""
    for word in _operands(call, rules):
        check_inside(word, rules, call.name)


def check_copy(call: Call, rules: CommandRules) -> None:
    """cp: the last operand must be inside; what it reads is the sandbox's business."""
    operands = _operands(call, rules)
    for word in operands:
        if word.dynamic:
            raise Refused(f"cp: the path '{word}' is not known before it runs; write it out")
    if operands:
        check_inside(operands[-1], rules, "cp")


def check_cd(call: Call, rules: CommandRules) -> None:
    """cd: one static folder inside."""
    operands = [word for word in call.words[1:] if word.text not in ("--", "-P", "-L")]
    if len(operands) != 1 or operands[0].text.startswith("-") or not operands[0].is_static:
        raise Refused("cd: name one folder inside the workspace")
    check_inside(operands[0], rules, "cd")


def _operands(call: Call, rules: CommandRules) -> list[Word]:
    operands = []
    only_operands = False
    for word in call.words[1:]:
        text = word.text
        if not only_operands and text == "--":
            only_operands = True
        elif only_operands or not text.startswith("-") or text == "-":
            if call.name in _MOVERS:
                _check_mover_operand(call, word, only_operands)
            operands.append(word)
        elif not word.is_static:
            raise Refused(f"{call.name}: the option '{word}' is not known before it runs; write it out")
        elif text.startswith("--") and "=" in text:
            _check_value(call, rules, text.split("=", 1)[1], text)
        elif call.name in _MOVERS:
            _check_mover(call, rules, text)
    return operands


def _check_mover_operand(call: Call, word: Word, after_dashes: bool) -> None:
    """What looks like an operand may be an option all the same. A dynamic one is refused anyway, as a path."""
    if word.dynamic:
        return
    # The dashes may be the value of an option that a glob became.
    becomes_option = word.text.startswith("-") if after_dashes else call.name == "cp" and _may_take_the_next(word)
    if becomes_option:
        raise Refused(f"{call.name}: '{word}' may become an option; begin it with ./")


def _may_take_the_next(word: Word) -> bool:
    """Whether a pattern may become an option whose value is the next word: none of those has a dot."""
    before_brace, brace, _ = word.text.partition("{")
    if not word.may_be_option or "." in before_brace:
        return False
    # Of `{a,b}` every alternative is written out.
    return before_brace != "" or not brace or re.search(r"[{,](?=[-*?\[{,}])", word.text) is not None


def _check_mover(call: Call, rules: CommandRules, option: str) -> None:
    # coreutils completes abbreviations of long options.
    if option.startswith("--"):
        if full := next((each for each in _VALUED if each.startswith(option)), ""):
            raise Refused(f"{call.name} {option}: write the value in the same word, {full}=VALUE")
        return
    letters, has_target, folder = option.partition("t")
    if "S" in letters:
        raise Refused(f"{call.name} {option}: write --suffix=SUFFIX")
    if has_target and not folder:
        raise Refused(f"{call.name} -t: write --target-directory=FOLDER, or the folder last")
    _check_value(call, rules, folder, option)


def _check_value(call: Call, rules: CommandRules, value: str, option: str) -> None:
    if "/" in value or ".." in value or ".git" in value.lower():
        check_inside(Word(value), rules, f"{call.name} {option.split('=')[0]}")
