"""Whether another release is allowed, and what an operator is told of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.plugin_utils._upgrade import (
    release_change,
    release_words,
    schema_check,
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
    assert [release_words({}, moment) for moment in ("planned", "stopped", "done")] == [[], [], []]
    assert release_words(FORTH, "planned") == ["Synapse 1.142.0 becomes 1.163.2: the database first, then the main process, then the workers"]
    assert "goes back from 1.163.2 to 1.142.0, if the database allows that" in release_words(BACK, "planned")[0]
    assert release_words(FORTH, "done")[0].endswith("synapse.workers.upgrade -e synapse_version=1.142.0")


def test_half_way_the_operator_is_told_forth_and_back() -> None:
    runs, forth, back = release_words(FORTH, "stopped")
    assert "runs Synapse 1.163.2, the rest goes on with 1.142.0" in runs
    assert forth.startswith("Forth: ")
    assert back == "Back: ansible-playbook -i INVENTORY synapse.workers.upgrade -e synapse_version=1.142.0"
    assert release_words(BACK, "stopped")[2].endswith("synapse_version=1.163.2")


def answer(database: tuple[int, int], release: tuple[int, int]) -> dict[str, Any]:
    return {
        "database": {"version": database[0], "compat": database[1]},
        "release": {"version": release[0], "compat": release[1]},
    }


@pytest.mark.parametrize(
    ("change", "database", "release", "outdated", "words"),
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
    change: dict[str, Any], database: tuple[int, int], release: tuple[int, int], outdated: bool, words: str
) -> None:
    found = schema_check(answer(database, release), change)
    assert found["outdated"] is outdated
    assert bool(found["problems"]) is bool(words)
    assert bool(found["summary"]) is not bool(words)
    assert words in " ".join(found["problems"])


def test_a_database_that_cannot_be_asked_is_a_reason_to_stop() -> None:
    found = schema_check({"error": "OperationalError: refused"}, FORTH)
    assert found["problems"] == ["the database could not be asked for its schema: OperationalError: refused"]
    assert not found["outdated"]
    assert schema_check({"error": "x"}, {})["problems"] == []


def test_tokens_that_an_older_release_refuses_are_a_reason_to_stop() -> None:
    found = answer((94, 84), (92, 84))
    found["release"]["tokens"], found["running"] = 11, {"tokens": 14}
    (problem,) = schema_check(found, BACK)["problems"]
    assert "they have 14 keys, it knows 11" in problem
    assert problem.endswith("-e synapse_token_loss_allowed=true goes back all the same")
    allowed = schema_check(found, BACK, token_loss_allowed=True)
    assert (allowed["problems"], len(allowed["summary"])) == ([], 2)
    # Newer releases fill up what older tokens lack; and of a package that is not unpacked nothing is known.
    assert schema_check(found, FORTH)["problems"] == []
    found["release"]["tokens"] = 0
    assert schema_check(found, BACK)["problems"] == []
