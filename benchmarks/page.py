"""What the page costs: until something is seen, over the wire, and while many look."""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psutil
import requests

from agentd.clock import SystemClock
from agentd.store import schema
from agentd.store.connection import open_store
from benchmarks.rows import Row
from benchmarks.site import Site, cpu_percent, site

RUNS = 10_000
LOOKERS = 50
LOADS = 11
MEASURED_SECONDS = 15.0


def page() -> list[Row]:
    """Loads of the front with 10,000 runs in the store, and 50 pages that stay open while a run moves."""
    with site() as place:
        place.configure(agent="true")
        place.agentd("once")  # makes the store
        _fill(place)
        with subprocess.Popen(
            [sys.executable, "-m", "agentd", "web", "--port", "0"],
            cwd=place.folder,
            env=place.environ,
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdout is not None
            address = server.stdout.readline().split()[0].rstrip("/")
            loads = [_load(address) for _ in range(LOADS)]
            cpu = _many(place, address, psutil.Process(server.pid))
            server.send_signal(signal.SIGINT)
    milliseconds = statistics.median(seconds for seconds, _ in loads) * 1000
    return [
        Row("page, first content", milliseconds, "ms", 300, f"{RUNS} runs; all files and the overview, one by one"),
        Row("page, transferred", loads[0][1] / 1000, "kB", 100, "compressed, as sent"),
        Row("page, 50 open", cpu, "% core", 5, f"over {MEASURED_SECONDS:g} s, while a run moves each second"),
    ]


def _fill(place: Site) -> None:
    store = open_store("", place.state, SystemClock())
    now = datetime.now(UTC)
    rows = [
        {
            **dict.fromkeys(("run_id", "task_id"), f"issue-{number}"),
            "issue_number": number,
            "attempt": 1,
            "profile": "build@0123456789ab",
            "state": "merged" if number else "running",
            "branch": f"agent/issue-{number}",
            "title": f"Task {number}",
            "merged_at": (now - timedelta(minutes=number)).isoformat() if number else None,
            "started_at": (now - timedelta(minutes=number)).isoformat(),
            "updated_at": now.isoformat(),
        }
        for number in range(RUNS)
    ]
    with store.write() as connection:
        connection.execute(schema.runs.insert(), rows)
    store.close()


def _load(address: str) -> tuple[float, int]:
    """(seconds, bytes on the wire) of what a browser asks for until the front is shown."""
    with requests.Session() as session:
        session.trust_env = False
        begun, sent, todo, seen = time.perf_counter(), 0, ["/"], {"/"}
        while todo:
            answer = session.get(address + todo.pop(), headers={"Accept-Encoding": "deflate, gzip"}, stream=True)
            body = answer.raw.read(decode_content=False)
            sent += len(body)
            text = answer.raw._decode(body, True, True).decode() if body else ""
            new = set(re.findall(r'"(/static/[^"]+)"', text)) - seen
            seen |= new
            todo += new
        sent += len(session.get(f"{address}/api/v1/state").content)
        return time.perf_counter() - begun, sent


def _many(place: Site, address: str, server: psutil.Process) -> float:
    """Processor time of the server, in percent of a core."""
    lookers = [requests.get(f"{address}/api/v1/stream", stream=True, timeout=60) for _ in range(LOOKERS)]
    threads = [threading.Thread(target=_read, args=(looker,), daemon=True) for looker in lookers]
    for thread in threads:
        thread.start()
    over = threading.Event()
    mover = threading.Thread(target=_move, args=(place, over), daemon=True)
    mover.start()
    time.sleep(2)
    percent = cpu_percent(server, MEASURED_SECONDS)
    over.set()
    mover.join()
    return percent


def _read(looker: requests.Response) -> None:
    with suppress(requests.RequestException, AttributeError, ValueError):
        for _ in looker.iter_content(65536):
            pass


def _move(place: Site, over: threading.Event) -> None:
    store = open_store("", place.state, SystemClock())
    while not over.wait(1):
        with store.write() as connection:
            change = schema.runs.update().where(schema.runs.c.run_id == "issue-0")
            connection.execute(change.values(updated_at=datetime.now(UTC).isoformat(), reason=os.urandom(4).hex()))
    store.close()
