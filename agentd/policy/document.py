"""The policy document, `policy.yaml`: what agents' tools may do. Read from text; version = sha256 of its bytes.

A rule that is unknown, broken, written twice or against another one refuses the whole document. Keys as in version 1
of the original's `policy/v1.yaml`, each of which may be left out here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, ValidationError

from agentd.errors import ConfigurationError
from agentd.model import Frozen
from agentd.policy.gates import Gates, Limit, Tier
from agentd.policy.retry import RetryRules
from agentd.policy.run_controls import RunControls

MAX_BYTES = 1 << 20
ANY = "*"
Name = Annotated[str, Field(min_length=1, max_length=200)]
Host = Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")]

BUILT_IN = """\
version: 1
tool_registry:
  allowed: ["*"]
  denied: []
tier: T2
arg_schema_enforcement: strict
sandbox:
  paths: [/workspace, /home/agent, /tmp]
loop_budget: {}
cycle_detection:
  max_repeats: 100
retry:
  max_retries: 3
  backoff_base_ms: 500
  backoff_cap_ms: 60000
"""
"""What holds where the setting `policy` names no file."""
BUILT_IN_NAME = "the built-in policy"


class ToolRegistry(Frozen):
    """`tool_registry`: which tools may be used, by the names that the agent gives them."""

    allowed: tuple[Name, ...] = (ANY,)
    """`*` alone is every tool that is not denied."""
    denied: tuple[Name, ...] = ()


class SandboxPaths(Frozen):
    """`sandbox`: where files are. A path counts as where it really leads, symbolic links followed."""

    paths: tuple[Annotated[str, Field(pattern=r"^/")], ...] = ("/workspace", "/home/agent", "/tmp")
    """Folders whose files may be written, as they are named inside the sandbox."""
    read_paths: tuple[Annotated[str, Field(pattern=r"^/")], ...] = ()
    """Folders whose files tools may read; empty for all that the sandbox shows."""
    path_template: str = Field(default="", pattern=r"^(/|\$\{TMPDIR:-/tmp\}/|$)")
    """One more folder to write in; `${TMPDIR:-/tmp}` is `/tmp`, `<run-id>` is the run's id."""


class LoopBudget(Frozen):
    """`loop_budget`: what one run may use. 0 is no limit. It ends the run."""

    max_iterations: int = Field(default=0, ge=0)
    """Model calls (limit_kind `iterations`)."""
    max_tokens: int = Field(default=0, ge=0)
    """Tokens of all model calls (`tokens`)."""
    max_cost_usd: float = Field(default=0.0, ge=0, le=1e9, allow_inf_nan=False)
    """US dollars of all model calls (`cost`)."""
    max_wall_seconds: float = Field(default=0.0, ge=0, le=1e9, allow_inf_nan=False)
    """Seconds since the run began (`wall`)."""


class CycleDetection(Frozen):
    """`cycle_detection`: the same tool with the same arguments, counted over the whole run. It ends the run."""

    max_repeats: int = Field(default=100, ge=0)
    """So many calls are let through; 0 is no limit."""


class PolicyDocument(Frozen):
    """What agents' tools may do."""

    model_config = ConfigDict(title="agentd policy, version 1")

    version: Literal[1] = 1
    tool_registry: ToolRegistry = ToolRegistry()
    tier: Tier = "T2"
    """T0 and T1 only read; from T2 on tools may write, run commands and use the network, within the sandbox."""
    url_allowlist: tuple[Host, ...] | None = None
    """Hosts that a tool may be given an address of, and that profiles may list under `hosts`. `*.name` is everything
    below a name. Without it: the hosts of the profile."""
    sandbox: SandboxPaths = SandboxPaths()
    arg_schema_enforcement: Literal["strict", "off"] = "strict"
    """`strict`: arguments must fit the schema of their tool, and every tool that is allowed by name must have one."""
    schemas: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    """JSON Schemas of tools' arguments, by tool; those of the built-in agent are known."""
    loop_budget: LoopBudget = LoopBudget()
    cycle_detection: CycleDetection = CycleDetection()
    retry: RetryRules = RetryRules()
    run_controls: RunControls | None = None
    """As `[run_controls]` in agentd.toml, which must then have none."""


class Policy(Frozen):
    """A document with its address."""

    document: PolicyDocument
    sha256: str
    text: str
    name: str


def parse(text: str, name: str, known_tools: frozenset[str] = frozenset()) -> Policy:
    """The policy of a document's text. Raises ConfigurationError: one line with `name` and the JSON pointer.

    `known_tools` need no schema in the document.
    """
    data = text.encode()
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{name}: is longer than {MAX_BYTES} bytes")
    try:
        values = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{name}: {_where(error)}") from None
    except RecursionError:
        raise ConfigurationError(f"{name}: is nested too deeply") from None
    if not isinstance(values, dict):
        raise ConfigurationError(f"{name}: expected a mapping with the keys of a policy document")
    try:
        document = PolicyDocument.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigurationError(f"{name}: {pointer(*first['loc'])}: {first['msg']}") from None
    for place, said in _contradictions(document, known_tools):
        raise ConfigurationError(f"{name}: {place}: {said}")
    return Policy(document=document, sha256=hashlib.sha256(data).hexdigest(), text=text, name=name)


def gates_of(
    policy: Policy, run_id: str, hosts: frozenset[str], schemas: Mapping[str, Mapping[str, Any]] | None = None
) -> Gates:
    """The gates of one run, for a profile with these hosts and an agent whose tools have these schemas."""
    document = policy.document
    registry, budget = document.tool_registry, document.loop_budget
    strict = document.arg_schema_enforcement == "strict"
    template = document.sandbox.path_template.replace("${TMPDIR:-/tmp}", "/tmp").replace("<run-id>", run_id)
    found = {**(schemas or {}), **document.schemas} if strict else {}
    limits = (
        Limit("iterations", budget.max_iterations),
        Limit("tokens", budget.max_tokens),
        Limit("cost", budget.max_cost_usd),
        Limit("wall", budget.max_wall_seconds),
    )
    listed = document.url_allowlist
    return Gates(
        version=policy.sha256,
        allowed=None if ANY in registry.allowed else frozenset(registry.allowed),
        denied=frozenset(registry.denied),
        tier=document.tier,
        schemas={tool: checker(schema) for tool, schema in found.items()},
        roots=(*document.sandbox.paths, *([template] if template else [])),
        read_roots=document.sandbox.read_paths,
        hosts=hosts if listed is None else frozenset(host.lower() for host in listed),
        max_repeats=document.cycle_detection.max_repeats,
        limits=tuple(limit for limit in limits if limit.limit),
    )


def covers(document: PolicyDocument, host: str) -> bool:
    """Whether a profile may list the host."""
    listed = document.url_allowlist
    if listed is None:
        return True
    names = {each.lower() for each in listed}
    parts = host.lower().split(".")
    return host.lower() in names or any(f"*.{'.'.join(parts[at:])}" in names for at in range(1, len(parts)))


def checker(schema: Mapping[str, Any]) -> Callable[[Any], str]:
    """What arguments are checked by: the complaint about them, empty for none. Raises ValueError for no schema."""
    import jsonschema_rs  # 30 ms, and only where tools are judged

    try:
        validator = jsonschema_rs.validator_for(dict(schema))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        raise ValueError(str(error).splitlines()[0]) from None

    def complaint(arguments: Any) -> str:
        if validator.is_valid(arguments):
            return ""
        found = next(iter(validator.iter_errors(arguments)))
        return f"{pointer(*found.instance_path)}: {found.message}" if found.instance_path else str(found.message)

    return complaint


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts) or "/"


def _contradictions(document: PolicyDocument, known: frozenset[str]) -> list[tuple[str, str]]:
    """(pointer, what is wrong) of rules that are there twice, or against each other."""
    registry, found = document.tool_registry, []
    lists: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
        (("tool_registry", "allowed"), registry.allowed),
        (("tool_registry", "denied"), registry.denied),
        (("url_allowlist",), tuple(host.lower() for host in document.url_allowlist or ())),
        (("sandbox", "paths"), document.sandbox.paths),
        (("sandbox", "read_paths"), document.sandbox.read_paths),
    )
    for place, names in lists:
        found += [
            (pointer(*place, at), f"{name!r} stands there twice; keep one")
            for at, name in enumerate(names)
            if name in names[:at]
        ]
    if ANY in registry.allowed and len(registry.allowed) > 1:
        found.append((pointer("tool_registry", "allowed"), "'*' stands for every tool; keep it alone, or the names"))
    found += [
        (pointer("tool_registry", "denied", at), f"the tool {name!r} is both allowed and denied; keep one")
        for at, name in enumerate(registry.denied)
        if name in registry.allowed or name == ANY
    ]
    found += [
        (pointer("schemas", name), f"the tool {name!r} is denied, so its schema means nothing; remove one")
        for name in document.schemas
        if name in registry.denied
    ]
    if document.arg_schema_enforcement == "strict":
        found += [
            (
                pointer("tool_registry", "allowed", at),
                f"the tool {name!r} has no schema; add it under schemas, or set arg_schema_enforcement: off",
            )
            for at, name in enumerate(registry.allowed)
            if name != ANY and name not in document.schemas and name not in known
        ]
    for name, schema in document.schemas.items():
        try:
            checker(schema)
        except ValueError as error:
            found.append((pointer("schemas", name), f"is no JSON Schema: {error}"))
    if document.retry.backoff_base_ms > document.retry.backoff_cap_ms:
        found.append((pointer("retry", "backoff_base_ms"), "is more than backoff_cap_ms"))
    return found


class _StrictLoader(yaml.SafeLoader):
    """YAML without what lets a document say one thing and mean another: keys that stand there twice, and aliases."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_mark()
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):
            # What Python says of a number, a date or a truth that is none, in PyYAML 6.0.
            if not isinstance(node, yaml.ScalarNode):
                raise
            kind = node.tag.rpartition(":")[2]
            said = f"the value {node.value[:50]!r} is no {kind}; put it into quotes if it is a text"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                said = f"the key {getattr(key, 'value', '')!r} is no text; put it into quotes"
                raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
            if key.value in seen:
                said = f"the key {key.value!r} stands there twice"
                raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _where(error: yaml.YAMLError) -> str:
    """The problem and its line, in one line."""
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or str(error)
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
    return f"cannot be read: {' '.join(str(said).split())}{place}"
