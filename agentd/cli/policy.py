"""`agentd policy check|check-document|show`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentd.cli.options import ConfigFile, Json, load_settings

if TYPE_CHECKING:
    from agentd.policy.judgement import Judgement

app = typer.Typer(help="What agents may run.", no_args_is_help=True)

Command = Annotated[str | None, typer.Argument(help="The command, as one argument.")]
Allow = Annotated[
    str,
    typer.Option(
        envvar="DEEPAGENTS_SHELL_ALLOW_LIST",
        help="Names of programs, separated by commas; `recommended` stands for Deep Agents' list of reading programs; "
        "`all` is refused. Default: agentd's own list.",
    ),
]
Shell = Annotated[str, typer.Option(help="The shell that will run it: bash or posix.")]


@app.command()
def check(
    command: Command = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Judge one JSON string a line; print one JSON object a line.")
    ] = False,
    allow: Allow = "",
    workspace: Annotated[str, typer.Option(help="The folder that writing commands must stay in.")] = "/workspace",
    shell: Shell = "bash",
    inert: Annotated[
        bool,
        typer.Option("--inert/--no-inert", help="Allow builtins that start nothing: echo, printf, test, true, ..."),
    ] = True,
) -> None:
    """Say whether the command policy allows a command, and why not. Exit status 0 for allow, 1 for deny.

    With --stdin the status is 0 when every line was judged, whatever the verdicts.
    """
    from agentd.errors import ConfigurationError
    from agentd.policy.allowlist import CommandRules, parse_allow_list
    from agentd.sandbox.commands import CommandJudge

    if (command is None) != stdin:
        raise ConfigurationError("give one command, or --stdin for one JSON string a line")
    if shell not in ("bash", "posix"):
        raise ConfigurationError(f"--shell {shell}: expected bash or posix")
    if not workspace.startswith("/"):
        raise ConfigurationError(f"--workspace {workspace}: expected an absolute path")
    rules = CommandRules(parse_allow_list(allow), inert, workspace)
    with CommandJudge(rules, "posix" if shell == "posix" else "bash") as judge:
        if command is None:
            for batch in _batches():
                typer.echo("".join(_json(answer) + "\n" for answer in judge.judge_all(batch)), nl=False)
            return
        answer = judge.judge(command)
    typer.echo(_json(answer) if as_json else f"{answer.verdict}: {answer.reason}")
    raise typer.Exit(0 if answer.verdict == "allow" else 1)


@app.command("check-document")
def check_document(
    file: Annotated[Path, typer.Argument(help="A policy document.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Say whether a policy document can be used, with its sha256, or in one line why not. Exit status 1 when not."""
    from agentd.loading import read_policy

    policy = read_policy(file.absolute())
    typer.echo(json.dumps({"sha256": policy.sha256}) if as_json else f"{file}: good, sha256 {policy.sha256}")


@app.command()
def show(config: ConfigFile = None, as_json: Json = False) -> None:
    """Print the policy document that holds, its sha256, and with --json every key with its default."""
    from agentd.loading import read_policy

    policy = read_policy(load_settings(config).settings.policy)
    if as_json:
        document = policy.document.model_dump(mode="json")
        typer.echo(json.dumps({"name": policy.name, "sha256": policy.sha256, "document": document}, indent=2))
        return
    typer.echo(f"# {policy.name}, sha256 {policy.sha256}\n{policy.text}", nl=False)


def _json(answer: Judgement) -> str:
    return json.dumps({"verdict": answer.verdict, "reason": answer.reason})


def _batches() -> Iterator[list[str]]:
    """The strings of standard input as they come, so that a program may wait for each answer before it asks again.

    What is no JSON string becomes NUL, which no policy allows.
    """
    rest = b""
    while received := os.read(sys.stdin.fileno(), 1 << 18):
        *lines, rest = (rest + received).split(b"\n")
        yield [_string(line) for line in lines]
    if rest:
        yield [_string(rest)]


def _string(line: bytes) -> str:
    try:
        value = json.loads(line)
    except ValueError:
        return "\0"
    return value if isinstance(value, str) else "\0"
