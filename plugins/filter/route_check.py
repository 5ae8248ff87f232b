"""Filter synapse.workers.route_check: glue over ``plugin_utils/_route_check.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._route_check import route_check


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"route_check": as_filter("route_check", route_check, dict)}
