"""Filter synapse.workers.schema_check: glue over ``plugin_utils/_upgrade.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._upgrade import schema_check


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"schema_check": as_filter("schema_check", schema_check, dict)}
