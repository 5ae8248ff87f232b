"""Filter synapse.workers.nginx_maps: glue over ``plugin_utils/_nginx_maps.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._nginx_maps import nginx_maps


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"nginx_maps": as_filter("nginx_maps", nginx_maps, dict)}
