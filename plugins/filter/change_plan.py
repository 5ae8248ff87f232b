"""Filter synapse.workers.change_plan: glue over ``plugin_utils/_change_plan.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._change_plan import change_plan
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"change_plan": as_filter("change_plan", change_plan, dict)}
