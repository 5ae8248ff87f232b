"""Filter synapse.workers.unsettled_parts: glue over ``plugin_utils/_parts.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._parts import unsettled_parts


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"unsettled_parts": as_filter("unsettled_parts", unsettled_parts, dict)}
