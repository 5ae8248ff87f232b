"""Asks as clients ask: over connections that stay open, with one repetition where all of them repeat; and notes every request.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import asyncio
import json
import time
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp
from outsider.edge import Edge
from yarl import URL

from .book import Book, Entry

# nginx closes an idle connection of a client after 75 s (its default keepalive_timeout).
KEPT_OPEN = 60
# An idle connection that is closed while a request is on its way is reset within a round trip. What was waited for longer was
# taken up by the server and then dropped, and is a failure.
AT_ONCE = 1.0
PATIENCE = 75
"""Seconds that a client waits for an answer, beyond what it asked the server to wait."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    fault: str = ""

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class Cut(Exception):
    """A connection was closed before the answer began. Not an error of aiohttp, so that it does not ask again by itself."""

    def __init__(self, reused: bool) -> None:
        super().__init__("closed before the answer began")
        self.reused = reused


class Sending:
    """What is known of one request while it is sent."""

    def __init__(self) -> None:
        self.reused = False


async def _reused(_session: Any, context: Any, _parameters: Any) -> None:
    context.trace_request_ctx.reused = True


async def _fresh(_session: Any, context: Any, _parameters: Any) -> None:
    context.trace_request_ctx.reused = False


async def _only_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp repeats a GET or PUT whatever connection it was cut on, however late: that would hide what is looked for."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Cut(False) from error


class Client:
    """The one way in which a load asks. ``async with``."""

    def __init__(self, edge: Edge, book: Book) -> None:
        self.edge = edge
        self.book = book
        scheme, (address, port) = "https" if edge.tls else "http", edge.address
        self._base = f"{scheme}://{address}:{port}"

    async def __aenter__(self) -> Client:
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(_reused)
        tracing.on_connection_create_end.append(_fresh)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_OPEN),
            headers={"Host": self.edge.host, "User-Agent": "bench-load"},
            trace_configs=[tracing],
            middlewares=[_only_once],
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def ask(
        self,
        kind: str,
        method: str,
        path: str,
        *,
        token: str = "",
        body: Any = None,
        headers: dict[str, str] | None = None,
        wait: float = 0,
        expect: bytes = b"",
        note: bool = True,
    ) -> Answer:
        """Ask once; never raises for what the server does.

        ``body``: JSON or bytes; ``wait``: seconds that the server is asked to wait; ``expect``: must be in the answer;
        ``note``: whether the request is part of the load.
        """
        fields = dict(headers or {})
        if token:
            fields["Authorization"] = f"Bearer {token}"
        content = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        if content is not None:
            fields.setdefault("Content-Type", "application/json")
        began = time.monotonic()
        again = False
        self.book.under_way += note
        try:
            async with asyncio.timeout(wait + PATIENCE):
                try:
                    answer = await self._send(method, path, fields, content)
                except Cut as cut:
                    # As browsers and curl do, whatever the method.
                    if not cut.reused or time.monotonic() - began > AT_ONCE:
                        raise
                    again = True
                    answer = await self._send(method, path, fields, content)
            answer = answer._replace(fault=fault_of(answer, expect))
        except TimeoutError:
            answer = Answer(0, b"", f"no answer within {wait + PATIENCE:.0f} s")
        except Cut:
            answer = Answer(0, b"", "connection closed without an answer")
        except aiohttp.ClientConnectorError as error:
            answer = Answer(0, b"", f"no connection: {error.strerror or error}")
        except aiohttp.ClientPayloadError:
            answer = Answer(0, b"", "connection closed within the answer")
        except aiohttp.ClientError as error:
            answer = Answer(0, b"", f"{type(error).__name__}: {error}")
        except asyncio.CancelledError:
            self.book.given_up += note
            raise
        finally:
            self.book.under_way -= note
        if note:
            seconds = time.monotonic() - began
            self.book.entries.append(Entry(kind, method, path, answer.status, answer.fault, began, seconds, again))
        return answer

    async def _send(self, method: str, path: str, headers: dict[str, str], content: bytes | None) -> Answer:
        sending = Sending()
        try:
            async with self._session.request(
                method,
                # Byte for byte: encoded slashes stay what they are.
                URL(self._base + path, encoded=True),
                headers=headers,
                data=content,
                allow_redirects=False,
                ssl=self.edge.tls or True,
                server_hostname=self.edge.host if self.edge.tls else None,
                timeout=aiohttp.ClientTimeout(total=None),
                trace_request_ctx=sending,
            ) as response:
                return Answer(response.status, await response.read())
        except Cut:
            raise Cut(sending.reused) from None


def fault_of(answer: Answer, expect: bytes = b"") -> str:
    """Why an answer is not what was asked for; '' when it is."""
    if answer.status == 200:
        return "" if expect in answer.body else "the answer lacks what it should hold"
    said = answer.json
    if "errcode" in said:
        # Names of hosts and times differ from one failure to the next; the beginning says what went wrong.
        return f"{answer.status} {said['errcode']}: {str(said.get('error', ''))[:60]}"
    return f"{answer.status} of the edge"
