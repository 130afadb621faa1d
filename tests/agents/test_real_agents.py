"""The real programs, started as their adapters start them, against the practice model."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentd.agents import AgentEvent, LaunchSpec, Outcome, adapter_of
from agentd.agents.events import Denied, ToolCall
from agentd.model import Profile
from agentd.practice.model import ScriptedModel

pytestmark = pytest.mark.real_agents

ROOT = Path(__file__).parents[2]
INSTALLED = Path(os.environ.get("AGENTD_AGENTS_DIR", ROOT / ".agents"))
AGENTS = ["claude", "codex"]
DEAD_PROXY = "http://127.0.0.1:9"
LIMIT_SECONDS = 90.0


def program(agent: str) -> str:
    name = "dcode" if agent == "deepagents" else agent
    found = shutil.which(name, path=f"{INSTALLED / 'bin'}:{os.environ.get('PATH', '')}")
    if not found:
        how = "pip install deepagents-code" if agent == "deepagents" else f"scripts/install-agents {agent}"
        pytest.skip(f"{agent} is not installed; run {how}")
    return found


@dataclass(frozen=True)
class Rig:
    """A workspace, a home and a model for one agent."""

    agent: str
    folder: Path
    model: ScriptedModel

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def run(
        self, script: list[dict[str, Any]], prompt: str = "please edit", resume: str | None = None, **profile: Any
    ) -> tuple[list[AgentEvent], Outcome]:
        """Probe, launch and parse; `script` is what the model does."""
        run = f"{self.agent}{len(self.model.requests())}"
        self.model.script(run, script)
        base = self.model.base_url(run, run)
        agentd_env = {
            **os.environ,
            "ANTHROPIC_BASE_URL": base,
            "ANTHROPIC_API_KEY": "k",
            "OPENAI_BASE_URL": f"{base}/v1",
            "OPENAI_API_KEY": "k",
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"), DEAD_PROXY),
        }
        chosen = Profile(name="real", adapter=self.agent, command=(program(self.agent),), **profile)
        adapter = adapter_of(chosen)
        spec = LaunchSpec(
            prompt=prompt,
            workspace=self.workspace,
            home=self.folder / "home",
            profile=chosen,
            base_env=agentd_env,
            limit_seconds=LIMIT_SECONDS,
            prompt_file=self.folder / "prompt.md",
            resume=resume,
            found=adapter.probe(program(self.agent), agentd_env),
        )
        launch = adapter.launch(spec)
        for path, text in launch.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        done = subprocess.run(
            launch.argv,
            env=launch.env,
            cwd=self.workspace,
            input=launch.stdin,
            capture_output=True,
            timeout=LIMIT_SECONDS,
        )
        parser = adapter.parser()
        events = [event for line in done.stdout.splitlines() for event in parser.feed(line)]
        return events, parser.close(done.returncode, done.stderr.decode(errors="replace")[-4000:])


@pytest.fixture(params=AGENTS)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    program(request.param)
    # Not in /tmp, where codex refuses to keep its helper programs.
    place = ROOT / ".agents" / "runs"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as folder, ScriptedModel() as model:
        made = Rig(request.param, Path(folder), model)
        (made.folder / "home").mkdir()
        subprocess.run(["git", "init", "--quiet", str(made.workspace)], check=True)
        yield made


def test_it_edits_a_file_and_says_so(rig: Rig) -> None:
    events, outcome = rig.run(
        [{"shell": "echo hi > a.txt"}, {"write": {"path": "b.txt", "content": "bee"}}, {"text": "All done."}]
    )
    assert (outcome.kind, outcome.message) == ("success", "")
    assert (rig.workspace / "a.txt").read_text() == "hi\n"
    assert (rig.workspace / "b.txt").read_text() == "bee"
    assert next(event.kind for event in events if isinstance(event, ToolCall)) == "shell"
    assert outcome.usage.input_tokens == 300
    assert any("please edit" in str(request.body) for request in rig.model.requests())


def test_a_prompt_longer_than_an_argument_can_be_arrives_whole(rig: Rig) -> None:
    prompt = "x" * 200_000 + " THE END"
    _, outcome = rig.run([{"text": "read"}], prompt=prompt)
    assert outcome.kind == "success"
    assert any(prompt in str(request.body) for request in rig.model.requests())


def test_a_refused_key_is_an_auth_error(rig: Rig) -> None:
    _, outcome = rig.run([{"status": 401, "times": -1}], env={"CLAUDE_CODE_MAX_RETRIES": "1"})
    assert (outcome.kind, outcome.retryable) == ("auth_error", False)


def test_a_rate_limit_that_passes_is_waited_for(rig: Rig) -> None:
    _, outcome = rig.run([{"status": 429, "retry_after": 1}, {"text": "done"}])
    assert outcome.kind == "success"
    assert [request.status for request in rig.model.requests() if request.step is not None] == [429, 200]


def test_a_session_is_resumed_with_what_was_said_before(rig: Rig) -> None:
    _, first = rig.run([{"text": "The word is heron."}])
    _, second = rig.run([{"text": "again"}], prompt="go on", resume=first.session_id)
    assert (second.kind, second.session_id) == ("success", first.session_id)
    assert "The word is heron." in str(rig.model.requests()[-1].body)


@pytest.mark.parametrize("rig", ["claude"], indirect=True)
def test_claude_is_refused_what_the_allow_list_does_not_name(rig: Rig) -> None:
    events, _ = rig.run(
        [{"shell": "python3 -c \"open('no','w')\""}, {"shell": "ls"}, {"text": "ok"}], shell_allow=("ls",)
    )
    assert [isinstance(event, Denied) for event in events].count(True) == 1
    assert not (rig.workspace / "no").exists()


@pytest.mark.parametrize("rig", ["claude"], indirect=True)
def test_hooks_that_the_repository_brings_do_not_run(rig: Rig) -> None:
    settings = rig.workspace / ".claude" / "settings.json"
    settings.parent.mkdir()
    hook = f'{{"hooks": [{{"type": "command", "command": "touch {rig.folder}/owned"}}]}}'
    settings.write_text(f'{{"hooks": {{"SessionStart": [{hook}], "UserPromptSubmit": [{hook}]}}}}')
    _, outcome = rig.run([{"text": "ok"}])
    assert outcome.kind == "success"
    assert not (rig.folder / "owned").exists()


@pytest.mark.parametrize("rig", ["codex"], indirect=True)
def test_codex_shell_does_not_see_the_key(rig: Rig) -> None:
    rig.run([{"shell": "env > seen.txt"}, {"text": "ok"}])
    assert "OPENAI_API_KEY" not in (rig.workspace / "seen.txt").read_text()


@pytest.mark.parametrize("rig", ["deepagents"], indirect=True)
def test_deepagents_has_its_shell_and_its_write_tool(rig: Rig) -> None:
    script = [{"write": {"path": "b.txt", "content": "bee"}}, {"shell": "touch a.txt"}, {"text": "All done."}]
    _, outcome = rig.run(script, model="openai:gpt-5")
    assert outcome.kind == "success"
    assert (rig.workspace / "b.txt").read_text() == "bee"
    assert (rig.workspace / "a.txt").exists()
