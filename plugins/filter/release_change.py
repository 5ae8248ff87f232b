"""Filter synapse.workers.release_change: glue over ``plugin_utils/_upgrade.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._upgrade import release_change


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"release_change": as_filter("release_change", release_change, dict)}
