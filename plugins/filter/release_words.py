"""Filter synapse.workers.release_words: glue over ``plugin_utils/_upgrade.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._upgrade import release_words


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"release_words": as_filter("release_words", release_words, dict)}
