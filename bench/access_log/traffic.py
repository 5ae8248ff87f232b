"""A day of requests whose true counts are known, as nginx and Synapse would log them.

The proportions of ``DAY`` are those of a server of 2020 with 400 users and 4,500 rooms, whose administrator counted 9,998,816
requests in a day, nine of ten of them ``/sync``; how the tenth divides among the other types is ours.
What a request of a day is, is written beside it by hand; nothing there asks the code under test.

``bench/access_log/traffic.py LINES FILE`` writes one.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import random
import re
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / ".cache" / "collections")]

from ansible_collections.synapse.workers.plugins.module_utils._endpoints import (  # noqa: E402
    Endpoint,
    expand,
    matching_row,
    rows_for,
)

DAY = 9_998_816
"""Requests of that day."""
SEVEN = (
    "synchrotron",
    "federation_reader",
    "media_repository",
    "client_reader",
    "user_dir",
    "frontend_proxy",
    "event_creator",
)
"""The worker types that Synapse had then. What none of them serves is the main process's."""


class Kind(NamedTuple):
    """One kind of request and how often a day brings it."""

    requests: int
    """Of ``DAY``."""
    pool: str
    """Which of ``SEVEN`` serves it, or ``main``."""
    method: str
    target: str
    """As the client sends it; ``{name}`` is filled in."""
    endpoint: str
    """What the endpoint table calls it, ``/_matrix/client/`` left out, ``, first`` for one who has nothing yet; '' has no row."""
    status: int = 200


CLIENT = "/_matrix/client"
FED = "/_matrix/federation"
READS = "{v1}/rooms/{room}/(messages|members|joined_members|state)"
EVENTS = f"{FED}/v1/(event|state|state_ids|backfill|timestamp_to_event)/{{id}}(/)?"
# What Element sends (percent-encoded filter, then since) and what other clients do.
KINDS: tuple[Kind, ...] = (
    Kind(7_435_206, "synchrotron", "GET", f"{CLIENT}/r0/sync?filter={{small}}&timeout=30000&since={{since}}", "{r0}/sync"),
    Kind(
        1_350_000,
        "synchrotron",
        "GET",
        f"{CLIENT}/r0/sync?filter=%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A20%7D%7D%7D&timeout=30000&since={{since}}"
        "&set_presence=unavailable",
        "{r0}/sync",
    ),
    Kind(212_000, "synchrotron", "GET", f"{CLIENT}/r0/sync?since={{since}}&timeout=0", "{r0}/sync"),
    Kind(2_000, "synchrotron", "GET", f"{CLIENT}/r0/sync?since={{since}}&timeout=0&full_state=false", "{r0}/sync"),
    Kind(9_300, "synchrotron", "GET", f"{CLIENT}/r0/sync?filter={{small}}&timeout=0", "{r0}/sync, first"),
    Kind(310, "synchrotron", "GET", f"{CLIENT}/r0/sync?since={{since}}&full_state=true", "{r0}/sync, first"),
    Kind(12_600, "synchrotron", "GET", f"{CLIENT}/api/v1/events?from={{since}}&timeout=30000", "{v1}/events"),
    Kind(420, "synchrotron", "GET", f"{CLIENT}/api/v1/initialSync?limit=20", "{v1}/initialSync"),
    Kind(980, "synchrotron", "GET", f"{CLIENT}/r0/rooms/{{room}}/initialSync?limit=20", "{v1}/rooms/{room}/initialSync"),
    Kind(171_000, "federation_reader", "PUT", f"{FED}/v1/send/{{txn}}", f"{FED}/v1/send/{{txn}}(/)?"),
    Kind(24_000, "federation_reader", "GET", f"{FED}/v1/event/{{event}}", EVENTS),
    Kind(18_500, "federation_reader", "GET", f"{FED}/v1/state_ids/{{room}}?event_id={{event}}", EVENTS),
    Kind(12_000, "federation_reader", "GET", f"{FED}/v1/backfill/{{room}}?limit=100&v={{event}}", EVENTS),
    Kind(16_000, "federation_reader", "POST", f"{FED}/v1/get_missing_events/{{room}}", f"{FED}/v1/get_missing_events/{{room}}"),
    Kind(21_000, "federation_reader", "GET", f"{FED}/v1/query/profile?user_id={{user}}", f"{FED}/v1/(hierarchy|query)/{{id}}"),
    Kind(
        7_300,
        "federation_reader",
        "GET",
        f"{FED}/v1/make_join/{{room}}/{{user}}?ver=5",
        f"{FED}/v1/(make_join|make_leave|make_knock)/{{room}}/{{user}}",
    ),
    Kind(
        109_000,
        "media_repository",
        "GET",
        "/_matrix/media/r0/thumbnail/{server}/{media}?width=96&height=96&method=crop",
        "/_matrix/media/{rest}",
    ),
    Kind(38_000, "media_repository", "GET", "/_matrix/media/r0/download/{server}/{media}", "/_matrix/media/{rest}"),
    Kind(3_300, "media_repository", "POST", "/_matrix/media/r0/upload?filename=image.png", "/_matrix/media/{rest}"),
    Kind(
        37_000,
        "client_reader",
        "GET",
        f"{CLIENT}/r0/rooms/{{room}}/messages?from={{since}}&limit=20&dir=b",
        READS,
    ),
    Kind(14_000, "client_reader", "GET", f"{CLIENT}/r0/rooms/{{room}}/members?not_membership=leave", READS),
    # The words that the patterns of 2020 meant for `join` and `state`.
    Kind(20_300, "client_reader", "GET", f"{CLIENT}/r0/rooms/{{room}}/joined_members", READS),
    Kind(5_100, "client_reader", "GET", f"{CLIENT}/r0/rooms/{{room}}/state", READS),
    Kind(
        2_900,
        "client_reader",
        "GET",
        f"{CLIENT}/r0/rooms/{{room}}/context/{{event}}?limit=8",
        "{v1}/rooms/{room}/(event|context)/{event}",
    ),
    Kind(23_000, "client_reader", "POST", f"{CLIENT}/r0/keys/query", "{r0}/keys/(query|claim)"),
    Kind(31_000, "client_reader", "GET", f"{CLIENT}/versions", "versions"),
    Kind(6_200, "client_reader", "POST", f"{CLIENT}/r0/login", "{v1}/login"),
    Kind(4_400, "client_reader", "POST", f"{CLIENT}/r0/publicRooms?server={{server}}", "{v1}/publicRooms"),
    Kind(19_800, "client_reader", "GET", f"{CLIENT}/r0/voip/turnServer", "{v1}/voip/turnServer"),
    Kind(2_600, "user_dir", "POST", f"{CLIENT}/r0/user_directory/search", "{r0}/user_directory/search"),
    Kind(14_200, "frontend_proxy", "POST", f"{CLIENT}/r0/keys/upload", "{r0}/keys/upload"),
    Kind(
        46_300,
        "event_creator",
        "PUT",
        f"{CLIENT}/r0/rooms/{{room}}/send/m.room.encrypted/m{{txn}}",
        "{v1}/rooms/{room}/send/{type}/{txn}",
    ),
    Kind(
        1_500, "event_creator", "PUT", f"{CLIENT}/r0/rooms/{{room}}/state/m.room.topic", "{v1}/rooms/{room}/state/{type}(/{key})?"
    ),
    Kind(
        3_800, "event_creator", "POST", f"{CLIENT}/r0/rooms/{{room}}/join", "{v1}/rooms/{room}/(join|invite|leave|ban|unban|kick)"
    ),
    Kind(400, "event_creator", "POST", f"{CLIENT}/r0/join/{{room}}", "{v1}/join/{room}"),
    Kind(83_000, "main", "PUT", f"{CLIENT}/r0/rooms/{{room}}/typing/{{user}}", "{v1}/rooms/{room}/typing/{user}"),
    Kind(
        71_000, "main", "POST", f"{CLIENT}/r0/rooms/{{room}}/receipt/m.read/{{event}}", "{r0}/rooms/{room}/receipt/{type}/{event}"
    ),
    Kind(39_000, "main", "POST", f"{CLIENT}/r0/rooms/{{room}}/read_markers", "{r0}/rooms/{room}/read_markers"),
    Kind(48_000, "main", "PUT", f"{CLIENT}/r0/presence/{{user}}/status", "{v1}/presence/{user}/status"),
    Kind(33_000, "main", "PUT", f"{CLIENT}/r0/sendToDevice/m.room_key_request/m{{txn}}", "{r0}/sendToDevice/{type}/{txn}"),
    Kind(26_000, "main", "GET", f"{CLIENT}/r0/pushers", "{v1}/pushers"),
    # What Synapse no longer knows, and what is not Matrix.
    Kind(14_600, "main", "POST", f"{CLIENT}/r0/publicised_groups", "", 404),
    Kind(6_400, "", "GET", "/favicon.ico", "", 404),
    Kind(2_400, "", "GET", "/robots.txt", "", 404),
)
assert sum(kind.requests for kind in KINDS) == DAY

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Riot/1.5.15 Chrome/78.0.3904.130 Electron/7.1.12 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:74.0) Gecko/20100101 Firefox/74.0",
    "Riot.im/0.10.10 (iPhone; iOS 13.3.1; Scale/3.00)",
    "RiotX/0.18.1 (Linux; U; Android 10; Pixel 3 Build/QQ2A.200305.002; Flavour GooglePlay; MatrixAndroidSDK_X 0.0.1)",
)
# A referrer holds what a pattern may take for a request.
REFERRERS = ("-", "https://chat.example.org/", "https://chat.example.org/_matrix/media/r0/download/example.org/abc")
MISLEADING = (
    *AGENTS,
    "GET /_matrix/client/v3/sync?since=s1 HTTP/1.1",
    "[23/Nov/2026:00:00:00 +0000] ",
    r"\x22GET /x HTTP/1.1\x22 200 ",
)


class Log(NamedTuple):
    """What was written, counted while it was written."""

    lines: int
    pools: dict[str, int]
    """Requests per pool of ``SEVEN``, ``main``, and '' for what is not Matrix."""
    kinds: dict[tuple[str, str, str], int]
    """Requests per method, endpoint and condition on the query, as the endpoint table calls them."""
    hours: dict[str, int]
    """Requests of the API per hour, ``2020-04-01T13``."""
    elsewhere: int
    """Requests that are not of the API."""
    unknown: int
    """Requests of the API that no row names."""
    malformed: int = 0

    def errors(self, found: Mapping[str, Any]) -> list[str]:
        """What a count (the answer of the module) says otherwise; empty when all of it is exact."""
        got = {(row["method"], row["endpoint"], row["condition"]): row["requests"] for row in found["endpoints"]}
        errors = [
            f"{' '.join(kind)}: {got.get(kind, 0)} instead of {self.kinds.get(kind, 0)}"
            for kind in sorted(got.keys() | self.kinds.keys())
            if got.get(kind, 0) != self.kinds.get(kind, 0)
        ]
        for name in ("lines", "elsewhere", "unknown", "malformed", "hours"):
            if found[name] != getattr(self, name):
                errors.append(f"{name}: {found[name]} instead of {getattr(self, name)}")
        total = self.lines - self.malformed - self.elsewhere
        return errors if found["total"] == total else [*errors, f"total: {found['total']} instead of {total}"]


def _ids(random_: random.Random, count: int, form: str) -> list[str]:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return [form.format("".join(random_.choices(letters, k=18))) for _ in range(count)]


def _hour_weights() -> list[int]:
    """Requests of each hour of the day: a quiet night, two peaks."""
    return [12, 9, 7, 6, 7, 12, 30, 70, 110, 125, 128, 122, 105, 115, 124, 120, 108, 88, 70, 62, 58, 46, 32, 20]


def counts(lines: int) -> list[int]:
    """How many of each kind a log of that many lines holds; the largest takes what rounding leaves."""
    found = [max(1, round(kind.requests * lines / DAY)) for kind in KINDS]
    found[0] += lines - sum(found)
    return found


def requests(lines: int, seed: int = 1) -> Iterator[tuple[float, Kind, str]]:
    """(seconds since the epoch, kind, target) in the order of time."""
    random_ = random.Random(seed)
    rooms = _ids(random_, 4_500, "%21{}%3Aexample.org")
    events = _ids(random_, 5_000, "%24{}")
    users = _ids(random_, 400, "%40{}%3Aexample.org")
    servers = _ids(random_, 300, "{}.example.net")
    media = _ids(random_, 3_000, "{}")
    numbers = counts(lines)
    # By blocks, so that ten million need no list of their own.
    weights = _hour_weights()
    start = 1_585_699_200.0  # 1 April 2020
    left = list(numbers)
    blocks = max(24, lines // 200_000)
    for block in range(blocks):
        here = [count // (blocks - block) for count in left]
        left = [count - used for count, used in zip(left, here, strict=True)]
        order = list(itertools.chain.from_iterable([number] * count for number, count in enumerate(here)))
        random_.shuffle(order)
        first, last = block / blocks, (block + 1) / blocks
        for position, number in enumerate(order):
            kind = KINDS[number]
            share = first + (last - first) * position / len(order)
            value = kind.target
            if "{" in value:
                serial = f"{position:x}{block:x}"
                value = value.format(
                    room=rooms[position * 7 % 4_500],
                    event=events[position * 11 % 5_000],
                    user=users[position * 3 % 400],
                    server=servers[position % 300],
                    media=media[position * 13 % 3_000],
                    small=position % 50,
                    since=f"s{72595000 + position}_{block}4483_1934_1_22_3_17_4_{position % 977}",
                    txn=f"1585699{serial}",
                )
            yield start + 86_400 * _clock(share, weights), kind, value


def _clock(share: float, weights: list[int]) -> float:
    """Which part of the day has passed when that share of its requests has."""
    total = sum(weights)
    wanted, passed = share * total, 0.0
    for hour, weight in enumerate(weights):
        if passed + weight >= wanted:
            return (hour + (wanted - passed) / weight) / 24
        passed += weight
    return 0.999999


FORMATS = ("combined", "backend", "synapse", "synapse_old", "json")
"""``backend`` is this collection's own; ``synapse_old`` is Synapse's before 1.150."""


def _line(form: str, number: int, when: float, stamp: str, kind: Kind, target: str) -> str:
    address = f"10.{number >> 16 & 3}.{number >> 8 & 255}.{number & 255}"
    protocol = f"HTTP/{'1.1' if number % 3 else '2.0'}"
    # Plausible, and known: what a test adds up it can compute again.
    spent = 0.002 * (1 + number % 17) if "sync" not in target else 0.05 * (1 + number % 600)
    if form.startswith("synapse"):
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when))
        user, cpu, db = ("ru=", "0.004sec, 0.001sec", "db=") if form == "synapse" else ("", "0.004sec, 0.001sec", "")
        return (
            f"{clock},{number % 1000:03} - synapse.access.http.8008 - 460 - INFO - {kind.method}-{number} - {address} - 8008 - "
            f"{{@user:example.org}} Processed request: {spent:.3f}sec/0.000sec {user}({cpu}) {db}(0.000sec/0.003sec/2) 1024B "
            f'{kind.status} "{kind.method} {target} HTTP/1.1" "{AGENTS[number & 3]}" [0 dbevts]\n'
        )
    if form == "json":
        return (
            json.dumps(
                {
                    "time_iso8601": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(when)),
                    "remote_addr": address,
                    "request": f"{kind.method} {target} {protocol}",
                    "status": str(kind.status),
                    "request_time": f"{spent:.3f}",
                }
            )
            + "\n"
        )
    referrer = REFERRERS[2 if kind.status == 404 else number % 2]
    line = (
        f'{address} - - [{stamp}] "{kind.method} {target} {protocol}" {kind.status} {number % 9973} '
        f'"{referrer}" "{AGENTS[number & 3]}"'
    )
    if form == "backend":
        worker = f"{kind.pool}-1" if kind.pool not in ("", "main") else kind.pool or "-"
        line += f' worker={worker} upstream="127.0.0.1:11100" upstream_time="{spent:.3f}" time={spent:.3f}'
    return line + "\n"


def write(path: Path, lines: int, seed: int = 1, form: str = "combined") -> Log:
    """Writes a log and counts what it writes."""
    kinds: collections.Counter[tuple[str, str, str]] = collections.Counter()
    pools: collections.Counter[str] = collections.Counter()
    hours: collections.Counter[str] = collections.Counter()
    elsewhere = unknown = 0
    second, stamp, hour = -1, "", ""
    with path.open("w", buffering=1 << 20) as stream:
        for number, (when, kind, target) in enumerate(requests(lines, seed)):
            if int(when) != second:
                second = int(when)
                clock = time.gmtime(second)
                stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", clock)
                hour = time.strftime("%Y-%m-%dT%H", clock)
            pools[kind.pool] += 1
            if kind.pool:
                hours[hour] += 1
            if kind.endpoint:
                kinds[_called(kind)] += 1
            elif kind.pool:
                unknown += 1
            else:
                elsewhere += 1
            stream.write(_line(form, number, when, stamp, kind, target))
    return Log(lines, dict(pools), dict(kinds), dict(hours), elsewhere, unknown)


@cache
def _called(kind: Kind) -> tuple[str, str, str]:
    """What the endpoint table calls a kind."""
    path, _, first = kind.endpoint.partition(", ")
    return kind.method, path if path.startswith("/") else f"/_matrix/client/{path}", "first_sync" if first else ""


# Ids as clients, other servers and scanners write them: encoded, with slashes in them, of room version 12, and empty.
ODD: tuple[str, ...] = (
    "!room:example.org",
    "%21room%3Aexample.org",
    "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM",
    "a%2Fsend%2Fb",
    "%0A",
    "",
)
ODD += ("@user:example.org", "%40u%2F..%2F..%3Ah", "$event-_", "m.room.message", "..", "%E2%9C%93", r"\\x22")
PROTOCOLS = (" HTTP/1.1", " HTTP/2.0", " HTTP/1.0", "")
BROKEN = (
    r'10.0.0.9 - - [STAMP] "\\x16\\x03\\x01\\x02" 400 166 "-" "-"',
    '10.0.0.9 - - [STAMP] "" 400 0 "-" "-"',
    '10.0.0.9 - - [STAMP] "-" 408 0 "-" "-"',
    '10.0.0.9 - - [STAMP] "GET /_matrix/client/v3/sy',
    "STAMP garbage",
)


def write_everything(path: Path, lines: int, seed: int = 1) -> Log:
    """Every method of every endpoint of the table in all its spellings, with odd ids, all protocols, misleading referrers and
    user agents, and broken lines between them, in the combined format.

    A request is written for a row of the table, which is what it counts as; so this log tells whether a reader agrees with the
    table, and ``DAY`` whether the table is right.
    """
    random_ = random.Random(seed)
    makers = [
        (method, row, _filled(path, random_))
        for row in rows_for()
        if row.path != "/{rest}"
        for path in expand(row.path)
        for _ in range(3)
        for method in row.methods
    ]
    makers = [
        (method, row, target) for method, row, target in makers if matching_row(method, target + _query(row), rows_for()) is row
    ]
    kinds: collections.Counter[tuple[str, str, str]] = collections.Counter()
    hours: collections.Counter[str] = collections.Counter()
    elsewhere = malformed = 0
    with path.open("w", encoding="latin-1", buffering=1 << 20) as stream:
        for number in range(lines):
            hour = number * 24 // lines
            stamp = f"23/Nov/2026:{hour:02}:{number % 60:02}:00 +0000"
            if number % 50 == 7:
                malformed += 1
                stream.write(BROKEN[number // 50 % len(BROKEN)].replace("STAMP", stamp) + "\n")
                continue
            if number % 50 == 9:
                elsewhere += 1
                request = "GET /.env HTTP/1.1"
            else:
                method, row, target = makers[number % len(makers)]
                kinds[method, row.path, row.query] += 1
                hours[f"2026-11-23T{hour:02}"] += 1
                request = f"{method} {target}{_query(row)}{random_.choice(PROTOCOLS)}"
            referrer, agent = REFERRERS[number % 3], MISLEADING[number % len(MISLEADING)]
            stream.write(f'10.0.0.1 - - [{stamp}] "{request}" {200 + number % 5} 5 "{referrer}?since=s" "{agent}"\n')
    return Log(lines, {}, dict(kinds), dict(hours), elsewhere, 0, malformed)


def _filled(path: str, random_: random.Random) -> str:
    return re.sub(r"\{\w+\}", lambda _: random_.choice(ODD), path)


def _query(row: Endpoint) -> str:
    """A query that fulfils the condition of a row, and the one that fulfils none."""
    return "?timeout=30000" if row.query else "?since=s1&from=t1&x=/_matrix/client/v3/sync"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--format", choices=FORMATS, default="combined")
    given = parser.parse_args()
    print(write(given.file, given.lines, form=given.format))
