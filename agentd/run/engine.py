"""The narrow door to the durable engine (DBOS): launch, carry, active, forget. Nothing else imports it.

Only public calls of the engine are used. Its own recovery knows neither hosts nor claims, so it is never asked:
which executor goes on with which run is decided in our store, and the engine is told.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos._serialization import DBOSPortableJSONSerializer
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from agentd.errors import StoreError
from agentd.run import workflow
from agentd.run.context import Context
from agentd.run.desk import open_desk
from agentd.store.connection import explain, is_of_data

VERSION_PREFIX = "agentd-run-"
POLL_SECONDS = 0.5
RESTING_POLL_SECONDS = 5.0
"""A look at the queue costs a few milliseconds, which add up to a percent of a core where nothing else happens."""
STEPS = {"verify": "verify-", "publish": "sync-"}
"""By the stage that a run may begin at, how the engine's step of it is called."""
PRUNED_AT_ONCE = 200
ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


async def launch(context: Context) -> None:
    """Start the engine in this process; call it inside the event loop that runs shall work in.

    One SQLite file in the state directory, or the fleet's PostgreSQL. Arguments and results are JSON, so that a
    shared database is no way to run code. The executor id is this incarnation's own: with a shared one, a second
    process would start the first one's living runs again. Raises StoreError.
    """
    url = _address(context)
    for name in ("dbos", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config: DBOSConfig = {
        "name": "agentd",
        "system_database_url": url,
        "application_version": f"{VERSION_PREFIX}{workflow.CONTRACT_VERSION}",
        "executor_id": context.executor,
        "serializer": DBOSPortableJSONSerializer(),
        "log_level": "ERROR",
        "notification_listener_polling_interval_sec": 5.0,
        "scheduler_polling_interval_sec": 3600.0,
        "sys_db_pool_size": 4,
        "use_listen_notify": False,
    }
    workflow.use(context)
    DBOS(config=config)
    logging.getLogger("dbos").addFilter(_is_news)
    with _translated():
        DBOS.listen_queues([queue_of(context)])
        DBOS.launch()
        await DBOS.register_queue_async(queue_of(context), polling_interval_sec=POLL_SECONDS)


def _address(context: Context) -> str:
    return context.settings.database_url or f"sqlite:///{engine_file(context.settings.state_dir)}"


@contextmanager
def _translated() -> Iterator[None]:
    """Trouble of the engine's database is a StoreError that names it."""
    try:
        yield
    except SQLAlchemyError as error:
        name = make_url(_address(workflow.in_use())).render_as_string(hide_password=True)
        raise StoreError(explain(name, error)) from None


def _is_news(record: logging.LogRecord) -> bool:
    """A database that cannot be used is told once, in one line, where it stops the process."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, SQLAlchemyError | StoreError) or is_of_data(error)


async def carry(context: Context, run_id: str) -> bool:
    """Carry a run in this process, from its beginning or from the stage that was interrupted.

    False when the engine has its end already, which no stage expected then. The run must be this executor's in our
    store, so that no other one asks for the same: the engine itself would let both. Raises StoreError.
    """
    with _translated():
        return await _carry(context, run_id)


async def _carry(context: Context, run_id: str) -> bool:
    found = await DBOS.list_workflows_async(workflow_ids=[run_id], load_input=False, load_output=False)
    if found and found[0].status in ENDED:
        return False
    order = open_desk(context, run_id).order
    if found:
        await DBOS.resume_workflow_async(run_id, queue_name=queue_of(context))
    elif order.after:
        step = await _step_of(order.after, STEPS[order.stage])
        if step is None:
            return False
        with SetWorkflowID(run_id):
            version = f"{VERSION_PREFIX}{workflow.CONTRACT_VERSION}"
            await DBOS.fork_workflow_async(order.after, step, application_version=version, queue_name=queue_of(context))
    else:
        with SetWorkflowID(run_id):
            await DBOS.start_workflow_async(workflow.run_task, run_id)
    return True


async def _step_of(run_id: str, name: str) -> int | None:
    """Number of the last step of a run whose name begins so; None when there is none."""
    steps = await DBOS.list_workflow_steps_async(run_id, load_output=False)
    return max((step["function_id"] for step in steps if step["function_name"].startswith(name)), default=None)


async def rest(context: Context, resting: bool) -> None:
    """Look for interrupted runs seldom, or often again. Raises StoreError."""
    with _translated():
        queue = await DBOS.retrieve_queue_async(queue_of(context))
        if queue is not None:
            await queue.set_polling_interval_sec_async(RESTING_POLL_SECONDS if resting else POLL_SECONDS)


async def active() -> dict[str, str]:
    """Runs that the engine has not finished: run id -> version of the workflow's contract. Raises StoreError."""
    with _translated():
        found = await DBOS.list_workflows_async(
            status=["PENDING", "ENQUEUED", "DELAYED"], name="run_task", load_input=False, load_output=False
        )
    return {status.workflow_id: (status.app_version or "").removeprefix(VERSION_PREFIX) for status in found}


async def forget(run_id: str) -> None:
    """Let the engine never go on with a run that only another version of the workflow could. Raises StoreError."""
    with _translated():
        await DBOS.cancel_workflow_async(run_id)


async def prune(before: datetime, kept: Container[str]) -> None:
    """Drop what the engine knows of runs that it finished before then, except these. Raises StoreError."""
    with _translated():
        passed = 0
        while found := await DBOS.list_workflows_async(
            status=list(ENDED),
            completed_before=before.isoformat(),
            limit=PRUNED_AT_ONCE,
            offset=passed,
            load_input=False,
            load_output=False,
        ):
            gone = [status.workflow_id for status in found if status.workflow_id not in kept]
            if gone:
                await DBOS.delete_workflows_async(gone)
            passed += len(found) - len(gone)


def queue_of(context: Context) -> str:
    """The queue of interrupted runs that only this place's executor takes from."""
    return f"agentd-{context.place}"


def engine_file(state_dir: Path) -> Path:
    """The engine's SQLite file."""
    return state_dir / "engine.db"
