"""The second vote: tree-sitter-bash must see the same programs as shfmt, in a form it is sure of.

Two parsers written apart rarely make the same mistake. tree-sitter-bash 0.25 alone joins lines of some commands
without an error node (`ls`, backslash-newline, `curl x`), which is why the gaps between words are looked at too.
"""

from __future__ import annotations

import re
from functools import cache

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from agentd.policy.allowlist import CommandRules
from agentd.policy.script import Refused

_NODES = """
program command command_name word raw_string string string_content concatenation number comment
variable_assignment variable_name special_variable_name simple_expansion expansion command_substitution
process_substitution redirected_statement file_redirect file_descriptor heredoc_redirect heredoc_start heredoc_body
heredoc_content heredoc_end herestring_redirect list pipeline negated_command subshell compound_statement
if_statement elif_clause else_clause while_statement for_statement do_group case_statement case_item
extglob_pattern regex test_command unary_expression binary_expression parenthesized_expression test_operator
ansi_c_string brace_expression
"""
_KNOWN = frozenset(_NODES.split())
_GAP = re.compile(rb"([ \t]|\\\n)*")


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bash.language()))


def programs(command: str, rules: CommandRules) -> list[str]:
    """The names of all programs in it, sorted. Raises Refused: not understood, not static, or not on the list."""
    source = command.encode()
    tree = _parser().parse(source)
    found: list[str] = []
    nodes = [tree.root_node]
    while nodes:
        node = nodes.pop()
        if node.is_error or node.is_missing:
            raise Refused("this is not understood as a whole; write it as simpler commands")
        if node.is_named and node.type not in _KNOWN:
            raise Refused(f"this shell syntax is not allowed ({node.type.replace('_', ' ')}); use plain commands")
        if node.type == "test_command" and node.children[0].type == "[":
            found.append("[")
        if node.type == "command":
            found.append(_program(node, source))
        nodes += node.children
    for name in found:
        if name not in rules.names:
            raise Refused(f"'{name}' is not an allowed command; allowed: {rules.offer()}")
    return sorted(found)


def _program(node: Node, source: bytes) -> str:
    end = node.start_byte
    words: list[Node] = []
    for child in node.children:
        if not _GAP.fullmatch(source[end : child.start_byte]):
            raise Refused("words of one command stand on different lines; write it on one line")
        end = child.end_byte
        if child.type == "command_name" or words:
            words.append(child)
    if not words:
        raise Refused("a command has no name; write it out")
    name = _static(words[0].children[0] if words[0].children else words[0])
    if name != "time":
        return name
    # `time` is a word of the shell's grammar, but not of this parser's.
    rest = [text for text in map(_static, words[1:3]) if text != "-p"]
    return rest[0] if rest else name


def _static(node: Node) -> str:
    text = (node.text or b"").decode()
    if node.type in ("word", "number"):
        return re.sub(r"\\(.)", lambda found: found[1].strip("\n"), text, flags=re.DOTALL)
    if node.type == "raw_string":
        return text[1:-1]
    if node.type == "string" and all(child.type in ('"', "string_content") for child in node.children):
        return re.sub(r'\\([$`"\\\n])', lambda found: found[1].strip("\n"), text[1:-1])
    if node.type == "concatenation":
        return "".join(_static(child) for child in node.children)
    raise Refused(f"the program '{text[:40]}' is not known before it runs; write its name out")
