"""Filter synapse.workers.access_log_table: glue over ``plugin_utils/_access_report.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._access_report import table
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"access_log_table": as_filter("access_log_table", table, dict)}
