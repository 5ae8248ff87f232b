"""The account of a load: every request, every message, and what of them falls into which operation. Pure, no network.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

LONG_POLL = "long-poll"
"""Kind of requests that wait for news; all others are expected to be answered at once."""
BETWEEN = "between operations"


class Entry(NamedTuple):
    """One request as it ended."""

    kind: str
    method: str
    path: str
    status: int
    """0: no answer came."""
    fault: str
    """Why it failed; '' when it was answered as it should."""
    began: float
    """``time.monotonic()`` when it was first written."""
    seconds: float
    """Until the last byte of the answer came."""
    again: bool
    """It was written a second time, because the idle connection that it was first written to was closed at that moment."""

    @property
    def ended(self) -> float:
        """``time.monotonic()`` when it was over."""
        return self.began + self.seconds


@dataclass
class Message:
    """One message to a room, whose text nobody else uses."""

    text: str
    room: str
    listeners: frozenset[str]
    """Who has to hear it."""
    written: float
    """``time.monotonic()`` of the first try."""
    acknowledged: float | None = None
    """``time.monotonic()`` when the server said that it has it."""
    found: int = 0
    """How often it is in the room."""
    heard: Counter[str] = field(default_factory=Counter)
    """Listener → how often a long-poll brought it."""
    last_heard: float = 0
    """``time.monotonic()``."""

    @property
    def lost(self) -> bool:
        """The server said it has the message, and it is not in the room."""
        return self.acknowledged is not None and not self.found

    @property
    def doubled(self) -> bool:
        """It is in the room more than once, acknowledged or not, or came to somebody more than once."""
        return self.found > 1 or any(count > 1 for count in self.heard.values())

    @property
    def unheard(self) -> int:
        """How many listeners have not got what the server said it has."""
        return len(self.listeners - set(self.heard)) if self.acknowledged is not None else 0

    @property
    def delay(self) -> float:
        """Seconds from the acknowledgement until the last listener so far had it."""
        return max(0.0, self.last_heard - self.acknowledged) if self.acknowledged is not None else 0.0


@dataclass
class Operation:
    """Something that is done to the server, from ``began`` to ``ended`` (``time.monotonic()``)."""

    name: str
    began: float
    ended: float = float("inf")


@dataclass
class Figures:
    """What happened during one operation. Times are seconds."""

    name: str
    seconds: float
    requests: int
    failures: Counter[tuple[str, str]]
    """(kind of request, fault) → how many."""
    repeated: int
    """Requests written twice because an idle connection was closed under them."""
    p99: float
    """Of the requests that do not wait for news."""
    slowest: float
    """The same."""
    longest_poll: float
    messages: int
    """Acknowledged ones."""
    lost: int
    doubled: int
    unheard: int
    slowest_news: float
    """The longest that an acknowledged message took to come to everybody in its room."""

    @property
    def failed(self) -> int:
        """Requests that failed."""
        return sum(self.failures.values())

    @property
    def harm(self) -> bool:
        """Whether a message that the server had taken got lost, came twice or never arrived."""
        return bool(self.lost or self.doubled or self.unheard)

    @property
    def noticed(self) -> bool:
        """Whether users noticed anything."""
        return bool(self.failed) or self.harm

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        failures = [{"kind": kind, "fault": fault, "count": count} for (kind, fault), count in self.failures.most_common()]
        return {**self.__dict__, "failures": failures, "failed": self.failed}


class Book:
    """Everything that was asked and sent. To be written from one thread."""

    def __init__(self) -> None:
        self.begin()
        self.entries: list[Entry] = []
        self.messages: dict[str, Message] = {}
        self.operations: list[Operation] = []
        self.under_way = 0
        """Requests without an answer yet."""
        self.given_up = 0
        """Requests that were under way when the load ended; nobody waited for their answers."""
        self.held_back = 0
        """Requests that were due and not sent, as too many others were under way."""

    def begin(self) -> None:
        """What is measured begins now."""
        self.began = time.monotonic()
        self.began_at = datetime.now(tz=UTC)
        """By the clock on the wall, to be compared with logs."""

    @contextmanager
    def operation(self, name: str) -> Iterator[Operation]:
        """What ends from here to the end of the block, and every message acknowledged in it, belongs to the operation."""
        operation = Operation(name, time.monotonic())
        self.operations.append(operation)
        try:
            yield operation
        finally:
            operation.ended = time.monotonic()

    def hear(self, listener: str, text: str) -> None:
        """A long-poll of ``listener`` brought a message."""
        message = self.messages.get(text)
        if message is not None and listener in message.listeners:
            message.heard[listener] += 1
            message.last_heard = time.monotonic()

    def read_back(self, room: str, texts: Iterable[str]) -> None:
        """All that is in a room now."""
        found = Counter(texts)
        for message in self.messages.values():
            if message.room == room:
                message.found = found[message.text]

    # Accounts

    def of(self, operation: Operation) -> Figures:
        """The account of one operation."""

        def within(moment: float | None) -> bool:
            return moment is not None and operation.began <= moment < operation.ended

        end = min(operation.ended, time.monotonic())
        return figures(
            operation.name,
            end - operation.began,
            [entry for entry in self.entries if within(entry.ended)],
            [message for message in self.messages.values() if within(message.acknowledged or message.written)],
        )

    def between(self) -> Figures:
        """The account of what belongs to no operation."""

        def outside(moment: float) -> bool:
            return not any(operation.began <= moment < operation.ended for operation in self.operations)

        end = max((entry.ended for entry in self.entries), default=self.began)
        return figures(
            BETWEEN,
            end - self.began - sum(min(operation.ended, end) - operation.began for operation in self.operations),
            [entry for entry in self.entries if outside(entry.ended)],
            [message for message in self.messages.values() if outside(message.acknowledged or message.written)],
        )

    def account(self) -> list[Figures]:
        """One per operation in their order, and what lay between them."""
        return [*(self.of(operation) for operation in self.operations), self.between()]

    def plain(self) -> dict[str, Any]:
        """For JSON. Requests are lists: seconds since the beginning, kind, method, path, status, seconds, written twice, fault."""
        return {
            "began": self.began_at.isoformat(timespec="milliseconds"),
            "operations": [one.plain() for one in self.account()],
            "kinds": [one.plain() for one in self.by_kind()],
            "given_up": self.given_up,
            "held_back": self.held_back,
            "requests": [
                [round(entry.began - self.began, 3), *entry[:4], round(entry.seconds, 3), entry.again, entry.fault]
                for entry in self.entries
            ],
        }

    def by_kind(self) -> list[Figures]:
        """The account of each kind of request."""
        kinds = dict.fromkeys(entry.kind for entry in self.entries)
        total = max((entry.ended for entry in self.entries), default=self.began) - self.began
        return [figures(kind, total, [entry for entry in self.entries if entry.kind == kind], []) for kind in kinds]


def figures(name: str, seconds: float, entries: list[Entry], messages: list[Message]) -> Figures:
    """Count."""
    prompt = sorted(entry.seconds for entry in entries if entry.kind != LONG_POLL)
    polls = [entry.seconds for entry in entries if entry.kind == LONG_POLL]
    return Figures(
        name=name,
        seconds=seconds,
        requests=len(entries),
        failures=Counter((entry.kind, entry.fault) for entry in entries if entry.fault),
        repeated=sum(entry.again for entry in entries),
        p99=prompt[min(len(prompt) - 1, int(len(prompt) * 0.99))] if prompt else 0.0,
        slowest=prompt[-1] if prompt else 0.0,
        longest_poll=max(polls, default=0.0),
        messages=sum(message.acknowledged is not None for message in messages),
        lost=sum(message.lost for message in messages),
        doubled=sum(message.doubled for message in messages),
        unheard=sum(message.unheard > 0 for message in messages),
        slowest_news=max((message.delay for message in messages), default=0.0),
    )


HEAD = (
    "operation", "requests", "failed", "p99 s", "slowest s", "longest poll s", "messages", "lost", "doubled", "not heard",
    "slowest news s", "seconds",
)  # fmt: skip


def table(account: list[Figures], first: str = HEAD[0]) -> str:
    """A table of Markdown that is also one on a terminal."""
    rows: list[tuple[str, ...]] = [(first, *HEAD[1:])]
    for one in account:
        times = (f"{one.p99:.2f}", f"{one.slowest:.2f}", f"{one.longest_poll:.1f}")
        counts = (one.messages, one.lost, one.doubled, one.unheard)
        rows.append(
            (
                one.name,
                str(one.requests),
                str(one.failed),
                *times,
                *map(str, counts),
                f"{one.slowest_news:.1f}",
                f"{one.seconds:.0f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]

    def line(row: tuple[str, ...]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return f"| {' | '.join(cells)} |"

    rule = f"| {'-' * widths[0]} | {' | '.join('-' * (width - 1) + ':' for width in widths[1:])} |"
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:])])


def failures(account: list[Figures]) -> str:
    """What failed, a line for each fault of each operation."""
    lines = []
    for one in account:
        for fault in dict.fromkeys(fault for (_kind, fault), _count in one.failures.most_common()):
            kinds = [f"{kind} {count}" for (kind, why), count in one.failures.most_common() if why == fault]
            lines.append(f"- {one.name}: {fault}: {', '.join(kinds)}")
    return "\n".join(lines) or "Nothing failed."
