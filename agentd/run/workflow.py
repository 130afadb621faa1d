"""A run, from the claim to the pull request, as one durable workflow.

Every stage is a step whose result is remembered: after a crash the next incarnation, here or on another host, reads
on at the stage that was interrupted. The claim is no step: each incarnation takes it anew, with a new generation.
A run that lost its claim records nothing more: it is abandoned here, and goes on wherever the claim can be had.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from dbos import DBOS
from sqlalchemy.exc import SQLAlchemyError

from agentd.errors import ClaimLost, GitError, GitHubError, StoreError, StoreRefused
from agentd.git.mirror import NoBase
from agentd.git.push import RefusedRef
from agentd.git.workspace import Workspace
from agentd.plain import storable
from agentd.run.claim import Abandoned, HeldElsewhere, claimed
from agentd.run.context import Context
from agentd.run.desk import Desk, RunEnd, hold_scope, open_desk
from agentd.run.process import GuardianDied
from agentd.run.prompt import with_conflict, with_feedback, with_refusal
from agentd.run.recording import recorded_stage
from agentd.run.stages import agent, finish, publish, start, sync, verify
from agentd.states import ACTIVE, RunState
from agentd.store import holds, runs
from agentd.store.connection import explain, is_of_data

CONTRACT_VERSION = "4"
"""Grows when the order or the results of the stages change, so that no run is replayed by a program that differs."""

MOST_LOOKS = 3
"""How often one turn's work is verified because base or branch have moved; then it is published if it can be merged."""

REFUSED = "inner_error"
"""Rule of the end of a run that has something to write down which the store does not take."""

Result = dict[str, Any]
_process: list[Context] = []


def use(context: Context) -> None:
    """Set the context that runs of this process work in; a workflow's own arguments are only JSON."""
    _process[:] = [context]


def in_use() -> Context:
    """The context that runs of this process work in."""
    return _process[0]


@DBOS.workflow(name="run_task")
async def run_task(_: str) -> Result:
    """One run, whose id is the workflow's own: one that begins at a later stage has its predecessor's arguments.

    Returns {state}: where it ended.
    """
    context, run_id = in_use(), str(DBOS.workflow_id)
    context.carried[run_id] = context.clock.boottime()
    try:
        return await _claimed_or_not(open_desk(context, run_id))
    except ClaimLost as lost:
        raise Abandoned(str(lost)) from None
    except (StoreError, SQLAlchemyError) as error:
        if is_of_data(error):
            raise  # the engine writes this end down, and the run fails by it: the same would be refused for ever
        # Neither we nor the engine can write down an end.
        if not context.store.is_sqlite:
            raise Abandoned(str(error)) from None  # a database that comes back
        place = f"the engine's store in {context.settings.state_dir}"
        context.broken.append(str(error) if isinstance(error, StoreError) else explain(place, error))
        raise
    finally:
        context.carried.pop(run_id, None)


async def _claimed_or_not(desk: Desk) -> Result:
    context, run_id = desk.context, desk.run.run_id
    try:
        await start.fetch(desk)
        async with claimed(context, desk.task.task_id, run_id) as holding:
            if not runs.begin(context.store, run_id, context.executor, holding.claim.generation):
                await holding.release()  # nobody else would take it off the remote
                raise Abandoned(f"{run_id}: given to another executor")
            ended = await _carry(desk.with_claim(holding))
            holds.lift(context.store, hold_scope(run_id))
            return ended
    except HeldElsewhere as held:
        if (state := _end_reached(desk)) is not None:
            return {"state": state}  # the task's next run is under way already, and nobody waits for last words
        return await finish.give_way(desk, str(held), held.seconds)
    except RefusedRef as refused:
        return await finish.hold_back(desk, refused)
    except GitError as error:
        if _end_reached(desk) is not None:
            raise Abandoned(str(error)) from None  # only the last words are missing
        if isinstance(error, NoBase):
            return await finish.without_base(desk, error)
        return await finish.unclaimed(desk, _end_of(error))


def _end_reached(desk: Desk) -> RunState | None:
    """The state that an incarnation before us brought the run to, when that is no stage any more."""
    run = runs.get_run(desk.context.store, desk.run.run_id)
    return run.state if run is not None and run.state not in ACTIVE else None


@dataclass
class Work:
    """What the run has made so far. Only a stage that is not over needs the workspace, which is one host's."""

    desk: Desk
    began: Result | None = None
    commit: str = ""

    async def place(self) -> Workspace | None:
        """The workspace, made or taken up again; None before there was one. Raises GitError."""
        return await start.workspace(self.desk, self.began, self.commit) if self.began else None


async def _carry(desk: Desk) -> Result:
    work = Work(desk)
    try:
        if desk.order.after:
            await start.announce_again(desk)
        await _step("announce", start.announce, desk)
        work.began = await _step("synchronise", sync.synchronise, desk)
        made, verified = await _agent_until_publishable(desk, work, work.began)
        await _step("push", publish.push, desk, work.began, made)
        pull = await _step("open_pull", publish.open_pull, desk, verified)
        return await _step("hand_over", publish.hand_over, desk, pull)
    except RunEnd as end:
        return await _finish(desk, work, end)


async def _finish(desk: Desk, work: Work, end: RunEnd) -> Result:
    try:
        return await _step("finish", finish.finish, desk, work.place, end)
    except RunEnd as refused:
        if refused.rule != REFUSED:
            raise
        # What the end says of itself is not taken down; that it was not is an end that is.
        return await _step("finish-refused", finish.finish, desk, work.place, refused)


async def _agent_until_publishable(desk: Desk, work: Work, began: Result) -> tuple[Result, Result]:
    """The agent's turns: after work that is not accepted it hears why and has another one, so often as is allowed."""
    settings, order, session = desk.context.settings, desk.order.prompt, None
    controls, rounds = desk.context.run_controls.for_rounds(settings.max_fix_rounds), []
    prompt = with_conflict(order, began["conflicts"], began["told"]) if began["conflicts"] else order
    for turn in range(settings.max_fix_rounds + 1):
        made = await _step(f"agent-{turn}", _turn, desk, work.began, work.commit, turn, prompt, session)
        session, tree = made["session_id"], made["tree"]
        if made["refused"]:
            said, end, prompt = "\n".join(made["refused"]), verify.refusal(made), with_refusal(order, made["refused"])
        else:
            made, verified = await _verified_on_base(desk, work, made, turn)
            if verified["passed"]:
                return made, verified
            said, end = verified["output"], verify.rejection(desk, verified, turn)
            prompt = with_feedback(order, desk.task.verify_command, verified["exit_status"], said)
        rounds.append({"tree": tree, "said": said, "verified": not made["refused"]})
        if (halt := verify.going_nowhere(desk, rounds, controls, end)) is not None:
            raise halt
    raise end


async def _verified_on_base(desk: Desk, work: Work, made: Result, turn: int) -> tuple[Result, Result]:
    """Verify what the agent made, and again what comes of it when base or branch have moved meanwhile."""
    for look in range(MOST_LOOKS):
        work.commit = made["commit"]
        name = f"{turn}-{look}" if look else f"{turn}"
        verified = await _step(f"verify-{name}", _verify, desk, work.began, made, f"verify-{name}")
        if not verified["passed"]:
            break
        synced = await _step(f"sync-{name}", sync.again, desk, work.began, made, look == MOST_LOOKS - 1)
        if not synced["moved"]:
            break
        work.began, made = synced["began"], synced["made"]
    return made, verified


async def _turn(desk: Desk, began: Result, kept: str, turn: int, prompt: str, session: str | None) -> Result:
    """The agent and the commit of its work, as one step: what is remembered can be gone on with on any host."""
    place = await start.workspace(desk, began, kept)
    outcome = await agent.work(desk, place, turn, prompt, session)
    return outcome | await verify.collect(desk, place, began)


async def _verify(desk: Desk, began: Result, made: Result, name: str) -> Result:
    place = await start.workspace(desk, began, made["commit"])
    return await verify.verify(desk, place, made, name)


def _end_of(error: GitError) -> RunEnd:
    if error.is_passing or isinstance(error, NoBase):
        return RunEnd(RunState.failed_retry, str(error), rule="git_unavailable", cause="infrastructure")
    return RunEnd(RunState.failed, str(error), rule="git_failed")


async def _step(name: str, stage: Callable[..., Awaitable[Result]], desk: Desk, *arguments: Any) -> Result:
    """One durable step. A RunEnd is a result like any other, so that a replay ends in the same way."""

    async def act() -> Result:
        try:
            with recorded_stage(desk, name):
                return {"ok": storable(await stage(desk, *arguments))}
        except RunEnd as end:
            return {"end": end.to_json()}
        except ClaimLost as lost:
            raise Abandoned(str(lost)) from None
        except GuardianDied as error:
            return {
                "end": RunEnd(RunState.failed_retry, str(error), rule="guardian_died", cause="infrastructure").to_json()
            }
        except GitError as error:
            return {"end": _end_of(error).to_json()}
        except GitHubError as error:
            return {"end": RunEnd(RunState.failed, str(error), rule="github_refused").to_json()}
        except StoreRefused as error:
            return {"end": RunEnd(RunState.failed_retry, str(error), rule=REFUSED, cause="infrastructure").to_json()}
        except StoreError as error:
            if _process[0].store.is_sqlite:
                raise
            raise Abandoned(str(error)) from None

    result = await DBOS.run_step_async({"name": name, "preemptible": True}, act)
    if "end" in result:
        raise RunEnd.from_json(result["end"])
    found: Result = result["ok"]
    return found
