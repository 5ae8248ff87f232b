"""Thousands of inventories by chance: each gives files that Synapse's parser and nginx accept, or a clean refusal.

    python -m tests.fuzz.run --count 20000 [--first 0] [--seconds 60] [--jobs 2]

Prints a table; ends with 1 when anything crashed, or was refused only by who reads the files. Every inventory has a number, and the
number makes it again: ``--first N --count 1 --show``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from .house import Refused, files_of
from .inventories import Inventory, inventory
from .judges import Judges


@dataclass
class Outcome:
    """What came of all inventories."""

    tried: int = 0
    good: int = 0
    """Those nothing was done to."""
    accepted: int = 0
    refused: int = 0
    left_to_synapse: int = 0
    """Junk in Synapse's own settings, which it refuses itself, before a file is replaced."""
    parsed: int = 0
    distinct: int = 0
    reasons: collections.Counter[str] = field(default_factory=collections.Counter)
    """How often a variable, or the list of workers, was named as the reason."""
    faults: list[str] = field(default_factory=list)
    """Crashes, and what was accepted though a program refuses it."""

    def add(self, other: Outcome) -> None:
        """What came of other inventories."""
        for name in ("tried", "good", "accepted", "refused", "left_to_synapse", "parsed", "distinct"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons.update(other.reasons)
        self.faults += other.faults

    def table(self) -> list[str]:
        """For people."""
        lines = [
            ("inventories tried", self.tried), ("  of them good ones", self.good), ("accepted", self.accepted),
            ("refused with reasons", self.refused), ("left to Synapse's parser", self.left_to_synapse),
            ("processes asked of Synapse's parser", self.parsed), ("distinct files asked of nginx -t", self.distinct),
            ("crashes, or refused too late", len(self.faults)),
        ]  # fmt: skip
        return [f"{name:<38} {count:>8}" for name, count in lines]


def run(numbers: range, seconds: float = float("inf")) -> Outcome:
    """Try the inventories of these numbers, for so many seconds at most."""
    outcome = Outcome()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        judges = Judges(Path(folder) / "judged")
        try:
            for number in numbers:
                if time.monotonic() - began > seconds:
                    break
                _try(number, inventory(number), judges, outcome)
        finally:
            judges.close()
        outcome.parsed, outcome.distinct = judges.parsed, judges.distinct
    return outcome


def run_beside(jobs: int, numbers: range, seconds: float = float("inf")) -> Outcome:
    """The same by so many processes, each with a parser of its own."""
    outcome = Outcome()
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        for part in pool.map(run, [numbers[job::jobs] for job in range(jobs)], [seconds] * jobs):
            outcome.add(part)
    return outcome


def _try(number: int, made: Inventory, judges: Judges, outcome: Outcome) -> None:
    outcome.tried += 1
    outcome.good += not made.changes
    try:
        plan, files = files_of(made)
    except Refused as refusal:
        outcome.refused += 1
        outcome.reasons[str(refusal).partition(":")[0].partition("[")[0][:40]] += 1
        if not made.changes:
            # Only what chance puts together: two rows of one port, a pool too large for the connections.
            outcome.reasons["of the good ones: " + str(refusal)[:160]] += 1
        return
    except Exception:
        outcome.faults.append(f"inventory {number} {made.changes}: {traceback.format_exc()}")
        return
    wrong = []
    for host, texts in files.items():
        if "processes" in plan["hosts"][host]["parts"]:
            wrong += [f"{host}: Synapse: {name}: {reason}" for name, reason in judges.synapse(plan, texts).items()]
        if refused := judges.nginx(plan, texts):
            wrong.append(f"{host}: nginx: {refused}")
    if not wrong:
        outcome.accepted += 1
    elif made.raw and not any(": nginx: " in one for one in wrong):
        outcome.left_to_synapse += 1
    else:
        outcome.faults.append(f"inventory {number} {made.changes}: " + "\n  ".join(wrong[:4]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--jobs", type=int, default=1, help="so many at once")
    parser.add_argument("--show", action="store_true", help="print the inventories too")
    parser.add_argument("--reasons", action="store_true", help="print how often what was the reason")
    wanted = parser.parse_args()
    numbers = range(wanted.first, wanted.first + wanted.count)
    if wanted.show:
        for number in numbers:
            made = inventory(number)
            print(
                json.dumps(
                    {"hosts": made.hosts, "groups": made.groups, "vars": made.variables, "changes": made.changes}, indent=1
                )
            )
    outcome = run_beside(wanted.jobs, numbers, wanted.seconds)
    for fault in outcome.faults:
        print(fault, end="\n\n")
    if wanted.reasons:
        for reason, count in outcome.reasons.most_common():
            print(f"{count:>6}  {reason}")
    print("\n".join(outcome.table()))
    return int(bool(outcome.faults))


if __name__ == "__main__":
    sys.exit(main())
