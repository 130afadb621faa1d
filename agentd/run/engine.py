"""The narrow door to the durable engine (DBOS): start, enqueue, active, requeue_dead. Nothing else imports it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos._dbos import _get_dbos_instance
from dbos._serialization import DBOSPortableJSONSerializer
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from agentd.errors import StoreError
from agentd.run import workflow
from agentd.run.context import Context
from agentd.store.connection import explain

QUEUE = "_dbos_internal_queue"
POLL_SECONDS = 1.0


def launch(context: Context) -> None:
    """Start the engine in this process; call it inside the event loop that runs shall work in.

    One SQLite file in the state directory, or the fleet's PostgreSQL. Arguments and results are JSON, so that a
    shared database is no way to run code. The executor id is this incarnation's own: with a shared one, a second
    process would start the first one's living runs again. Raises StoreError.
    """
    url = context.settings.database_url or f"sqlite:///{engine_file(context.settings.state_dir)}"
    for name in ("dbos", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config: DBOSConfig = {
        "name": "agentd",
        "system_database_url": url,
        "application_version": f"agentd-run-{workflow.CONTRACT_VERSION}",
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
    try:
        DBOS.launch()
    except SQLAlchemyError as error:
        raise StoreError(explain(make_url(url).render_as_string(hide_password=True), error)) from None


def _is_news(record: logging.LogRecord) -> bool:
    """A database that cannot be used is told once, in one line, where it stops the process."""
    return not (record.exc_info and isinstance(record.exc_info[1], SQLAlchemyError | StoreError))


async def enqueue(run_id: str) -> None:
    """Start a run here; asking again for the same run does nothing."""
    with SetWorkflowID(run_id):
        await DBOS.start_workflow_async(workflow.run_task, run_id)


async def active() -> dict[str, str]:
    """Runs that the engine has not finished: run id -> executor."""
    found = await DBOS.list_workflows_async(
        status=["PENDING", "ENQUEUED", "DELAYED"], name="run_task", load_input=False, load_output=False
    )
    return {status.workflow_id: status.executor_id or "" for status in found}


def requeue_dead(run_ids: Iterable[str], executor: str) -> list[str]:
    """Let runs of a dead executor go on in a living one; those that it really had.

    The engine itself only recovers its own executor id, so its private recovery call is used; a contract test
    guards it. It is idempotent: a run that somebody else took up meanwhile is left alone.
    """
    system = _get_dbos_instance()._sys_db
    return [run_id for run_id in run_ids if system.reenqueue_for_recovery(run_id, [executor], QUEUE)]


def engine_file(state_dir: Path) -> Path:
    """The engine's SQLite file."""
    return state_dir / "engine.db"
