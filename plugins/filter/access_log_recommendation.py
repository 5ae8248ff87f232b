"""Filter synapse.workers.access_log_recommendation: glue over ``plugin_utils/_recommendation.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._recommendation import recommend


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"access_log_recommendation": as_filter("access_log_recommendation", recommend, dict)}
