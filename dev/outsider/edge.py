"""One request to the edge, sent byte for byte as it is written here, and found again in the edge's access log.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import http.client
import json
import re
import secrets
import shlex
import socket
import ssl
import subprocess
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Response(NamedTuple):
    """What came back; ``status`` 0 when nothing did."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    seconds: float
    fault: str = ""
    """Why nothing came back."""

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class Edge:
    """The server as the internet sees it: an address, and the name that is asked for there."""

    def __init__(self, url: str, server_name: str, host: str = "", ca_file: str = "") -> None:
        """``url`` is where to connect (``http://192.0.2.1:8080``); ``server_name`` stands in user ids, ``host`` in ``Host``."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is not an address like http://192.0.2.1")
        self.address = (parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme])
        self.server_name = server_name
        self.host = host or server_name
        self.tls = ssl.create_default_context(cafile=ca_file or None) if parts.scheme == "https" else None
        # Every request has a name of its own, so that its line in the log is found whatever else is logged meanwhile.
        self.agent = f"outsider/{secrets.token_hex(4)}"

    def ask(self, agent: str, method: str, path: str, headers: dict[str, str], body: bytes | None, timeout: float) -> Response:
        """Send one request over a connection of its own; ``timeout`` in seconds. No answer has the status 0."""
        start = time.monotonic()
        link = http.client.HTTPConnection(*self.address, timeout=timeout)
        try:
            link.sock = socket.create_connection(self.address, timeout)
            if self.tls:
                link.sock = self.tls.wrap_socket(link.sock, server_hostname=self.host)
            # Not request(): that would choose Host and Accept-Encoding; the path goes on as it came in both.
            link.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in {
                "Host": self.host,
                "User-Agent": agent,
                "Connection": "close",
                **headers,
            }.items():
                link.putheader(name, value)
            if body is not None:
                link.putheader("Content-Length", str(len(body)))
            link.endheaders(body)
            with link.getresponse() as answer:
                content = answer.read()
                fields = {name.lower(): value for name, value in answer.getheaders()}
                return Response(answer.status, fields, content, time.monotonic() - start)
        except (OSError, http.client.HTTPException) as error:
            return Response(0, {}, b"", time.monotonic() - start, f"{type(error).__name__}: {error}")
        finally:
            link.close()


class LogLine(NamedTuple):
    """What the access log says of one request."""

    worker: str
    """Name of the worker that answered last, ``main``, or ``-`` when the edge answered itself."""
    upstreams: tuple[str, ...]
    """Addresses that were tried, in order."""


LINE = re.compile(r'"(?P<agent>outsider/[0-9a-f]+-[0-9]+)" worker=(?P<worker>\S+) upstream="(?P<upstream>[^"]*)"')


def parse_log(text: str) -> dict[str, LogLine]:
    """User agent → what the log says of its request. Lines of other clients are passed over."""
    found = {}
    for match in LINE.finditer(text):
        # nginx parts servers it tried by commas, and internal redirects between pools by colons with blanks.
        tried = tuple(part for part in re.split(r", | : ", match["upstream"]) if part not in ("", "-"))
        found[match["agent"]] = LogLine(match["worker"], tried)
    return found


def read_log(command: str, agents: set[str], patience: float = 10) -> dict[str, LogLine]:
    """Run ``command``, which prints the access log, until it names all ``agents``, for at most ``patience`` seconds.

    Raises ``RuntimeError`` when the command fails.
    """
    end = time.monotonic() + patience
    while True:
        run = subprocess.run(shlex.split(command), capture_output=True, text=True, errors="replace", check=False)
        if run.returncode:
            raise RuntimeError(f"{command}: {run.stderr.strip() or run.returncode}")
        found = parse_log(run.stdout)
        if agents <= set(found) or time.monotonic() > end:
            return found
        time.sleep(0.5)
