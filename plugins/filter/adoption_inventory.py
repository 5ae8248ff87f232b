"""Filter synapse.workers.adoption_inventory: glue over ``plugin_utils/_adoption_words.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._adoption_words import inventory_text
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"adoption_inventory": as_filter("adoption_inventory", inventory_text, dict)}
