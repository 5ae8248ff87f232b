"""Filter synapse.workers.stopped_report: glue over ``plugin_utils/_upgrade.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._upgrade import stopped_report


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"stopped_report": as_filter("stopped_report", stopped_report, dict)}
