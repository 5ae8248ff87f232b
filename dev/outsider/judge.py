"""Which worker should have answered, whether it did, and the table that says so.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .edge import LogLine, Response

ANYONE = "*"
"""Every process gives the same answer."""
NOBODY = "-"
"""The edge answers by itself, or refuses."""
MAIN = "main"

# One type, or several that do equally well.
Choice = str | tuple[str, ...]

REFUSED = "refused"
"""Label of requests that nobody may answer."""


class Plan(NamedTuple):
    """Which workers there are, read from ``synapse_workers`` as an operator reads it."""

    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """A regular expression for the names of a row's workers, and their types."""

    @classmethod
    def read(cls, synapse_workers: Iterable[Mapping[str, Any]]) -> Plan:
        """Workers are called ``<type>-<n>`` or ``<type>-<host>-<n>``, or begin with the ``name`` of their row."""
        rows = []
        for row in synapse_workers:
            types = tuple(row.get("types") or [row["type"]])
            if not isinstance(row.get("count", 1), int) or row.get("count", 1) > 0:
                rows.append((rf"{re.escape(row.get('name') or types[0])}(-.+)?", types))
        return cls(tuple(rows))

    def types_of(self, worker: str) -> set[str]:
        """What the worker with this name may be asked for; the main process is of the type ``main``."""
        if worker in (MAIN, NOBODY):
            return {worker}
        return {kind for name, types in self.rows if re.fullmatch(name, worker) for kind in types}

    def expected(self, served_by: tuple[Choice, ...]) -> tuple[str, ...]:
        """The first choice of which there is a worker, else the main process."""
        planned = {kind for _name, types in self.rows for kind in types} | {MAIN, NOBODY, ANYONE}
        for choice in served_by:
            there = tuple(kind for kind in ((choice,) if isinstance(choice, str) else choice) if kind in planned)
            if there:
                return there
        return (MAIN,)


@dataclass
class Row:
    """One request: what was asked and expected, what came, and who answered."""

    area: str
    label: str
    method: str
    path: str
    served_by: tuple[Choice, ...]
    statuses: tuple[int, ...]
    agent: str
    response: Response
    complaint: str = ""
    """What is wrong with the answer itself."""
    worker: str = ""
    expected: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)

    def judge(self, plan: Plan | None, line: LogLine | None) -> None:
        """Compare with what the access log says (None: nothing); without a plan anybody may have answered."""
        status, body = self.response.status, self.response.json
        self.problems = [self.complaint] if self.complaint else []
        if self.response.fault:
            self.problems.append(self.response.fault)
        elif status not in self.statuses:
            said = " ".join(str(body.get(key, "")) for key in ("errcode", "error")).strip()
            self.problems.append(f"status {status}, not {' or '.join(map(str, self.statuses))}" + (f": {said}" if said else ""))
        if body.get("errcode") == "M_UNRECOGNIZED" and self.label != REFUSED:
            self.problems.append("M_UNRECOGNIZED: this process does not know the request")
        if line is None and status == 400 and self.label == REFUSED:
            # nginx gave up before it read which client asks; no worker saw this.
            line = LogLine(NOBODY, ())
        if line is None:
            self.problems.append("no line in the access log")
            return
        self.worker, self.upstreams = line
        if plan is not None:
            self.expected = plan.expected(self.served_by)
            if ANYONE not in self.expected and not plan.types_of(self.worker) & set(self.expected):
                self.problems.append(f"served by {self.worker}, not by {' or '.join(self.expected)}")

    def plain(self) -> dict[str, Any]:
        """The row for other programs to read."""
        return {
            "area": self.area,
            "label": self.label,
            "method": self.method,
            "path": self.path,
            "status": self.response.status,
            "expected_status": list(self.statuses),
            "worker": self.worker,
            "expected_worker_types": list(self.expected),
            "upstreams": list(self.upstreams),
            "milliseconds": round(self.response.seconds * 1000),
            "user_agent": self.agent,
            "problems": self.problems,
        }


def table(rows: list[Row], shorten: Mapping[str, str] | None = None) -> str:
    """The rows in aligned columns, by area, and under a row what is wrong with it. ``shorten``: long ids → short names.

    What was refused, as it should be, is only counted.
    """
    refused = [row.path for row in rows if row.label == REFUSED and not row.problems]
    rows = [row for row in rows if row.label != REFUSED or row.problems]
    header = ("request", "method and path", "worker", "status", "ms")
    cells = [
        (row.label, f"{row.method} {short_path(row.path, shorten or {})}", row.worker, f"{row.response.status or '-'}",
         f"{row.response.seconds * 1000:.0f}")
        for row in rows
    ]  # fmt: skip
    widths = [max(len(line[column]) for line in [header, *cells]) for column in range(len(header))]

    def layout(values: tuple[str, ...]) -> str:
        left = [values[column].ljust(widths[column]) for column in (0, 1, 2)]
        return "  ".join([*left, *(values[column].rjust(widths[column]) for column in (3, 4))])

    lines = ["    " + layout(header)]
    area = ""
    for row, values in zip(rows, cells, strict=True):
        if row.area != area:
            area = row.area
            lines += ["", area]
        lines.append(("  ! " if row.problems else "    ") + layout(values))
        lines += [f"      {problem}" for problem in row.problems]
    if refused:
        lines += ["", f"{len(refused)} requests for what is private were refused, from {refused[0]} to {refused[-1]}"]
    return "\n".join(lines)


def short_path(path: str, shorten: Mapping[str, str], width: int = 64) -> str:
    """A path for the table: known ids by their short names, and the middle left out of what is still too long."""
    for long, name in shorten.items():
        path = path.replace(long, name)
    return path if len(path) <= width else f"{path[: width // 2 - 1]}…{path[-(width // 2) :]}"


def summary(rows: list[Row]) -> str:
    """Who answered how often, and how many rows went wrong."""
    served = Counter(row.worker for row in rows if row.worker and row.worker != NOBODY)
    wrong = sum(bool(row.problems) for row in rows)
    by_worker = ", ".join(f"{worker} {count}" for worker, count in sorted(served.items()))
    return f"{len(rows)} requests, {wrong} wrong. Answered by: {by_worker or 'nobody'}"
