#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: run_lock
short_description: Hold a host for one run
version_added: 0.1.0
author:
  - synapse.workers contributors (!UNKNOWN)
description:
  - Two runs that change one homeserver at a time would undo what the other has just done. A run takes every host before it changes
    anything, and gives it back at its end.
  - Does not fail when another run holds the host, but tells which. After three hours, or when the host has booted since, a run that did
    not give it back counts as over.
options:
  path:
    description: File in which the run is noted.
    type: path
    required: true
  run:
    description: The run, as P(synapse.workers.this_run#filter) names it. C(id) tells it from others.
    type: dict
    required: true
  state:
    description: V(taken) or V(given_back).
    type: str
    choices: [taken, given_back]
    default: taken
  instead_of:
    description: C(id) of each run that is known to be over, although it did not say so.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Takes nothing and waits for nobody.
  diff_mode:
    support: none
    description: It changes nothing that an operator wrote or reads.
"""

EXAMPLES = r"""
- name: Hold the host
  synapse.workers.run_lock:
    path: /var/lib/synapse-workers/matrix-synapse/run.json
    run: "{{ 'roll_out' | synapse.workers.this_run }}"
  register: lock
  failed_when: lock.holder is not none
"""

RETURN = r"""
holder:
  description: The other run that holds the host, and C(age), since how many seconds. Null when this run holds it now.
  returned: always
  type: dict
last:
  description: C(id) of the run that was here last, before this one. Empty when there was none.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.synapse.workers.plugins.module_utils._run_lock import RunLock


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "run": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["taken", "given_back"], "default": "taken"},
            "instead_of": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    params = module.params
    lock = RunLock(params["path"])
    last, holder = lock.last().get("id", ""), None
    try:
        if module.check_mode:
            pass
        elif params["state"] == "taken":
            holder = lock.take(params["run"], params["instead_of"])
        else:
            lock.give_back(params["run"])
    except OSError as error:
        module.fail_json(msg=f"{params['path']}: {error.strerror}. Nothing was changed by this; mend it and run again.")
    module.exit_json(changed=False, holder=holder, last=last)


if __name__ == "__main__":
    main()
