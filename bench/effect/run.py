#!/usr/bin/env python3
"""How much of the main process's CPU time workers take off it: the same mix of requests before and after, in one container.

    bench/effect/run.py --write bench/effect/results.md

Rolls out a server without workers and then with some, in a container of its own (172.30.77.95), and each time asks the same mix:
nine requests of ten are ``/sync``, as on the server of ``bench/access_log/traffic.py``. CPU time is what ``/proc/<pid>/stat`` says.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "dev")]

from outsider.edge import Edge  # noqa: E402
from outsider.signing import SigningKey  # noqa: E402
from outsider.story import C3  # noqa: E402

from bench.load.book import Book  # noqa: E402
from bench.load.client import Client  # noqa: E402
from bench.load.people import Device, People, Size  # noqa: E402
from bench.report import page, publish, table  # noqa: E402

NAME, ADDRESS, SERVER = "synapse-effect", "172.30.77.95", "effect.example"
SERVICE = "matrix-synapse"

# Of ten thousand requests of a day of that server; what nobody has to answer any more is left out.
MIX = {
    "sync": 9024,
    "federation, send": 171,
    "download": 147,
    "receipt": 110,
    "federation": 99,
    "typing": 83,
    "account": 51,
    "presence": 48,
    "send, PUT": 48,
    "messages": 37,
    "members": 34,
    "to device": 33,
    "main only": 26,
    "keys": 23,
    "login": 6,
    "state": 5,
    "upload": 3,
    "create room": 1,
}
AT_ONCE = 8
PEOPLE = Size(quiet=0, rooms=8, talkers=5)


class Plan(NamedTuple):
    """One way to run the server."""

    name: str
    workers: list[dict[str, Any]]


EXAMPLE = "examples/one_host"


def plans() -> list[Plan]:
    """Without workers, with what the log's analysis recommends for the mix, and with what the README recommends."""
    inventory = yaml.safe_load((ROOT / EXAMPLE / "inventory.yml").read_text())
    example = inventory["synapse"]["vars"]["synapse_workers"]
    return [
        Plan("no workers", []),
        Plan("2 synchrotrons", [{"type": "synchrotron", "count": 2}]),
        Plan(EXAMPLE, example),
        Plan(f"{EXAMPLE} and an event persister", [*example, {"type": "event_persister"}]),
    ]


# --- The server --------------------------------------------------------------------------------------------------------------


def inside(command: str) -> str:
    """What a shell command prints in the container. Raises ``CalledProcessError``."""
    run = subprocess.run(["docker", "exec", NAME, "sh", "-c", command], capture_output=True, text=True, check=True)
    return run.stdout


def roll_out(plan: Plan, folder: Path) -> None:
    """Bring a plan into force. Raises ``SystemExit`` with what Ansible said."""
    settings = yaml.safe_load((ROOT / "molecule/shared/open_to_tests.yml").read_text())
    # The answer to a sync that asks the same again would be taken from a cache for two minutes.
    settings["synapse_settings"]["caches"] = {"sync_response_cache_duration": "0s"}
    hosts = {NAME: {"ansible_connection": "community.docker.docker"}}
    variables = {
        **settings,
        "synapse_server_name": SERVER,
        "synapse_install_method": "pip",
        "synapse_workers": plan.workers,
    }
    inventory = folder / "inventory.yml"
    inventory.write_text(yaml.safe_dump({"synapse": {"hosts": hosts, "vars": variables}}))
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections"), "ANSIBLE_PIPELINING": "1"}
    command = ["ansible-playbook", f"--inventory={inventory}", "synapse.workers.roll_out"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if run.returncode:
        raise SystemExit(run.stdout[-6000:] + run.stderr[-2000:])


def seconds_of_cpu() -> dict[str, float]:
    """CPU seconds of the main process and of all workers together, since each began."""
    script = (
        "getconf CLK_TCK; for unit in $(systemctl list-units --plain --no-legend --state=active "
        f"'{SERVICE}.service' '{SERVICE}-worker@*' | cut -d' ' -f1); do "
        'pid=$(systemctl show --value --property=MainPID "$unit"); echo "$unit $(cut -d" " -f14,15 /proc/$pid/stat)"; done'
    )
    ticks, *lines = inside(script).splitlines()
    found = {"main": 0.0, "workers": 0.0}
    for unit, user, system in map(str.split, lines):
        found["main" if unit == f"{SERVICE}.service" else "workers"] += (int(user) + int(system)) / int(ticks)
    return found


# --- The requests ------------------------------------------------------------------------------------------------------------


def deck(count: int, rng: random.Random) -> list[str]:
    """Kinds of requests in the proportions of ``MIX``, shuffled."""
    total = sum(MIX.values())
    kinds = [kind for kind, share in MIX.items() for _ in range(round(count * share / total))]
    rng.shuffle(kinds)
    return kinds


async def ask(kinds: Iterable[str], people: People, rng: random.Random) -> None:
    """All of them, ``AT_ONCE`` at a time. Each sync goes on where the last one of its device ended."""
    devices = [talker for room in people.rooms for talker in room.talkers]
    acts = people.habits()
    pending = iter(kinds)

    async def sync(device: Device) -> None:
        path = f"{C3}/sync?timeout=0&since={device.since}"
        answer = await people.client.ask("sync", "GET", path, token=device.token, expect=b"next_batch")
        device.since = answer.json.get("next_batch", device.since)

    async def client() -> None:
        for kind in pending:
            if kind == "sync":
                await sync(rng.choice(devices))
            else:
                await acts[kind][1]()

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))


class Round(NamedTuple):
    """CPU seconds per 1000 requests, and how many failed."""

    main: float
    workers: float
    failed: int


async def measure(rounds: int, count: int) -> list[Round]:
    """Ask the server that runs now. The first round, which fills caches, does not count."""
    rng = random.Random(4)
    key = SigningKey.read(inside(f"cat /etc/{SERVICE}/secrets/signing.key"))
    book = Book()
    found = []
    async with Client(Edge(f"http://{ADDRESS}", SERVER), book) as client:
        people = People(client, book, PEOPLE, key)
        await people.move_in()
        await ask(deck(count, rng), people, rng)
        for _ in range(rounds):
            book.entries.clear()
            before = seconds_of_cpu()
            await ask(deck(count, rng), people, rng)
            # What the last messages brought with them belongs to them.
            await asyncio.sleep(2)
            after = seconds_of_cpu()
            main, workers = ((after[part] - before[part]) * 1000 / len(book.entries) for part in ("main", "workers"))
            found.append(Round(main, workers, sum(bool(entry.fault) for entry in book.entries)))
    return found


# --- The report --------------------------------------------------------------------------------------------------------------


def report(found: dict[str, list[Round]], count: int) -> str:
    """The page: medians, and the least and the most."""

    def cell(values: list[float]) -> str:
        return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    medians = {name: statistics.median(one.main for one in rounds) for name, rounds in found.items()}
    reference = next(iter(medians.values()))
    failed = {name: sum(one.failed for one in rounds) for name, rounds in found.items()}
    rows = [
        [
            name,
            cell([one.main for one in rounds]),
            f"{medians[name] / reference:.0%}",
            cell([one.workers for one in rounds]),
            str(failed[name]),
        ]
        for name, rounds in found.items()
    ]
    how_often = len(next(iter(found.values())))
    goals = [
        [
            f"CPU of the main process for the mix, with {EXAMPLE}, over that without workers",
            "at most 10%",
            f"{medians[EXAMPLE] / reference:.0%}",
        ],
        ["requests that failed", "none", f"{sum(failed.values())} of {how_often * count * len(found):,}"],
    ]
    parts = [
        f"{how_often} rounds of {count} requests, {AT_ONCE} at a time; nothing was taken from the cache of sync's answers.",
        "CPU seconds per 1000 requests: median (least to most).",
        table(["workers", "main", "of that without workers", "all workers", "failed"], rows),
    ]
    return page("effect/run.py", goals, parts)


def main() -> int:
    parser = argparse.ArgumentParser(description="What workers take off the main process.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1000, help="in each round")
    parser.add_argument("--write", type=Path, metavar="PATH", help="the table, as Markdown")
    parser.add_argument("--keep", action="store_true", help="leave the container")
    options = parser.parse_args()
    engine = subprocess.run([ROOT / "dev/engine"], capture_output=True, text=True, check=True)
    os.environ["DOCKER_HOST"] = engine.stdout.strip()
    container = str(ROOT / "dev/container")
    found = {}
    try:
        subprocess.run([container, "down", NAME], check=True)
        subprocess.run([container, "up", NAME, "synapse-workers-test:bookworm-baked", ADDRESS], check=True)
        with tempfile.TemporaryDirectory() as folder:
            for plan in plans():
                began = time.monotonic()
                roll_out(plan, Path(folder))
                found[plan.name] = asyncio.run(measure(options.rounds, options.requests))
                print(f"{plan.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    finally:
        if not options.keep:
            subprocess.run([container, "down", NAME], check=True)
    text = report(found, options.requests)
    publish(text, options.write)
    return int(any(one.failed for rounds in found.values() for one in rounds))


if __name__ == "__main__":
    sys.exit(main())
