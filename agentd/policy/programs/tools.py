"""Common tools with options that run something. They are off the default list; these rules hold when one is listed."""

from __future__ import annotations

import re

from agentd.policy.allowlist import CommandRules
from agentd.policy.script import Call, Refused, Word

_LONG = {
    "tar": (
        *("--to-command", "--checkpoint-action", "--use-compress-program", "--rsh-command", "--rmt-command"),
        *("--info-script", "--new-volume-script"),
    ),
    "sort": ("--compress-program", "--output"),
    "rg": ("--pre", "--hostname-bin"),
}
_FIND = re.compile(r"-(exec|ok|fprint|fls|delete)")


def check(call: Call, rules: CommandRules) -> None:
    """find, tar, sed, awk, sort, rg."""
    check_unknown(call, rules)
    words = [word.text for word in call.words[1:]]
    if unknown := next((word for word in call.words[1:] if _is_unknown_option(word)), None):
        raise Refused(f"{call.name}: the option '{unknown}' is not known before it runs; write it out")
    for word in words:
        option = word.split("=")[0]
        long = any(len(option) > 2 and name.startswith(option) for name in _LONG.get(call.name, ()))
        if long or (call.name == "find" and _FIND.match(word)):
            raise Refused(f"{call.name} {option} runs or writes something; leave it away")
        if call.name in ("tar", "sort") and re.fullmatch(r"-?[A-Za-z]*[IFo][A-Za-z]*.*", word) and word.startswith("-"):
            raise Refused(f"{call.name} {word} may run or write something; use the long options")
    if call.name == "tar" and words and not words[0].startswith("-") and set(words[0]) & set("IF"):
        raise Refused(f"tar {words[0]} may run something; use the long options")
    # Elsewhere it could be the value of another option, or a file.
    if call.name == "sed" and words[:1] != ["--sandbox"]:
        raise Refused("sed scripts can run commands and write files; begin with sed --sandbox")
    if call.name.endswith("awk"):
        _check_awk(call.words[1:])


def check_unknown(call: Call, rules: CommandRules) -> None:
    """A listed program that nothing is known of: its arguments must be static, or quoted after a static start."""
    for word in call.words[1:]:
        if word.may_be_option:
            raise Refused(f"{call.name}: '{word}' may become an option; write it out, or begin it with ./")


def _is_unknown_option(word: Word) -> bool:
    return not word.is_static and word.text.startswith("-") and "=" not in word.text


def _check_awk(words: tuple[Word, ...]) -> None:
    for word in words:
        if word.dynamic or re.search(r"system|getline|[|>@]|^-[^F]|^--", word.text):
            raise Refused(f"awk: '{word}' may run or write something; use grep, or a script file")
