"""Filter synapse.workers.prometheus_targets: glue over ``plugin_utils/_prometheus.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._prometheus import prometheus_targets


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"prometheus_targets": as_filter("prometheus_targets", prometheus_targets, dict)}
