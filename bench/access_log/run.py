#!/usr/bin/env python3
"""What it costs to count the requests of an access log, and whether the counts are right.

CPU time is that of whole process trees, user and system. All ways are asked in turn, in rounds and in random order, and each is
compared with the reference of its round: a busy machine slows them all.

Run ``bench/access_log/run.py``. What it has to write first lies in ``.cache/access_log`` until it ends: 3 GB for the day of ten
million requests. mawk, ripgrep and goaccess are left out where they are missing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pickle
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / ".cache" / "collections")]

from ansible_collections.synapse.workers.plugins.plugin_utils._recommendation import shares  # noqa: E402

from bench.access_log import traffic  # noqa: E402
from bench.report import page, publish, table  # noqa: E402

FOLDER = ROOT / ".cache" / "access_log"
# The interpreter that Ansible would find on the host.
PYTHON = shutil.which("python3", path="/usr/bin") or sys.executable

# The expressions of Synapse 1.12, docs/workers.md, without ^ and $: what an administrator gave to grep in 2020.
_V = "/_matrix/client/(api/v1|r0|unstable)"
_FED = "/_matrix/federation"
_READS = "event state state_ids backfill get_missing_events query make_join make_leave send_join send_leave invite"
PATTERNS: dict[str, str] = {
    "synchrotron": "|".join(
        [
            "/_matrix/client/(v2_alpha|r0)/sync",
            "/_matrix/client/(api/v1|v2_alpha|r0)/events",
            "/_matrix/client/(api/v1|r0)/initialSync",
            "/_matrix/client/(api/v1|r0)/rooms/[^/]+/initialSync",
        ]
    ),
    "federation_reader": "|".join(
        [
            *(f"{_FED}/v1/{name}/" for name in _READS.split()),
            *(f"{_FED}/v2/{name}/" for name in ("send_join", "send_leave", "invite")),
            *(
                f"{_FED}/v1/{name}/"
                for name in ("query_auth", "event_auth", "exchange_third_party_invite", "user/devices", "send")
            ),
            f"{_FED}/v1/publicRooms|{_FED}/v1/get_groups_publicised|{_FED}/v1/groups/|/_matrix/key/v2/query",
        ]
    ),
    "media_repository": "/_matrix/media/|"
    + "|".join(
        f"/_synapse/admin/v1/{name}"
        for name in ("purge_media_cache", "room/.*/media.*", "user/.*/media.*", "media/.*", "quarantine_media/.*")
    ),
    "client_reader": "|".join(
        [
            *(f"{_V}/rooms/.*/{name}" for name in ("joined_members", "context/.*", "members", "state", "messages")),
            *(
                f"{_V}/{name}"
                for name in ["publicRooms", "login", "account/3pid", "keys/query", "keys/changes", "voip/turnServer"]
            ),
            *(f"{_V}/{name}" for name in ("joined_groups", "publicised_groups", "pushrules/.*", "groups/.*")),
            "/_matrix/client/versions",
            "/_matrix/client/(r0|unstable)/register",
            "/_matrix/client/(r0|unstable)/auth/.*/fallback/web",
        ]
    ),
    "user_dir": f"{_V}/user_directory/search",
    "frontend_proxy": f"{_V}/keys/upload|{_V}/presence/[^/]+/status",
    "event_creator": "|".join(
        f"{_V}/{name}"
        for name in ("rooms/.*/send", "rooms/.*/state/", "rooms/.*/(join|invite|leave|ban|unban|kick)", "join/", "profile/")
    ),
}


class Way(NamedTuple):
    """A way to count."""

    name: str
    command: str
    """For bash; ``{log}`` is the file."""
    locale: str = "C"
    needs: str = ""
    """A program that may be missing."""


def _seven(command: str) -> str:
    return "; ".join(command.replace("{pattern}", shlex.quote(f"({pattern})")) for pattern in PATTERNS.values())


OURS = f"{PYTHON} {ROOT}/bench/access_log/count.py {{log}}"
# As Ansible starts it on the host, which has to load Ansible's part first.
MODULE = (
    f"PYTHONPATH={ROOT}/.cache/collections {sys.executable} {ROOT}/plugins/modules/access_log.py "
    """<<<'{"ANSIBLE_MODULE_ARGS": {"path": "'{log}'"}}'"""
)
ITERATE = f"{PYTHON} -c 'import sys\nfor line in open(sys.argv[1], \"rb\", 131072): pass' {{log}}"
GREPS = _seven("grep -E {pattern} {log} | wc -l")
PATHS = '{split($7, path, "?"); requests[path[1]]++} END {for (one in requests) print requests[one], one}'
REFERENCE = Way("seven `grep -E … | wc -l`, LC_ALL=C", GREPS)
UTF_8 = Way("the same greps, LC_ALL=C.UTF-8", GREPS, "C.UTF-8")
US = Way("ours", OURS)
LINES = Way("limit: iterating the lines in Python", ITERATE)
WHOLE: tuple[Way, ...] = (
    REFERENCE,
    US,
    Way("one pass of mawk, counts by path", f"mawk {shlex.quote(PATHS)} {{log}}", needs="mawk"),
    LINES,
    Way("limit: `wc -l`", "wc -l {log}"),
)
PART: tuple[Way, ...] = (
    REFERENCE,
    US,
    Way("ours, with Ansible around it", MODULE),
    UTF_8,
    Way("ripgrep, the same expressions", _seven("rg --no-config {pattern} {log} | wc -l"), "C.UTF-8", "rg"),
    Way(
        "goaccess, JSON",
        "goaccess {log} --no-global-config --no-progress --log-format=COMBINED --output={log}.json",
        needs="goaccess",
    ),
)
PACKED_REFERENCE = Way("seven `zcat | grep -E | wc -l`, LC_ALL=C", _seven("zcat {log} | grep -E {pattern} | wc -l"))
PACKED: tuple[Way, ...] = (PACKED_REFERENCE, US, Way("limit: `zcat`", "zcat {log}"))


class Cost(NamedTuple):
    """What one run took."""

    seconds: float
    """CPU time."""
    mebibytes: float
    """Memory of the largest process."""
    output: str


# A child counts as at least as large as the process that started it, so a small one starts them.
START = """
import os, sys
pid = os.posix_spawn("/bin/bash", ["bash", "-c", sys.argv[1]], os.environ)
_, status, used = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)
"""


def run(way: Way, log: Path) -> Cost:
    """Runs it once, its output into a file: grep stops at the first match when nobody wants to know more."""
    out = FOLDER / "output"
    command = way.command.replace("{log}", shlex.quote(str(log))) + " 2>/dev/null"
    with out.open("wb") as stream:
        started = subprocess.run(
            [PYTHON, "-I", "-S", "-c", START, command],
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "LC_ALL": way.locale},
        )
    status, seconds, mebibytes = started.stderr.split()[-3:]
    if status != "0":
        raise SystemExit(f"{way.name}: exit status {status}")
    with out.open() as stream:
        return Cost(float(seconds), float(mebibytes), stream.read(100_000))


def available(ways: Sequence[Way]) -> list[Way]:
    for way in ways:
        if way.needs and not shutil.which(way.needs):
            say(f"left out, {way.needs} is missing: {way.name}")
    return [way for way in ways if not way.needs or shutil.which(way.needs)]


def compare(ways: Sequence[Way], log: Path, lines: int, rounds: int) -> tuple[str, dict[str, list[Cost]]]:
    """The table of all ways; the first is the reference."""
    costs: dict[str, list[Cost]] = {way.name: [] for way in ways}
    for number in range(rounds):
        say(f"{log.name}, round {number + 1} of {rounds}")
        for way in random.sample(ways, len(ways)):
            costs[way.name].append(run(way, log))
    rows = []
    for name, found in costs.items():
        ratios = [reference.seconds / cost.seconds for reference, cost in zip(costs[ways[0].name], found, strict=True)]
        seconds = statistics.median(cost.seconds for cost in found)
        memory = max(cost.mebibytes for cost in found)
        rows.append([name, f"{seconds:.2f}", f"{1e6 * seconds / lines:.3f}", f"{statistics.median(ratios):.2f}", f"{memory:.0f}"])
    return table(["", "CPU s", "µs/line", "× less CPU", "peak MiB"], rows), costs


def ratio(costs: dict[str, list[Cost]], one: Way, other: Way) -> float:
    """How often one way's CPU time holds the other's: the median of the rounds."""
    pairs = zip(costs[one.name], costs[other.name], strict=True)
    return statistics.median(first.seconds / second.seconds for first, second in pairs)


def counted(path: Path) -> dict[str, Any]:
    """What we count of a log."""
    run = subprocess.run([PYTHON, ROOT / "bench/access_log/count.py", path], check=True, capture_output=True)
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def seven_types(found: dict[str, Any], log: traffic.Log, greps: str) -> str:
    """The table of 2020: who would serve how much; what was written, what we count, what the greps count."""
    ours = {row["type"]: row for row in shares(found, traffic.SEVEN)}
    by_grep = dict(zip(PATTERNS, map(int, greps.split()), strict=True))
    by_grep["others"] = log.lines - sum(by_grep.values())
    rows = []
    for name in (*traffic.SEVEN, "others"):
        written = log.pools["main" if name == "others" else name]
        off = 100 * (by_grep[name] / (written + (log.pools[""] if name == "others" else 0)) - 1)
        rows.append(
            [
                name,
                f"{written:,}",
                f"{ours[name]['requests']:,}",
                f"{ours[name]['percent']:.2f} %",
                f"{by_grep[name]:,}",
                f"{off:+.1f} %",
            ]
        )
    return table(["worker", "written", "counted", "share", "by the greps", "off by"], rows)


def exactness(name: str, log: traffic.Log, found: dict[str, Any]) -> list[str]:
    errors = log.errors(found)
    for error in errors[:20]:
        say(f"{name}: {error}")
    kinds = len(log.kinds)
    return [name, f"{log.lines:,}", f"{kinds}", f"{log.unknown:,}", f"{log.elsewhere:,}", f"{log.malformed:,}", str(len(errors))]


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def write_logs(lines: int, part: int, everything: int) -> dict[str, tuple[Path, traffic.Log]]:
    """The logs, and what is in them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(FOLDER).free
    if free < 400 * (lines + 2 * part + everything):
        raise SystemExit(f"{FOLDER}: {free // 10**9} GB free are not enough")
    logs = {}
    for name, size in (("day", lines), ("part", part)):
        say(f"writing {size:,} lines")
        logs[name] = (FOLDER / f"{name}.log", traffic.write(FOLDER / f"{name}.log", size))
    logs["everything"] = (FOLDER / "everything.log", traffic.write_everything(FOLDER / "everything.log", everything))
    with (FOLDER / "part.log").open("rb") as plain, gzip.open(FOLDER / "part.log.gz", "wb", 6) as packed:
        shutil.copyfileobj(plain, packed, 1 << 20)
    return logs


def measure(logs: dict[str, tuple[Path, traffic.Log]], rounds: int) -> str:
    day, truth = logs["day"]
    part, of_part = logs["part"]
    began = time.monotonic()
    whole, costs = compare(available(WHOLE), day, truth.lines, rounds)
    small, part_costs = compare(available(PART), part, of_part.lines, rounds)
    packed, packed_costs = compare(PACKED, FOLDER / "part.log.gz", of_part.lines, rounds)
    say(f"measured in {time.monotonic() - began:.0f} s")
    found = counted(day)
    exact = [
        exactness("the day", truth, found),
        exactness("every endpoint, odd and broken", logs["everything"][1], counted(logs["everything"][0])),
        exactness("a part of the day, gzip", of_part, counted(FOLDER / "part.log.gz")),
    ]
    goals = [
        ["CPU of seven greps over ours, LC_ALL=C", "at least 4 ×", f"{ratio(costs, REFERENCE, US):.1f} ×"],
        ["CPU of seven greps over ours, C.UTF-8", "at least 12 ×", f"{ratio(part_costs, UTF_8, US):.1f} ×"],
        ["CPU of seven greps over ours, gzip", "at least 7 ×", f"{ratio(packed_costs, PACKED_REFERENCE, US):.1f} ×"],
        ["CPU of ours over iterating the lines in Python", "at most 5 ×", f"{ratio(costs, US, LINES):.1f} ×"],
        [
            "memory, whatever the size",
            "at most 25 MiB",
            f"{max(cost.mebibytes for cost in [*costs[US.name], *part_costs[US.name]]):.0f} MiB",
        ],
        ["counts that are wrong", "none", str(sum(int(row[-1]) for row in exact))],
    ]
    parts = [
        f"## A day, {truth.lines:,} lines, {day.stat().st_size / 1e9:.1f} GB",
        whole,
        "## A tenth of it, for the slow ones",
        f"{of_part.lines:,} lines.",
        small,
        "## The same, gzip",
        packed,
        "## Exactness",
        table(["log", "lines", "endpoints and methods", "unknown", "not Matrix", "broken", "wrong counts"], exact),
        "## The table of 2020",
        seven_types(found, truth, costs[REFERENCE.name][0].output),
    ]
    return page("access_log/run.py", goals, parts)


def main() -> None:
    parser = argparse.ArgumentParser(description="What it costs to count the requests of an access log.")
    parser.add_argument("--lines", type=int, default=traffic.DAY, help="of the day")
    parser.add_argument("--part", type=int, default=1_000_000, help="lines of the log for the slow ways")
    parser.add_argument("--everything", type=int, default=1_200_000, help="lines of the log with every endpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="write the tables to this file too")
    parser.add_argument("--prepare", action="store_true", help="only write the logs, and keep them for --prepared")
    parser.add_argument("--prepared", action="store_true", help="measure on the logs that --prepare has written")
    given = parser.parse_args()
    kept = FOLDER / "logs.pickle"
    logs = pickle.loads(kept.read_bytes()) if given.prepared else write_logs(given.lines, given.part, given.everything)
    if given.prepare:
        kept.write_bytes(pickle.dumps(logs))
        return
    try:
        text = measure(logs, given.rounds)
    finally:
        shutil.rmtree(FOLDER)
    publish(text, given.write)


if __name__ == "__main__":
    main()
