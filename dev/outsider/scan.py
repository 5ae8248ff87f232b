"""A scan of the edge: what is private, in every spelling we know of, and requests that hide another one.

Everything is sent as bytes, for no client library would write most of it. Names of spellings stand in the table that ``table``
makes of the answers.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import NamedTuple

PRIVATE = {
    "admin": "/_synapse/admin/v1/server_version",
    "admin, login": "/_synapse/admin/v1/register",
    "mas": "/_synapse/mas/query_user",
    "replication": "/_synapse/replication/fed_send_edu/x",
    "metrics": "/_synapse/metrics",
    "metrics, main": "/metrics",
    "health": "/health",
    "status": "/nginx_status",
}
"""What only processes among themselves or the operator may reach. The manhole speaks no HTTP; it is a matter of ports."""

OPEN = "/_matrix/client/versions"
"""What anybody may ask."""


class Probe(NamedTuple):
    """One request."""

    what: str
    """Key of ``PRIVATE``."""
    spelling: str
    data: bytes
    agent: str
    """Its ``User-Agent``, by which logs name it; not all spellings have one."""
    below: bool = False
    """Whether it begins with a prefix that is open, so that Synapse, which resolves nothing, knows no such path."""
    asks_open: bool = False
    """Whether it asks for what anybody may ask, and for what is private in a header only."""


def _encoded(text: str, letters: str = "") -> str:
    return "".join(f"%{ord(char):02x}" if char != "/" and (not letters or char in letters) else char for char in text)


# By name: the target for a private path.
TARGETS: dict[str, Callable[[str], str]] = {
    "plain": lambda path: path,
    "with a query": lambda path: f"{path}?x={OPEN}",
    "slash at the end": lambda path: f"{path}/",
    "a letter encoded": lambda path: f"/%{ord(path[1]):02x}{path[2:]}",
    "all encoded": _encoded,
    "encoded twice": lambda path: _encoded(path).replace("%", "%25"),
    "slashes encoded": lambda path: "/" + path[1:].replace("/", "%2F"),
    "first slash encoded": lambda path: f"%2f{path[1:]}",
    "long UTF-8": lambda path: "/%c1%9f" + path[2:],
    "two slashes": lambda path: f"/{path}",
    "three slashes": lambda path: f"//{path}",
    "two slashes inside": lambda path: "/" + path[1:].replace("/", "//"),
    "a dot": lambda path: f"/.{path}",
    "dots": lambda path: f"/x/..{path}",
    "dots to an open path": lambda path: f"{path}/{'../' * path.count('/')}{OPEN[1:]}",
    "encoded dots to an open path": lambda path: f"{path}/{'%2e%2e/' * path.count('/')}{OPEN[1:]}",
    "..%2F to an open path": lambda path: f"{path}/{'..%2F' * path.count('/')}{OPEN[1:]}",
    "encoded for both": lambda path: f"/%2e{_encoded(path)}",
    "out of the root": lambda path: f"/../..{path}",
    "capitals": str.upper,
    "some capitals": lambda path: path.title(),
    "parameters of a segment": lambda path: f"{path};x=y",
    "parameters of the first": lambda path: re.sub(r"^(/[^/]*)", r"\1;x=y", path),
    "backslashes": lambda path: path.replace("/", "\\"),
    "encoded backslashes": lambda path: "/" + path[1:].replace("/", "%5c"),
    "NUL at the end": lambda path: f"{path}%00",
    "NUL inside": lambda path: f"{path[:4]}%00{path[4:]}",
    "line feed at the end": lambda path: f"{path}%0A",
    "blank at the end": lambda path: f"{path}%20",
    "a real blank": lambda path: f"{path} {OPEN}",
    "dot at the end": lambda path: f"{path}.",
    "extension": lambda path: f"{path}.json",
    "fragment": lambda path: f"{path}#{OPEN}",
    "no slash": lambda path: path[1:],
    "whole URL": lambda path: f"http://HOST{path}",
    "whole URL of itself": lambda path: f"http://127.0.0.1:8008{path}",
    "whole URL, https": lambda path: f"https://HOST{path}",
    "whole URL, user": lambda path: f"http://HOST@127.0.0.1{path}",
    "question mark first": lambda path: f"/?{path}",
}
# The same, behind a prefix that is open: for nginx, which resolves dots, private; for Synapse, which does not, unknown.
BELOW: dict[str, Callable[[str], str]] = {
    "dots behind /_matrix": lambda path: f"/_matrix/..{path}",
    "dots behind an open path": lambda path: f"/_matrix/client/../..{path}",
    "encoded dots behind it": lambda path: f"/_matrix/client/v3/%2e%2e/%2E%2E/%2e%2e{path}",
    "..%2F behind it": lambda path: f"/_matrix/client/v3/..%2F..%2f..{path}",
    "..%5C behind it": lambda path: f"/_matrix/client/v3/..%5C..%5c..{path}",
    "backslashes behind it": lambda path: f"/_matrix/client/v3/..\\..\\..{path}",
    "..;/ behind it": lambda path: f"/_matrix/client/..;/..;{path}",
    "encoded twice behind it": lambda path: f"/_matrix/client/%252e%252e/%252e%252e{path}",
    "behind pages": lambda path: f"/_synapse/client/..{path.removeprefix('/_synapse')}",
    "behind the well-known": lambda path: f"/.well-known/matrix/../..{path}",
    "NUL behind it": lambda path: f"/_matrix/client/%00/../../..{path}",
    "a room named so": lambda path: f"/_matrix/client/v3/rooms/..%2F..%2F..%2F..{path.replace('/', '%2F')}/state",
}
# By name: fields that say who asks, or what is meant instead.
FROM_HERE = {
    "Host: localhost": {"Host": "localhost"},
    "Host: 127.0.0.1:8008": {"Host": "127.0.0.1:8008"},
    "Host: empty": {"Host": ""},
    "X-Forwarded-For": {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
    "X-Forwarded-Host": {"X-Forwarded-Host": "localhost", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "8008"},
    "X-HTTP-Method-Override": {"X-HTTP-Method-Override": "GET"},
    "Upgrade": {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"},
}
MEANT = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri", "X-Forwarded-Prefix", "X-Accel-Redirect", "X-Original-Host")


def probes(host: str, run: str = "scan") -> list[Probe]:
    """Every private path in every spelling, for the server called ``host``."""
    found: list[Probe] = []

    def add(what: str, spelling: str, target: str, method: str = "GET", fields: dict[str, str] | None = None) -> None:
        agent = f"{run}-{len(found)}"
        named = {"Host": host, "User-Agent": agent, **(fields or {}), "Connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        length = "" if method in ("GET", "HEAD") else "Content-Length: 0\r\n"
        data = f"{method} {target.replace('HOST', host)} HTTP/1.1\r\n{head}{length}\r\n".encode("latin-1")
        found.append(Probe(what, spelling, data, agent, spelling in BELOW, spelling in MEANT))

    for what, path in PRIVATE.items():
        for spelling, write in {**TARGETS, **BELOW}.items():
            add(what, spelling, write(path))
        for spelling, fields in FROM_HERE.items():
            add(what, spelling, path, fields=fields)
        for name in MEANT:
            add(what, name, OPEN, fields={name: path})
        for method in ("POST", "PUT", "HEAD", "OPTIONS", "TRACE", "PURGE", "get"):
            add(what, method, path, method=method)
        add(what, "CONNECT", f"127.0.0.1:8008{path}", method="CONNECT")
        for spelling, text in {
            "HTTP/1.0, no Host": f"GET {path} HTTP/1.0\r\nUser-Agent: AGENT\r\n\r\n",
            "HTTP/1.1, no Host": f"GET {path} HTTP/1.1\r\nUser-Agent: AGENT\r\n\r\n",
            "two Hosts": f"GET {path} HTTP/1.1\r\nHost: {host}\r\nHost: localhost\r\nUser-Agent: AGENT\r\n\r\n",
            "HTTP/0.9": f"GET {path}\r\n",
            "HTTP/2.0 said": f"GET {path} HTTP/2.0\r\nHost: {host}\r\nUser-Agent: AGENT\r\nConnection: close\r\n\r\n",
            "tab for a blank": f"GET\t{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: AGENT\r\n\r\n",
            "empty line first": f"\r\nGET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: AGENT\r\nConnection: close\r\n\r\n",
        }.items():
            agent = f"{run}-{len(found)}"
            found.append(Probe(what, spelling, text.replace("AGENT", agent).encode(), agent))
    return found


# --- Requests that hide another ------------------------------------------------------------------------------------------------

HIDDEN = "/_synapse/admin/v1/server_version?hidden"
"""What the hidden request asks for. nginx refuses it when it sees it; a process that is asked for it was asked behind its back."""


class Attempt(NamedTuple):
    """A request to an open path whose end is in dispute."""

    name: str
    data: bytes


def attempts(host: str, run: str = "hidden") -> list[Attempt]:
    """Requests whose length two programs might read in two ways."""
    hidden = f"GET {HIDDEN} HTTP/1.1\r\nHost: {host}\r\nX: y\r\n\r\n"
    chunked_end = "0\r\n\r\n"
    size = len(hidden)
    found: list[Attempt] = []

    def add(name: str, fields: str, body: str = chunked_end + hidden, line: str = "", end: str = "\r\n") -> None:
        line = line or f"POST {OPEN} HTTP/1.1"
        head = end.join([line, f"Host: {host}", f"User-Agent: {run}-{len(found)}", *fields.split("|")])
        found.append(Attempt(name, f"{head}{end}{end}{body}".encode("latin-1")))

    both = f"Content-Length: {len(chunked_end) + size}|"
    add("Content-Length and Transfer-Encoding", f"{both}Transfer-Encoding: chunked")
    add("Transfer-Encoding and Content-Length", f"Transfer-Encoding: chunked|Content-Length: {len(chunked_end) + size}")
    add(
        "Content-Length shorter than the chunks",
        "Content-Length: 4|Transfer-Encoding: chunked",
        f"{size:x}\r\n{hidden}\r\n0\r\n\r\n",
    )
    add("two Content-Lengths", f"Content-Length: 0|Content-Length: {size}", hidden)
    add("two Content-Lengths that agree", f"Content-Length: {size}|Content-Length: {size}", hidden)
    for value in (f"0, {size}", f"{size}, {size}", "+0", "-1", "0x0", "0 0", "٠", "0;x", "", "9" * 40):
        safe = value.encode("utf-8").decode("latin-1")
        add(f"Content-Length: {value[:12] or 'empty'}", f"Content-Length: {safe}", hidden)
    add("Content-Length with a blank before the colon", f"Content-Length : {size}", hidden)
    add("Content-Length with underscore", f"Content_Length: {size}", hidden)
    for value in ("xchunked", "chunked, identity", "identity, chunked", "chunked, chunked", "identity", "gzip, chunked", "\x0bchunked",
                  "chunked\x0b", '"chunked"', "chunked;x=y", "CHUNKED", ""):  # fmt: skip
        name = value.replace("\x0b", "\\v")
        add(f"Transfer-Encoding: {name or 'empty'}", f"{both}Transfer-Encoding: {value}")
    add("Transfer-Encoding twice", f"{both}Transfer-Encoding: chunked|Transfer-Encoding: identity")
    add("Transfer-Encoding with a blank before the colon", f"{both}Transfer-Encoding : chunked")
    add("Transfer-Encoding with a tab before it", f"{both}\tTransfer-Encoding: chunked")
    add("Transfer-Encoding on a folded line", f"{both}X: y| Transfer-Encoding: chunked")
    add("value on a folded line", f"{both}Transfer-Encoding:| chunked")
    add("Transfer_Encoding", f"{both}Transfer_Encoding: chunked")
    add("Transfer-Encoding behind a carriage return", f"{both}X: y\rTransfer-Encoding: chunked")
    add("Transfer-Encoding behind a NUL", f"{both}X: y\0|Transfer-Encoding: chunked")
    add("chunks in HTTP/1.0", "Transfer-Encoding: chunked|Connection: keep-alive", line=f"POST {OPEN} HTTP/1.0")
    add("line feeds alone", f"{both}Transfer-Encoding: chunked", end="\n")
    add("line feeds alone in the chunks", "Transfer-Encoding: chunked", f"0\n\n{hidden}")
    add("carriage returns alone in the chunks", "Transfer-Encoding: chunked", f"0\r\r{hidden}")
    add("a chunk longer than it says", "Transfer-Encoding: chunked", f"1\r\nxx\r\n0\r\n\r\n{hidden}")
    add("a chunk with an extension", "Transfer-Encoding: chunked", f"0;x=y\r\n\r\n{hidden}")
    add("an extension with a line feed", "Transfer-Encoding: chunked", f"2;\nxx\r\n{size:x}\r\n0\r\n\r\n{hidden}")
    add("a chunk's size of 2^64", "Transfer-Encoding: chunked", f"10000000000000000\r\n\r\n{hidden}")
    add("a chunk's size with a sign", "Transfer-Encoding: chunked", f"-1\r\n\r\n{hidden}")
    add("a chunk's size with 0x", "Transfer-Encoding: chunked", f"0x0\r\n\r\n{hidden}")
    add("a chunk's size with blanks", "Transfer-Encoding: chunked", f" 0 \r\n\r\n{hidden}")
    add(
        "fields behind the chunks",
        "Transfer-Encoding: chunked",
        f"0\r\nContent-Length: {size}\r\nHost: localhost\r\n\r\n{hidden}",
    )
    add("a request behind the chunks' fields", "Transfer-Encoding: chunked", f"0\r\nX: {hidden}\r\n\r\n")
    add("body of a GET", f"Content-Length: {size}", hidden, line=f"GET {OPEN} HTTP/1.1")
    add("length of a GET in dispute", f"{both}Transfer-Encoding: chunked", line=f"GET {OPEN} HTTP/1.1")
    add(
        "a request in the line",
        "Content-Length: 0",
        "",
        line=f"GET {OPEN}%20HTTP/1.1%0d%0aX:%20y%0d%0a%0d%0aGET%20{HIDDEN} HTTP/1.1",
    )
    add("a request in a field", f"Content-Length: 0|X: y%0d%0a%0d%0aGET {HIDDEN} HTTP/1.1", "")
    add("a field that takes fields away", f"Connection: Content-Length, close|Content-Length: {size}", hidden)
    add("waiting for leave", f"Expect: 100-continue|Content-Length: {size}", hidden)
    add("another protocol", f"Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13|Content-Length: {size}", hidden)
    add("two requests, one behind the other", "Content-Length: 0", hidden)
    return found


# --- Asking --------------------------------------------------------------------------------------------------------------------


def ask(
    address: tuple[str, int], data: bytes, tls: ssl.SSLContext | None = None, host: str = "", patience: float = 5
) -> list[int]:
    """The statuses of all answers to some bytes, over a connection of its own; 0 is an answer without one.

    ``patience``: seconds until an edge that says nothing is taken to wait for more. Once it has spoken, half a second is enough.
    """
    got = b""
    plain = socket.create_connection(address, 10)
    with tls.wrap_socket(plain, server_hostname=host) if tls else plain as link:
        link.settimeout(patience)
        try:
            link.sendall(data)
            while chunk := link.recv(65536):
                got += chunk
                link.settimeout(0.5)
        except OSError:
            pass
    found = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", got)]
    return found or ([0] if got else [])


def table(rows: Iterable[tuple[str, str, str]]) -> str:
    """(spelling, what, answer) as a table: a line for each spelling, a column for each ``what``."""
    cells: dict[str, dict[str, str]] = {}
    for spelling, what, answer in rows:
        cells.setdefault(spelling, {})[what] = answer
    columns = list(dict.fromkeys(what for line in cells.values() for what in line))
    lines = [["spelling", *columns], *([spelling, *(line.get(what, "") for what in columns)] for spelling, line in cells.items())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns) + 1)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
