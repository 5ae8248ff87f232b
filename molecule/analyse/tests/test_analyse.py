"""The access log of a lone main process is asked, its recommendation rolled out as it is, and what was said to move has moved."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.synapse.workers.plugins.module_utils._endpoints import route
from fleet import SERVICE, Fleet
from outsider.judge import table

from bench.load.people import Size

LOG = f"/var/log/nginx/{SERVICE}.access.log"
FEW = Size(quiet=2, devices=5, rooms=1, talkers=3, pace=0.3)
ENOUGH = 200
"""Requests of those few."""
# So few users need no worker. At this price of a request they do.
DEAR = ["-e", "share=0.6", "-e", '{"assumptions": {"cpu_ms_per_request": 250}}']


def lines(fleet: Fleet) -> list[str]:
    return fleet.output(fleet.main_host, f"cat {LOG}").splitlines()


@pytest.fixture(scope="module")
def answer(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the playbook found in the log that real requests have left."""
    with fleet.load(tmp_path_factory.mktemp("load"), FEW) as load:
        end = time.monotonic() + 180
        while len(load.book.entries) < ENOUGH and time.monotonic() < end:
            time.sleep(0.5)
    report, before = tmp_path_factory.mktemp("report"), fleet.everything(fleet.main_host)
    fleet.play("analyse_access_log", fleet.inventory, "-e", f"report_dir={report}", *DEAR)
    assert fleet.everything(fleet.main_host) == before
    assert "<svg" in (report / f"{fleet.main_host}.html").read_text()
    found: dict[str, Any] = json.loads((report / f"{fleet.main_host}.json").read_text())
    return found


@pytest.fixture(scope="module")
def plan(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """What was said to paste, pasted."""
    rows: list[dict[str, Any]] = yaml.safe_load(answer["recommendation"]["synapse_workers"])["synapse_workers"]
    return rows


def test_every_line_of_the_log_was_counted(fleet: Fleet, answer: dict[str, Any]) -> None:
    there = lines(fleet)
    assert answer["lines"] == len(there) > ENOUGH
    assert answer["total"] + answer["elsewhere"] + answer["malformed"] == len(there)
    assert answer["answered_by"]["main"]["requests"] == sum(" worker=main " in line for line in there)
    assert answer["files"][0]["format"] == "backend"


def test_workers_are_recommended(answer: dict[str, Any], plan: list[dict[str, Any]]) -> None:
    assert answer["recommendation"]["verdict"] == "enough"
    assert answer["recommendation"]["effect"]["moved_percent"] >= 60
    assert 1 <= sum(row.get("count", 1) for row in plan) <= 8


def test_what_was_said_to_move_is_answered_by_workers(fleet: Fleet, plan: list[dict[str, Any]], tmp_path: Path) -> None:
    types = [name for row in plan for name in row.get("types", [row.get("type")])]
    fleet.roll_out(fleet.edited(tmp_path, plan))
    before = len(lines(fleet))
    rows, short = fleet.traffic(tmp_path, plan)
    wrong = [row for row in rows if row.problems]
    assert not wrong, table(wrong, short)
    # Nginx's own words, beside the table by which the log was read.
    asked: Counter[tuple[str, str]] = Counter()
    for line in lines(fleet)[before:]:
        found = re.search(r'"([A-Z]+) (\S+) HTTP/[\d.]+" \d+ .* worker=(\S+) ', line)
        # What a browser asks beforehand every process answers, whatever the path.
        if found and found[3] != "-" and found[1] != "OPTIONS":
            where = route(found[1], found[2], dict.fromkeys(types, ())).pool
            asked[where, found[3].rpartition("-")[0] or found[3]] += 1
    print(asked)
    names = {name: row.get("name", name) for row in plan for name in row.get("types", [row.get("type")])}
    assert {(where, names.get(where, "main")) for where, _worker in asked} == set(asked)
    assert {worker for _where, worker in asked} == {*names.values(), "main"}
