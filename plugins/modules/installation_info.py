#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: installation_info
short_description: Look at a Synapse that was set up by hand
version_added: 0.1.0
author:
  - synapse.workers contributors (!UNKNOWN)
description:
  - Tells the units that start Synapse, the settings they read, what the database says of itself, what nginx reads and which ports are
    taken. Changes nothing.
  - Settings are read on the host, by Synapse's own Python; no secret leaves it.
options:
  unit:
    description: The unit of the main process, where it is not the only one that starts C(synapse.app.homeserver).
    type: str
    default: ''
  paths:
    description: Files and folders of settings of the main process, where its unit does not name them.
    type: list
    elements: path
    default: []
  python:
    description: Synapse's Python, where the unit does not name it.
    type: path
    default: ''
  reader:
    description: Text of the script that reads the settings.
    type: str
    required: true
  unit_dirs:
    description: Folders in which units are looked for.
    type: list
    elements: path
    default: [/etc/systemd/system, /run/systemd/system, /usr/local/lib/systemd/system, /lib/systemd/system, /usr/lib/systemd/system]
attributes:
  check_mode:
    description: Looks in check mode as well.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Look at the Synapse that is here
  synapse.workers.installation_info:
    reader: "{{ lookup('ansible.builtin.file', 'read_settings.py') }}"
  register: found
"""

RETURN = r"""
units:
  description: For each unit that starts Synapse C(unit), C(app), C(python), C(configs), C(user), C(active), C(enabled) and the like.
  returned: always
  type: list
  elements: dict
main:
  description: Name of the main process's unit; empty when there is none, or more than one.
  returned: always
  type: str
python:
  description: Synapse's Python.
  returned: always
  type: str
release:
  description: The release of Synapse.
  returned: always
  type: str
package:
  description: Version of the Debian package C(matrix-synapse-py3), empty without it.
  returned: always
  type: str
settings:
  description: For each file of the main process its known C(keys) and their values, the names of C(others), and C(error).
  returned: always
  type: dict
worker_settings:
  description: The same for the files of the workers, by unit.
  returned: always
  type: dict
refusals:
  description: For each unit why its Synapse would refuse its settings, empty when it would not.
  returned: always
  type: dict
conf_d:
  description: The files in C(conf.d) beside the main process's settings, whether it reads them or not.
  returned: always
  type: list
  elements: str
database:
  description: C(kind), and what the server says of itself.
  returned: always
  type: dict
nginx:
  description: What M(synapse.workers.nginx_info) returns.
  returned: always
  type: dict
listening:
  description: Of each TCP socket that listens on the host C(address) (empty for all), C(port), C(program) and C(unit).
  returned: always
  type: list
  elements: dict
error:
  description: Why the settings could not be read.
  returned: always
  type: str
"""

import glob
import json
import os
from typing import Any, Dict, List, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.synapse.workers.plugins.module_utils._host_facts import Programs
from ansible_collections.synapse.workers.plugins.module_utils._installation import UNIT_DIRS, units
from ansible_collections.synapse.workers.plugins.module_utils._nginx_config import look


def read(module: AnsibleModule, python: str, user: str, paths: List[str]) -> Tuple[Dict[str, Any], str]:
    """(files, database and refusal, why it failed) of settings, read by Synapse's own Python."""
    command = [python, "-", user, *paths]
    code, out, err = module.run_command(command, data=module.params["reader"])
    if code:
        return {}, f"{python} could not read {', '.join(paths)}: {(err.strip().splitlines() or ['no word why'])[-1]}"
    return json.loads(out), ""


def release_of(module: AnsibleModule, python: str) -> str:
    """What the package of Synapse in that Python calls itself."""
    words = "from importlib import metadata; print(metadata.version('matrix-synapse'))"
    code, out, _err = module.run_command([python, "-c", words])
    return "" if code else str(out).strip()


def package_of(module: AnsibleModule) -> str:
    """Version of matrix.org's Debian package."""
    if not module.get_bin_path("dpkg-query"):
        return ""
    query = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Version}", "matrix-synapse-py3"]
    code, out, _err = module.run_command(query)
    return str(out).split()[1] if code == 0 and str(out).startswith("installed ") else ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "default": ""},
            "paths": {"type": "list", "elements": "path", "default": []},
            "python": {"type": "path", "default": ""},
            "reader": {"type": "str", "required": True},
            "unit_dirs": {"type": "list", "elements": "path", "default": list(UNIT_DIRS)},
        },
        supports_check_mode=True,
    )
    params = module.params
    found = units(module, params["unit_dirs"])
    mains = [unit for unit in found if unit["app"] == "homeserver"]
    if params["unit"]:
        mains = [unit for unit in mains if unit["unit"] == params["unit"]]
    main_unit = mains[0] if len(mains) == 1 else None
    python = params["python"] or (main_unit or {}).get("python") or ""
    paths = params["paths"] or (main_unit or {}).get("configs") or []
    user = (main_unit or {}).get("user") or "root"
    result: Dict[str, Any] = {
        "units": found,
        "main": main_unit["unit"] if main_unit else "",
        "python": python,
        "release": "",
        "package": package_of(module),
        "settings": {},
        "worker_settings": {},
        "refusals": {},
        "conf_d": [],
        "database": {"kind": "", "error": "not asked"},
        "nginx": look(module),
        "listening": Programs().listeners(),
        "error": "",
    }
    if not python or not os.path.exists(python):
        result["error"] = (
            f"there is no Python of Synapse at {python}" if python else "no unit that starts Synapse's main process was found"
        )
    elif not paths:
        result["error"] = f"{result['main']} names no file of settings"
    else:
        result["release"] = release_of(module, python)
        answer, result["error"] = read(module, python, user, paths)
        result["settings"] = answer.get("files", {})
        result["database"] = answer.get("database", {"kind": "", "error": "not asked"})
        result["refusals"] = {result["main"]: answer.get("refusal", "")}
        folder = os.path.join(os.path.dirname(paths[0]), "conf.d")
        result["conf_d"] = sorted(glob.glob(os.path.join(glob.escape(folder), "*.yaml")))
        for unit in found:
            # What all processes read is known already; the rest is the worker's own.
            own = [path for path in unit["configs"] if path not in paths]
            if unit["app"] != "homeserver" and own and not unit["ours"]:
                answer, error = read(module, python, "nobody", [*paths, *own])
                result["worker_settings"][unit["unit"]] = {
                    path: told for path, told in answer.get("files", {}).items() if path not in result["settings"]
                }
                result["refusals"][unit["unit"]] = error or answer.get("refusal", "")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
