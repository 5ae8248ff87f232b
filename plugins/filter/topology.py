"""Filter synapse.workers.topology: glue over ``plugin_utils/_topology.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._topology import topology


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"topology": as_filter("topology", topology, object)}
