"""git: known subcommands only, since an unknown one may be an alias or a program on PATH."""

from __future__ import annotations

import re
from dataclasses import replace

from agentd.policy.allowlist import CommandRules
from agentd.policy.paths import check_inside
from agentd.policy.programs.git_tables import (
    ANYWHERE,
    BEFORE_FIRST,
    EDITORS,
    HARMLESS,
    HARMLESS_FOR,
    LETTERS,
    MESSAGES,
    ONLY_FIRST,
    REMOTE,
    SAFE_CONFIG,
    STRATEGIES,
    SUBCOMMANDS,
    VALUED,
)
from agentd.policy.script import Call, Refused, Word

_READING = frozenset(["--get", "--get-all", "--get-regexp", "--list", "-l"])
_ADDRESS = re.compile(r"[a-z]+://|[\w.-]+@[\w.-]+:")
_GLOBAL = frozenset(["--no-pager", "-P", "--no-optional-locks", "--literal-pathspecs", "--no-replace-objects"])


def check(call: Call, rules: CommandRules) -> None:
    """Raises Refused for options and values with which git runs a program, or acts on another repository."""
    words = _after_global_options(list(call.words[1:]), rules)
    if not words:
        return
    name, rest = words[0], words[1:]
    if name.dynamic or name.text not in SUBCOMMANDS:
        raise Refused(f"git '{name}' is not allowed (or is an alias); allowed: {', '.join(sorted(SUBCOMMANDS))}")
    subcommand = name.text
    _check_expansions(subcommand, rest)
    texts = [word.text for word in rest]
    options = texts[: texts.index("--")] if "--" in texts else texts
    for word in rest[: len(options)]:
        if word.text.startswith("-"):
            _check_option(subcommand, word, rules)
    first = next((text for text in texts if text not in BEFORE_FIRST.get(subcommand, ())), "")
    if subcommand in ONLY_FIRST and first not in ONLY_FIRST[subcommand]:
        allowed = ", ".join(each or "nothing" for each in sorted(ONLY_FIRST[subcommand]))
        raise Refused(f"git {subcommand} may be followed by: {allowed}")
    if subcommand in REMOTE and any("::" in text or text.startswith(("ext:", "fd:")) for text in texts):
        raise Refused(f"git {subcommand}: '::' names a transport program; use an https address or a remote's name")
    if subcommand == "config":
        _check_config(texts)
    if subcommand in EDITORS and not EDITORS[subcommand](options):
        raise Refused(f"git {subcommand} would open an editor; give the message with -m, or --no-edit")
    if subcommand in ("clone", "init", "mv"):
        for word in rest:
            if not word.text.startswith("-") and not _is_address(word):
                check_inside(word, rules, f"git {subcommand}")
    if any("%G" in option for option in options):
        raise Refused("git: %G runs gpg; leave it away")


def _is_address(word: Word) -> bool:
    """Whether it names a repository elsewhere. The folder of a clone may look like one, but then it lies inside."""
    return word.is_static and _ADDRESS.match(word.text) is not None and ".." not in word.text.split("/")


def _after_global_options(words: list[Word], rules: CommandRules) -> list[Word]:
    while words and words[0].text.startswith("-"):
        option = words.pop(0)
        if not option.is_static:
            raise Refused(f"git: the option '{option}' is not known before it runs; write it out")
        if option.text in ("--version", "-v"):
            return []
        if option.text in _GLOBAL:
            continue
        if option.text == "-C" and words:
            check_inside(words.pop(0), rules, "git -C")
        elif option.text == "-c" and words:
            setting = words.pop(0)
            key, _, value = setting.text.partition("=")
            if setting.dynamic or not SAFE_CONFIG.fullmatch(key) or value.startswith("!"):
                raise Refused(f"git -c {key}: this setting may run a program; allowed: user.name, user.email, color.*")
        else:
            raise Refused(f"git {option.text.split('=')[0]}: this option is not allowed before a subcommand")
    return words


def _check_expansions(subcommand: str, words: list[Word]) -> None:
    before = ""
    for word in words:
        is_data = before == "--" or (subcommand in MESSAGES and re.fullmatch(r"-[a-zA-Z]*m|--message", before))
        if word.splits:
            raise Refused(f"git: '{word}' is not quoted and may become options; quote it, or write it out")
        if word.dynamic and not is_data and (not word.text or (word.text.startswith("-") and "=" not in word.text)):
            raise Refused(f"git: '{word}' is not known before it runs and may be an option; put it after --")
        if word.dynamic and subcommand in REMOTE:
            raise Refused(f"git {subcommand}: '{word}' is not known before it runs; write it out")
        spread = "{" in word.text and ("," in word.text or ".." in word.text)
        if word.pattern and not is_data and (spread or (word.text[:1] in "*?[-~{" and subcommand != "add")):
            raise Refused(f"git: the pattern '{word}' may become options; put it after --")
        before = "--" if before == "--" else word.text


def _check_option(subcommand: str, word: Word, rules: CommandRules) -> None:
    option = word.text
    name, _, value = option.partition("=")
    if option.startswith("--"):
        harmless = HARMLESS | HARMLESS_FOR.get(subcommand, frozenset())
        for banned in ANYWHERE:
            # git completes abbreviations of long options.
            if len(name) > 2 and banned.startswith(name) and option not in harmless and name not in HARMLESS:
                raise Refused(f"git {subcommand} {name}: this option runs a program or leaves the repository")
        if len(name) > 2 and "--output".startswith(name):
            if not value:
                raise Refused(f"git {subcommand} {name}: write --output=FILE")
            check_inside(replace(word, text=value), rules, f"git {subcommand} --output")
        if len(name) > 2 and "--strategy".startswith(name) and (word.dynamic or value not in STRATEGIES):
            raise Refused(f"git {subcommand} {name}: write --strategy=NAME with one of {', '.join(sorted(STRATEGIES))}")
        return
    letters = LETTERS.get(subcommand, frozenset())
    for letter in option[1:].partition("=")[0]:
        if letter in letters:
            raise Refused(f"git {subcommand} -{letter} runs a program, signs or opens an editor; leave it away")
        if letter in VALUED.get(subcommand, ""):
            return  # the rest of the word is this letter's value


def _check_config(words: list[str]) -> None:
    operands = [word for word in words if not word.startswith("-")]
    options = {word for word in words if word.startswith("-")}
    if options - _READING - {"--local", "--show-origin", "--name-only", "-z"}:
        raise Refused("git config may only read, or set user.name and user.email of this repository")
    if operands[:1] in (["get"], ["list"]) or options & _READING:
        return
    if operands[:1] == ["edit"]:
        raise Refused("git config edit opens an editor; only user.name and user.email may be set")
    if len(operands) > 1 and not re.fullmatch(r"user\.(name|email)", operands[0], re.IGNORECASE):
        raise Refused(f"git config {operands[0]}: settings can name programs; only user.name and user.email may be set")
