#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: processes
short_description: Bring Synapse's processes on a host to the planned state in one step
version_added: 0.1.0
author:
  - synapse.workers contributors
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
    type: str
    choices: [started, stopped_together, retired]
    default: started
  only:
    description: With O(state=started), leave other processes as they are. Names.
    type: list
    elements: str
  timeout:
    description: Seconds that a process may take to be ready.
    type: int
    default: 120
  drain:
    description: With O(state=retired), seconds that requests under way have to end before the process is stopped.
    type: int
    default: 45
attributes:
  check_mode:
    support: full
    description: Tells the same plan and does nothing.
  diff_mode:
    support: none
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
"""

import glob
import http.client
import json
import os
import re
import socket
import time
from typing import Any, Dict, Iterator, NoReturn

from ansible.module_utils.basic import AnsibleModule

# An element of `processes`.
Process = Dict[str, Any]

PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")
# Twice a second is often enough for a process that takes a second and a half to start.
PAUSE = 0.5
POSITION = re.compile(
    r'^synapse_replication_tcp_protocol_inbound_commands(?:_total)?\{(?=[^}]*command="POSITION")[^}]*\} ([0-9.e+]+)',
    re.MULTILINE,
)


class Failure(Exception):
    """Something did not come up; str() is for the operator."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str, timeout: float) -> None:
        http.client.HTTPConnection.__init__(self, "localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def get(listen: dict[str, Any], target: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """(status, body) of a GET; (0, reason) when nobody answers."""
    connection = (
        UnixConnection(listen["path"], 10)
        if listen.get("path")
        else http.client.HTTPConnection(listen["address"], int(listen["port"]), timeout=10)
    )
    try:
        connection.request("GET", target, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


def what_is_missing(probe: dict[str, Any]) -> str | None:
    """None when the process is ready, else what it still lacks."""
    listen = probe.get("listen")
    if listen:
        status, words = get(listen, "/health")
        if status != 200:
            return "/health answers %s" % (status or words)
    metrics = probe.get("metrics")
    if metrics and probe.get("replicates", True):
        status, body = get(metrics, "/_synapse/metrics")
        counts = POSITION.findall(body) if status == 200 else []
        if not any(float(count) > 0 for count in counts):
            return "it has not heard from the other processes through Redis"
    if listen and probe.get("client"):
        # /health says nothing about the database; an unknown token has to be looked up there.
        headers = {"Authorization": "Bearer readiness"}
        status, words = get(listen, "/_matrix/client/v3/account/whoami", headers)
        if status != 401:
            return "a look into the database is answered %s instead of 401" % (status or words)
    return None


class Systemd:
    """systemctl, with as few calls as there are questions."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module

    def run(self, *words: str, check: bool = True) -> str:
        code, out, err = self.module.run_command(["systemctl", *words])
        if code and check:
            raise Failure("systemctl {}: {}".format(" ".join(words), err.strip() or out.strip()))
        return out

    def show(self, units: list[str]) -> dict[str, dict[str, str]]:
        """{unit: {property: value}} of all units in one call."""
        if not units:
            return {}
        out = self.run("show", "--property=" + ",".join(PROPERTIES), *units, check=False)
        blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in out.strip().split("\n\n") if block]
        return dict(zip(units, blocks))

    def last_words(self, unit: str) -> str:
        """The end of the unit's journal: what an operator would look up next."""
        _code, out, _err = self.module.run_command(["journalctl", "--unit", unit, "--lines=12", "--no-pager", "--output=cat"])
        return out.strip()


class Memory:
    """What each process was started with: a file of JSON per process."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name + ".json")

    def __iter__(self) -> Iterator[str]:
        for path in sorted(glob.glob(os.path.join(glob.escape(self.folder), "*.json"))):
            yield os.path.basename(path)[: -len(".json")]

    def recall(self, name: str) -> dict[str, Any]:
        try:
            with open(self._path(name)) as stream:
                data = json.load(stream)
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def remember(self, process: Process) -> None:
        if not os.path.isdir(self.folder):
            os.makedirs(self.folder, 0o755)
        data = {
            "unit": process["unit"],
            "parts": process["parts"],
            "listen": process["probe"].get("listen"),
            "yields": process["yields"],
        }
        temporary = self._path(process["name"]) + ".new"
        with open(temporary, "w") as stream:
            json.dump(data, stream, indent=1, sort_keys=True)
        os.rename(temporary, self._path(process["name"]))

    def forget(self, name: str) -> None:
        if os.path.exists(self._path(name)):
            os.unlink(self._path(name))


def installed_version(venv: str) -> str:
    """The release in the virtual environment, read from its package folder (starting Python would cost more)."""
    found = glob.glob(os.path.join(glob.escape(venv), "lib", "python3*", "site-packages", "matrix_synapse-*.dist-info"))
    return os.path.basename(found[0])[len("matrix_synapse-") : -len(".dist-info")] if len(found) == 1 else ""


def stamp_of(folder: str) -> str:
    """Names and times of change of the files in a folder: another text when one was replaced."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return " ".join(f"{name}@{os.stat(os.path.join(folder, name)).st_mtime_ns}" for name in names)


def connections_to(listen: dict[str, Any] | None) -> int:
    """How many clients are connected to the listener."""
    if not listen:
        return 0
    if listen.get("path"):
        with open("/proc/net/unix") as stream:
            # Column 6 is the state: 03 is connected. The listening socket itself is 01.
            return sum(1 for line in stream if line.split()[5:6] == ["03"] and line.rstrip().endswith(" " + listen["path"]))
    count = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            with open(table) as stream:
                for line in stream.readlines()[1:]:
                    fields = line.split()
                    # Column 3 is the state: 01 is established.
                    count += fields[3] == "01" and int(fields[1].rsplit(":", 1)[1], 16) == int(listen["port"])
    return count


class Run:
    """One call of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.systemd = Systemd(module)
        self.memory = Memory(self.params["memory"])
        self.plan: list[dict[str, str]] = []
        self.processes = self.params["processes"]
        if self.params["version_of"]:
            version = installed_version(self.params["version_of"])
            for process in self.processes:
                process["parts"] = dict(process["parts"], Synapse=version)
        if self.params["secrets"]:
            stamp = stamp_of(self.params["secrets"])
            for process in self.processes:
                process["parts"] = dict(process["parts"], secrets=stamp)
        target = self.params["target"]
        self.units = self.systemd.show([process["unit"] for process in self.processes] + ([target] if target else []))

    def decide(self, process: Process) -> tuple[str, str]:
        """(action, reason) for one planned process."""
        unit = self.units.get(process["unit"], {})
        if unit.get("ActiveState") not in ("active", "reloading"):
            return "start", "is not running" if self.memory.recall(process["name"]) else "is new"
        before = self.memory.recall(process["name"]).get("parts")
        if before is None:
            return "restart", "was not started by this collection"
        changed = self.changed_parts(process)
        return ("restart", "{} changed".format(" and ".join(changed))) if changed else ("keep", "")

    def changed_parts(self, process: Process) -> list[str]:
        before = self.memory.recall(process["name"]).get("parts", {})
        return [part for part in sorted(process["parts"]) if before.get(part) != process["parts"][part]]

    def note(self, process: Process, action: str, reason: str) -> None:
        self.plan.append({"name": process["name"], "action": action, "reason": reason})

    # States

    def started(self) -> None:
        only = self.params["only"]
        chosen = [process for process in self.processes if only is None or process["name"] in only]
        waves: Dict[int, list[tuple[Process, str]]] = {}
        for process in chosen:
            action, reason = self.decide(process)
            self.note(process, action, reason)
            if action != "keep":
                # Starting takes nobody's capacity away: all of them at once, and first.
                waves.setdefault(-1 if action == "start" else process["wave"], []).append((process, action))
        self.enable(chosen)
        if self.module.check_mode:
            return
        self.reload_daemon()
        for wave in sorted(waves):
            self.bring_up([process for process, _action in waves[wave]], "start" if wave == -1 else "restart")
        self.start_target()

    def bring_up(self, processes: list[Process], verb: str) -> None:
        units = [process["unit"] for process in processes]
        self.systemd.run("reset-failed", *units, check=False)
        self.systemd.run(verb, *units, check=False)
        deadline = time.monotonic() + self.params["timeout"]
        failures = []
        for process in processes:
            missing = self.wait(process, deadline)
            if missing is None:
                self.memory.remember(process)
            else:
                failures.append((process, missing))
        if failures:
            self.fail(failures)

    def wait(self, process: Process, deadline: float) -> str | None:
        """None once the process is ready, else what it lacked at the end."""
        while True:
            state = self.systemd.show([process["unit"]])[process["unit"]].get("ActiveState")
            missing = f"its unit is {state}" if state != "active" else what_is_missing(process["probe"])
            if missing is None or state == "failed" or time.monotonic() > deadline:
                return missing
            time.sleep(PAUSE)

    def fail(self, failures: list[tuple[Process, str]]) -> NoReturn:
        lines = ["{} did not get ready: {}".format(process["name"], missing) for process, missing in failures]
        process = failures[0][0]
        raise Failure(
            "{}.\nNothing after it was touched, and nginx still has its old pools. Mend the cause and run again.\n"
            "The end of `journalctl -u {}`:\n{}".format(
                "; ".join(lines), process["unit"], self.systemd.last_words(process["unit"])
            )
        )

    def enable(self, processes: list[Process]) -> None:
        """Let the chosen processes and the target start at boot."""
        kept = {entry["name"]: entry for entry in self.plan if entry["action"] == "keep"}
        units = [process["unit"] for process in processes if not self.is_enabled(process["unit"])]
        for process in processes:
            if process["unit"] in units and process["name"] in kept:
                kept[process["name"]].update(action="enable", reason="did not start at boot")
        target = self.params["target"]
        if target and not self.is_enabled(target):
            units.append(target)
            self.plan.append({"name": target, "action": "enable", "reason": "did not start at boot"})
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
            action, _reason = self.decide(process)
            common = [part for part in self.changed_parts(process) if part in process["together"]]
            if action == "restart" and common and self.memory.recall(process["name"]):
                units.append(process["unit"])
                self.note(process, "stop", f"{' and '.join(common)} changed for several processes at once")
        for process in self.old_processes():
            if process["yields"] and self.systemd.show([process["unit"]])[process["unit"]].get("ActiveState") == "active":
                units.append(process["unit"])
                self.note(process, "stop", "is no longer planned, and its duty passes to others")
        if units and not self.module.check_mode:
            self.systemd.run("stop", *units)

    def old_processes(self) -> list[Process]:
        """What is remembered and no longer planned."""
        planned = {process["name"] for process in self.processes}
        blank = {"unit": "", "listen": None, "yields": False}
        return [{**blank, **self.memory.recall(name), "name": name} for name in self.memory if name not in planned]

    def retired(self) -> None:
        old = self.old_processes()
        for process in old:
            self.note(process, "retire", "is no longer planned")
        if not old or self.module.check_mode:
            return
        deadline = time.monotonic() + self.params["drain"]
        while any(connections_to(process["listen"]) for process in old) and time.monotonic() < deadline:
            time.sleep(PAUSE)
        units = [process["unit"] for process in old if process["unit"]]
        if units:
            self.systemd.run("disable", "--now", *units)
            self.systemd.run("reset-failed", *units, check=False)
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
                    "yields": {"type": "bool", "default": False},
                    "wave": {"type": "int", "default": 0},
                    "probe": {"type": "dict", "default": {}},
                },
            },
            "target": {"type": "str"},
            "memory": {"type": "path", "required": True},
            "version_of": {"type": "path"},
            # A folder's name is no secret.
            "secrets": {"type": "path", "no_log": False},
            "state": {"type": "str", "choices": ["started", "stopped_together", "retired"], "default": "started"},
            "only": {"type": "list", "elements": "str"},
            "timeout": {"type": "int", "default": 120},
            "drain": {"type": "int", "default": 45},
        },
        supports_check_mode=True,
    )
    # No systemctl, no processes: so a bare host under check mode is told about, not tripped over.
    run = Run(module)
    try:
        getattr(run, module.params["state"])()
    except Failure as error:
        module.fail_json(msg=str(error), plan=run.plan)
    module.exit_json(changed=any(entry["action"] != "keep" for entry in run.plan), plan=run.plan)


if __name__ == "__main__":
    main()
