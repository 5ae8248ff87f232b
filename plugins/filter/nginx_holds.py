"""Filter synapse.workers.nginx_holds: glue over ``plugin_utils/_nginx.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._nginx import nginx_holds


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"nginx_holds": as_filter("nginx_holds", nginx_holds, dict)}
