"""Filter synapse.workers.interim_topology: glue over ``plugin_utils/_change_steps.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._change_steps import interim_topology
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"interim_topology": as_filter("interim_topology", interim_topology, dict)}
