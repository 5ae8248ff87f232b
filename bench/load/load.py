"""A load in a thread of its own, so that what is done to the server meanwhile can be plain code.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from outsider.edge import Edge
from outsider.signing import SigningKey

from .book import Book, Figures, Operation, failures, table
from .client import Client
from .people import People, Size, Unable


class Load:
    """Users who go on while the block runs::

        with Load(edge) as load:
            with load.operation("one more synchrotron"):
                ...
        print(load.table())

    The block begins when every long-poll is held. Raises ``Unable`` when it does not come to that.
    """

    def __init__(
        self,
        edge: Edge,
        size: Size | None = None,
        key: SigningKey | None = None,
        most_seconds: float = 1800,
        most_requests: int = 200_000,
        settling: float = 20,
    ) -> None:
        """``key``: the server's own signing key, for requests of other servers; ``settling``: seconds that acknowledged messages
        get to reach everybody, before an operation is over. The load ends by itself after ``most_seconds`` or ``most_requests``:
        nothing that a test forgets may go on for ever."""
        self.size = size or Size()
        self.book = Book()
        self._edge, self._key = edge, key
        self._most_seconds, self._most_requests, self._settling = most_seconds, most_requests, settling
        self._ready, self._error = threading.Event(), ""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        self._ready.wait()
        if self._error:
            self._thread.join()
            raise Unable(self._error)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._error and error is None:
            raise Unable(self._error)

    @contextmanager
    def operation(self, name: str) -> Iterator[Operation]:
        """What is done in the block. It is over when every message that the server has taken has reached everybody in its room
        (or after the time for settling); the rooms are read back then."""
        with self.book.operation(name) as operation:
            yield operation
            self._call(self._settled())
        self._call(self._people.read_back())

    def figures(self, operation: Operation) -> Figures:
        """The account of an operation."""
        return self.book.of(operation)

    def table(self) -> str:
        """All operations, and what failed in each."""
        account = self.book.account()
        return f"{table(account)}\n\n{failures(account)}"

    def write(self, path: Path, title: str) -> None:
        """``path``.md: the table by operation and by kind of request; ``path``.json: the same and every request."""
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = table(self.book.by_kind(), "kind of request")
        path.with_suffix(".md").write_text(f"# {title}\n\n{self.table()}\n\n{kinds}\n")
        path.with_suffix(".json").write_text(json.dumps(self.book.plain(), indent=1))

    # In the thread

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the load's thread, and wait for it."""
        if not self._thread.is_alive():
            work.close()
            raise Unable(self._error or "the load has ended: it reached its bounds")
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with Client(self._edge, self.book) as client:
                self._people = People(client, self.book, self.size, self._key)
                await self._people.move_in()
                # Moving in is not what is measured.
                self.book.begin()
                await self._live()
        except* Unable as errors:
            self._error = "; ".join(map(str, errors.exceptions))
        except* Exception as errors:
            # A fault of the load itself must not look like a quiet server.
            self._error = f"the load itself failed: {errors.exceptions!r}"
        finally:
            self._ready.set()

    async def _live(self) -> None:
        acts: set[asyncio.Task[object]] = set()
        # A fault in one of them ends them all, and is raised here.
        async with asyncio.TaskGroup() as group:

            def begin(act: Coroutine[Any, Any, object]) -> None:
                task = group.create_task(act)
                acts.add(task)
                task.add_done_callback(acts.discard)

            polls = [group.create_task(life) for life in self._people.lives()]
            while self.book.under_way < len(polls):
                await asyncio.sleep(0.1)
            clocks = [group.create_task(self._clock(rate, act, begin)) for rate, act in self._people.habits().values()]
            self._ready.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._most_seconds)
            for clock in clocks:
                clock.cancel()
            if acts:
                await asyncio.wait(set(acts), timeout=self._settling)
            await self._settled()
            await self._people.read_back()
            for task in [*acts, *polls]:
                task.cancel()

    async def _clock(
        self, rate: float, act: Callable[[], Coroutine[Any, Any, object]], begin: Callable[[Coroutine[Any, Any, object]], None]
    ) -> None:
        """By the clock and not after the answer: users do not wait for each other."""
        due = time.monotonic()
        while True:
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if len(self.book.entries) >= self._most_requests:
                self._stop.set()
            elif self.book.under_way >= self.size.polls + self.size.at_once:
                self.book.held_back += 1
            else:
                begin(act())

    async def _settled(self) -> None:
        end = time.monotonic() + self._settling
        while time.monotonic() < end and any(message.unheard for message in self.book.messages.values()):
            await asyncio.sleep(0.2)
