"""The policy document: what it means; one with a broken, unknown or contradictory rule is refused in a line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from agentd.cli import app
from agentd.errors import ConfigurationError
from agentd.loading import load, read_policy
from agentd.model import Decision
from agentd.policy.document import BUILT_IN, covers, gates_of, parse
from agentd.policy.gates import Limit, RunMeters, ToolCall, evaluate

ROOT = Path(__file__).resolve().parents[2]
ORIGINAL = """\
tool_registry: {allowed: [search, read], denied: []}
url_allowlist: [fixtures.local, "*.Example.test"]
sandbox: {path_template: "${TMPDIR:-/tmp}/agent-runtime-observability/<run-id>/sandbox"}
arg_schema_enforcement: "off"
loop_budget: {max_iterations: 10, max_tokens: 50000}
cycle_detection: {max_repeats: 3}
retry: {max_retries: 3, backoff_base_ms: 100, backoff_cap_ms: 2000}
"""


def test_the_built_in_document_is_the_defaults_and_lets_agents_work() -> None:
    policy = parse(BUILT_IN, "built in")
    assert policy.document == type(policy.document)()
    assert policy.sha256 == hashlib.sha256(BUILT_IN.encode()).hexdigest()
    gates = gates_of(policy, "r", frozenset({"docs.example"}), {"read_file": {"type": "object", "required": ["path"]}})
    assert (gates.allowed, gates.hosts, gates.limits) == (None, {"docs.example"}, ())
    assert evaluate(gates, ToolCall("anything", {}, "execute"), RunMeters(), "r") is None
    denied = evaluate(gates, ToolCall("read_file", {}), RunMeters(), "r")
    assert denied is not None
    assert (denied.rule_id, denied.decision) == ("arg_schema", Decision.deny)


def test_a_document_of_the_originals_form_is_read() -> None:
    gates = gates_of(parse(ORIGINAL, "v1"), "run-7", frozenset({"elsewhere.example"}))
    assert gates.allowed == {"search", "read"}
    assert gates.hosts == {"fixtures.local", "*.example.test"}
    assert gates.roots[-1] == "/tmp/agent-runtime-observability/run-7/sandbox"
    assert gates.limits == (Limit("iterations", 10), Limit("tokens", 50_000))
    assert gates.max_repeats == 3
    assert gates.schemas == {}


def test_documents_are_checked_by_the_published_schema_too() -> None:
    schema = json.loads((ROOT / "schemas" / "policy.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for text in (BUILT_IN, ORIGINAL):
        jsonschema.validate(yaml.safe_load(text), schema)
    for text in ("tools: []", "tier: T9", "retry: {max_retries: -1}", "url_allowlist: ['https://x']"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(text), schema)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tool_registy: {}", "p.yaml: /tool_registy: Extra inputs"),
        ("tool_registry: {allow: []}", "p.yaml: /tool_registry/allow: Extra inputs"),
        ("tool_registry: {allowed: [3]}", "p.yaml: /tool_registry/allowed/0: "),
        ("tool_registry: {allowed: ['']}", "p.yaml: /tool_registry/allowed/0: "),
        ("tier: T9", "p.yaml: /tier: "),
        ("version: 2", "p.yaml: /version: "),
        ("loop_budget: {max_tokens: -1}", "p.yaml: /loop_budget/max_tokens: "),
        ("loop_budget: {max_cost_usd: .nan}", "p.yaml: /loop_budget/max_cost_usd: "),
        ("cycle_detection: {max_repeats: many}", "p.yaml: /cycle_detection/max_repeats: "),
        ("sandbox: {paths: [workspace]}", "p.yaml: /sandbox/paths/0: "),
        ("sandbox: {path_template: here}", "p.yaml: /sandbox/path_template: "),
        ("url_allowlist: [https://docs.example]", "p.yaml: /url_allowlist/0: "),
        ("run_controls: {step_caps: {nothing: 2}}", "p.yaml: /run_controls/step_caps: "),
        ("tool_registry: {allowed: [a]}\ntool_registry: {allowed: [b]}", "the key 'tool_registry' stands there twice"),
        ("loop_budget:\n  max_tokens: 1\n  max_tokens: 2", "twice (line 3, column 3)"),
        ("schemas: {a: {type: object}, a: {type: array}}", "the key 'a' stands there twice"),
        ("tool_registry: {allowed: [a], denied: [a]}\narg_schema_enforcement: off", "/arg_schema_enforcement: "),
        (
            "tool_registry: {allowed: [a], denied: [b, a]}\narg_schema_enforcement: 'off'",
            "/tool_registry/denied/1: the tool 'a' is both allowed and denied",
        ),
        ("tool_registry: {denied: ['*']}", "/tool_registry/denied/0: the tool '*' is both allowed and denied"),
        ("tool_registry: {allowed: ['*', a]}", "/tool_registry/allowed: '*' stands for every tool"),
        ("tool_registry: {denied: [a, b, a]}", "/tool_registry/denied/2: 'a' stands there twice"),
        ("url_allowlist: [a.example, A.example]", "/url_allowlist/1: 'a.example' stands there twice"),
        ("sandbox: {paths: [/a, /a]}", "/sandbox/paths/1: '/a' stands there twice"),
        ("tool_registry: {allowed: [read_file, mine]}", "/tool_registry/allowed/1: the tool 'mine' has no schema"),
        ("tool_registry: {denied: [a]}\nschemas: {a: {}}", "/schemas/a: the tool 'a' is denied"),
        ("schemas: {a/b: {type: 7}}", "/schemas/a~1b: is no JSON Schema"),
        ("retry: {backoff_base_ms: 9, backoff_cap_ms: 8}", "/retry/backoff_base_ms: is more than backoff_cap_ms"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("!!python/object/apply:os.system [ls]", "cannot be read"),
        ("tier: T1\nversion: 2024-99-99", "'2024-99-99' is no timestamp; put it into quotes if it is a text (line 2"),
        ("tier: !!int x", "'x' is no int"),
        ("tier: !!int ''", "'' is no int"),
        ("tier: !!bool x", "'x' is no bool"),
        ("tier: !!float x", "'x' is no float"),
        ("sandbox: {paths: [!!timestamp x]}", "'x' is no timestamp"),
        ("version: " + "9" * 5000, "99' is no int"),
        ("on: true", "no text; put it into quotes"),
        ("- a", "expected a mapping"),
        ("", "expected a mapping"),
        ("a: [", "cannot be read"),
        ("a: \x00", "cannot be read"),
        ("[" * 5000, "nested too deeply"),
        ("#" * (1 << 20) + "#", "longer than"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(text, "p.yaml", frozenset({"read_file"}))
    message = str(refused.value)
    assert message.startswith("p.yaml: ") and said in message and "\n" not in message, message


def installation(folder: Path, policy: str, settings: str = "") -> Path:
    (folder / "policy.yaml").write_text(policy)
    (folder / "agentd.toml").write_text(f'policy = "policy.yaml"\n{settings}')
    read_policy.cache_clear()
    return folder


def test_the_settings_name_the_document_beside_them(tmp_path: Path) -> None:
    here = installation(tmp_path, "tier: T1\n")
    settings = load(environ={}, directory=here).settings
    assert settings.policy == tmp_path / "policy.yaml"
    assert read_policy(settings.policy).document.tier == "T1"
    assert read_policy(None).document.tier == "T2"


@pytest.mark.parametrize(
    ("policy", "settings", "said"),
    [
        ("tier: T9\n", "", "policy.yaml: /tier: "),
        ("run_controls: {}\n", "[run_controls]\nstep_cap = 2\n", "/run_controls: agentd.toml has [run_controls] too"),
        (
            "url_allowlist: ['*.a.example']\n",
            '[profiles.build]\nadapter = "command"\nhosts = ["x.a.example", "b.example:99"]\n',
            "/url_allowlist: profile 'build' lists the host 'b.example:99', which is not on the list",
        ),
    ],
)
def test_agentd_does_not_start_on_a_document_that_cannot_hold(
    tmp_path: Path, policy: str, settings: str, said: str
) -> None:
    here = installation(tmp_path, policy, settings)
    with pytest.raises(ConfigurationError) as refused:
        load(environ={}, directory=here)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_document_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.yaml: cannot be read"):
        load(environ={"AGENTD_POLICY": str(tmp_path / "nothing.yaml")}, directory=tmp_path)


def test_hosts_of_profiles_must_be_on_the_list() -> None:
    document = parse("url_allowlist: [a.example, '*.b.example']", "p").document
    assert [covers(document, host) for host in ("A.example", "x.b.example", "b.example", "xa.example")] == [
        *(True, True, False, False),
    ]


def test_the_commands_say_what_holds_and_what_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = installation(tmp_path, "tier: T1\n")
    monkeypatch.chdir(here)
    run = CliRunner()
    good = run.invoke(app, ["policy", "check-document", "policy.yaml", "--json"])
    assert good.exit_code == 0
    sha256 = hashlib.sha256(b"tier: T1\n").hexdigest()
    assert json.loads(good.stdout) == {"sha256": sha256}
    shown = json.loads(run.invoke(app, ["policy", "show", "--json"]).stdout)
    assert (shown["sha256"], shown["document"]["tier"]) == (sha256, "T1")
    printed = run.invoke(app, ["policy", "show"]).stdout
    assert yaml.safe_load(printed) == {"tier": "T1"} and sha256 in printed
    (here / "broken.yaml").write_text("tier: T9\n")
    refused = run.invoke(app, ["policy", "check-document", "broken.yaml"])
    assert isinstance(refused.exception, ConfigurationError) and "broken.yaml: /tier: " in str(refused.exception)
