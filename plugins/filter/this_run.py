"""Filter synapse.workers.this_run: glue over ``plugin_utils/_runs.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._runs import this_run


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"this_run": as_filter("this_run", this_run, str)}
