"""A roll-out that is killed leaves a server that answers, and the next one mends it.

molecule test -s interrupted                                  at the points below
KILLED_EVERYWHERE=1 molecule test -s interrupted              before and within every task that changes something
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from fleet import POLITELY, ROOT, Fleet
from outsider.judge import Row, table

from bench.load.load import Load
from bench.load.people import Size

HERE = Path(__file__).parents[1]
SMALL = Size(quiet=3, devices=2, rooms=1, talkers=3, pace=0.3)
EVERYWHERE = os.environ.get("KILLED_EVERYWHERE") == "1"


class Point(NamedTuple):
    """When a run is killed."""

    task: str
    """Name of a task, ``#`` and which one of that name."""
    after: float = 0
    """Seconds after its beginning; 0: before anything of it has happened."""
    back: bool = False
    """Whether the next run goes back to the plan of before, instead of on."""

    def __str__(self) -> str:
        return f"{self.task}{f' + {self.after:g} s' if self.after else ''}{', and back' if self.back else ''}"


class Plans:
    """Two plans that differ in much, to go from one to the other and back."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        # A worker more, one less, another writer, settings that all processes read, what nginx reads.
        rows = [row for row in fleet.rows if row["type"] not in ("synchrotron", "client_reader")]
        rows += [{"type": "synchrotron", "count": 2}, {"type": "federation_reader"}, {"type": "typing"}]
        settings = yaml.safe_load((ROOT / "molecule/shared/open_to_tests.yml").read_text())["synapse_settings"]
        settings["user_ips_max_age"] = "7d"
        other = fleet.edited(folder, rows, synapse_settings=settings, synapse_nginx_max_body_size="60M")
        self.inventories, self.rows = (fleet.inventory, other), (fleet.rows, rows)
        self.now = 0

    def run(self, **environment: str) -> int:
        """A roll-out of the plan that is not in force now, in a process group of its own; its exit status."""
        run = subprocess.run(
            [*POLITELY, "ansible-playbook", f"--inventory={self.inventories[1 - self.now]}", "synapse.workers.roll_out"],
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            env={
                **self.fleet.environment,
                "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"),
                "ANSIBLE_CALLBACKS_ENABLED": "killed",
                **environment,
            },
        )
        assert run.returncode in (0, -signal.SIGKILL), run.stdout[-8000:] + run.stderr[-2000:]
        return run.returncode

    def go(self) -> None:
        """The other plan is, or shall be, in force from here on."""
        self.now = 1 - self.now


@pytest.fixture(scope="session")
def plans(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Plans:
    return Plans(fleet, tmp_path_factory.mktemp("plans"))


HEAD = (
    "killed at", "first answers wrong", "asked again", "next run", "changes after it", "wrong by the plan",
    "requests", "failed", "lost", "doubled", "not heard",
)  # fmt: skip


class Outcome(NamedTuple):
    """What came of a run that was killed."""

    point: Point
    first: list[Row]
    """Requests that were answered wrong right after it."""
    again: list[Row]
    """And when all of them were asked again."""
    mended: str
    """What the next run said; '' for success."""
    changed: int
    """Tasks that changed something in the run after that one."""
    routed: list[Row]
    """Requests that were answered wrong, or by another worker than the plan names, after all."""
    load: Load

    @property
    def cells(self) -> tuple[str, ...]:
        (whole,) = self.load.book.account()
        counts = (len(self.first), len(self.again), "FAILED" if self.mended else "succeeded", self.changed, len(self.routed))
        harm = (whole.requests, whole.failed, whole.lost, whole.doubled, whole.unheard)
        return (str(self.point), *map(str, (*counts, *harm)))

    @property
    def bad(self) -> str:
        """What is wrong with it, '' for nothing."""
        (whole,) = self.load.book.account()
        return "\n".join(
            words
            for words in (
                table(self.again) if self.again else "",
                self.mended,
                f"{self.changed} changes in a run that had nothing to do" if self.changed else "",
                table(self.routed) if self.routed else "",
                self.load.table() if whole.harm else "",
            )
            if words
        )


@pytest.fixture(scope="session")
def outcomes(pytestconfig: pytest.Config) -> Iterator[list[Outcome]]:
    """Of all tests; printed as a table, and kept."""
    outcomes: list[Outcome] = []
    yield outcomes
    lines = [HEAD, ("---",) * len(HEAD), *(outcome.cells for outcome in outcomes)]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    kept = ROOT / ".cache/load/interrupted.md"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(text + "\n")
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{text}")


def killed(point: Point, fleet: Fleet, plans: Plans, folder: Path) -> Outcome:
    """Kill a roll-out there, ask the server, roll out, roll out, ask again; users go on meanwhile."""

    def wrong(rows: list[dict[str, Any]] | None) -> list[Row]:
        return [row for row in fleet.traffic(folder, rows)[0] if row.problems]

    def unanswered() -> list[Row]:
        """Who answers is open, that somebody does is not."""
        return [row for row in fleet.answers(folder) if row.problems]

    mended, changed = "", 0
    with fleet.load(folder, SMALL) as load:
        assert plans.run(KILLED_TASK=point.task, KILLED_AFTER=str(point.after)) != 0, f"the run never came to {point}"
        first = unanswered()
        again = unanswered() if first else []
        if not point.back:
            plans.go()
        inventory, rows = plans.inventories[plans.now], plans.rows[plans.now]
        try:
            fleet.roll_out(inventory)
            changed = sum(counts["changed"] for counts in fleet.roll_out(inventory).values())
        except AssertionError as error:
            mended = str(error)
    return Outcome(point, first, again, mended, changed, wrong(rows), load)


RELOAD = "Let nginx read the new files, until no child takes requests by the old ones"
POINTS = [
    # The settings are written, no process has read them.
    Point(RELOAD),
    # Requests wait, everything still runs.
    Point("Stop the processes that may not change one by one"),
    # Everything has stopped.
    Point("Bring up what requests wait for"),
    # The same; systemd starts it by the plan, of which the operator then thinks better.
    Point("Bring up what requests wait for", back=True),
    # And runs again; requests still wait.
    Point("Say that requests may go on"),
    # What is new runs, nginx does not know it.
    Point(f"{RELOAD}#3"),
    Point("Remove the files of retired workers"),
]


@pytest.mark.skipif(EVERYWHERE, reason="the other test does more")
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_the_next_run_mends_a_run_killed_at(
    point: Point, fleet: Fleet, plans: Plans, outcomes: list[Outcome], tmp_path: Path
) -> None:
    outcomes.append(killed(point, fleet, plans, tmp_path))
    assert not outcomes[-1].bad, outcomes[-1].bad


@pytest.mark.skipif(not EVERYWHERE, reason="takes an hour; KILLED_EVERYWHERE=1")
def test_wherever_a_run_is_killed_the_next_one_mends_it(
    fleet: Fleet, plans: Plans, outcomes: list[Outcome], tmp_path_factory: pytest.TempPathFactory
) -> None:
    record = tmp_path_factory.mktemp("record") / "tasks.json"
    points: dict[int, list[Point]] = {}
    for _ in range(2):
        record.unlink(missing_ok=True)
        points[plans.now] = []
        assert plans.run(KILLED_RECORD=str(record)) == 0
        for entry in map(json.loads, record.read_text().splitlines()):
            if entry["changed"] and entry["module"] != "set_fact":
                points[plans.now].append(Point(entry["task"]))
                if entry["seconds"] > 1:
                    points[plans.now].append(Point(entry["task"], round(entry["seconds"] / 2, 1)))
        plans.go()
    while any(points.values()):
        # On the way forth and on the way back, in turn.
        if points[plans.now]:
            outcomes.append(killed(points[plans.now].pop(0), fleet, plans, tmp_path_factory.mktemp("killed")))
        else:
            assert plans.run() == 0
            plans.go()
    assert not [str(outcome.point) for outcome in outcomes if outcome.bad], "\n".join(outcome.bad for outcome in outcomes)
