"""Filter synapse.workers.host_problems: glue over ``plugin_utils/_host_problems.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._host_problems import host_problems


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"host_problems": as_filter("host_problems", host_problems, dict)}
