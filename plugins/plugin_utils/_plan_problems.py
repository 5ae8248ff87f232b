"""What is wrong with a plan as a whole: what rows, hosts and services do to each other.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..module_utils import _worker_types
from ._before import VARIABLES, listeners_that_stay
from ._words import integer, shown

LOOPBACK = "127.0.0.1"
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# A worker's name is a unit's name, a file's name, and with unix sockets a part of an address of 107 bytes (unix(7)).
LONGEST_NAME = 100
LONGEST_SOCKET = 107
# PostgreSQL keeps these for its administrators (superuser_reserved_connections).
RESERVED_CONNECTIONS = 3


def plan_problems(plan: dict[str, Any]) -> list[str]:
    """A sentence for everything that is wrong with ``plan``, a topology (``_topology.topology``) but for its ``problems``."""
    hosts = _hosts_in_use(plan)
    return [
        *_default_type(plan),
        *_single(plan),
        *_names(plan),
        *_ports(plan),
        *_media(plan),
        *_services(plan),
        *_watching(plan),
        *_connections(plan),
        *_addresses(plan, hosts),
        *_across_hosts(plan, hosts),
    ]


def connections_of(processes: int, pool: int) -> int:
    """Connections that processes open at most: each one more than its pool while it starts."""
    return processes * (pool + 1)


def _hosts_in_use(plan: dict[str, Any]) -> list[str]:
    return sorted(host for host, value in plan["hosts"].items() if value["parts"])


def _default_type(plan: dict[str, Any]) -> Iterator[str]:
    name = plan["settings"]["default_type"]
    if not name:
        return
    able = [row.name for row in _worker_types.TABLE if row.takes_requests and row.fallback_to_main]
    if name not in able:
        # The others do one thing that nobody else can; while such a worker restarts, everything else would fail with it.
        yield f"synapse_default_type: {name} cannot serve what the plan has no type for; one of {', '.join(able)}"
    elif not any(name in worker["types"] for worker in plan["workers"]):
        yield f"synapse_default_type: no worker of type {name} is planned; add a row for it, or leave the variable empty"


def _single(plan: dict[str, Any]) -> Iterator[str]:
    for row in _worker_types.TABLE:
        if row.several:
            continue
        first, *others = [worker for worker in plan["workers"] if row.name in worker["types"]] or [None]
        for worker in others:
            yield (
                f"synapse_workers[{worker['row']}]: Synapse allows one {row.name} worker and there is "
                f"{first['name']} (row {first['row']}) already; remove {worker['name']}"
            )


def _names(plan: dict[str, Any]) -> Iterator[str]:
    seen: dict[str, dict[str, Any]] = {}
    for worker in plan["workers"]:
        name = worker["name"]
        other = seen.setdefault(name, worker)
        if other is not worker:
            yield (
                f"synapse_workers[{worker['row']}]: {name} is made by row {other['row']} already; "
                f"merge the rows by `count`, or give one a `name` of its own"
            )
        if len(name) > LONGEST_NAME:
            yield (
                f"synapse_workers[{worker['row']}]: {name} is longer than the {LONGEST_NAME} characters of a file's name that are left "
                f"for it; give the row a short `name`, or the host one in the inventory"
            )
        longest = max((len(one["path"]) for one in (worker["listen"], worker["replication"]) if one and "path" in one), default=0)
        if longest > LONGEST_SOCKET:
            yield (
                f"synapse_workers[{worker['row']}]: the socket of {name} would have a path of {longest} characters, and "
                f"{LONGEST_SOCKET} is the most; give the row a short `name`, or set synapse_unix_sockets to false"
            )


class Port(NamedTuple):
    """A TCP port that the plan wants."""

    host: str
    port: int
    address: str
    """Where on the host; '' for all of its addresses."""
    what: str
    where: str
    """Row or variable that says so."""
    row: int
    """Number of the row; -1 for none."""


def _taken(plan: dict[str, Any]) -> Iterator[Port]:
    """Every port of the plan."""
    settings = plan["settings"]
    for host in plan["nginx_hosts"]:
        for key in ("nginx_listen_http", "nginx_listen_https", "nginx_status_port"):
            is_status = key == "nginx_status_port"
            if key in settings and (is_status or (settings.get("nginx_site") and _listens(settings, key))):
                yield Port(host, integer(settings[key]) or 0, LOOPBACK if is_status else "", "nginx", f"synapse_{key}", -1)
    for name, part, everywhere in (("PostgreSQL", "postgresql", True), ("Redis", "redis", bool(plan["redis"]["clients"]))):
        host = plan[part]["host"]
        if host and everywhere:
            address = plan["hosts"].get(host, {}).get("address", "")
            yield Port(host, integer(settings[f"{part}_port"]) or 0, address, name, f"synapse_{part}_port", -1)
    main = plan["main"]["host"]
    for index, port in listeners_that_stay(plan):
        yield Port(main, port, "", "the main process", f"synapse_main_listeners[{index}]", -1)
    for process in [plan["main"], *plan["workers"]]:
        for kind in ("listen", "replication", "metrics"):
            if process[kind] and "port" in process[kind]:
                row, at = process["row"], process[kind]
                where = VARIABLES[kind] if row < 0 else f"synapse_workers[{row}]"
                yield Port(process["host"], integer(at["port"]) or 0, at["address"], f"{kind} of {process['name']}", where, row)


def _listens(settings: dict[str, Any], key: str) -> bool:
    return key == "nginx_listen_http" or bool(settings.get("tls_certificate_path"))


def planned_ports(plan: dict[str, Any], host: str) -> dict[int, Port]:
    """Every TCP port that the plan wants on ``host``."""
    return {one.port: one for one in _taken(plan) if one.host == host}


def _ports(plan: dict[str, Any]) -> Iterator[str]:
    seen: dict[tuple[str, int], Port] = {}
    for one in _taken(plan):
        other = seen.setdefault((one.host, one.port), one)
        # Two rows that make a worker of one name are reported as such; their ports clash as a matter of course.
        if other is one or other.what == one.what:
            continue
        yield f"{one.where}: port {one.port} ({one.what}) on {one.host} is taken by {other.what} ({other.where}); {way_out(one)}"


def way_out(port: Port) -> str:
    """What to do about a port that is taken."""
    return "give the row a `port` of its own" if port.row >= 0 else "choose another"


def _media(plan: dict[str, Any]) -> Iterator[str]:
    media = [worker for worker in plan["workers"] if worker["media"]]
    hosts = sorted({worker["host"] for worker in media})
    if len(hosts) > 1 and not plan["settings"].get("media_store_shared"):
        yield (
            f"synapse_workers[{media[-1]['row']}]: media workers on several hosts ({', '.join(hosts)}) would not see each "
            f"other's files; keep them on one, or share the media store and set synapse_media_store_shared"
        )
    for worker in media:
        if not any("media_repository" in other["types"] for other in media):
            yield (
                f"synapse_workers[{worker['row']}]: quarantined_media_changes needs a media_repository worker; "
                f"add one, or remove the row (the main process does both)"
            )


def _services(plan: dict[str, Any]) -> Iterator[str]:
    """Workers need PostgreSQL and Redis. What files of the operator's say of them, Synapse itself is asked later
    (``roles/synapse/files/validate_settings.py``)."""
    settings = plan["settings"]
    database, redis = settings.get("database") or {}, settings.get("redis") or {}
    if database and not isinstance(database.get("args"), dict):
        yield "synapse_database: has no `args`, the mapping that says where the database is"
    if database and database.get("name") != "psycopg2" and (plan["workers"] or database.get("name") != "sqlite3"):
        yield (
            f"synapse_database: name is {shown(database.get('name'))}, not 'psycopg2'; workers need PostgreSQL, as SQLite lets one process "
            f"write (synapse_port_db moves a database there)"
        )
    if redis and plan["workers"] and redis.get("enabled") is not True:
        yield "synapse_redis: has no `enabled: true`; workers hear of each other through Redis only"


def _watching(plan: dict[str, Any]) -> Iterator[str]:
    if plan["settings"].get("prometheus_host") and not plan["settings"].get("metrics"):
        yield "synapse_prometheus_host: synapse_metrics is false, so there is nothing to ask; set it to true, or leave the host empty"


def _connections(plan: dict[str, Any]) -> Iterator[str]:
    settings = plan["settings"]
    if not settings.get("postgresql_host"):
        return
    processes = len(plan["workers"]) + 1
    needed = connections_of(processes, integer(settings["database_pool_max"]) or 0) + RESERVED_CONNECTIONS
    allowed = integer(settings["postgresql_max_connections"]) or 0
    if needed > allowed:
        pool = (allowed - RESERVED_CONNECTIONS) // processes - 1
        lower = f"lower synapse_database_pool_max to {pool}" if pool > 0 else "plan fewer workers"
        yield (
            f"synapse_postgresql_max_connections: {processes} processes may open {needed} connections, more than "
            f"{allowed}; raise it to {needed}, or {lower}"
        )


def _addresses(plan: dict[str, Any], hosts: list[str]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for host in hosts:
        text = plan["hosts"][host]["address"]
        if not HOST_NAME.fullmatch(host):
            yield f"{host}: the inventory name becomes part of file names; use letters, digits, . _ and -"
        problem = _address_problem(text, len(hosts) == 1, bool(plan["settings"].get("public_addresses_allowed")))
        if problem:
            yield f"synapse_address: {host} has {problem}"
        other = seen.setdefault(str(text), host)
        if other != host and text != LOOPBACK:
            yield f"synapse_address: {other} and {host} both have {text}"


def _address_problem(text: Any, alone: bool, may_be_public: bool) -> str:
    try:
        # With a zone (fe80::1%eth0) every program would spell it in its own way.
        address = ipaddress.ip_address(text if isinstance(text, str) and "%" not in text else "")
    except ValueError:
        return f"{text!r}, which is no IP address"
    if address.is_unspecified:
        return f"{text}; name the one private address the other hosts reach"
    if address.is_multicast or address.is_link_local or address == ipaddress.ip_address("255.255.255.255"):
        return f"{text}, at which no other host reaches it; set its private address in the inventory"
    if address.is_loopback and not alone:
        return f"{text}, which other hosts cannot reach; set its private address in the inventory"
    if address.is_global and not may_be_public:
        return f"the public address {text}; replication is not encrypted, so use an address of a private network"
    return ""


def _across_hosts(plan: dict[str, Any], hosts: list[str]) -> Iterator[str]:
    settings = plan["settings"]
    main_host = plan["main"]["host"]
    serving = [host for host in hosts if plan["hosts"][host]["parts"] != ["prometheus"]]
    if len(serving) > 1 and settings.get("unix_sockets"):
        yield f"synapse_unix_sockets: processes on several hosts ({', '.join(serving)}) cannot meet on a socket file; set it to false"
    elsewhere = sorted({worker["host"] for worker in plan["workers"]} - {main_host})
    if elsewhere and not settings["base_settings_managed"]:
        yield (
            f"synapse_base_settings_managed: workers on {', '.join(elsewhere)} need the homeserver.yaml and the signing key of "
            f"{main_host}, which this collection does not copy as they are yours; keep the workers on {main_host}, "
            f"or let the collection manage the base settings"
        )
    families = {":" in plan["hosts"][host]["address"] for host in hosts if isinstance(plan["hosts"][host]["address"], str)}
    if len(families) > 1:
        yield "synapse_address: some hosts have an IPv4 and some an IPv6 address; they have to reach each other, so use one kind"
