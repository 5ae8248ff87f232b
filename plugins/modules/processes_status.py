#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: processes_status
short_description: How Synapse's processes on a host are doing
version_added: 0.1.0
author:
  - synapse.workers contributors (!UNKNOWN)
description:
  - Asks each process whether it is ready, and looks how much memory it has and how busy it is; changes nothing.
  - How busy a process is, is measured over O(seconds), from C(/proc).
options:
  processes:
    description:
      - The processes, as the filter P(synapse.workers.process_states#filter) makes them. C(name), C(unit) and C(probe) are read.
    type: list
    elements: dict
    required: true
  memory:
    description: Folder in which the module M(synapse.workers.processes) remembers what each process was started with, and why.
    type: path
    required: true
  seconds:
    description: For how long to look how busy they are.
    type: float
    default: 10
attributes:
  check_mode:
    support: full
    description: It only looks.
  diff_mode:
    support: none
    description: It changes nothing.
"""

EXAMPLES = r"""
- name: Look how the workers are doing
  synapse.workers.processes_status:
    processes: "{{ synapse_topology | synapse.workers.process_states(inventory_hostname, units) }}"
    memory: /var/lib/synapse-workers/matrix-synapse/processes
    seconds: 60
  register: seen
"""

RETURN = r"""
processes:
  description: What each is doing.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the process.
      type: str
    state:
      description: State of its unit, such as V(active) or V(failed).
      type: str
    missing:
      description: What it lacks to be ready; empty when it is.
      type: str
    memory_bytes:
      description: Resident memory of the process; null when it does not run.
      type: int
    busy:
      description: Share of a core that it kept busy while O(seconds) passed, V(1.0) for a whole one; null when it does not run.
      type: float
    since:
      description: When it was started, in seconds since 1970; V(0) when it does not run.
      type: int
    restarts:
      description: How often systemd has started it anew because it had ended by itself.
      type: int
    reason:
      description: Why it was started last.
      type: str
cores:
  description: Cores of the host.
  returned: always
  type: int
seconds:
  description: For how long was looked.
  returned: always
  type: float
"""

import os
import time
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.synapse.workers.plugins.module_utils._probe import what_is_missing
from ansible_collections.synapse.workers.plugins.module_utils._process_host import Memory, Systemd

PROPERTIES = ("Id", "ActiveState", "MainPID", "NRestarts", "ActiveEnterTimestampMonotonic")
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> Optional[float]:
    """CPU time of a process so far; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            # The second field is the name, which may hold anything but ends with the last bracket (proc(5)).
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_bytes(pid: int) -> Optional[int]:
    """Resident memory of a process; None when there is none."""
    try:
        with open(f"/proc/{pid}/statm") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def started_at(unit: Dict[str, str]) -> float:
    """When a unit became active, in seconds since 1970; 0 when it is not."""
    if unit.get("ActiveState") != "active":
        return 0.0
    # systemd writes the time of day in words of a locale; the microseconds since boot are a number (systemd 252).
    since_boot = int(unit.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
    return time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + since_boot


def why(name: str, started: float, unit: Dict[str, str], memory: Memory) -> str:
    """Why it was started last, as far as anybody knows."""
    remembered = memory.since(name)
    if not started:
        return ""
    if not remembered:
        return "not by this collection"
    # It is remembered once it is ready: what was started after that, was not started by a playbook.
    if started <= remembered:
        return str(memory.recall(name).get("reason") or "by a playbook")
    return "ended by itself, and systemd started it again" if int(unit.get("NRestarts") or 0) else "by hand, or the host booted"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "processes": {"type": "list", "elements": "dict", "required": True},
            "memory": {"type": "path", "required": True},
            "seconds": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    processes: List[Dict[str, Any]] = module.params["processes"]
    memory = Memory(module.params["memory"])
    units = Systemd(module).show([process["unit"] for process in processes], PROPERTIES)
    pids = {process["name"]: int(units.get(process["unit"], {}).get("MainPID") or 0) for process in processes}
    before, began = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic()
    # Nothing is waited for here: this is how long is measured.
    time.sleep(max(0.0, module.params["seconds"]))
    after, seconds = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic() - began
    told = []
    for process in processes:
        name, unit = process["name"], units.get(process["unit"], {})
        first, last = before[name], after[name]
        started = started_at(unit)
        state = unit.get("ActiveState", "inactive")
        told.append(
            {
                "name": name,
                "state": state,
                "missing": (what_is_missing(process["probe"]) or "") if state == "active" else "its unit is " + state,
                "memory_bytes": memory_bytes(pids[name]),
                "busy": (last - first) / seconds if first is not None and last is not None else None,
                "since": int(started),
                "restarts": int(unit.get("NRestarts") or 0),
                "reason": why(name, started, unit, memory),
            }
        )
    module.exit_json(changed=False, processes=told, cores=os.cpu_count() or 1, seconds=seconds)


if __name__ == "__main__":
    main()
