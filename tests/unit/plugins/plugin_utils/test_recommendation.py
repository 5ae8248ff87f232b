"""Which workers are recommended: the smallest set, sized by the busiest hour, or none."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import yaml
from ansible_collections.synapse.workers.plugins.module_utils._worker_types import BY_NAME
from ansible_collections.synapse.workers.plugins.plugin_utils._recommendation import (
    CANDIDATES,
    WRITERS,
    Load,
    pool_for,
    recommend,
    shares,
)
from ansible_collections.synapse.workers.plugins.plugin_utils._topology import topology
from hypothesis import given, settings
from hypothesis import strategies as st

from .plans import settings as homeserver

PEAK, NIGHT = "2026-11-23T10", "2026-11-23T03"
SYNC = ("synchrotron",)
FIRST = ("initial_synchrotron", "synchrotron")
READ = ("client_reader",)
SEND = ("event_creator", "client_reader")
MEDIA = ("media_repository", "quarantined_media_changes")


def counted(
    rates: dict[tuple[str, ...], float], cpu: dict[tuple[str, ...], float] | None = None, unknown: int = 0, **host: int
) -> dict[str, Any]:
    """The module's answer for so many requests a second in the busiest hour, and a tenth of it in a quiet one."""
    groups: list[dict[str, Any]] = []
    for types, rate in rates.items():
        hours = {NIGHT: int(rate * 360), PEAK: int(rate * 3600)}
        requests = sum(hours.values())
        spent = requests * cpu[types] if cpu else None
        groups.append({"types": list(types), "requests": requests, "hours": hours, "cpu_seconds": spent})
    return {
        "groups": groups,
        "total": sum(group["requests"] for group in groups) + unknown,
        "unknown": unknown,
        "span_seconds": 86400,
        "cpu_seconds": sum(group["cpu_seconds"] for group in groups) if cpu else None,
        "host": {"cores": 8, "available_mb": 16000, **host},
    }


def names(found: dict[str, Any]) -> dict[str, int]:
    return {row.get("name", row.get("type")): row.get("count", 1) for row in found["workers"]}


def test_a_small_server_needs_no_workers() -> None:
    found = recommend(counted({SYNC: 20, READ: 5}))
    assert found["verdict"] == "none_needed"
    assert (found["workers"], found["synapse_workers"]) == ([], "synapse_workers: []\n")
    assert found["text"][0] == (
        "You need no workers: one process would be at 15 % of a core in the busiest hour (taken as 6 ms of CPU time a request)."
    )


def test_the_server_of_2020_gets_synchrotrons() -> None:
    """140 requests a second, nine of ten of them /sync."""
    found = recommend(counted({SYNC: 126.5, READ: 5, SEND: 3, MEDIA: 3, (): 2.5}))
    assert (found["verdict"], names(found)) == ("enough", {"synchrotron": 2})
    assert found["effect"]["main_busy_percent_before"] == 84.0
    assert found["effect"]["main_busy_percent_after"] == pytest.approx(8.1)
    assert found["effect"]["moved_percent"] == pytest.approx(90.4, abs=0.1)
    assert yaml.safe_load(found["synapse_workers"]) == {"synapse_workers": [{"type": "synchrotron", "count": 2}]}


def test_what_costs_most_moves_first_not_what_is_most() -> None:
    """Long-polls that wait cost next to nothing; Synapse's own log knows."""
    rates: dict[tuple[str, ...], float] = {SYNC: 100, READ: 10, SEND: 2}
    found = recommend(counted(rates, {SYNC: 0.0001, READ: 0.08, SEND: 0.001}))
    assert names(found) == {"client_reader": 2}
    assert "as Synapse's log has it" in found["text"][0]


def test_a_reader_stands_in_for_a_creator_when_that_saves_a_process() -> None:
    found = recommend(counted({READ: 60, SEND: 40}))
    assert names(found) == {"client_reader": 1}
    assert found["effect"]["moved_percent"] == 100.0
    assert found["effect"]["processes"] == 1


def test_writers_share_a_process() -> None:
    found = recommend(counted({("typing",): 60, ("receipts",): 40, READ: 4}), share=0.9)
    assert found["workers"] == [{"types": list(WRITERS), "name": "writers"}]


def test_it_does_not_promise_what_workers_cannot_do() -> None:
    found = recommend(counted({(): 80, SYNC: 40}))
    assert found["verdict"] == "best_possible"
    assert names(found) == {"synchrotron": 1}
    assert any("No set of workers that fits here reaches the 90 %" in line for line in found["text"])


def test_memory_limits_the_number_of_workers() -> None:
    busy = counted({SYNC: 400, READ: 100, SEND: 100, MEDIA: 50}, available_mb=600)
    found = recommend(busy)
    assert found["effect"]["processes"] <= 2
    assert any("2 workers would fit" in line for line in found["text"])
    assert recommend(busy, memory_mb=200)["verdict"] == "no_memory"
    assert recommend(busy, memory_mb=60_000)["effect"]["processes"] > 2


def test_more_of_a_type_than_cores_bring_nothing() -> None:
    found = recommend(counted({SYNC: 2000}, cores=2))
    assert names(found) == {"synchrotron": 2}
    assert any("more than one can do" in line for line in found["text"])
    assert any("want about 16.8 cores in the busiest hour; this host has 2" in line for line in found["text"])


def test_assumptions_can_be_replaced() -> None:
    log = counted({SYNC: 50})
    assert recommend(log)["verdict"] == "none_needed"
    assert recommend(log, assumptions={"cpu_ms_per_request": 20})["verdict"] == "enough"
    assert names(recommend(log, assumptions={"cpu_ms_per_request": 20, "busy_at_most": 0.25})) == {"synchrotron": 4}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"share": 1.5}, "share is a number between 0 and 1"),
        ({"assumptions": {"cpu": 1}}, "cpu: no such assumption; there are cpu_ms_per_request"),
        ({"assumptions": {"process_mb": 0}}, "process_mb must be more than 0"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        recommend(counted({SYNC: 1}), **options)


RATES = st.dictionaries(
    st.sampled_from([(), SYNC, FIRST, READ, SEND, MEDIA, ("typing",), ("user_dir", "client_reader"), ("federation_reader",)]),
    st.floats(0.1, 300),
    min_size=1,
)


@settings(max_examples=30)
@given(RATES, st.floats(0.3, 0.95))
def test_no_smaller_set_would_do(rates: dict[tuple[str, ...], float], share: float) -> None:
    log = counted(rates)
    found = recommend(log, share=share, memory_mb=1_000_000)
    if found["verdict"] != "enough":
        return
    assert found["effect"]["moved_percent"] >= 100 * share - 0.1
    load = Load(log, 6.0)
    for size in range(1, min(found["effect"]["processes"], len(CANDIDATES) + 1)):
        for parts in combinations(CANDIDATES, size):
            planned = [name for part in parts for name in part]
            pools = load.pools(planned)
            processes = sum(
                max(1, -(-load.busy(number for name in part for number in pools.get(name, ())) // 0.6))
                if len(part) == 1 and BY_NAME[part[0]].several
                else 1
                for part in parts
            )
            moved = 1 - sum(load.groups[number][1] for number in pools.get("main", ())) / load.total
            assert processes >= found["effect"]["processes"] or moved < share


@settings(max_examples=30)
@given(RATES)
def test_what_is_recommended_can_be_rolled_out(rates: dict[tuple[str, ...], float]) -> None:
    found = recommend(counted(rates), memory_mb=1_000_000)
    rows = yaml.safe_load(found["synapse_workers"])["synapse_workers"]
    assert rows == found["workers"]
    assert topology(rows, homeserver())["problems"] == []


def test_shares_count_each_request_once() -> None:
    log = counted({SYNC: 9, FIRST: 1, SEND: 2, (): 1}, unknown=50)
    found = {row["type"]: row["requests"] for row in shares(log, ["synchrotron", "client_reader"])}
    assert sum(found.values()) == log["total"]
    assert found["synchrotron"] == 10 * 3960
    assert found["client_reader"] == 2 * 3960
    with pytest.raises(ValueError, match="synchroton: no such worker type"):
        shares(log, ["synchroton"])


def test_a_group_goes_where_it_is_routed() -> None:
    assert pool_for(SEND, ["client_reader", "event_creator"]) == "event_creator"
    assert pool_for(SEND, ["client_reader"]) == "client_reader"
    assert pool_for(SEND, ["synchrotron"]) == "main"
