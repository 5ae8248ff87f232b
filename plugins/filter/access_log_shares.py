"""Filter synapse.workers.access_log_shares: glue over ``plugin_utils/_recommendation.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._recommendation import shares


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"access_log_shares": as_filter("access_log_shares", shares, dict)}
