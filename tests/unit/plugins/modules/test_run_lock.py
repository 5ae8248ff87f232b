"""One run holds a host; one that is over holds it no longer than it has to."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.module_utils._run_lock import LEASE

from .calls import call

ONE = {"id": "1", "playbook": "roll_out", "user": "alice"}
TWO = {"id": "2", "playbook": "restart", "user": "bob"}


def lock(folder: Path, run: dict[str, str], check: bool = False, **arguments: Any) -> dict[str, Any]:
    return call("run_lock", check=check, path=str(folder / "state/run.json"), run=run, **arguments)


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "state/run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_second_run_is_told_of_the_first(tmp_path: Path) -> None:
    assert lock(tmp_path, ONE)["holder"] is None
    answer = lock(tmp_path, TWO)
    assert not answer["changed"]
    assert {key: answer["holder"][key] for key in ONE} == ONE
    assert answer["holder"]["age"] < 60
    assert answer["last"] == "1"
    # It may ask for what it has.
    assert lock(tmp_path, ONE)["holder"] is None


def test_what_is_given_back_is_free_and_remembered(tmp_path: Path) -> None:
    lock(tmp_path, ONE)
    lock(tmp_path, ONE, state="given_back")
    answer = lock(tmp_path, TWO)
    assert answer["holder"] is None
    assert answer["last"] == "1"


def test_nobody_gives_back_what_another_one_holds(tmp_path: Path) -> None:
    lock(tmp_path, ONE)
    lock(tmp_path, TWO, state="given_back")
    assert lock(tmp_path, TWO)["holder"]["id"] == "1"


def test_a_run_known_to_be_over_is_replaced_and_no_other(tmp_path: Path) -> None:
    lock(tmp_path, ONE)
    assert lock(tmp_path, TWO, instead_of=["9"])["holder"]["id"] == "1"
    assert lock(tmp_path, TWO, instead_of=["9", "1"])["holder"] is None
    assert lock(tmp_path, ONE)["holder"]["id"] == "2"


@pytest.mark.parametrize("change", [{"since": time.time() - LEASE - 5}, {"boot": "another"}, {"ended": True}, {"id": None}])
def test_a_lock_does_not_outlive_its_run_for_ever(change: dict[str, Any], tmp_path: Path) -> None:
    lock(tmp_path, ONE)
    edit(tmp_path, **change)
    assert lock(tmp_path, TWO)["holder"] is None


def test_a_damaged_note_holds_nobody(tmp_path: Path) -> None:
    lock(tmp_path, ONE)
    (tmp_path / "state/run.json").write_text("{")
    assert lock(tmp_path, TWO)["holder"] is None


def test_a_dry_run_takes_nothing(tmp_path: Path) -> None:
    lock(tmp_path, ONE, check=True)
    assert not (tmp_path / "state").exists()


def test_a_look_tells_who_was_here(tmp_path: Path) -> None:
    path = str(tmp_path / "state/run.json")
    assert call("processes_info", memory=str(tmp_path), run=path)["last_run"] == ""
    lock(tmp_path, ONE)
    assert call("processes_info", memory=str(tmp_path), run=path)["last_run"] == "1"
