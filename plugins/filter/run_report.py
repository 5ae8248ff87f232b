"""Filter synapse.workers.run_report: glue over ``plugin_utils/_change_words.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._change_words import run_report
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"run_report": as_filter("run_report", run_report, dict)}
