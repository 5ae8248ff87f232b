"""An edited plan touches what was edited and nothing else, and users notice nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fleet import SERVICE, UNITS, Fleet
from outsider.judge import REFUSED, table

from bench.load.people import Size


def with_synchrotrons(fleet: Fleet, count: int) -> list[dict[str, Any]]:
    """The inventory's plan with another number of synchrotrons."""
    return [{**row, "count": count} if row.get("type") == "synchrotron" else row for row in fleet.rows]


def differing(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """What is new, gone or another."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


# A scenario with a worker of every type has enough to do.
FEW = Size(quiet=2, devices=5, rooms=1, talkers=3, pace=0.3)
PAIR = ["synchrotron-2", "synchrotron-3"]


@pytest.mark.parametrize(("count", "units"), [(1, ["synchrotron-2"]), (3, PAIR), (1, PAIR)], ids=["to one", "to three", "back"])
def test_only_synchrotrons_and_nginx_are_touched(count: int, units: list[str], fleet: Fleet, tmp_path: Path) -> None:
    """In this order: from the two of the inventory to one, to three, and back to one."""
    rows = with_synchrotrons(fleet, count)
    invocations, files = fleet.invocations(), fleet.written()
    with fleet.load(tmp_path, FEW) as load:
        fleet.roll_out(fleet.edited(tmp_path, rows))
    touched = {unit.partition(" ")[2] for unit in differing(invocations, fleet.invocations())}
    assert touched == {f"{SERVICE}-worker@{name}.service" for name in units}
    paths = {path.partition(" ")[2] for path in differing(files, fleet.written())}
    assert [path for path in sorted(paths) if "nginx" in path]
    assert not [path for path in sorted(paths) if "nginx" not in path and not any(name in path for name in units)]
    (whole,) = load.book.account()
    assert whole.requests > 50
    assert not whole.noticed, load.table()


def test_of_a_removed_worker_nothing_is_left(fleet: Fleet) -> None:
    """After the step from three to one."""
    for name in PAIR:
        unit = f"{SERVICE}-worker@{name}.service"
        assert fleet.output(fleet.main_host, f"systemctl list-units --all --plain --no-legend {unit}") == ""
        assert fleet.output(fleet.main_host, f"find /etc /run -name '*{name}*' ! -path '*/secrets/*'") == ""


def test_an_emptied_list_leaves_everything_to_the_main_process(fleet: Fleet, tmp_path: Path) -> None:
    fleet.roll_out(fleet.edited(tmp_path, []))
    listed = fleet.output(fleet.main_host, f"systemctl list-units --all --plain --no-legend {UNITS}")
    assert [line.split()[0] for line in listed.splitlines()] == [f"{SERVICE}.service"]
    assert fleet.output(fleet.main_host, f"find /etc/{SERVICE}/workers -name '*.yaml' 2>/dev/null || true") == ""
    rows, short = fleet.traffic(tmp_path, [])
    wrong = [row for row in rows if row.problems]
    assert not wrong, table(wrong, short)
    assert {row.worker for row in rows if row.label != REFUSED} == {"main", "-"}


def test_the_old_plan_comes_back(fleet: Fleet, tmp_path: Path) -> None:
    fleet.roll_out(fleet.inventory)
    host = fleet.main_host
    active = fleet.output(host, f"systemctl list-units --plain --no-legend --state=active {UNITS} | cut -d' ' -f1")
    assert set(active.split()) == fleet.units(host)
    rows, short = fleet.traffic(tmp_path)
    wrong = [row for row in rows if row.problems]
    assert not wrong, table(wrong, short)
