"""Lets requests wait for a process of Synapse that is not there at the moment, and says when to send them.

nginx hands a request over that it could not deliver, or that it was told to keep back: this asks the servers that may answer it
for ``/health`` until one does, and then tells nginx to send the request (``X-Accel-Redirect`` to a named location of nginx, which
keeps method and body). The request itself stays with nginx; neither its headers nor its body come here.

Usage: hold.py --closed FILE [--socket PATH]. Without ``--socket`` it takes the socket that systemd hands over.

What nginx says in the headers of its question:

``X-Hold-Again``
    The named location that sends the request.
``X-Hold-Servers``
    Who may answer it, separated by blanks, in nginx's words: ``unix:/path``, ``10.0.0.1:8008``, ``[fd00::1]:8008``.
``X-Hold-Timeout``
    Seconds after which the request is answered with 503.
``X-Hold-Planned``
    Whether the request also waits for FILE to go, in which a run says that it is about to stop processes. A file older than
    twice the timeout says nothing any more: that run came to a bad end.
``X-Hold-Before``
    Whom nginx has asked for this request so far (``$upstream_addr``).

Requests go in the order in which they came, a few at a time: Synapse lets 50 connections wait to be taken up and no more
(``backlog``, synapse/app/_base.py of release 1.163.2), and an answer for ``/health``, which waits in the same queue, says that those
before it were taken up.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections import deque

AT_A_TIME = 16
"""Requests that are sent between two answers for ``/health``. Several nginx hosts together have to stay below 50."""
PAUSE = 0.1
"""Seconds between two questions to a process that is not ready."""
PATIENCE = 10.0
"""Seconds that a process may take to answer for its health."""
ROUNDS = 3
"""How often one request may come here. nginx itself gives up, with 500, after ten turns from location to location."""
GATE = 2
"""For how many times that long at most a run may keep requests back: longer, as one that is slow is not to be disturbed."""
BACKLOG = 4096
LONGEST_HEAD = 65536

# What a client of Matrix takes for "try again", also in a browser.
GIVEN_UP = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Content-Type: application/json\r\nAccess-Control-Allow-Origin: *\r\nRetry-After: 5\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
)
NOT_READY = b'{"errcode":"M_UNKNOWN","error":"The server is being restarted. Please try again."}'


class Queue:
    """The requests that wait for the same servers."""

    def __init__(self, servers: list[str], planned: bool, closed: str) -> None:
        self.servers = servers
        self.planned = planned
        self.closed = closed
        self.timeout = 0.0
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.work: asyncio.Task[None] | None = None

    def join(self, timeout: float) -> asyncio.Future[None]:
        """A future that is done when the request may be sent; cancel it when nobody waits any more."""
        self.timeout = timeout
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        if self.work is None or self.work.done():
            self.work = asyncio.create_task(self.release())
        return turn

    async def release(self) -> None:
        """Until nobody waits: ask, let a few go, ask again."""
        while self.somebody_waits():
            if self.is_kept_back() or not await self.anybody_there():
                await asyncio.sleep(PAUSE)
                continue
            # It may have been closed while we asked.
            sent = 0
            while self.waiting and sent < AT_A_TIME and not self.is_kept_back():
                turn = self.waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    sent += 1

    def somebody_waits(self) -> bool:
        while self.waiting and self.waiting[0].done():
            self.waiting.popleft()
        return bool(self.waiting)

    def is_kept_back(self) -> bool:
        """Whether a run that still counts has asked to keep requests back."""
        if not self.planned:
            return False
        try:
            age = time.time() - os.stat(self.closed).st_mtime
        except OSError:
            return False
        return age < GATE * self.timeout

    async def anybody_there(self) -> bool:
        """Whether one of the servers says that it is well."""
        questions = [asyncio.create_task(is_well(server)) for server in self.servers]
        try:
            for question in asyncio.as_completed(questions):
                if await question:
                    return True
            return False
        finally:
            for one in questions:
                one.cancel()
            await asyncio.gather(*questions, return_exceptions=True)


async def is_well(server: str) -> bool:
    """Whether a server answers ``/health`` with 200."""
    writer = None
    try:
        async with asyncio.timeout(PATIENCE):
            if server.startswith("unix:"):
                reader, writer = await asyncio.open_unix_connection(server[len("unix:") :])
            else:
                host, _colon, port = server.rpartition(":")
                reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
            # To the end: a process that is left with half an answer notes that.
            await reader.read(LONGEST_HEAD)
            return status.split(b" ")[1:2] == [b"200"]
    except (OSError, ValueError):
        # TimeoutError is an OSError.
        return False
    finally:
        if writer is not None:
            writer.close()


class Hold:
    """Answers nginx."""

    def __init__(self, closed: str, own_socket: str = "") -> None:
        self.closed = closed
        self.own_socket = own_socket
        self.queues: dict[tuple[str, bool], Queue] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question of nginx, one answer."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            answer = await self.answer(head, reader)
            if answer:
                writer.write(answer)
                await writer.drain()
        except (OSError, ValueError, LookupError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
            # Not nginx, or it went away, or we have to.
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def answer(self, head: str, reader: asyncio.StreamReader) -> bytes:
        """What nginx shall do with the request; nothing when nobody waits for it any more."""
        fields = {key.lower(): value.strip() for key, _colon, value in (line.partition(":") for line in head.split("\r\n")[1:])}
        again, servers = fields["x-hold-again"], fields["x-hold-servers"]
        if not again.startswith("@") or not servers:
            raise ValueError(head)
        planned, timeout = fields.get("x-hold-planned") == "1", float(fields["x-hold-timeout"])
        if self.own_socket and fields.get("x-hold-before", "").count(self.own_socket) >= ROUNDS:
            return given_up()
        queue = self.queues.setdefault((servers, planned), Queue(servers.split(), planned, self.closed))
        turn = queue.join(timeout)
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait((turn, gone), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if turn.done():
                return (
                    b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % again.encode()
                )
            return b"" if gone.done() else given_up()
        finally:
            turn.cancel()
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)


def given_up() -> bytes:
    return GIVEN_UP % (len(NOT_READY), NOT_READY)


async def run(closed: str, path: str) -> None:
    """Until SIGTERM."""
    if path:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
    else:
        # sd_listen_fds(3): the first one is number 3.
        if os.environ.get("LISTEN_FDS") != "1" or os.environ.get("LISTEN_PID") != str(os.getpid()):
            sys.exit("no socket of systemd, and none named by --socket")
        listener = socket.socket(fileno=3)
    listener.setblocking(False)
    hold = Hold(closed, listener.getsockname())
    # The file of the socket is systemd's, and stays for the next of us.
    kept = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
    server = await asyncio.start_unix_server(hold.serve, sock=listener, backlog=BACKLOG, limit=LONGEST_HEAD, **kept)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    # What waits is cut; nginx asks our successor at once.
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closed", required=True, metavar="FILE")
    parser.add_argument("--socket", default="", metavar="PATH")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.closed, arguments.socket))


if __name__ == "__main__":
    main()
