"""Filter synapse.workers.chosen_processes: glue over ``plugin_utils/_change_words.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._change_words import chosen_processes
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"chosen_processes": as_filter("chosen_processes", chosen_processes, dict)}
