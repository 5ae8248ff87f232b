#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: processes
short_description: Bring Synapse's processes on a host to the planned state in one step
version_added: 0.1.0
author:
  - synapse.workers contributors (!UNKNOWN)
description:
  - Starts, restarts or retires the systemd units of all processes of a homeserver on a host, and only those that need it.
  - A process needs a restart when a part of what it was started with differs from the plan. What it was started with is
    remembered in O(memory) once the process is ready, so a run that was interrupted is finished by the next one.
  - Ready means that the unit is active, C(/health) answers 200, the process has heard from the others through Redis (where it has
    metrics to say so), and a request with an unknown access token is answered 401, which needs the database.
options:
  processes:
    description: The processes that shall run on this host.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the process, such as V(synchrotron-1).
        type: str
        required: true
      unit:
        description: Its systemd unit.
        type: str
        required: true
      parts:
        description: Digest of each part of what it reads at its start. The name of a part is the reason the operator is told.
        type: dict
        default: {}
      together:
        description: Names of the parts whose change needs all processes concerned to stop before one starts.
        type: list
        elements: str
        default: []
      yields:
        description:
          - Whether the process, once it is no longer planned, must be gone before its duty is taken up by another. Remembered.
        type: bool
        default: false
      serves:
        description: The worker types whose requests it answers. Remembered, so that nginx sends it no others before its restart.
        type: list
        elements: str
        default: []
      wave:
        description: Processes of a lower wave are restarted, and ready, before those of a higher one are touched.
        type: int
        default: 0
      probe:
        description:
          - How to ask for readiness. C(listen) and C(metrics) hold C(address) and C(port), or C(path) of a socket; C(client) says
            whether client requests are answered, C(replicates) whether other processes can be heard from.
        type: dict
        default: {}
  replaced:
    description:
      - Units of before this collection, whose work the processes take over. They are stopped and disabled like processes that are no
        longer planned, and nothing of them is removed. Whether they ran and were enabled is remembered beside O(memory).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name for the report.
        type: str
        required: true
      unit:
        description: The systemd unit.
        type: str
        required: true
      listen:
        description: Where it takes requests, C(address) and C(port), or C(path) of a socket.
        type: dict
      metrics:
        description: Where its metrics are, in the same form.
        type: dict
      yields:
        description: Whether it must be gone before its duty is taken up by another.
        type: bool
        default: false
  target:
    description: The target the units belong to; enabled, and started after them.
    type: str
  memory:
    description: Folder in which the module remembers what each process was started with.
    type: path
    required: true
  version_of:
    description: Folder of the virtual environment whose Synapse the processes run; its release is a part of every process.
    type: path
  secrets:
    description:
      - Folder of the secrets that processes read at their start. That one of its files was replaced is a part of every process; what
        they hold is not looked at.
    type: path
  state:
    description:
      - V(started) starts and restarts what needs it, in waves, and waits for each to be ready.
      - V(stopped_together) stops those running processes that may not change one by one, and those that are no longer planned and
        whose duty others take up, and nothing else. To be run on all hosts before V(started) on the first.
      - V(retired) drains, stops and disables the remembered processes that are not in O(processes).
      - V(ready) changes nothing, and fails when one of the processes does not get ready.
      - V(quiet) changes nothing, and waits until no remembered process of the host is answering anything but long-polls, at most
        O(quiet) seconds for what must not be sent again (POST), and ten for the rest. nginx must be holding requests by then.
      - V(expected) only notes in O(memory) that the processes may come to run by the plan without this run, so that the next one, also by
        another plan, does not take them for what they were. V(stopped_together) does that too.
    type: str
    choices: [started, stopped_together, retired, ready, quiet, expected]
    default: started
  alive:
    description:
      - A file by whose time of change systemd sees that this run goes on. Where it exists it is touched, at once and while the module
        waits.
    type: path
  only:
    description: With O(state=started) or O(state=ready), leave other processes as they are. Names.
    type: list
    elements: str
  forced:
    description: With O(state=started), restart these also when nothing of theirs has changed. Names.
    type: list
    elements: str
  way_on:
    description: How to go on when a process did not get ready, for the error.
    type: str
    default: "Mend the cause and run again: what is done stays done."
  timeout:
    description: Seconds that a process may take to be ready.
    type: int
    default: 120
  quiet:
    description:
      - With O(state=started) or O(state=stopped_together), wait before anything stops as O(state=quiet) does, so many seconds. For where
        all processes are on this host.
    type: int
    default: 0
  drain:
    description:
      - Seconds that requests under way have to end before a process is restarted or retired. nginx must have been turned away from
        it before; a process that goes on getting requests is never without one.
      - What had not ended by then is cut, and counted. With V(0) nothing is waited for.
    type: int
    default: 0
attributes:
  check_mode:
    support: full
    description: Tells the same plan and does nothing.
  diff_mode:
    support: none
    description: What it does with each process is in its plan.
"""

EXAMPLES = r"""
- name: Start what is new, restart what changed
  synapse.workers.processes:
    memory: /var/lib/synapse-workers/matrix-synapse/processes
    processes:
      - name: synchrotron-1
        unit: matrix-synapse-worker@synchrotron-1.service
        parts: {own settings: 3f2a}
        probe:
          listen: {address: 127.0.0.1, port: 11100}
          client: true
"""

RETURN = r"""
plan:
  description: What was (or would be) done with each process, and why.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the process.
      type: str
    action:
      description: One of V(keep), V(enable), V(start), V(restart), V(stop) and V(retire).
      type: str
    reason:
      description: What differs, in words.
      type: str
    cut:
      description: Number of requests that had not ended after O(drain) seconds.
      type: int
      returned: when there were any
"""

import contextlib
import os
import time
from typing import Any, Callable, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.synapse.workers.plugins.module_utils._probe import requests_under_way, what_is_missing, work_under_way
from ansible_collections.synapse.workers.plugins.module_utils._process_changes import (
    DUTY_PASSES,
    ENABLE,
    KEEP,
    NOT_AT_BOOT,
    NOT_PLANNED,
    REPLACED,
    RESTART,
    RETIRE,
    START,
    STOP,
    STOP_START,
    decide,
    old_processes,
    replaced_processes,
    with_host_parts,
)
from ansible_collections.synapse.workers.plugins.module_utils._process_host import (
    Failure,
    Memory,
    Systemd,
    installed_release,
    stamp_of,
)

# An element of `processes`.
Process = Dict[str, Any]

# Twice a second is often enough for a process that takes a second and a half to start.
PAUSE = 0.5

# Seconds that requests have to end which nginx may send again, while all others are held.
REPEATABLE_PATIENCE = 10


class Run:
    """One call of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.systemd = Systemd(module)
        self.memory = Memory(self.params["memory"])
        self.plan: list[dict[str, Any]] = []
        release = installed_release(self.params["version_of"]) if self.params["version_of"] else ""
        secrets = stamp_of(self.params["secrets"]) if self.params["secrets"] else ""
        self.processes = [with_host_parts(process, release, secrets) for process in self.params["processes"]]
        target = self.params["target"]
        self.show_life()
        self.units = self.systemd.show([process["unit"] for process in self.processes] + ([target] if target else []))

    def decide(self, process: Process) -> tuple[str, str]:
        """(action, reason) for one planned process."""
        forced = process["name"] in (self.params["forced"] or [])
        return decide(process, self.units.get(process["unit"], {}), self.memory.recall(process["name"]), forced)

    def note(self, process: Process, action: str, reason: str) -> None:
        self.plan.append({"name": process["name"], "action": action, "reason": reason})

    def show_life(self) -> None:
        """Tell systemd, which finishes what a killed run has begun, that this one goes on."""
        if self.params["alive"] and not self.module.check_mode:
            with contextlib.suppress(OSError):
                os.utime(self.params["alive"])

    def pause(self) -> None:
        self.show_life()
        time.sleep(PAUSE)

    def chosen(self) -> list[Process]:
        only = self.params["only"]
        return [process for process in self.processes if only is None or process["name"] in only]

    # States

    def started(self) -> None:
        waves: Dict[int, list[Process]] = {}
        chosen = self.chosen()
        for process in chosen:
            action, reason = self.decide(process)
            self.note(process, RESTART if action == STOP_START else action, reason)
            if action in (START, RESTART, STOP_START):
                # Starting takes nobody's capacity away: all of them at once, and first.
                waves.setdefault(-1 if action == START else process["wave"], []).append(dict(process, reason=reason))
        self.enable(chosen)
        if self.module.check_mode:
            return
        self.reload_daemon()
        if any(wave >= 0 for wave in waves):
            self.wait_until_quiet()
        for wave in sorted(waves):
            if wave >= 0:
                self.drain(waves[wave])
            # A start that is under way would be waited for, with what it began with.
            under_way = any(self.units.get(process["unit"], {}).get("ActiveState") == "activating" for process in waves[wave])
            self.bring_up(waves[wave], "start" if wave == -1 and not under_way else "restart")
        self.start_target()

    def bring_up(self, processes: list[Process], verb: str) -> None:
        units = [process["unit"] for process in processes]
        self.systemd.run("reset-failed", *units, check=False)
        self.systemd.run(verb, *units, check=False)
        failures = self.unready(processes, self.memory.remember)
        if failures:
            process = failures[0][0]
            raise Failure(
                "{}.\nNothing after it was touched{}. {}\nThe end of `journalctl -u {}`:\n{}".format(
                    self.words(failures),
                    ", and nginx sends it no requests" if self.params["drain"] else "",
                    self.params["way_on"],
                    process["unit"],
                    self.systemd.last_words(process["unit"]),
                )
            )

    def ready(self) -> None:
        failures = self.unready(self.chosen())
        if failures:
            raise Failure(f"{self.words(failures)}.")

    def unready(self, processes: list[Process], then: Callable[[Process], None] | None = None) -> list[tuple[Process, str]]:
        """Waits for all; those that did not get ready in time, with what they lacked. ``then`` is called for the others."""
        deadline = time.monotonic() + self.params["timeout"]
        failures = []
        pending = processes
        while pending:
            # systemd is asked once for all: a question for each would be most of what a run with many workers costs.
            units = self.systemd.show([process["unit"] for process in pending])
            late = time.monotonic() > deadline
            waiting = []
            for process in pending:
                state = units.get(process["unit"], {}).get("ActiveState")
                missing = f"its unit is {state}" if state != "active" else what_is_missing(process["probe"])
                if missing is None:
                    if then:
                        then(process)
                elif state == "failed" or late:
                    failures.append((process, missing))
                else:
                    waiting.append(process)
            pending = waiting
            if pending:
                self.pause()
        return sorted(failures, key=lambda failure: processes.index(failure[0]))

    @staticmethod
    def words(failures: list[tuple[Process, str]]) -> str:
        return "; ".join("{} did not get ready: {}".format(process["name"], missing) for process, missing in failures)

    def drain(self, processes: list[Process]) -> None:
        """Wait until nobody waits for an answer of these any more, for as long as is allowed; what is cut is told."""
        if not self.params["drain"]:
            return
        deadline = time.monotonic() + self.params["drain"]
        quiet = 0
        while True:
            under_way = {process["name"]: requests_under_way(**process["probe"]) for process in processes}
            # Twice in a row: nginx may just have been handing one over.
            quiet = 0 if any(under_way.values()) else quiet + 1
            if quiet == 2 or time.monotonic() > deadline:
                break
            self.pause()
        for entry in self.plan:
            if under_way.get(entry["name"]):
                entry["cut"] = under_way[entry["name"]]

    def quiet(self) -> None:
        self.wait_until_quiet()

    def wait_until_quiet(self) -> None:
        """Wait until requests that were under way when nginx began to hold have ended; of what is cut only the rest is told."""
        if not self.params["quiet"]:
            return
        began, patience = time.monotonic(), self.params["quiet"]
        remembered = {name: self.memory.recall(name) for name in self.memory}
        probes = {name: {key: known.get(key) for key in ("listen", "metrics")} for name, known in remembered.items()}
        # A process that this collection did not start is asked where the plan has it.
        probes.update((process["name"], process["probe"]) for process in self.processes if process["name"] not in probes)
        quiet = 0
        while not self.module.check_mode:
            under_way = {name: work_under_way(**probe) for name, probe in probes.items()}
            waited = time.monotonic() - began
            posts, others = (sum(counts) for counts in zip((0, 0), *under_way.values()))
            keeps = (posts and waited < patience) or (others and waited < min(patience, REPEATABLE_PATIENCE))
            # Twice in a row: nginx may just have been handing one over.
            quiet = 0 if posts or others else quiet + 1
            if quiet == 2 or (not keeps and quiet == 0):
                for name, (number, _others) in under_way.items():
                    if number:
                        self.plan.append({"name": name, "action": KEEP, "reason": "", "cut": number})
                return
            self.pause()

    def enable(self, processes: list[Process]) -> None:
        """Let the chosen processes and the target start at boot."""
        units = [process["unit"] for process in processes if not self.is_enabled(process["unit"])]
        target = self.params["target"]
        if target and not self.is_enabled(target):
            units.append(target)
            # Where everything is new, so is the target.
            if any(self.memory.recall(process["name"]) for process in self.processes):
                self.note({"name": target}, ENABLE, NOT_AT_BOOT)
        if units and not self.module.check_mode:
            self.systemd.run("enable", *units)

    def is_enabled(self, unit: str) -> bool:
        return self.units.get(unit, {}).get("UnitFileState") == "enabled"

    def start_target(self) -> None:
        """The units are up already; this only lets `systemctl stop` and `restart` of the target reach them."""
        target = self.params["target"]
        if target and self.units.get(target, {}).get("ActiveState") != "active":
            self.systemd.run("start", target)

    def reload_daemon(self) -> None:
        if any(unit.get("NeedDaemonReload") == "yes" for unit in self.units.values()):
            self.systemd.run("daemon-reload")

    def stopped_together(self) -> None:
        units = []
        for process in self.processes:
            action, reason = self.decide(process)
            if action == STOP_START:
                units.append(process["unit"])
                self.note(process, STOP, reason)
        replaced = self.replaced()
        for process in self.old_processes():
            if process["name"] in replaced and process["yields"]:
                # Off for good: something of before may want it started together with the main process.
                self.note(process, RETIRE, DUTY_PASSES)
                self.switch_off([process])
            elif process["yields"] and self.systemd.show([process["unit"]])[process["unit"]].get("ActiveState") == "active":
                units.append(process["unit"])
                self.note(process, STOP, DUTY_PASSES)
        if units and not self.module.check_mode:
            self.wait_until_quiet()
            self.expected()
            self.systemd.run("stop", *units)

    def expected(self) -> None:
        if not self.module.check_mode:
            for process in self.processes:
                self.memory.expect(process)

    def old_processes(self) -> list[Process]:
        remembered = {name: self.memory.recall(name) for name in self.memory}
        return old_processes([process["name"] for process in self.processes], {**remembered, **self.replaced()})

    def replaced(self) -> dict[str, Process]:
        """The units of before that are still on."""
        rows = self.params["replaced"]
        return replaced_processes(rows, self.systemd.show([row["unit"] for row in rows]))

    def switch_off(self, processes: list[Process]) -> None:
        """Stop and disable; of a unit of before it is remembered what it was, so that it can be that again."""
        units = [process["unit"] for process in processes if process["unit"]]
        if not units or self.module.check_mode:
            return
        theirs = {row["unit"] for row in self.params["replaced"]}
        self.memory.remember_replaced({unit: state for unit, state in self.systemd.show(units).items() if unit in theirs})
        self.systemd.run("disable", "--now", *units)
        self.systemd.run("reset-failed", *units, check=False)

    def retired(self) -> None:
        old = self.old_processes()
        replaced = self.replaced()
        for process in old:
            self.note(process, RETIRE, REPLACED if process["name"] in replaced else NOT_PLANNED)
        if not old or self.module.check_mode:
            return
        self.drain([dict(process, probe={key: process[key] for key in ("listen", "metrics")}) for process in old])
        self.switch_off(old)
        for process in old:
            self.memory.forget(process["name"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "processes": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "unit": {"type": "str", "required": True},
                    "parts": {"type": "dict", "default": {}},
                    "together": {"type": "list", "elements": "str", "default": []},
                    "serves": {"type": "list", "elements": "str", "default": []},
                    "yields": {"type": "bool", "default": False},
                    "wave": {"type": "int", "default": 0},
                    "probe": {"type": "dict", "default": {}},
                },
            },
            "replaced": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "unit": {"type": "str", "required": True},
                    "listen": {"type": "dict"},
                    "metrics": {"type": "dict"},
                    "yields": {"type": "bool", "default": False},
                },
            },
            "target": {"type": "str"},
            "memory": {"type": "path", "required": True},
            "version_of": {"type": "path"},
            # A folder's name is no secret.
            "secrets": {"type": "path", "no_log": False},
            "state": {
                "type": "str",
                "choices": ["started", "stopped_together", "retired", "ready", "quiet", "expected"],
                "default": "started",
            },
            "alive": {"type": "path"},
            "only": {"type": "list", "elements": "str"},
            "forced": {"type": "list", "elements": "str"},
            "way_on": {"type": "str", "default": "Mend the cause and run again: what is done stays done."},
            "timeout": {"type": "int", "default": 120},
            "quiet": {"type": "int", "default": 0},
            "drain": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    run = Run(module)
    try:
        getattr(run, module.params["state"])()
    except Failure as error:
        module.fail_json(msg=str(error), plan=run.plan)
    module.exit_json(changed=any(entry["action"] != KEEP for entry in run.plan), plan=run.plan)


if __name__ == "__main__":
    main()
