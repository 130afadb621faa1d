"""The one thread that writes the books. What comes in while it writes goes into its next transaction together."""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from agentd.births import birth_of
from agentd.errors import StoreError
from agentd.gateway.booking import Answer, Book, Known, Reservation, Settlement
from agentd.gateway.usage import Usage
from agentd.policy.budget_settings import Budgets
from agentd.store import spending
from agentd.store.connection import Store
from agentd.store.place import machine_name
from agentd.store.spending import Key, metering

LEASE_SECONDS = 60.0
"""A gateway that has calls on their way and no heartbeat for so long counts as dead."""
BEAT_SECONDS = 10.0
AGAIN_SECONDS = 0.25
"""How often a call that waits for room looks again: another gateway may have given some back."""
LINGER_SECONDS = 0.02
MOST_AT_ONCE = 256
LAST_TRIES = 3
_numbers = itertools.count(1)


@dataclass(eq=False)
class _Waiting:
    """A reservation on its way through the thread."""

    reservation: Reservation
    until: float
    """monotonic seconds; what still finds no room then is told so"""
    future: asyncio.Future[Answer]
    is_abandoned: bool = False


@dataclass(frozen=True)
class _Question:
    key_hash: str
    future: asyncio.Future[Key | None]


@dataclass(frozen=True)
class _Wake:
    """Settlements are there."""


@dataclass(frozen=True)
class _Flush:
    future: asyncio.Future[None]


class Writer:
    """Reserves and settles for one gateway. All calls but `start` and `close` belong to one event loop."""

    def __init__(self, store: Store, budgets: Budgets) -> None:
        self.gateway = gateway_id()
        self._store, self._budgets = metering(store), budgets
        self._own_engine = self._store is not store
        self._books = spending.Transactions(self._store)
        self._inbox: queue.SimpleQueue[_Waiting | _Question | _Flush | _Wake | None] = queue.SimpleQueue()
        self._settled: deque[Settlement] = deque()
        self._will_wake = False
        self._waiting: list[_Waiting] = []
        self._unsettled: list[Settlement] = []
        self._open: set[str] = set()
        self._known = Known()
        self._beat_at = -LEASE_SECONDS
        self._looked_at = 0.0
        self._thread = threading.Thread(target=self._work, name="agentd-gateway-books", daemon=True)

    def start(self) -> None:
        """Begin; what dead gateways have left open is settled first."""
        self._thread.start()

    async def reserve(self, reservation: Reservation, wait_seconds: float) -> Answer:
        """Let a call out, or say why not; it waits for room in a budget for so long at most. Raises StoreError.

        Whoever is cancelled here has nothing to give back: what was admitted meanwhile is settled as unused.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(reservation, time.monotonic() + wait_seconds, future)
        self._inbox.put(waiting)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            waiting.is_abandoned = True
            future.add_done_callback(lambda done: self._abandon(reservation, done))
            raise

    def settle(self, settlement: Settlement) -> None:
        """Count what a call has used: before whatever is reserved after this, and soon.

        Nobody waits for it, so it goes with the next reservation, and the thread is not woken while an answer is sent.
        """
        self._settled.append(settlement)
        if not self._will_wake:
            self._will_wake = True
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._wake)

    async def key(self, key_hash: str) -> Key | None:
        """A key by its hash, or None. Raises StoreError."""
        future: asyncio.Future[Key | None] = asyncio.get_running_loop().create_future()
        self._inbox.put(_Question(key_hash, future))
        return await future

    async def flush(self) -> None:
        """Return when all that was said before stands in the store. Raises StoreError."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox.put(_Flush(future))
        await future

    def close(self) -> None:
        """Write what is left and end. What cannot be written stays reserved until another gateway settles it."""
        self._inbox.put(None)
        self._thread.join()
        if self._own_engine:
            self._store.close()

    def _wake(self) -> None:
        self._will_wake = False
        self._inbox.put(_Wake())

    def _abandon(self, reservation: Reservation, done: asyncio.Future[Answer]) -> None:
        if not done.cancelled() and done.exception() is None and done.result().outcome == "admit":
            self.settle(_unused(reservation))

    def _work(self) -> None:
        over: bool = False
        self._transact([], [], [])
        while not over:
            found = self._gather()
            over = None in found
            questions = [each for each in found if isinstance(each, _Question)]
            flushes = [each for each in found if isinstance(each, _Flush)]
            while self._settled:
                self._unsettled.append(self._settled.popleft())
            self._waiting += [each for each in found if isinstance(each, _Waiting)]
            self._waiting = [each for each in self._waiting if not each.is_abandoned]
            if self._unsettled or questions or flushes or self._is_due(found):
                self._transact(self._unsettled, self._waiting, questions, flushes)
        for _ in range(LAST_TRIES):
            if self._unsettled:
                self._transact(self._unsettled, [], [])
        self._leave()
        self._books.close()

    def _leave(self) -> None:
        with suppress(StoreError):
            if not self._open:
                with self._books.transaction() as connection:
                    spending.leave(connection, [self.gateway])

    def _gather(self) -> list[Any]:
        """What has come in, after a wait for the first of it."""
        found: list[Any] = []
        try:
            found.append(self._inbox.get(timeout=self._patience()))
            while len(found) < MOST_AT_ONCE and found[-1] is not None:
                found.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        return found

    def _patience(self) -> float | None:
        if self._waiting or self._unsettled:
            return AGAIN_SECONDS
        return BEAT_SECONDS if self._open else None

    def _is_due(self, found: list[Any]) -> bool:
        fresh = any(isinstance(each, _Waiting) for each in found)
        now = time.monotonic()
        again = bool(self._waiting) and now - self._looked_at >= AGAIN_SECONDS
        return fresh or again or (bool(self._open) and now - self._beat_at >= BEAT_SECONDS)

    def _transact(
        self,
        settlements: list[Settlement],
        waiting: list[_Waiting],
        questions: list[_Question],
        flushes: list[_Flush] | None = None,
    ) -> None:
        """One transaction with all of it. After an error settlements stay for the next one; the rest is told."""
        answers: list[tuple[asyncio.Future[Any], Any]] = []
        self._looked_at = time.monotonic()
        try:
            with self._books.transaction() as connection:
                book = Book(self._store, connection, self._budgets, self._store.clock.now(), self._known)
                if self._looked_at - self._beat_at >= BEAT_SECONDS:
                    spending.beat(self._store, connection, self.gateway, LEASE_SECONDS)
                    self._sweep(connection, book)
                if settlements:
                    book.settle(settlements)
                said = book.reserve([each.reservation for each in waiting]) if waiting else []
                keys = book.keys(each.key_hash for each in questions)
                book.save()
        except Exception as error:  # whatever it is, the thread must go on: settlements are owed
            problem = error if isinstance(error, StoreError) else StoreError(f"the gateway's books: {error!r}")
            answers = [(each.future, problem) for each in (*waiting, *questions, *(flushes or ()))]
            self._waiting = []
            self._known = Known()
            # Nobody knows whether the transaction stands: what it may have admitted goes no further.
            self._unsettled = [*settlements, *(_unused(each.reservation) for each in waiting)]
            _resolve(answers)
            return
        self._beat_at = self._looked_at if self._looked_at - self._beat_at >= BEAT_SECONDS else self._beat_at
        self._unsettled = []
        self._open -= {each.call_id for each in settlements}
        for told, verdict in book.warnings:
            told(verdict)
        self._waiting = []
        for each, answer in zip(waiting, said, strict=True):
            if answer.outcome == "wait" and self._looked_at < each.until and not each.future.done():
                self._waiting.append(each)
                continue
            if answer.outcome == "admit":
                self._open.add(each.reservation.call.call_id)
            answers.append((each.future, answer))
        answers += [(each.future, keys.get(each.key_hash)) for each in questions]
        answers += [(each.future, None) for each in flushes or ()]
        _resolve(answers)

    def _sweep(self, connection: Any, book: Book) -> None:
        """Settle what gateways have left open that are dead."""
        spending.forget_silent(self._store, connection)
        open_calls = [call for call in spending.open_calls(connection) if call.gateway != self.gateway]
        if not open_calls:
            return
        alive = spending.living(connection)
        dead = {call.gateway for call in open_calls if call.gateway not in alive or is_gone(call.gateway)}
        book.settle_as_reserved(call for call in open_calls if call.gateway in dead)
        spending.leave(connection, dead)


def _unused(reservation: Reservation) -> Settlement:
    """A call that was admitted, and never sent."""
    return Settlement(reservation.call.call_id, 499, Usage(), 0)


def gateway_id() -> str:
    """`<machine>:<pid>:<birth of the process>:<number>`: this incarnation."""
    return f"{machine_name()}:{os.getpid()}:{birth_of(os.getpid())}:{next(_numbers)}"


def is_gone(gateway: str, machine: Callable[[], str] = machine_name) -> bool:
    """True when the gateway was a process of this machine that is there no more."""
    there, pid, born, _ = gateway.split(":")
    return there == machine() and birth_of(int(pid)) != born


def _resolve(answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
    """Hand answers to the event loop that waits for them, in one go."""
    if not answers:
        return

    def hand_over() -> None:
        for future, answer in answers:
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    try:
        answers[0][0].get_loop().call_soon_threadsafe(hand_over)
    except RuntimeError:
        pass  # the loop is closed: nobody waits any more
