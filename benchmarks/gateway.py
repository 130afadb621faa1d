"""What the model gateway adds to a call, beside a LiteLLM proxy before the same service, in one run.

python -m benchmarks.gateway upstream     # the service: answers at once, whole or in 20 pieces
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from aiohttp import web

from agentd.clock import SystemClock
from agentd.store import spending
from agentd.store.connection import open_store
from benchmarks.rows import Row

LITELLM = "litellm[proxy]==1.106.2"
CHUNKS = 20
CALLS, CALLS_AT_ONCE, CONNECTIONS = 400, 1600, 16
MANY, CLIENTS = 10_016, 32
ROUNDS = 3
"""Each measured in turn with the others, so that a busy moment does not hit one alone."""
USAGE = {"prompt_tokens": 100, "completion_tokens": CHUNKS, "total_tokens": 100 + CHUNKS}
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Target:
    """Something that answers chat completions."""

    name: str
    url: str
    key: str
    process: psutil.Process | None = None
    start_seconds: float = 0.0


def added() -> list[Row]:
    """Milliseconds for a call, and calls in a second; LiteLLM's figures stand in the notes, where it can be had."""
    with (
        tempfile.TemporaryDirectory(prefix="agentd-bench-", dir="/var/tmp") as folder,
        _upstream() as base,
        _gateway(Path(folder), base) as gateway,
        _litellm(Path(folder), base) as (litellm, missing),
    ):
        targets = [Target("direct", base, ""), gateway, *([litellm] if litellm else [])]
        figures = asyncio.run(_measured(targets))
        return [*_rows(figures, gateway, litellm, missing), asyncio.run(_counted(Path(folder) / "state", gateway))]


def _rows(
    figures: Mapping[str, Mapping[str, float]], gateway: Target, litellm: Target | None, missing: str
) -> list[Row]:
    direct, ours = figures["direct"], figures["gateway"]
    theirs = figures.get("litellm")
    rows = []
    for kind in ("json", "stream"):
        beside = f"litellm {theirs[kind] - direct[kind]:.1f} ms" if theirs else missing
        note = f"direct {direct[kind]:.2f} ms, p99 {ours[f'{kind} p99']:.1f} ms; {beside}"
        rows.append(Row(f"gateway adds, {kind}", ours[kind] - direct[kind], "ms", 1.5, note))
    for kind in ("json rate", "stream rate"):
        note = f"{ours[kind]:.0f} calls/s with {CONNECTIONS} connections, direct {direct[kind]:.0f}"
        if theirs:
            ratio = theirs[kind] / ours[kind]
            rows.append(Row(f"litellm/gateway {kind}", ratio, "x", 0.05, f"{note}, litellm {theirs[kind]:.0f}"))
        else:
            print(f"gateway, {kind}: {note}; {missing}")
    beside = f"litellm {_megabytes(litellm):.0f} MB" if litellm else missing
    rows.append(Row("gateway memory", _megabytes(gateway), "MB", 120, beside))
    beside = f"litellm {litellm.start_seconds:.1f} s" if litellm else missing
    rows.append(Row("gateway start", gateway.start_seconds, "s", 3, beside))
    return rows


async def _counted(state: Path, gateway: Target) -> Row:
    """How many of MANY calls by CLIENTS clients are not in the store with their tokens."""
    store = open_store("", state, SystemClock())
    before = spending.all_meters(store)["run:bench"].used
    began = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        clients = (_calls(session, gateway, MANY // CLIENTS, stream=False) for _ in range(CLIENTS))
        made = sum(len(times) for times in await asyncio.gather(*clients))
    seconds = time.perf_counter() - began
    await asyncio.sleep(1)
    used = spending.all_meters(store)["run:bench"].used.minus(before)
    rows = spending.count_calls(store) - before.calls
    missing = max(abs(made - rows), abs(made - used.calls), abs(made - used.tokens / USAGE["total_tokens"]))
    return Row("gateway, calls not counted", missing, "", 0, f"of {made} by {CLIENTS} clients, in {seconds:.0f} s")


async def _measured(targets: list[Target]) -> dict[str, dict[str, float]]:
    """Medians over the rounds of what `_round` gives, by target."""
    found: dict[str, list[dict[str, float]]] = {target.name: [] for target in targets}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
        for target in targets:
            await _calls(session, target, 20, stream=False)
        for _ in range(ROUNDS):
            for target in targets:
                found[target.name].append(await _round(session, target))
    return {
        name: {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        for name, rounds in found.items()
    }


async def _round(session: aiohttp.ClientSession, target: Target) -> dict[str, float]:
    slow = 10 if target.name == "litellm" else 1
    figures: dict[str, float] = {}
    for kind in ("json", "stream"):
        times = await _calls(session, target, CALLS // slow, stream=kind == "stream")
        figures[kind] = statistics.median(times)
        figures[f"{kind} p99"] = sorted(times)[int(len(times) * 0.99) - 1]
        each = CALLS_AT_ONCE // slow // CONNECTIONS
        began = time.perf_counter()
        await asyncio.gather(*(_calls(session, target, each, stream=kind == "stream") for _ in range(CONNECTIONS)))
        figures[f"{kind} rate"] = each * CONNECTIONS / (time.perf_counter() - began)
    return figures


async def _calls(session: aiohttp.ClientSession, target: Target, count: int, *, stream: bool) -> list[float]:
    """Milliseconds of each of so many calls, one after the other."""
    body = {"model": "bench", "stream": stream, "messages": [{"role": "user", "content": "hello " * 50}]}
    headers = {"authorization": f"Bearer {target.key}"}
    times = []
    for _ in range(count):
        began = time.perf_counter()
        async with session.post(f"{target.url}/v1/chat/completions", json=body, headers=headers) as answer:
            text = await answer.read()
            assert answer.status == 200, text
        times.append(1000 * (time.perf_counter() - began))
    return times


@contextmanager
def _upstream() -> Iterator[str]:
    with _process([sys.executable, "-m", "benchmarks.gateway", "upstream"], dict(os.environ), ROOT) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


@contextmanager
def _gateway(folder: Path, base: str) -> Iterator[Target]:
    (folder / "agentd.toml").write_text(
        f'repo = "o/r"\nstate_dir = "{folder / "state"}"\n[budgets.run]\ntokens = 0\ncalls = 0\n'
    )
    environ = {
        **{name: os.environ[name] for name in ("PATH", "HOME")},
        "INFERENCE_BASE_URL": base,
        "INFERENCE_API_KEY": "sk-bench",
        "PYTHONPATH": str(ROOT),
    }
    agentd = [sys.executable, "-m", "agentd", "gateway"]
    made = [*agentd, "key", "--run", "bench", "--profile", "build"]
    key = subprocess.run(made, cwd=folder, env=environ, check=True, capture_output=True, text=True).stdout.strip()
    began = time.perf_counter()
    with _process([*agentd, "serve", "--port", "0"], environ, folder) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        yield Target("gateway", url, key, psutil.Process(process.pid), time.perf_counter() - began)


@contextmanager
def _litellm(folder: Path, base: str) -> Iterator[tuple[Target | None, str]]:
    """A LiteLLM proxy, and why there is none."""
    program, missing = _litellm_program()
    if program is None:
        yield None, missing
        return
    port = _free_port()
    model = {"model": "openai/bench", "api_base": f"{base}/v1", "api_key": "sk-bench"}
    config = {"model_list": [{"model_name": "bench", "litellm_params": model}]}
    (folder / "litellm.json").write_text(json.dumps(config))
    key = f"sk-{secrets.token_hex(32)}"
    command = [
        str(program),
        "--config",
        "litellm.json",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--num_workers",
        "1",
    ]
    environ = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MASTER_KEY": key,
    }
    began = time.perf_counter()
    with _process(command, environ, folder, said=subprocess.DEVNULL) as process:  # a full pipe would stop it
        while not _answers(port):
            if process.poll() is not None or time.perf_counter() - began > 180:
                yield None, "litellm did not start"
                return
            time.sleep(0.2)
        seconds = time.perf_counter() - began
        yield Target("litellm", f"http://127.0.0.1:{port}", key, psutil.Process(process.pid), seconds), ""


def _litellm_program() -> tuple[Path | None, str]:
    """Its program in a virtual environment of its own, made once; it never comes near agentd's."""
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "agentd-bench" / LITELLM.rpartition("=")[2]
    )
    program, stamp = cache / "bin" / "litellm", cache / ".installed"
    if not stamp.exists():
        pip = [str(cache / "bin" / "python"), "-m", "pip", "install", "--quiet", LITELLM]
        try:
            subprocess.run([sys.executable, "-m", "venv", str(cache)], check=True, capture_output=True)
            subprocess.run(pip, check=True, capture_output=True, timeout=900)
        except (subprocess.SubprocessError, OSError):
            return None, "litellm could not be installed"
        stamp.touch()
    return program, ""


@contextmanager
def _process(
    command: list[str], environ: Mapping[str, str], folder: Path, said: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, env=dict(environ), cwd=folder, stdout=said, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _megabytes(target: Target) -> float:
    assert target.process is not None
    family = (target.process, *target.process.children(recursive=True))
    return sum(each.memory_info().rss for each in family) / 1e6


def _answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def _serve() -> None:
    """The service: answers at once."""
    whole = json.dumps(_chunk({"message": {"role": "assistant", "content": "x" * 200}}) | {"usage": USAGE}).encode()
    pieces = [b"data: %s\n\n" % json.dumps(_chunk({"delta": {"content": "word "}})).encode() for _ in range(CHUNKS)]
    last = b"data: %s\n\ndata: [DONE]\n\n" % json.dumps({**_chunk({}), "choices": [], "usage": USAGE}).encode()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = json.loads(await request.read())
        if not body.get("stream"):
            return web.Response(body=whole, content_type="application/json")
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in (*pieces, last):
            await response.write(piece)
        await response.write_eof()
        return response

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


def _chunk(choice: Mapping[str, Any]) -> dict[str, Any]:
    choices = [{"index": 0, "finish_reason": None, **choice}]
    return {"id": "c", "object": "chat.completion", "created": 0, "model": "bench", "choices": choices}


if __name__ == "__main__":
    asyncio.run(_serve())
