"""Filter synapse.workers.process_files: glue over ``plugin_utils/_homeserver.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._glue import as_filter
from ..plugin_utils._homeserver import process_files


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"process_files": as_filter("process_files", process_files, dict)}
