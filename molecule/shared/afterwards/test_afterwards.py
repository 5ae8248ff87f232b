"""What holds when a scenario under load is over, whatever was done in it. Runs last: the load ends with it.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from pathlib import Path

from fleet import Fleet
from outsider.judge import table

from bench.load.load import Load


def test_nothing_else_failed(load: Load) -> None:
    between = load.book.between()
    assert not between.failed, load.table()


def test_all_is_routed_right_in_the_end(fleet: Fleet, tmp_path: Path) -> None:
    rows, short = fleet.traffic(tmp_path)
    wrong = [row for row in rows if row.problems]
    assert not wrong, table(wrong, short)
