"""agentd with lease and guardian switched off, for the negative control: a checker that never objects proves nothing.

`python -m tests.faults.unprotected worker` is `agentd worker` where every claim is granted, no lease ever ends, the
guardian outlives its worker, and nobody asks whether the agent of before is gone.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from sqlalchemy import update

from agentd import cli
from agentd.run import claim, process
from agentd.store import claims, runs, schema
from agentd.store.connection import Store
from agentd.supervisor import host


def switch_off() -> None:
    """Bend this process; there is no way back."""
    acquire = claims.acquire

    def granted(store: Store, task_id: str, *arguments: Any) -> Any:
        if task_id != "supervisor":
            with store.write() as connection:
                where = schema.claims.c.task_id == task_id
                connection.execute(update(schema.claims).where(where).values(deadline=0.0))
        return acquire(store, task_id, *arguments)

    async def rest(_: claim.Holding) -> None:
        await asyncio.Event().wait()

    bend(claims, acquire=granted, require=lambda *_: None, run_of=lambda *_: ("", 0.0))
    bend(claim.Holding, check=lambda _: None, deadline=lambda _: float("inf"), keep=rest)
    bend(runs, begin=lambda *_: True, require_executor=lambda *_: None)
    bend(process, GUARDIAN=Path(__file__).with_name("careless_guardian.py"), LOCK=f"guardian-{os.getpid()}.lock")
    bend(host, tree_is_gone=lambda _: True, sweep=lambda _: 0)


def bend(thing: Any, **changes: Any) -> None:
    """Replace attributes of a module or a class."""
    for name, value in changes.items():
        setattr(thing, name, value)


if __name__ == "__main__":
    switch_off()
    cli.main()
