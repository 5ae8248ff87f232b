"""Who may reach what the homeserver's hosts listen at on their private addresses: the hosts themselves, and nobody else.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import ipaddress
from typing import Any

from ._plan_problems import planned_ports


def firewall_rules(plan: dict[str, Any], host: str) -> dict[str, Any]:
    """What a packet filter on ``host`` has to know.

    All hosts of the group may come, whatever they have a part in: so a host can be closed before a process of a new plan starts, and
    need not be opened when one of an old plan still runs.

    Returns:
        ``address`` (the private one) and ``family`` (nftables' ``ip`` or ``ip6``); ``ports``, a list of ``port`` and ``what``, by number,
        empty where nothing listens at that address; ``sources``, the addresses and networks that may come.
    """
    address = plan["hosts"][host]["address"]
    family = "ip6" if ":" in address else "ip"
    is_loopback_only = ipaddress.ip_address(address).is_loopback
    ports = [] if is_loopback_only else [one for one in planned_ports(plan, host).values() if one.address == address]
    may_come = [value["address"] for name, value in plan["hosts"].items() if name != host]
    may_come += plan["settings"].get("firewall_allowed_from") or []
    # Those of the other kind of address cannot send to this one. nftables takes no two that overlap.
    networks = [ipaddress.ip_network(one, strict=False) for one in may_come if (":" in one) == (family == "ip6")]
    networks = [one for one in sorted(set(networks), key=str) if not one.is_loopback and not _is_within(one, networks)]
    return {
        "address": address,
        "family": family,
        "ports": [{"port": one.port, "what": one.what} for one in sorted(ports, key=lambda one: one.port)],
        "sources": [str(one.network_address if one.num_addresses == 1 else one) for one in networks],
    }


def _is_within(network: Any, others: list[Any]) -> bool:
    return any(network != other and network.subnet_of(other) for other in others)
