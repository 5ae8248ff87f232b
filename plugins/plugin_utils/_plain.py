"""From what ansible-core hands to a filter to plain Python.

Since ansible-core 2.19 a filter receives lazy containers and tagged scalars. They index and compare like the plain types,
but ``yaml``, ``pickle`` and ``type()`` see the difference.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """A deep copy of ``value`` made of dict, list, str, int, float, bool and None only."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return str(value)
