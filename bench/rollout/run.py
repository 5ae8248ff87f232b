#!/usr/bin/env python3
"""What a roll-out costs, by the number of workers, beside an empty play and beside the usual loops, in the same run.

A container with systemd, PostgreSQL, Redis, nginx and a real main process; its workers are stand-ins (stub.py), so that 64 fit.
The playbook is the real one. CPU seconds are those of ansible-playbook and all its children here, and of everything that came
through the connection there: it is the children of the container's shim that `docker exec` starts, with all that they waited for.
What systemd and the services do meanwhile is not in it. Calls of modules are counted on the host, by what each writes to its journal.

    bench/rollout/run.py --write bench/rollout/results.md    wants a machine that does nothing else, and takes some minutes

Needs what `dev/setup` installs and a Docker engine on this machine. Ends with 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from bench.report import page, publish, table  # noqa: E402

NAME, ADDRESS = "synapse-rollout-bench", "172.30.77.96"
IMAGE = "synapse-workers-test:bookworm-baked"
DROP_IN = "/etc/systemd/system/matrix-synapse-worker@.service.d/stub.conf"
TICK = os.sysconf("SC_CLK_TCK")
# Actions that run on the controller alone.
ON_CONTROLLER = {"set_fact", "debug", "fail", "meta", "include_tasks", "include_role", "validate_argument_spec", ""}


@dataclass
class Cost:
    """Of one run of a playbook."""

    cpu: float
    wall: float
    tasks: int
    results: int
    """Of tasks that act on the host; each item of a loop is one."""
    calls: int
    """Of modules, on the host."""
    changed: int


class Host:
    """A container and its inventory."""

    def __init__(self, folder: Path) -> None:
        self.name, self.folder = NAME, folder
        self.inventory = folder / "inventory.yml"
        self.environment = {
            **os.environ,
            "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections"),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "account",
            "ACCOUNT": str(folder / "account"),
        }

    def up(self) -> None:
        self._dev("down", self.name)
        self._dev("up", self.name, IMAGE, ADDRESS)
        self.sh(f"mkdir -p {os.path.dirname(DROP_IN)} /opt && cat > /opt/stub.py", (HERE / "stub.py").read_text())
        self.sh(f"cat > {DROP_IN}", "[Service]\nExecStart=\nExecStart=/usr/bin/python3 /opt/stub.py %i\n")
        pid = self._docker("inspect", "--format", "{{.State.Pid}}", self.name)
        self.shim = int(next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "PPid" in line).split()[1])

    def down(self) -> None:
        self._dev("down", self.name)

    def _dev(self, *words: str) -> None:
        subprocess.run([ROOT / "dev/container", *words], check=True, stdout=subprocess.DEVNULL)

    def _docker(self, *words: str) -> str:
        return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()

    def sh(self, command: str, text: str = "") -> str:
        run = ["docker", "exec", "--interactive", self.name, "sh", "-c", command]
        return subprocess.run(run, input=text, check=True, capture_output=True, text=True).stdout.strip()

    def plan(self, workers: int) -> None:
        """Write the inventory: so many workers."""
        self.workers = workers
        variables: dict[str, Any] = {
            "ansible_connection": "community.docker.docker",
            "ansible_docker_extra_args": f"-H={os.environ['DOCKER_HOST']}",
            "ansible_python_interpreter": "/usr/bin/python3",
            "synapse_server_name": "rollout.example",
            "synapse_install_method": "pip",
            "synapse_trusted_key_servers": [],
            "synapse_postgresql_max_connections": 1000,
            # A row takes 50 at most.
            "synapse_workers": [
                {"type": "synchrotron", "count": min(workers, 50)},
                {"type": "client_reader", "count": max(0, workers - 50)},
            ],
        }
        self.inventory.write_text(yaml.safe_dump({"synapse": {"hosts": {self.name: None}, "vars": variables}}))

    def _there(self) -> float:
        """CPU seconds of the shim and of whatever it has waited for."""
        fields = Path(f"/proc/{self.shim}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / TICK

    def _calls(self) -> int:
        return int(self.sh("journalctl --sync; journalctl --no-pager --output=cat | grep -c ' \\?Invoked with' || true"))

    def play(self, playbook: str, *more: str) -> Cost:
        """Run a playbook once; a failure ends the bench with its output."""
        account = Path(self.environment["ACCOUNT"])
        account.unlink(missing_ok=True)
        calls, there, began = self._calls(), self._there(), time.monotonic()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(
            ["ansible-playbook", f"--inventory={self.inventory}", playbook, *more],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall, there = time.monotonic() - began, self._there() - there
        if run.returncode:
            sys.exit(run.stdout[-6000:] + run.stderr)
        rows = [json.loads(line) for line in account.read_text().splitlines()]
        acting = [row for row in rows if row["action"].rpartition(".")[2] not in ON_CONTROLLER]
        return Cost(
            cpu=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime + there,
            wall=wall,
            tasks=len(rows),
            results=sum(row["results"] for row in acting),
            calls=self._calls() - calls,
            changed=int(run.stdout.partition("changed=")[2].split()[0]),
        )

    def roll_out(self, workers: int) -> Cost:
        self.plan(workers)
        return self.play("synapse.workers.roll_out")


def middle(costs: list[Cost]) -> Cost:
    """The run with the median CPU."""
    return sorted(costs, key=lambda cost: cost.cpu)[len(costs) // 2]


def ratio(ours: list[Cost], theirs: list[Cost]) -> float:
    """Median of the pairs."""
    return statistics.median(one.cpu / other.cpu for one, other in zip(ours, theirs, strict=True))


def row(name: str, cost: Cost) -> list[str]:
    return [name, str(cost.tasks), str(cost.results), str(cost.calls), f"{cost.cpu:.2f}", f"{cost.wall:.0f}"]


def main() -> int:
    parser = argparse.ArgumentParser(description="What a roll-out costs, by the number of workers.")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loops", type=int, default=3, help="workers of the usual loops, beside one")
    parser.add_argument("--write", type=Path, help="write the tables to this file too")
    parser.add_argument("--keep", action="store_true", help="leave the containers")
    options = parser.parse_args()
    engine = subprocess.run([ROOT / "dev/engine"], check=True, capture_output=True, text=True).stdout.strip()
    os.environ["DOCKER_HOST"] = engine
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder))
        try:
            host.up()
            text, missed = measure(host, options.workers, options.rounds, options.loops)
        finally:
            if not options.keep:
                host.down()
    publish(text, options.write)
    return missed


def rounds_of(host: Host, workers: int, rounds: int) -> tuple[list[Cost], list[Cost]]:
    """Runs that change nothing, each beside an empty play with its facts."""
    pairs = [(host.play(str(HERE / "facts.yml")), host.roll_out(workers)) for _ in range(rounds)]
    return [facts for facts, _ in pairs], [ours for _, ours in pairs]


def measure(host: Host, workers: int, rounds: int, loops: int) -> tuple[str, int]:
    host.roll_out(1)
    facts_by_one, by_one = rounds_of(host, 1, rounds)
    to_two, to_many = host.roll_out(2), host.roll_out(workers)
    facts_by_many, by_many = rounds_of(host, workers, rounds)
    usual = {}
    for style in ("loop", "include"):
        for count in (1, loops):
            host.play(str(HERE / f"{style}.yml"), "-e", f"count={count}")
            usual[style, count] = host.play(str(HERE / f"{style}.yml"), "-e", f"count={count}")
    assert not any(cost.changed for cost in [*by_one, *by_many, *usual.values()])
    one, lots, facts = middle(by_one), middle(by_many), middle([*facts_by_one, *facts_by_many])
    slope = {style: (usual[style, loops].cpu - usual[style, 1].cpu) / (loops - 1) for style in ("loop", "include")}
    per_worker = (lots.cpu - one.cpu) / (workers - 1)
    growing = (to_many.cpu - to_two.cpu) / (workers - 2)
    limits = [
        (
            f"CPU of a run that changes nothing, {workers} workers over one",
            ratio(by_many, facts_by_many) / ratio(by_one, facts_by_one),
            1.25,
            " ×",
        ),
        ("CPU of a run that changes nothing over an empty play with its facts", ratio(by_many, facts_by_many), 3, " ×"),
        ("CPU of a run that changes nothing, per added worker", per_worker, 0.03, " s"),
        ("CPU of a run that adds workers, per added worker", growing, 0.03, " s"),
        ("calls of modules in a run that changes nothing, more for more workers", lots.calls - one.calls, 0, ""),
        ("calls of modules in a run that adds workers, more for more workers", to_many.calls - to_two.calls, 0, ""),
    ]
    runs = {
        "an empty play with its facts": facts,
        "no-op, 1 worker": one,
        f"no-op, {workers} workers": lots,
        "1 → 2 workers": to_two,
        f"1 → {workers} workers": to_many,
        **{f"the usual {style}, no-op, {count} worker{'s' if count > 1 else ''}": cost for (style, count), cost in usual.items()},
    }
    parts = [
        "CPU seconds of the controller's processes and of what they ran on the host.",
        table(
            ["run", "tasks", "results on the host", "calls of modules", "CPU s", "wall s"], [row(*run) for run in runs.items()]
        ),
        f"The usual styles cost {slope['loop']:.2f} s (loop) and {slope['include']:.2f} s (include) of CPU for each worker in a run that "
        f"changes nothing: by that {(usual['loop', 1].cpu + slope['loop'] * (workers - 1)) / lots.cpu:.0f} and "
        f"{(usual['include', 1].cpu + slope['include'] * (workers - 1)) / lots.cpu:.0f} times ours with {workers} workers "
        "(calculated, their cost being linear).",
    ]
    goals = [[name, f"at most {goal}{unit}", f"{value:.3g}{unit}"] for name, value, goal, unit in limits]
    text = page("rollout/run.py", goals, parts, f", {rounds} rounds")
    return text, int(any(value > goal for _name, value, goal, _unit in limits))


if __name__ == "__main__":
    sys.exit(main())
