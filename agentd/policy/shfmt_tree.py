"""Reads the tree that `shfmt --to-json` writes (mvdan.cc/sh/v3/syntax). What is not named here is refused."""

from __future__ import annotations

from agentd.policy.script import Assignment, Call, Redirect, Refused, Script
from agentd.policy.shfmt_words import Node, known, read_word

_ARITHMETIC_TESTS = frozenset(["-eq", "-ne", "-lt", "-le", "-gt", "-ge"])
_REFUSED_TESTS = frozenset(["-v", "-R", "-o"])
_NOT_ALLOWED = {
    "FuncDecl": "defining functions",
    "CoprocClause": "coproc",
    "ArithmCmd": "arithmetic ((...))",
    "LetClause": "let",
    "DeclClause": "export, declare, local and readonly",
    "TestDecl": "test declarations",
}


def read_script(tree: Node) -> Script:
    """Every call in a File node. Raises Refused for syntax that the policy does not allow or does not know."""
    reader = _Reader()
    reader.statements(tree.get("Stmts"))
    return Script(tuple(reader.calls), tuple(reader.redirects), tuple(reader.variables))


class _Reader:
    """Collects calls while it walks."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.redirects: list[Redirect] = []
        self.variables: list[str] = []

    def statements(self, nodes: list[Node] | None) -> None:
        for node in nodes or ():
            self.statement(node)

    def statement(self, node: Node) -> None:
        known(node, "Cmd", "Redirs", "Negated", "Background")
        redirects = tuple(self._redirect(each) for each in node.get("Redirs") or ())
        command = node.get("Cmd")
        if command is None:
            raise Refused("there is no command; a redirection alone only empties a file")
        kind = str(command.get("Type"))
        if kind in _NOT_ALLOWED:
            raise Refused(f"{_NOT_ALLOWED[kind]} is not allowed; use plain commands or a script file")
        if kind == "CallExpr":
            self._call(command, redirects)
            return
        self.redirects += redirects
        walk = getattr(self, f"_{kind}", None)
        if walk is None:
            raise Refused(f"this shell syntax is not allowed ({kind}); use plain commands")
        walk(command)

    def _call(self, node: Node, redirects: tuple[Redirect, ...]) -> None:
        known(node, "Assigns", "Args")
        assignments = tuple(self._assignment(each) for each in node.get("Assigns") or ())
        words = tuple(read_word(each, self.statements) for each in node.get("Args") or ())
        self.calls.append(Call(words, assignments, redirects))

    def _assignment(self, node: Node) -> Assignment:
        known(node, "Name", "Value")
        value = node.get("Value")
        return Assignment(node["Name"]["Value"], read_word(value or {"Parts": []}, self.statements))

    def _redirect(self, node: Node) -> Redirect:
        known(node, "Op", "N", "Word", "Hdoc")
        descriptor = node.get("N")
        if descriptor is not None and not descriptor["Value"].isdigit():
            raise Refused(f"the descriptor '{descriptor['Value']}' is not allowed; use a number")
        operator = node["Op"]
        target = read_word(node["Word"], self.statements)
        if operator == "<<<":
            return Redirect(operator, target, target, raw=True)
        if operator in ("<<", "<<-"):
            raw = any(part["Type"] != "Lit" or "\\" in part["Value"] for part in node["Word"]["Parts"])
            body = read_word(node.get("Hdoc") or {"Parts": []}, self.statements, here=True, raw=raw)
            return Redirect(operator, target, body, raw)
        return Redirect(operator, target)

    def _Block(self, node: Node) -> None:
        known(node, "Stmts")
        self.statements(node.get("Stmts"))

    _Subshell = _Block

    def _BinaryCmd(self, node: Node) -> None:
        known(node, "Op", "X", "Y")
        if node["Op"] not in ("&&", "||", "|", "|&"):
            raise Refused(f"the operator {node['Op']} is not allowed")
        self.statement(node["X"])
        self.statement(node["Y"])

    def _TimeClause(self, node: Node) -> None:
        known(node, "PosixFormat", "Stmt")
        if node.get("Stmt") is None:
            raise Refused("time without a command")
        self.statement(node["Stmt"])

    def _IfClause(self, node: Node) -> None:
        known(node, "Cond", "Then", "Else")
        self.statements(node.get("Cond"))
        self.statements(node.get("Then"))
        if node.get("Else"):
            self._IfClause(node["Else"])

    def _WhileClause(self, node: Node) -> None:
        known(node, "Cond", "Do", "Until")
        self.statements(node.get("Cond"))
        self.statements(node.get("Do"))

    def _ForClause(self, node: Node) -> None:
        known(node, "Loop", "Do")
        loop = node["Loop"]
        if loop.get("Type") != "WordIter":
            raise Refused("for ((...)) is arithmetic and not allowed; loop over words")
        known(loop, "Name", "Items")
        self.variables.append(loop["Name"]["Value"])
        for item in loop.get("Items") or ():
            read_word(item, self.statements)
        self.statements(node.get("Do"))

    def _CaseClause(self, node: Node) -> None:
        known(node, "Word", "Items")
        read_word(node["Word"], self.statements)
        for item in node.get("Items") or ():
            known(item, "Op", "Patterns", "Stmts")
            for pattern in item.get("Patterns") or ():
                read_word(pattern, self.statements)
            self.statements(item.get("Stmts"))

    def _TestClause(self, node: Node) -> None:
        known(node, "X")
        self._test(node["X"])

    def _test(self, node: Node) -> None:
        kind = node.get("Type")
        if kind == "Word":
            read_word(node, self.statements)
            return
        known(node, "Op", "X", "Y")
        if kind == "ParenTest" or (kind == "UnaryTest" and node["Op"] not in _REFUSED_TESTS):
            self._test(node["X"])
        elif kind == "BinaryTest":
            self._binary_test(node)
        else:
            raise Refused(f"[[ {node.get('Op')} ]] may evaluate its operand and is not allowed")

    def _binary_test(self, node: Node) -> None:
        if node["Op"] in _ARITHMETIC_TESTS:
            for side in (node["X"], node["Y"]):
                word = read_word(side, self.statements)
                # Arithmetic evaluates array subscripts, and with them commands.
                if not word.is_static or not word.text.lstrip("-").isdigit():
                    raise Refused(f"[[ {node['Op']} ]] is arithmetic; only plain numbers may stand there")
            return
        self._test(node["X"])
        self._test(node["Y"])
