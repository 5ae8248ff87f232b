"""Filter synapse.workers.waits: glue over ``plugin_utils/_change_words.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._change_words import waits
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"waits": as_filter("waits", waits, dict)}
