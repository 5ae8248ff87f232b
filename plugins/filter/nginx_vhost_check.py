"""Filter synapse.workers.nginx_vhost_check: glue over ``plugin_utils/_nginx_vhosts.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._nginx_vhosts import vhost_check


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"nginx_vhost_check": as_filter("nginx_vhost_check", vhost_check, dict)}
