"""Filter synapse.workers.firewall_rules: glue over ``plugin_utils/_firewall.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._firewall import firewall_rules
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"firewall_rules": as_filter("firewall_rules", firewall_rules, dict)}
