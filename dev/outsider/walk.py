"""A walk along the edge: every request becomes a row.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from .edge import Edge, Response
from .judge import Choice, Row
from .signing import SigningKey


def enc(text: str) -> str:
    """An id as one piece of a path: ``!``, ``#``, ``:`` and ``/`` in it are encoded, as clients do."""
    return quote(text, safe="")


class Walk:
    """Asks, repeats where an answer may come late, and keeps a row of each request."""

    def __init__(self, edge: Edge, tell: Callable[[str], None] = lambda _text: None, patience: float = 8) -> None:
        """``tell`` hears of each area; ``patience``: seconds to wait for what other workers wrote."""
        self.edge = edge
        self.tell = tell
        self.patience = patience
        self.rows: list[Row] = []
        self.short: dict[str, str] = {}
        self.area = ""
        self._count = 0
        self._lock = threading.Lock()

    def name(self, identifier: str, short: str) -> str:
        """Show ``identifier`` as ``short`` in the table, however it is spelled there; gives the identifier back."""
        self.short[enc(identifier)] = short
        self.short[identifier] = short
        return identifier

    @contextmanager
    def on(self, area: str) -> Iterator[None]:
        """Requests that belong together; where one lacks what an earlier one should give, the rest is left out."""
        self.area = area
        self.tell(area)
        try:
            yield
        except (KeyError, IndexError) as missing:
            last = self.rows[-1]
            last.complaint = last.complaint or f"the answer lacks {missing}; the rest of {area!r} could not be asked"

    def ask(
        self,
        label: str,
        method: str,
        path: str,
        *served_by: Choice,
        body: Any = None,
        status: int | tuple[int, ...] = 200,
        headers: dict[str, str] | None = None,
        check: Callable[[Response], str | None] | None = None,
        again: bool | None = None,
        timeout: float = 75,
    ) -> dict[str, Any]:
        """Ask once, or until the answer is right where that does no harm; the answer's JSON comes back.

        ``served_by``: worker types in the order of preference, the main process after them; ``body``: JSON or bytes;
        ``check`` says what is wrong with an answer; ``again``: whether to repeat (as a rule: GET). A process hears of
        what others wrote through Redis, some milliseconds late, so a wrong answer may turn right.
        """
        statuses = (status,) if isinstance(status, int) else status
        fields = dict(headers or {})
        content = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        if content is not None:
            fields.setdefault("Content-Type", "application/json")
        end = time.monotonic() + self.patience
        area = self.area
        while True:
            with self._lock:
                self._count += 1
                agent = f"{self.edge.agent}-{self._count}"
            response = self.edge.ask(agent, method, path, fields, content, timeout)
            complaint = ""
            if response.status in statuses and check is not None:
                complaint = check(response) or ""
            right = response.status in statuses and not complaint
            hopeless = not response.status or response.json.get("errcode") == "M_UNRECOGNIZED"
            if right or hopeless or time.monotonic() > end or not (method == "GET" if again is None else again):
                break
            time.sleep(0.3)
        with self._lock:
            self.rows.append(Row(area, label, method, path, served_by, statuses, agent, response, complaint))
        return response.json

    def ask_signed(self, key: SigningKey, label: str, method: str, path: str, *served_by: Choice, **more: Any) -> dict[str, Any]:
        """Ask as another server would; see ``federation``."""
        server = self.edge.server_name
        signature = key.authorization(server, server, method, path, more.get("body"))
        return self.ask(label, method, path, *served_by, headers={"Authorization": signature}, **more)


class User:
    """Somebody who is logged in, and asks in that name."""

    def __init__(self, walk: Walk, answer: dict[str, Any], password: str = "") -> None:
        """From the answer of ``/register`` or ``/login``."""
        self.id: str = answer["user_id"]
        self.device: str = answer["device_id"]
        self.login = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": self.id},
            "password": password,
        }
        self._walk = walk
        self._headers = {"Authorization": f"Bearer {answer['access_token']}"}

    def ask(self, *request: Any, headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        """As ``Walk.ask``."""
        return self._walk.ask(*request, headers={**self._headers, **(headers or {})}, **more)
