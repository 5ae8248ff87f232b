"""Filter synapse.workers.not_rolled_out: glue over ``plugin_utils/_change_words.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._change_words import not_rolled_out
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"not_rolled_out": as_filter("not_rolled_out", not_rolled_out, dict)}
