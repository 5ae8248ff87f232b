"""Filter synapse.workers.route: glue over ``plugin_utils/_nginx.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._nginx import explain_route


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"route": as_filter("route", explain_route, dict)}
