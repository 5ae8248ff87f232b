"""Counts and writers change while hundreds of users go on, and none of them notices.

The rows of the table that is printed, and kept in ``.cache/load``, are the tests of this file in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fleet import UNITS, Fleet

from bench.load.load import Load

Row = dict[str, Any]
OTHER_HOST = "synapse-rescale-2"

# What is added to the inventory's plan, and taken away again: most of it on the other host.
SYNCHROTRONS: Row = {"type": "synchrotron", "host": OTHER_HOST, "count": 3}
PERSISTER: Row = {"type": "event_persister", "host": OTHER_HOST}
TYPING: Row = {"type": "typing", "host": OTHER_HOST}


@pytest.fixture(scope="session")
def change(fleet: Fleet, load: Load, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, list[Row]], None]:
    """Brings the inventory's plan and some rows more into force, as one operation of the load."""

    def bring(name: str, more: list[Row]) -> None:
        rows = [*fleet.rows, *more]
        with load.operation(name) as operation:
            fleet.roll_out(fleet.edited(tmp_path_factory.mktemp("plan"), rows))
        for host in fleet.hosts:
            listed = fleet.output(host, f"systemctl list-units --plain --no-legend --state=active {UNITS}")
            assert {line.split()[0] for line in listed.splitlines()} == fleet.units(host, rows), host
        figures = load.figures(operation)
        assert figures.requests > 200
        assert figures.messages > 20
        assert not figures.noticed, load.table()

    return bring


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("synchrotrons 1 → 4", [SYNCHROTRONS]),
        ("synchrotrons 4 → 1", []),
        ("event persisters 1 → 2", [PERSISTER]),
        ("event persisters 2 → 1", []),
        ("a writer of typing", [TYPING]),
        ("and none", []),
    ],
)
def test_nobody_notices(name: str, more: list[Row], change: Callable[[str, list[Row]], None]) -> None:
    change(name, more)
