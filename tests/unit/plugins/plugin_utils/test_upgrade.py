"""Whether another release is allowed, and what an operator is told of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.plugin_utils._upgrade import (
    release_change,
    release_words,
    schema_check,
    stopped_report,
    version_number,
)


def entry(name: str, before: str = "1.142.0", becomes: str = "1.163.2", action: str = "restart") -> dict[str, Any]:
    return {"name": name, "action": action, "release": before, "becomes": becomes, "upgraded": before != becomes}


NGINX = {"name": "nginx", "action": "reload", "reason": ""}
FORTH: dict[str, Any] = {"before": ["1.142.0"], "after": "1.163.2", "back": False}
BACK: dict[str, Any] = {"before": ["1.163.2"], "after": "1.142.0", "back": True}


@pytest.mark.parametrize(
    ("older", "newer"),
    [("1.99.0", "1.100.0"), ("1.163.1", "1.163.2"), ("1.162.0+bookworm1", "1.163.0rc1"), ("1.162.9", "1.163.0~rc1")],
)
def test_releases_are_compared_by_number(older: str, newer: str) -> None:
    assert version_number(older) < version_number(newer)


@pytest.mark.parametrize(
    ("entries", "change"),
    [
        ([NGINX], {}),
        ([entry("main", "1.163.2"), NGINX], {}),
        ([{"name": "main", "action": "start", "reason": "is new"}], {}),
        ([entry("main"), entry("synchrotron-1"), NGINX], FORTH),
        # A run that stopped is gone on with: main has the new release already.
        ([entry("main", "1.163.2", action="keep"), entry("synchrotron-1")], FORTH),
        ([entry("main", "1.163.2", "1.142.0")], BACK),
        ([entry("main"), entry("synchrotron-1", "1.99.0")], {**FORTH, "before": ["1.99.0", "1.142.0"]}),
        # Half way, and back again.
        ([entry("main", "1.163.2", "1.142.0"), entry("synchrotron-1", "1.142.0", "1.142.0", "keep")], BACK),
    ],
)
def test_what_becomes_of_the_release(entries: list[dict[str, Any]], change: dict[str, Any]) -> None:
    assert release_change({"app1": entries, "app2": []}) == change


def test_the_order_is_said_beforehand_and_the_way_back_afterwards() -> None:
    assert release_words({}) == release_words({}, done=True) == []
    assert release_words(FORTH) == [
        "Synapse 1.142.0 becomes 1.163.2: the database first, then the main process, then the workers; until all of them run it, nginx "
        "goes by the routes of 1.142.0"
    ]
    assert "the workers first, the main process last" in release_words(BACK)[0]
    assert release_words(FORTH, done=True)[0].endswith("synapse.workers.upgrade -e synapse_version=1.142.0")


def answer(database: tuple[int, int], release: tuple[int, int]) -> dict[str, Any]:
    return {
        "database": {"version": database[0], "compat": database[1]},
        "release": {"version": release[0], "compat": release[1]},
    }


@pytest.mark.parametrize(
    ("change", "database", "release", "update", "words"),
    [
        # As it was from 1.142.0 to 1.163.2, and back.
        (FORTH, (92, 84), (94, 84), True, ""),
        (BACK, (94, 84), (92, 84), False, ""),
        # Deltas come to a schema without another number.
        (FORTH, (94, 84), (94, 84), True, ""),
        (BACK, (94, 92), (92, 84), False, ""),
        (BACK, (94, 93), (92, 84), False, "does not understand the database any more"),
        (FORTH, (96, 95), (94, 84), False, "does not understand the database any more"),
        (FORTH, (92, 84), (97, 92), True, ""),
        (FORTH, (92, 84), (97, 93), False, "Upgrade first to a release in between"),
    ],
)
def test_what_the_database_allows(
    change: dict[str, Any], database: tuple[int, int], release: tuple[int, int], update: bool, words: str
) -> None:
    found = schema_check(answer(database, release), change)
    assert found["update"] is update
    assert bool(found["problems"]) is bool(words)
    assert bool(found["summary"]) is not bool(words)
    assert words in " ".join(found["problems"])


def test_a_database_that_cannot_be_asked_is_a_reason_to_stop() -> None:
    found = schema_check({"error": "OperationalError: refused"}, FORTH)
    assert found["problems"] == ["the database could not be asked for its schema: OperationalError: refused"]
    assert not found["update"]
    assert schema_check({"error": "x"}, {})["problems"] == []


def test_what_runs_what_after_a_stop() -> None:
    plans = {
        "app1": [entry("main"), NGINX],
        "app2": [entry("synchrotron-app2-1"), entry("pusher-app2-1"), entry("typing-app2-1")],
    }

    def seen(**processes: tuple[str, str]) -> dict[str, Any]:
        names = {name.replace("_", "-"): value for name, value in processes.items()}
        return {
            "remembered": {
                name: {"unit": f"{name}.service", "parts": {"Synapse": release}} for name, (release, _) in names.items()
            },
            "units": {f"{name}.service": {"ActiveState": state} for name, (_, state) in names.items()},
        }

    now = {
        "app1": seen(main=("1.163.2", "active")),
        "app2": seen(
            synchrotron_app2_1=("1.142.0", "active"),
            pusher_app2_1=("1.142.0", "failed"),
            typing_app2_1=("1.142.0", "active"),
        ),
    }
    lines = stopped_report(plans, FORTH, now, ["synchrotron-app2-1"])
    assert lines[:5] == [
        "process             host  runs     state",
        "main                app1  1.163.2  active",
        "synchrotron-app2-1  app2  1.142.0  went back to 1.142.0",
        "pusher-app2-1       app2  -        not ready (failed)",
        "typing-app2-1       app2  1.142.0  active",
    ]
    assert "Synapse 1.142.0 and 1.163.2" in lines[5]
    assert lines[-1].startswith("Back: ")
    assert lines[-1].endswith("synapse_version=1.142.0")
    assert stopped_report(plans, BACK, now, [])[-1].endswith("synapse_version=1.163.2")
