"""The load's account is right: it hides no failure, and finds what a server lost or doubled."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from aiohttp import web

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "dev")]

from outsider.edge import Edge  # noqa: E402

from bench.load import run  # noqa: E402
from bench.load.book import BETWEEN, LONG_POLL, Book, Entry, Message, failures, table  # noqa: E402
from bench.load.client import Answer, Client, fault_of  # noqa: E402
from bench.load.load import Load  # noqa: E402
from bench.load.people import Size, Unable  # noqa: E402

# --- The book ----------------------------------------------------------------------------------------------------------------


def entry(ended: float, kind: str = "sync", fault: str = "", seconds: float = 1.0) -> Entry:
    return Entry(kind, "GET", "/x", 502 if fault else 200, fault, ended - seconds, seconds, False)


@pytest.fixture
def book() -> Book:
    """Ten requests, of which the operation that lasted from 10 to 20 saw four."""
    book = Book()
    book.began = 0
    with book.operation("restart") as operation:
        pass
    operation.began, operation.ended = 10, 20
    book.entries = [entry(ended) for ended in (1, 5, 9, 21, 22)]
    book.entries += [entry(12), entry(13, fault="502 of the edge"), entry(14, fault="502 of the edge", seconds=3)]
    book.entries += [entry(15, LONG_POLL, seconds=30), entry(30, "login", "500 M_UNKNOWN: ")]
    return book


def test_every_request_belongs_to_one_operation_or_to_none(book: Book) -> None:
    during, rest = book.account()
    assert (during.name, during.requests, during.failed) == ("restart", 4, 2)
    assert (rest.name, rest.requests, rest.failed) == (BETWEEN, 6, 1)
    assert during.failures == {("sync", "502 of the edge"): 2}
    assert (during.seconds, rest.seconds) == (10, 20)


def test_waiting_for_news_is_not_slowness(book: Book) -> None:
    during = book.account()[0]
    assert (during.slowest, during.longest_poll) == (3, 30)


def test_each_failure_is_named(book: Book) -> None:
    book.entries.append(entry(16, "login", "502 of the edge"))
    assert failures(book.account()).splitlines() == [
        "- restart: 502 of the edge: sync 2, login 1",
        f"- {BETWEEN}: 500 M_UNKNOWN: : login 1",
    ]


def test_the_table_is_one(book: Book) -> None:
    lines = table(book.account()).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {13}


@pytest.mark.parametrize(
    ("acknowledged", "found", "heard", "lost", "doubled", "unheard"),
    [
        (True, 1, {"a": 1, "b": 1}, 0, 0, 0),
        (True, 0, {}, 1, 0, 2),
        (True, 2, {"a": 1, "b": 1}, 0, 1, 0),
        (True, 1, {"a": 2, "b": 1}, 0, 1, 0),
        (True, 1, {"a": 1}, 0, 0, 1),
        # Nobody was told that the server has it: it may be there or not, but not twice.
        (False, 0, {}, 0, 0, 0),
        (False, 1, {"a": 1}, 0, 0, 0),
        (False, 2, {}, 0, 1, 0),
    ],
)
def test_each_message_is_there_once(
    acknowledged: bool, found: int, heard: dict[str, int], lost: int, doubled: int, unheard: int
) -> None:
    book = Book()
    message = Message("one", "!r", frozenset("ab"), 1.0, 2.0 if acknowledged else None)
    book.messages = {"one": message}
    book.read_back("!r", ["one"] * found + ["another"])
    book.read_back("!other", [])
    for who, count in heard.items():
        for _ in range(count):
            book.hear(who, "one")
    assert (message.lost, message.doubled, message.unheard) == (lost, doubled, unheard)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(200, b'{"chunk": []}'), ""),
        (Answer(200, b"{}"), "the answer lacks what it should hold"),
        (Answer(502, b"<html>"), "502 of the edge"),
        (Answer(500, b'{"errcode": "M_UNKNOWN", "error": "Internal server error"}'), "500 M_UNKNOWN: Internal server error"),
    ],
)
def test_a_fault_says_whose_it_is(answer: Answer, fault: str) -> None:
    assert fault_of(answer, b"chunk") == fault


# --- The client, against a server that closes connections --------------------------------------------------------------------

Play = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(play: Play) -> AsyncIterator[tuple[Client, Book]]:
    """A server that does what ``play`` says with its first, second … connection, and a client of it."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        try:
            await play(count, reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    book = Book()
    async with listening, Client(Edge(f"http://127.0.0.1:{port}", "example.org"), book) as client:
        yield client, book


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    await writer.drain()


async def once_then_closed(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Like an nginx that reloads: the idle connection is closed when the second request comes in."""
    await answered(reader, writer)
    if number == 1:
        await reader.read(1)
    else:
        await reader.read()


async def always_closed(_number: int, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def once_then_dropped_late(_number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await answered(reader, writer)
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(1.2)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@pytest.mark.parametrize(
    ("play", "asked", "expected"),
    [
        (once_then_closed, 2, [("", False), ("", True)]),
        (always_closed, 1, [("connection closed without an answer", False)]),
        (once_then_dropped_late, 2, [("", False), ("connection closed without an answer", False)]),
    ],
    ids=["an idle connection is asked again", "a new one is not", "one that took the request up is not"],
)
def test_only_what_all_clients_repeat_is_repeated(play: Play, asked: int, expected: list[tuple[str, bool]], method: str) -> None:
    async def story() -> list[tuple[str, bool]]:
        async with server(play) as (client, book):
            for _ in range(asked):
                await client.ask("x", method, "/x", body=None if method == "GET" else {})
            return [(one.fault, one.again) for one in book.entries]

    assert asyncio.run(story()) == expected


def test_who_does_not_listen_is_a_failure() -> None:
    async def story() -> str:
        async with server(always_closed) as (client, _book):
            client._base = "http://127.0.0.1:1"
            return (await client.ask("x", "GET", "/x")).fault

    assert asyncio.run(story()).startswith("no connection: ")


# --- The whole, against a homeserver of fifty lines --------------------------------------------------------------------------


class Toy:
    """A homeserver with one room, that can be told to be a bad one."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.users = 0
        self.deaf = False
        """No news for anybody, as long as it is set."""
        self.sent = 0
        self.spoil: Callable[[int], str] = lambda _number: ""
        """Number of a message → '' or what to do to it: ``lose``, ``double``, ``fail``."""

    async def sync(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", 0))
        end = time.monotonic() + int(request.query.get("timeout", 0)) / 1000
        while self.deaf:
            await asyncio.sleep(0.01)
        while len(self.events) <= since and time.monotonic() < end:
            await asyncio.sleep(0.01)
        news = self.events[since:]
        timeline = {"timeline": {"events": news[-2:], "limited": len(news) > 2, "prev_batch": str(len(self.events) - 2)}}
        return web.json_response({"next_batch": str(len(self.events)), "rooms": {"join": {"!room": timeline}}})

    async def send(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["body"] == "welcome":
            return web.json_response({"event_id": "$0"})
        self.sent += 1
        what = self.spoil(self.sent)
        if what == "fail":
            return web.Response(status=502, text="<html>")
        event = {"type": "m.room.message", "content": body}
        self.events += {"lose": [], "double": [event, event]}.get(what, [event])
        return web.json_response({"event_id": f"${self.sent}"})

    async def messages(self, request: web.Request) -> web.Response:
        chunk = self.events[int(request.query.get("to", 0)) : int(request.query.get("from", len(self.events)))]
        return web.json_response({"chunk": chunk})

    async def anything(self, _request: web.Request) -> web.Response:
        self.users += 1
        return web.json_response(
            {"user_id": f"@u{self.users}:example.org", "access_token": "t", "room_id": "!room", "content_uri": "mxc://e/m"}
            | dict.fromkeys(["displayname", "m.room.create", "m.room.member", "device_keys", "verify_keys"])
        )

    @contextmanager
    def running(self) -> Iterator[Edge]:
        """In a thread, until the end of the block."""
        ports: list[int] = []
        up = Event()

        async def serve() -> None:
            self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
            application = web.Application()
            application.router.add_get("/_matrix/client/v3/sync", self.sync)
            for path, add in (("/{id}", application.router.add_put), ("", application.router.add_post)):
                add("/_matrix/client/v3/rooms/{room}/send/m.room.message" + path, self.send)
            application.router.add_get("/_matrix/client/v3/rooms/{room}/messages", self.messages)
            application.router.add_route("*", "/{path:.*}", self.anything)
            runner = web.AppRunner(application, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            ports.append(runner.addresses[0][1])
            up.set()
            await self.stop.wait()
            await runner.cleanup()

        thread = Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        up.wait()
        yield Edge(f"http://127.0.0.1:{ports[0]}", "example.org")
        self.loop.call_soon_threadsafe(self.stop.set)
        thread.join()


SMALL = Size(quiet=2, devices=2, rooms=1, talkers=2, rates={"send, PUT": 30, "send, POST": 10, "download": 0})


@pytest.mark.parametrize(
    ("spoilt", "expected"),
    [("", (0, 0, 0, 0)), ("lose", (0, 1, 0, 1)), ("double", (0, 0, 1, 0)), ("fail", (1, 0, 0, 0))],
)
def test_what_a_server_does_to_a_message_is_found(spoilt: str, expected: tuple[int, int, int, int], tmp_path: Path) -> None:
    toy = Toy()
    toy.spoil = lambda number: spoilt if number == 3 else ""
    with toy.running() as edge, Load(edge, SMALL, settling=3) as load:
        with load.operation("spoil") as operation:
            while toy.sent < 6:
                time.sleep(0.02)
        found = load.figures(operation)
        assert load.book.under_way >= SMALL.polls
    assert (found.failed, found.lost, found.doubled, found.unheard) == expected
    load.write(tmp_path / "load", "A toy")
    written = json.loads((tmp_path / "load.json").read_text())
    assert len(written["requests"]) == len(load.book.entries)
    assert "| spoil" in (tmp_path / "load.md").read_text()


def test_what_a_sync_leaves_out_is_read_and_heard() -> None:
    toy = Toy()
    with toy.running() as edge, Load(edge, SMALL, settling=5) as load:
        with load.operation("deaf") as operation:
            toy.deaf = True
            while toy.sent < 10:
                time.sleep(0.02)
            toy.deaf = False
        assert not load.figures(operation).noticed
        assert any("&to=" in one.path for one in load.book.entries)


def test_a_load_that_cannot_begin_says_why() -> None:
    with pytest.raises(Unable, match="no connection"), Load(Edge("http://127.0.0.1:1", "example.org"), SMALL):
        pass


def test_a_load_ends_by_itself() -> None:
    with Toy().running() as edge, Load(edge, SMALL, most_seconds=0.3, settling=0.2) as load:
        load._thread.join(10)
        assert not load._thread.is_alive()
        with pytest.raises(Unable, match="bounds"), load.operation("too late"):
            pass


def test_the_command_carries_operations_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with Toy().running() as edge:
        where = [
            "run.py",
            "--edge",
            f"http://127.0.0.1:{edge.address[1]}",
            "--server-name",
            "example.org",
            "--rate",
            "download=0",
        ]
        small = ["--quiet", "1", "--devices", "1", "--rooms", "1", "--talkers", "2"]
        monkeypatch.setattr(
            sys, "argv", [*where, *small, "--operation", "one=sleep 0.2", "--operation", "two=sh -c 'echo no; exit 3'"]
        )
        assert run.main() == 2
    told = capsys.readouterr()
    assert told.out.index("| one ") < told.out.index("| two ") < told.out.index(f"| {BETWEEN} ")
    assert told.err.endswith("load: no\ntwo: exit status 3\n")
