"""Filter synapse.workers.change_steps: glue over ``plugin_utils/_change_steps.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._change_steps import change_steps
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"change_steps": as_filter("change_steps", change_steps, dict)}
