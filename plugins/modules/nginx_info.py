#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_info
short_description: Look at what nginx reads
version_added: 0.1.0
author:
  - synapse.workers contributors (!UNKNOWN)
description:
  - Runs C(nginx -T) and tells the server blocks, their locations and the upstreams, with file and line. Changes nothing.
  - Tells of other directives only their name and first argument, so that no header with a secret in it leaves the host.
attributes:
  check_mode:
    description: Looks in check mode as well.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
options: {}
"""

EXAMPLES = r"""
- name: Look at what nginx reads
  synapse.workers.nginx_info:
  register: seen
"""

RETURN = r"""
installed:
  description: Whether there is an nginx.
  returned: always
  type: bool
release:
  description: The release, like V(1.22.1); empty where there is none, or one with a name of its own.
  returned: always
  type: str
error:
  description: What nginx says of files that it refuses; empty when it accepts them.
  returned: always
  type: str
servers:
  description:
    - For each server block C(file), C(line), C(listen), C(names), C(includes), C(locations) (each with C(modifier), C(path), C(asks),
      C(file) and C(line)) and C(directives).
  returned: always
  type: list
  elements: dict
upstreams:
  description: For each upstream the addresses of its servers.
  returned: always
  type: dict
main:
  description: The directives of nginx.conf outside of blocks.
  returned: always
  type: list
  elements: dict
http_includes:
  description: Paths, with their wildcards, that the http block includes.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.synapse.workers.plugins.module_utils._nginx_config import look


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, **look(module))


if __name__ == "__main__":
    main()
