"""Filter synapse.workers.run_in_words: glue over ``plugin_utils/_runs.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._runs import run_in_words


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"run_in_words": as_filter("run_in_words", run_in_words, dict)}
