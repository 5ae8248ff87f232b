"""Filter synapse.workers.adoption: glue over ``plugin_utils/_adoption.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._adoption import adoption
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"adoption": as_filter("adoption", adoption, dict)}
