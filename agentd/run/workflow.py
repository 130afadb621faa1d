"""A run, from the claim to the pull request, as one durable workflow.

Every stage is a step whose result is remembered: after a crash the next incarnation reads on at the stage that was
interrupted. The claim is no step: each incarnation takes it anew, with a new generation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from dbos import DBOS
from sqlalchemy.exc import SQLAlchemyError

from agentd.errors import ClaimLost, GitError, GitHubError, StoreError
from agentd.git.push import RefusedRef
from agentd.git.workspace import Workspace
from agentd.run.claim import HeldElsewhere, claimed
from agentd.run.context import Context
from agentd.run.desk import Desk, RunEnd, hold_scope, open_desk
from agentd.run.process import GuardianDied
from agentd.run.prompt import with_feedback
from agentd.run.stages import agent, finish, publish, start, verify
from agentd.states import RunState
from agentd.store import holds, runs
from agentd.store.connection import explain

CONTRACT_VERSION = "1"
"""Grows when the order or the results of the stages change, so that no run is replayed by a program that differs."""

Result = dict[str, Any]
_process: list[Context] = []


def use(context: Context) -> None:
    """Set the context that runs of this process work in; a workflow's own arguments are only JSON."""
    _process[:] = [context]


@DBOS.workflow(name="run_task")
async def run_task(run_id: str) -> Result:
    """One run. Returns {state}: where it ended."""
    desk = open_desk(_process[0], run_id)
    try:
        await start.fetch(desk)
        async with claimed(desk.context, desk.task.task_id, run_id) as holding:
            runs.update_run(
                desk.context.store, run_id, executor=desk.context.executor, generation=holding.claim.generation
            )
            ended = await _carry(desk.with_claim(holding))
            holds.lift(desk.context.store, hold_scope(run_id))
            return ended
    except HeldElsewhere as held:
        return await finish.give_way(desk, str(held), held.seconds)
    except RefusedRef as refused:
        return await finish.hold_back(desk, refused)
    except GitError as error:
        if error.is_passing:
            end = RunEnd(RunState.failed_retry, str(error), cause="infrastructure")
        else:
            end = RunEnd(RunState.failed, str(error))
        return await finish.unclaimed(desk, end)
    except (StoreError, SQLAlchemyError) as error:
        # Neither we nor the engine can write down an end: nobody may wait for one in this process.
        place = f"the engine's store in {desk.context.settings.state_dir}"
        desk.context.broken.append(str(error) if isinstance(error, StoreError) else explain(place, error))
        raise


async def _carry(desk: Desk) -> Result:
    place: Workspace | None = None
    try:
        await _step("announce", start.announce, desk)
        began = await _step("synchronise", start.synchronise, desk)
        place = await start.workspace(desk, began)
        collected, verified = await _agent_until_verified(desk, place, began)
        await _step("push", publish.push, desk, began, collected)
        pull = await _step("open_pull", publish.open_pull, desk, verified)
        return await _step("hand_over", publish.hand_over, desk, pull)
    except RunEnd as end:
        return await _step("finish", finish.finish, desk, place, end)


async def _agent_until_verified(desk: Desk, place: Workspace, began: Result) -> tuple[Result, Result]:
    """The agent's turns: after a failed verify it gets the output and another turn, a bounded number of times."""
    prompt, session = desk.order.prompt, None
    for turn in range(desk.context.settings.max_fix_rounds + 1):
        outcome = await _step(f"agent-{turn}", agent.work, desk, place, turn, prompt, session)
        collected = await _step(f"collect-{turn}", verify.collect, desk, place, began)
        verified = await _step(f"verify-{turn}", verify.verify, desk, place, collected, turn)
        if verified["passed"]:
            return collected, verified
        session = outcome["session_id"]
        prompt = with_feedback(desk.order.prompt, desk.task.verify_command, verified["exit_status"], verified["output"])
    raise RunEnd(
        RunState.verify_failed,
        f"`{desk.task.verify_command}` ended with {verified['exit_status']} after {turn + 1} turns of the agent",
        detail=verify.fenced(verified["output"]),
    )


async def _step(name: str, stage: Callable[..., Awaitable[Result]], *arguments: Any) -> Result:
    """One durable step. A RunEnd is a result like any other, so that a replay ends in the same way."""

    async def act() -> Result:
        try:
            return {"ok": await stage(*arguments)}
        except RunEnd as end:
            return {"end": end.to_json()}
        except ClaimLost as error:
            return {"end": RunEnd(RunState.failed_retry, str(error), cause="infrastructure").to_json()}
        except GuardianDied as error:
            return {"end": RunEnd(RunState.failed_retry, str(error), cause="infrastructure").to_json()}
        except (GitHubError, GitError) as error:
            return {"end": RunEnd(RunState.failed, str(error)).to_json()}

    result = await DBOS.run_step_async({"name": name, "preemptible": True}, act)
    if "end" in result:
        raise RunEnd.from_json(result["end"])
    found: Result = result["ok"]
    return found
