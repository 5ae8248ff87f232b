"""Filter synapse.workers.run_is_over: glue over ``plugin_utils/_runs.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._runs import run_is_over


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"run_is_over": as_filter("run_is_over", run_is_over, dict)}
