"""Plans that operators have: from one worker to one of everything."""

from __future__ import annotations

from typing import Any

from ansible_collections.synapse.workers.plugins.module_utils._worker_types import TABLE

Row = dict[str, Any]


def everything(version: tuple[int, int] = (9, 9)) -> list[Row]:
    """Every type that a release knows; two of each that may be several, but one media worker who quarantines."""
    return [{"type": row.name, "count": 2 if row.several and not row.streams else 1} for row in TABLE if row.since <= version]


PLANS: dict[str, list[Row]] = {
    "nothing": [],
    "one_host": [
        {"type": "synchrotron", "count": 3},
        {"type": "federation_reader"},
        {"type": "event_creator"},
        {"type": "media_repository"},
    ],
    # The seven types of the notes that this collection began with.
    "seven": [
        {"type": name}
        for name in (
            "synchrotron",
            "federation_reader",
            "media_repository",
            "client_reader",
            "user_dir",
            "frontend_proxy",
            "event_creator",
        )
    ],
    "readers": [{"type": "client_reader", "count": 2}, {"type": "initial_synchrotron"}],
    "writers_in_one": [
        {"type": "client_reader"},
        {
            "types": ["typing", "to_device", "account_data", "receipts", "presence", "push_rules", "device_lists"],
            "name": "writers",
        },
        {"type": "event_persister", "count": 2},
        {"type": "media_repository", "count": 2},
    ],
}
