"""Filter synapse.workers.untouched_topology: glue over ``plugin_utils/_change_steps.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._change_steps import untouched
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"untouched_topology": as_filter("untouched_topology", untouched, dict)}
