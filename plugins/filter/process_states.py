"""Filter synapse.workers.process_states: glue over ``plugin_utils/_change_plan.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._change_plan import process_states
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"process_states": as_filter("process_states", process_states, dict)}
