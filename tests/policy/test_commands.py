from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from agentd.agents.deepagents import SHELL_ALLOW
from agentd.errors import ConfigurationError
from agentd.policy.allowlist import DEFAULT, INERT, RECOMMENDED, CommandRules, parse_allow_list
from agentd.policy.judgement import judge
from agentd.policy.script import Refused
from agentd.policy.second_vote import programs
from agentd.sandbox.commands import CommandJudge
from agentd.sandbox.shfmt import find_shfmt, parse, parse_batch
from tests.policy.fuzz import CORPUS, fuzz, mutations, run

ROWS = [json.loads(line) for line in CORPUS.read_text().strip().split("\n")]
SEED_LIST = CommandRules(inert=False)
"""The corpus is labelled for the list alone."""


@pytest.fixture(scope="module")
def judged() -> list[tuple[dict[str, str], str, str]]:
    with CommandJudge(SEED_LIST) as judge:
        answers = judge.judge_all([row["cmd"] for row in ROWS])
    return [(row, answer.verdict, answer.reason) for row, answer in zip(ROWS, answers, strict=True)]


def verdicts(commands: list[str], rules: CommandRules | None = None) -> list[str]:
    with CommandJudge(rules or CommandRules()) as judge:
        return [answer.verdict for answer in judge.judge_all(commands)]


def test_no_command_of_the_corpus_is_wrongly_allowed(judged: list[tuple[dict[str, str], str, str]]) -> None:
    assert [row["cmd"] for row, verdict, _ in judged if verdict == "allow" and row["verdict"] == "deny"] == []


def test_at_most_one_in_a_hundred_is_wrongly_refused(judged: list[tuple[dict[str, str], str, str]]) -> None:
    good = [row for row, _, _ in judged if row["verdict"] == "allow"]
    refused = [row["cmd"] for row, verdict, _ in judged if verdict == "deny" and row["verdict"] == "allow"]
    assert len(refused) <= len(good) / 100, refused


def test_one_by_one_and_in_a_batch_the_judgement_is_the_same(judged: list[tuple[dict[str, str], str, str]]) -> None:
    with CommandJudge(SEED_LIST) as judge:
        for row, verdict, reason in judged[::4]:
            alone = judge.judge(row["cmd"])
            assert (alone.verdict, alone.reason) == (verdict, reason)


def test_inert_builtins_change_only_commands_that_name_one() -> None:
    with CommandJudge(CommandRules()) as judge:
        answers = judge.judge_all([row["cmd"] for row in ROWS])
    changed = [row["cmd"] for row, answer in zip(ROWS, answers, strict=True) if answer.verdict != row["verdict"]]
    assert sorted(changed) == ["[ -f a ] && ls", "command -v git", "test -f a && ls"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("curl x", "'curl' is not an allowed command; allowed: bash, cat"),
        ("git -c core.pager=x log", "git -c core.pager"),
        ("rm -rf ../x", "'../x' is outside the workspace"),
        ("git commit", "-m"),
        ("echo $((a[0]))", "arithmetic"),
        ("ls > .git/config", "git's own"),
        ('bash -c "$X"', "not known before it runs"),
    ],
)
def test_a_refusal_names_the_word_and_what_would_do(command: str, said: str) -> None:
    with CommandJudge(CommandRules()) as judge:
        answer = judge.judge(command)
    assert answer.verdict == "deny" and said in answer.reason


ALSO_REFUSED = [
    *("cp evil .git/hooks/pre-commit {x,-S}", "cp evil .git/hooks/pre-commit {,x}-S", "cp evil .git/x *{.js,}"),
    *("cp evil .git/x {a,*}", "cp evil .git/x {{-S,y},x}", "cp evil .git/x [-]S"),
    *("git log --help", "npm help install"),
    *("ls &> f x", "ls &>> f", "git ls-remote --u=./e .", "git push --e=./e .", "npx curl x", "npm exec -- sed x"),
    *("git fetch --upload-pa=./e", "git rebase -x 'curl x'", "git rebase --exe 'curl x'", "git grep -O ls"),
    *("git -p log", "git clone -u ./e . x", "git commit -S -m x", "git merge -s evil", "git difftool"),
    *("git remote -v set-url origin x", "git symbolic-ref -q refs/heads/a refs/heads/b", "git submodule foreach ls"),
    "POSIXLY_CORRECT=1 mkdir x -a/../../y",
    *("git tag --verify v1", "git merge --verify x", "git log --git-dir=x", "git rev-parse --git-dir=x"),
    *("rm -rf ./.g*", "rm -rf */../../x", "rm .[g]it/x", "rm .gi{}[t]/x", "rm {}/../../x", "mkdir {{},../x}"),
    *('x=/../../y; git diff --output="a$x"', 'git merge --strategy="ort$x" b', 'git show --outp="$x"'),
    *("[ ${?:-$x} -eq 0 ]", "[ ${?:-a b} ]"),
    *("git clone . ../x@y", "git init ../x@y", 'git init "x@$y"', "git clone . a@b:/../../x"),
    "git clone . a://../../x",
    *("git log --ext-diff", "git log --format=%G?", "git bisect run ls"),
    *("git archive --remote=ext::x HEAD", "git push -f ext::x", "npm --scr=./e test", "npm exec -c 'curl x'"),
    *("npm set script-shell ./e", "npx -c ls", "pnpm curl x", "npx bash x", "GIT_SSH_COMMAND=curl git fetch"),
    *("LD_PRELOAD=./x ls", "BASH_ENV=./x bash -c ls", "for PATH in x; do ls; done", "echo $'\\''; curl x #'"),
    *("echo $'\\'; curl x #'", "printf -v 'a[$(curl)]' x", "test -v 'a[$(curl x)]'", "echo ${x@P}"),
    *("ls {a}>b", "ls >& f", "cat < /dev/tcp/1.1.1.1/80", "cp -t /etc a", "cp --target-directory=/etc a"),
    *("mv a ../b", "touch .GIT/x", "rm -rf .g*", "rm {a,../b}", "mkdir ~/x", "cd", "cd -", "bash < a"),
    *(
        "bash <<E\n$(curl)\nE",
        "sh -s",
        "bash -oo errexit pipefail -c 'curl x'",
        "sh -c 'ls &> x'",
        "bash -O extglob -c ls",
        "bash -i",
    ),
    *("bash /dev/stdin", "eval ls", ". ./x", "exec ls", "!", "time", "ls\u0000", "ls\u001b", "ls\ufeff"),
    *('case "$\\\n(curl x)" in a) ls;; esac', "echo `\\\ncurl x`"),
    *("ls\ud800", "", "   ", "#", "{", "a" * 70_000, "((((((((((((((", "ls " + "(" * 3000),
]
ALSO_ALLOWED = [
    *("echo done && true", "printf '%s\\n' a", "[ -f a ] && cat a", 'test -n "$HOME" || exit 1'),
    *("command -v node", "git commit -am 'x: y'", "git log --oneline -5 | head -3", "git diff HEAD~1 -- src"),
    *("git stash", "git add *.py", "git push origin HEAD", "git show HEAD:src/a.py | grep -n x"),
    *("printf 'a: %s\\n' \"$x\"", 'printf "a: $x"', 'printf -- "$x"', '[ "$x" = "$y" ]', 'test ! -f "$x"', '[ "$x" ]'),
    *('[ "$a" = b -a -n "$c" ] && [ "$#" -gt 0 ]', "[ -f ./*.lock ]", 'test "$x" != "$(cat y)"', "cp -- * x"),
    *("git log -S needle", "git checkout -- .", "git rebase main", "git remote -v", "npm ci"),
    *("git clone https://host/a.git b", "git clone git@host:a/b.git", "git symbolic-ref --short HEAD"),
    "npm run build -- --watch",
    *("git rev-parse --verify HEAD", "git rev-parse --git-dir", "git show-ref --verify --quiet refs/heads/a"),
    *("git log --patch -1", "git show --patch", "git ls-files --others --directory", "rm -f ./*.log .github/*.yml"),
    *("git diff --output=x", "git merge --strategy=ort b", 'git log --author="$x" --since="$y"'),
    *("npm test; [ $? -eq 0 ] && echo ok", "[ $# -gt 0 ] || exit 1", "cat a{} > b"),
    *("pnpm --filter web test", "pnpm test:unit", "npx --yes prettier --check .", "npm i -D x"),
    *("cd src && npm test 2>&1 | tail -20", "mkdir -p a/b && touch a/b/c", "cp ../x/a .", "rm -f *.o"),
    *("cat a > b 2>/dev/null", "python3 -m pytest -q tests", "node --test", "FOO=1 BAR=x,y npm test"),
    *(
        'x=$(git rev-parse HEAD); echo "$x"',
        "time ls",
        "bash -lc 'git status'",
        "bash -oo errexit pipefail -c 'git status'",
        "sh -c 'ls && pwd'",
    ),
    *('for f in *.py; do python3 "./check.py" "$f"; done', "grep -rn 'a|b' .", "rm /workspace/a"),
    *("cp {a,b}.txt dst/", "cp -r {src,tests} /tmp/b", "cp *.{js,ts} dst/", "npm run test --workspace=packages/*"),
    *("git diff > /tmp/x", "GIT_EDITOR=true git rebase --continue", "while grep -q x f; do ls; done"),
]


def test_more_ways_round_are_closed() -> None:
    assert [c for c, verdict in zip(ALSO_REFUSED, verdicts(ALSO_REFUSED), strict=True) if verdict == "allow"] == []


def test_no_variable_whose_value_bash_evaluates_can_be_set() -> None:
    said = subprocess.run(["bash", "-c", "declare -pi"], capture_output=True, text=True, check=True).stdout
    integers = re.findall(r"^declare -i (\w+)", said, re.MULTILINE)
    assert {"HISTCMD", "RANDOM"} <= set(integers)
    commands = [command for name in integers for command in (f"{name}=x; ls", f"for {name} in x; do ls; done")]
    assert verdicts(commands) == ["deny"] * len(commands)


def test_everyday_commands_are_allowed() -> None:
    with CommandJudge(CommandRules()) as judge:
        answers = judge.judge_all(ALSO_ALLOWED)
    assert [(c, a.reason) for c, a in zip(ALSO_ALLOWED, answers, strict=True) if a.verdict == "deny"] == []


def test_launchers_and_tools_are_bound_even_when_they_are_listed() -> None:
    rules = CommandRules(
        CommandRules().allowed
        | {"xargs", "find", "tar", "sed", "env", "timeout", "make", "eval", "awk", "gawk", "mawk", "chmod", "pnpx"}
        | {"python", "nice", "time", "stdbuf", "sort"}
    )
    allowed = [
        "ls | xargs cat",
        "find . -name x",
        "tar -czf a.tgz b",
        "sed --sandbox -n 1p a",
        "timeout 5 ls",
        "make all",
        *(
            "ls | xargs -0rn 1 -P4 cat",
            "xargs -I '{}' --max-args=1 cat {}",
            "find . -name x | xargs -I{} cat {}",
            "xargs -0 -- cat",
            "xargs -n1 printf '%s\\n'",
        ),
        *("timeout --preserve-status -k 5 -sKILL 10 ls", "timeout --signal=INT 5s ls", "nice -n 5 ls", "nice -5 ls"),
        *("stdbuf -oL ls", "env -i ls", "sed --sandbox -i s/a/b/ f", 'find . -newer "./$x"'),
        *("tar --exclude=*.pyc -czf a.tgz src", "make --include-dir=x*"),
    ]
    refused = [
        *(
            "ls | xargs curl",
            "ls | xargs bash -c x",
            "find . -exec rm {} +",
            "find . -delete",
            "tar -I ./e -xf a",
            "make $X",
        ),
        *("tar --to-comm=./e -xf a", "sed 's/a/b/e' a", "env X=1 ls", "env -S ls", "timeout 5 curl", "eval ls"),
        *("awk 'BEGIN{system(\"x\")}'", "xargs -a f git add", "make $X", "tar cIf ./e a.tar b"),
        *("sed -e '1e touch p' f -- --sandbox", "sed --sandb -e '1e touch p' f", "sed -n --sandbox 1p f"),
        *("xargs --process-slot-var cat touch p", "xargs --arg-file ls id", "xargs -ra ls curl x", "xargs -rI ls curl"),
        *("xargs --process-slot-var=LD_LIBRARY_PATH ls", "xargs -0 -- curl", "timeout --kill-after ls curl 5"),
        *("nice --adjustment ls curl", "stdbuf --output ls curl"),
        *("xargs gawk 'BEGIN{system(\"id\")}'", "xargs mawk x", "xargs python x.py", "xargs pnpx x", "xargs chmod 777"),
        *("make -{f,x=y} z", "make --{file,x}=*", "sort --o{utput=f,x} a", "sort --o=../x a", "sort --o ../x a"),
        *('x=te; find . "-dele$x"', "find . -d{elete,epth}", 'x=put=y; sort "--out$x" f'),
    ]
    assert verdicts(allowed, rules) == ["allow"] * len(allowed)
    assert [c for c, verdict in zip(refused, verdicts(refused, rules), strict=True) if verdict == "allow"] == []


def test_each_parser_alone_is_not_enough() -> None:
    # tree-sitter-bash 0.25 reads this as one command and says nothing; the gap between its words gives it away.
    with pytest.raises(Refused, match="different lines"):
        programs("ls\n\\\ncurl x", CommandRules())


def test_a_batch_gives_the_trees_that_single_texts_give() -> None:
    shfmt = find_shfmt()
    texts = [
        "ls",
        "ls \\",
        "ls &",
        "ls # c",
        "if ls; then pwd; fi",
        "ls 'a\nb'",
        "cat <<E\nx\nE",
        "echo $(ls\n)",
        "{ ls; }",
    ]
    found = parse_batch(shfmt, texts, "bash")
    assert sum(tree is not None for tree in found) >= 5
    for text, tree in zip(texts, found, strict=True):
        if tree is not None:
            assert _shape(tree["Stmts"]) == _shape(parse(shfmt, text, "bash")["Stmts"])


def _is_position(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"Offset", "Line", "Col"}


def _shape(node: object) -> object:
    if isinstance(node, dict):
        return {key: _shape(value) for key, value in node.items() if key != "Comments" and not _is_position(value)}
    return [_shape(each) for each in node] if isinstance(node, list) else node


@pytest.mark.parametrize(
    "first", ["ls '", "ls $(", "ls &&", "ls |", "ls \\", "f()", "if ls; then", "((", "cat <<E", "!", "x=("]
)
def test_an_unfinished_text_cannot_reach_into_the_next_one(first: str) -> None:
    commands = [first, "ls", "cat a", first, "'; curl x", ") ; curl x", "E", "pwd"]
    with CommandJudge(CommandRules()) as judge:
        batched = judge.judge_all(commands)
        assert [judge.judge(command) for command in commands] == batched


def test_a_helper_that_dies_or_hangs_is_a_refusal_and_the_next_one_judges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with CommandJudge(CommandRules(), timeout_seconds=3.0) as judge:
        assert judge.judge("ls").verdict == "allow"
        assert judge._helper is not None
        process = judge._helper[0]
        os.kill(process.pid, 19)
        before = time.monotonic()
        assert judge.judge("ls").verdict == "deny"
        assert time.monotonic() - before < 30
        assert judge.judge("ls").verdict == "allow"
        assert judge._helper is not None
        judge._helper[0].kill()
        judge._helper[0].wait()
        assert judge.judge("ls").verdict == "deny"
        assert judge.judge("ls").verdict == "allow"


def test_without_its_parser_nothing_is_allowed(tmp_path: Path) -> None:
    broken = tmp_path / "shfmt"
    broken.write_text("#!/bin/sh\necho '{}'\n")
    broken.chmod(0o755)
    for program in (str(broken), str(tmp_path / "missing"), shutil.which("false") or "false"):
        assert (
            judge("ls", CommandRules(), lambda text, dialect, its=program: parse(its, text, dialect)).verdict == "deny"
        )
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nsleep 5\n")
    slow.chmod(0o755)
    assert judge("ls", CommandRules(), lambda t, d: parse(str(slow), t, d, 0.2)).verdict == "deny"


def test_the_allow_list() -> None:
    assert parse_allow_list("") == frozenset(DEFAULT) == frozenset(SHELL_ALLOW)
    assert parse_allow_list(" ls, cat,,") == {"ls", "cat"}
    assert parse_allow_list("recommended,git") == {*RECOMMENDED, "git"}
    for wrong in ("all", "ls,ALL", "/bin/ls", "ls -l", "g*", "гит"):
        with pytest.raises(ConfigurationError):
            parse_allow_list(wrong)
    assert verdicts([f"{name} x" for name in INERT if name not in ("[", "test", "command")]) == ["allow"] * 6


def test_the_fuzzer_sees_what_runs(tmp_path: Path) -> None:
    lines = ["curl x", "ls", "ls; nosuchprogram", "bash -c 'sed x'", "echo $'\\'; curl x #'", "bash a"]
    assert [(line, shell) for line, shell, _ in run(lines, tmp_path)] == [
        *[("curl x", shell) for shell in ("bash", "dash")],
        *[("ls; nosuchprogram", shell) for shell in ("bash", "dash")],
        *[("bash -c 'sed x'", shell) for shell in ("bash", "dash")],
        ("echo $'\\'; curl x #'", "dash"),
    ]


def test_what_is_allowed_runs_nothing_unlisted(tmp_path: Path) -> None:
    outcome = fuzz(1500, 20261121, tmp_path)
    assert outcome.escaped == ()
    assert outcome.allowed > 50
    assert mutations(5, 1) == mutations(5, 1)
