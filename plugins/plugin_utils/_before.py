"""What was there before the collection, as the inventory repeats it: listeners of the main process that stay, units that go.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ._words import did_you_mean

UNIT = re.compile(r"[\w@.:\\-]+[.]service")
UNIT_KEYS = ("unit", "host", "listen", "metrics", "duty")
# What the main process needs a listener for, and what that has to offer.
NEEDED = {"listen": {"client", "federation"}, "replication": {"replication"}, "metrics": {"metrics"}}
VARIABLES = {
    "listen": "synapse_main_port",
    "replication": "synapse_main_replication_port",
    "metrics": "synapse_main_metrics_port",
}


def resources_of(listener: dict[str, Any]) -> set[str]:
    """What an http listener in Synapse's own terms offers."""
    return {name for one in listener.get("resources") or [] for name in one.get("names", [])}


def replaced_units(rows: Any, main_host: str) -> dict[str, list[dict[str, Any]]]:
    """{host: units that the plan takes over from}, each like a process that is no longer planned; rows that make no sense are left out.

    Args:
        rows: ``synapse_replaced_units``.
        main_host: where a unit is that names no host.
    """
    replaced: dict[str, list[dict[str, Any]]] = {}
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and UNIT.fullmatch(str(row.get("unit"))):
            replaced.setdefault(str(row.get("host", main_host)), []).append(
                {
                    "name": row["unit"][: -len(".service")],
                    "unit": row["unit"],
                    "listen": row.get("listen"),
                    "metrics": row.get("metrics"),
                    "yields": bool(row.get("duty", False)),
                }
            )
    return replaced


def problems_of_before(plan: dict[str, Any]) -> list[str]:
    """A sentence for everything that is wrong with ``synapse_replaced_units`` and ``synapse_main_listeners`` of a plan."""
    return [*_units(plan), *_listeners(plan)]


def listeners_that_stay(plan: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """(index, port) of the operator's listeners that are none of those that the plan itself names."""
    own = {(plan["main"][kind] or {}).get("port") for kind in NEEDED}
    for index, listener in enumerate(plan["settings"]["main_listeners"]):
        if isinstance(listener, dict) and isinstance(listener.get("port"), int) and listener["port"] not in own:
            yield index, listener["port"]


def _units(plan: dict[str, Any]) -> Iterator[str]:
    rows = plan["settings"]["replaced_units"]
    planned = {(process["host"], process["unit"]) for process in [plan["main"], *plan["workers"]]}
    for index, row in enumerate(rows if isinstance(rows, list) else [rows]):
        where = f"synapse_replaced_units[{index}]"
        if not isinstance(row, dict) or not UNIT.fullmatch(str(row.get("unit"))):
            yield f"{where}: must be a mapping with a `unit` like 'synapse-synchrotron.service'"
            continue
        for key in sorted(set(map(str, row)) - set(UNIT_KEYS)):
            yield f"{where}: {key} is no key of it; known: {', '.join(UNIT_KEYS)}"
        host = row.get("host", plan["main"]["host"])
        if host not in plan["hosts"]:
            yield f"{where}: {host} is not in the group {plan['settings']['group']}{did_you_mean(host, plan['hosts'])}"
        if (host, row["unit"]) in planned:
            yield f"{where}: {row['unit']} is a unit of the plan itself; remove it here"


def _listeners(plan: dict[str, Any]) -> Iterator[str]:
    """That nginx can ask one of them, or that there is room for ours."""
    for index, listener in enumerate(plan["settings"]["main_listeners"]):
        where = f"synapse_main_listeners[{index}]"
        if not isinstance(listener, dict) or "type" not in listener or not ("port" in listener or "path" in listener):
            yield f"{where}: must be a listener in Synapse's own terms, with `type` and `port` or `path`"
            continue
        if listener["type"] == "replication":
            yield f"{where}: Synapse refuses listeners of type replication since 1.67; remove it"
        for kind, resources in NEEDED.items():
            if "port" not in listener or (plan["main"][kind] or {}).get("port") != listener["port"]:
                continue
            offered = resources_of(listener)
            offered |= {"metrics"} if listener["type"] == "metrics" else set()
            if not resources <= offered or listener.get("tls"):
                yield (
                    f"{where}: port {listener['port']} is {VARIABLES[kind]}, but the listener offers "
                    f"{', '.join(sorted(offered)) or 'nothing'}{' over TLS' if listener.get('tls') else ''}; choose another {VARIABLES[kind]}"
                )
