#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: settled
short_description: Note that parts of a roll-out went through
version_added: 0.1.0
author:
  - synapse.workers contributors (!UNKNOWN)
description:
  - Keeps a fingerprint of what a part left on the host, and what it was given. As long as both are the same, the module
    M(synapse.workers.processes_info) tells that the part has nothing to do.
  - Call it when the part has gone through, and only then.
options:
  memory:
    description: Folder in which it is kept.
    type: path
    required: true
  parts:
    description:
      - For each part C(wish), a digest of what it was given, and where it leaves something.
      - C(paths) and C(units) are lists of shell patterns, C(manifests) of memories of the module M(synapse.workers.files), whose files
        are meant as well, C(users) of accounts, and C(commands) of commands with their arguments, whose output counts.
    type: dict
    required: true
attributes:
  check_mode:
    support: full
    description: Notes nothing.
  diff_mode:
    support: none
    description: It changes nothing that an operator wrote or reads.
"""

EXAMPLES = r"""
- name: Note that Redis went through
  synapse.workers.settled:
    memory: /var/lib/synapse-workers/matrix-synapse/settled
    parts:
      redis:
        wish: "{{ redis_settings | to_json | hash('sha256') }}"
        units: [redis-server@matrix-synapse.service]
        manifests: [/var/lib/synapse-workers/matrix-synapse/redis.json]
"""

RETURN = r"""# """

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.synapse.workers.plugins.module_utils._process_host import Systemd
from ansible_collections.synapse.workers.plugins.module_utils._settled import UNIT_PROPERTIES, Settled, units_of, whole


def main() -> None:
    module = AnsibleModule(
        argument_spec={"memory": {"type": "path", "required": True}, "parts": {"type": "dict", "required": True}},
        supports_check_mode=True,
    )
    parts = module.params["parts"]
    if not module.check_mode:
        settled = Settled(module.params["memory"])
        units = Systemd(module).show(units_of(parts), UNIT_PROPERTIES)
        for name, part in parts.items():
            settled.keep(name, whole(part), units, part["wish"])
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
