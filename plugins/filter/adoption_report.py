"""Filter synapse.workers.adoption_report: glue over ``plugin_utils/_adoption_words.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from ..plugin_utils._adoption_words import report_text
from ..plugin_utils._glue import as_filter


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"adoption_report": as_filter("adoption_report", report_text, dict)}
