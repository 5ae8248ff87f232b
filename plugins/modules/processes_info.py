#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: processes_info
short_description: Look at Synapse's processes on a host
version_added: 0.1.0
author:
  - synapse.workers contributors (!UNKNOWN)
description:
  - Tells in one step all that a plan of changes needs to know of a host, and changes nothing.
  - What is to be done follows from it on the controller, by the filter P(synapse.workers.change_plan#filter).
options:
  units:
    description: systemd units to look at; shell patterns find those that are loaded.
    type: list
    elements: str
    default: []
  memory:
    description: Folder in which the module M(synapse.workers.processes) remembers what each process was started with.
    type: path
    required: true
  version_of:
    description:
      - Virtual environment, or link to one, whose release is told. So are those of single releases that lie beside it, as C(VENV-RELEASE).
    type: path
  secrets:
    description: Folder of the secrets. What they hold is not looked at.
    type: path
  manifests:
    description: Memories of the module M(synapse.workers.files).
    type: list
    elements: path
    default: []
  settled:
    description: Folder in which the module M(synapse.workers.settled) keeps which parts of a roll-out went through.
    type: path
  run:
    description: File in which the module M(synapse.workers.run_lock) notes which run holds the host.
    type: path
  parts:
    description: The parts that are asked about, and where they leave something, as for that module.
    type: dict
    default: {}
  budget:
    description: What is asked of the host besides, for the question whether it can hold the plan. Nothing is without it.
    type: dict
    suboptions:
      address:
        description: Address at which processes shall listen.
        type: str
        required: true
      service:
        description: Name of the service, whose processes' memory is told.
        type: str
        required: true
      worker_unit:
        description: Name of the unit of its workers, without C(@) and what follows; that of the service and C(-worker) unless given.
        type: str
      postgresql_port:
        description: Port of a PostgreSQL on this host that its administrator may be asked of; 0 for none.
        type: int
        default: 0
      database_name:
        description: Name of the homeserver's database there.
        type: str
        default: synapse
      database:
        description:
          - The setting C(database) of Synapse as JSON, when its server is another one; V({}) for what the files in O(budget.settings_dir) say.
          - The server is asked as Synapse would be, by its own Python and its own user. Empty asks nobody.
        type: str
        default: ''
      settings_dir:
        description: Folder of Synapse's settings.
        type: path
      user:
        description: System account of Synapse.
        type: str
attributes:
  check_mode:
    support: full
    description: It only looks.
  diff_mode:
    support: none
    description: It changes nothing.
"""

EXAMPLES = r"""
- name: Look at the processes
  synapse.workers.processes_info:
    units: [matrix-synapse.service, 'matrix-synapse-worker@*.service']
    memory: /var/lib/synapse-workers/matrix-synapse/processes
    version_of: /opt/venvs/matrix-synapse
  register: seen
"""

RETURN = r"""
units:
  description: For each unit that systemd has loaded some of its properties, such as C(ActiveState).
  returned: always
  type: dict
remembered:
  description: For each process what it was started with.
  returned: always
  type: dict
replaced:
  description: For each unit of before that was switched off, whether it was C(enabled) and C(active).
  returned: always
  type: dict
release:
  description: Release of Synapse in O(version_of), empty when there is none.
  returned: always
  type: str
venvs:
  description: For each virtual environment that is no link its release of Synapse.
  returned: always
  type: dict
venv_link:
  description: Where O(version_of) leads to; empty when it is no link.
  returned: always
  type: str
nginx:
  description: Release of nginx on the host, like V(1.22.1); empty when there is none.
  returned: always
  type: str
stamp:
  description: A text that is another one after a file in O(secrets) was replaced.
  returned: always
  type: str
written:
  description: >-
    For each manifest C(files) (path and SHA-256 of what stands there now, empty when that is nothing), C(applied) and C(note).
  returned: always
  type: dict
last_run:
  description: C(id) of the run that was here last, or is here; empty when there was none.
  returned: always
  type: str
host:
  description:
    - With O(budget) C(cores), C(memory) (MB C(total), C(available), C(swap)), C(used_mb) of each unit of the service, C(listeners) (C(address),
      empty for all, C(port), C(program), C(unit)), C(address_here), C(nginx) (C(connections), C(files)), C(postgresql)
      (C(max_connections), C(reserved), C(others), C(connected), and where Synapse's settings were asked C(pool), and C(collation), C(ctype)
      and C(unsafe_locale) of the database).
    - C(nginx) and C(postgresql) are null where there is none, or none that could be asked.
  returned: always
  type: dict
settled:
  description: What those of O(parts) were given that are as they were left.
  returned: always
  type: dict
"""

import hashlib
import json
import re
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.synapse.workers.plugins.module_utils import _host_facts, _nginx_config, _postgresql_facts
from ansible_collections.synapse.workers.plugins.module_utils._process_host import (
    Memory,
    Systemd,
    installed_release,
    stamp_of,
    target_of,
    venvs_of_releases,
)
from ansible_collections.synapse.workers.plugins.module_utils._run_lock import RunLock
from ansible_collections.synapse.workers.plugins.module_utils._settled import UNIT_PROPERTIES, Settled, units_of, whole


def read(path: str) -> bytes | None:
    """Content, or None when it cannot be had."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def written(manifest: str) -> Dict[str, Any]:
    """What the module `files` remembers, and what has become of the files."""
    try:
        known = json.loads(read(manifest) or b"{}")
        paths = list(known.get("files", []))
    except (ValueError, AttributeError, TypeError):
        # The module `files` refuses to go on by a damaged one, in words.
        known, paths = {}, []
    contents = {path: read(path) for path in paths}
    return {
        "files": {path: hashlib.sha256(data).hexdigest() if data is not None else "" for path, data in contents.items()},
        "applied": bool(known.get("applied", True)),
        "note": str(known.get("note", "")),
    }


def budget(module: AnsibleModule, wanted: Dict[str, Any], venv: str) -> Dict[str, Any]:
    """What the host has to give, and who takes of it now."""
    programs = _host_facts.Programs()
    workers = wanted["worker_unit"] or wanted["service"] + "-worker"
    postgresql = None
    if wanted["postgresql_port"]:
        postgresql = _postgresql_facts.ours(module, wanted["postgresql_port"], wanted["database_name"])
    elif wanted["database"]:
        postgresql = _postgresql_facts.theirs(module, venv, wanted["user"], wanted["database"], wanted["settings_dir"])
    return {
        "cores": _host_facts.cores(),
        "memory": _host_facts.memory(),
        "used_mb": programs.memory_of(rf"({re.escape(wanted['service'])}|{re.escape(workers)}@.*)\.service$"),
        "listeners": programs.listeners(),
        "address_here": _host_facts.has_address(wanted["address"]),
        "nginx": _host_facts.nginx_limits(),
        "postgresql": postgresql,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": []},
            "memory": {"type": "path", "required": True},
            "version_of": {"type": "path"},
            # A folder's name is no secret.
            "secrets": {"type": "path", "no_log": False},
            "manifests": {"type": "list", "elements": "path", "default": []},
            "settled": {"type": "path"},
            "run": {"type": "path"},
            "budget": {
                "type": "dict",
                "options": {
                    "address": {"type": "str", "required": True},
                    "service": {"type": "str", "required": True},
                    "worker_unit": {"type": "str"},
                    "postgresql_port": {"type": "int", "default": 0},
                    "database_name": {"type": "str", "default": "synapse"},
                    # There may be a password in it.
                    "database": {"type": "str", "default": "", "no_log": True},
                    "settings_dir": {"type": "path"},
                    "user": {"type": "str"},
                },
            },
            "parts": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    params = module.params
    memory = Memory(params["memory"])
    parts = {name: whole(places) for name, places in params["parts"].items()} if params["settled"] else {}
    units = Systemd(module).show(sorted({*params["units"], *units_of(parts)}), UNIT_PROPERTIES)
    module.exit_json(
        changed=False,
        units=units,
        remembered={name: memory.recall(name) for name in memory},
        replaced=memory.replaced(),
        release=installed_release(params["version_of"]) if params["version_of"] else "",
        venvs=venvs_of_releases(params["version_of"]) if params["version_of"] else {},
        venv_link=target_of(params["version_of"] or ""),
        nginx=_nginx_config.release(module),
        stamp=stamp_of(params["secrets"]) if params["secrets"] else "",
        written={path: written(path) for path in params["manifests"]},
        last_run=RunLock(params["run"]).last().get("id", "") if params["run"] else "",
        host=budget(module, params["budget"], params["version_of"] or "") if params["budget"] else {},
        settled=Settled(params["settled"]).wishes(parts, units) if parts else {},
    )


if __name__ == "__main__":
    main()
