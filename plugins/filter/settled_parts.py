"""Filter synapse.workers.settled_parts: glue over ``plugin_utils/_parts.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._parts import settled_parts


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"settled_parts": as_filter("settled_parts", settled_parts, dict)}
