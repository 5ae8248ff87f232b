"""Filter synapse.workers.status_report: glue over ``plugin_utils/_status.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._status import status_report


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"status_report": as_filter("status_report", status_report, dict)}
