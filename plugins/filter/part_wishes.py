"""Filter synapse.workers.part_wishes: glue over ``plugin_utils/_parts.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._parts import part_wishes


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"part_wishes": as_filter("part_wishes", part_wishes, dict)}
