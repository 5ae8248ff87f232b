"""Filter synapse.workers.prometheus_rules: glue over ``plugin_utils/_prometheus.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._prometheus import prometheus_rules


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"prometheus_rules": as_filter("prometheus_rules", prometheus_rules, dict)}
