"""Programs that write files."""

from __future__ import annotations

from agentd.policy.allowlist import CommandRules
from agentd.policy.paths import check_inside
from agentd.policy.script import Call, Refused, Word


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
            operands.append(word)
        elif not word.is_static:
            raise Refused(f"{call.name}: the option '{word}' is not known before it runs; write it out")
        elif text.startswith("--") and "=" in text:
            _check_value(call, rules, text.split("=", 1)[1], text)
        elif not text.startswith("--") and "t" in text and call.name in ("cp", "mv", "ln"):
            if value := text.split("t", 1)[1]:
                _check_value(call, rules, value, text)
            else:
                raise Refused(f"{call.name} -t: write --target-directory=FOLDER, or the folder last")
        elif text.startswith("--ta") and call.name in ("cp", "mv", "ln"):
            raise Refused(f"{call.name} {text}: write --target-directory=FOLDER, or the folder last")
    return operands


def _check_value(call: Call, rules: CommandRules, value: str, option: str) -> None:
    if "/" in value or ".." in value or ".git" in value.lower():
        check_inside(Word(value), rules, f"{call.name} {option.split('=')[0]}")
