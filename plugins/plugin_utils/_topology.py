"""The one derivation: the operator's list × the table of worker types → ``synapse_topology``.

Everything that is written to a host is a view of the value made here. Nothing else reads ``synapse_workers``.

The rules for names and ports are what lets an inventory be edited on a live server: a worker's name, port and unit follow
from its own row and number only, never from its place in the list or from other rows.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from ..module_utils import _worker_types
from ..module_utils._worker_types import (
    BY_NAME,
    KNOWN_AS,
    METRICS_PORT_OFFSET,
    NAMED_ROW_OFFSET,
    NEWEST_TESTED_SYNAPSE,
    OLDEST_SYNAPSE,
    ORDER,
    REPLICATION_PORT_OFFSET,
    WORKERS_PER_ROW,
    parse_version,
)

ROW_KEYS = (
    "type", "types", "name", "count", "host", "group", "port",
    "log_level", "cache_factor", "environment", "settings",
)  # fmt: skip
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOOPBACK = "127.0.0.1"

# Synapse calls the main process 'master' inside stream_writers and 'main' in instance_map; a worker of either name would
# take over its duties (synapse/config/workers.py, 1.163.2).
RESERVED_NAMES = ("main", "master")
# Also a systemd instance name, a file name and an upstream server's comment.
NAME = re.compile(r"^[a-z][a-z0-9_]*$")
HOST_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
VARIABLE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")

# Keys that make a worker what it is; a row's own settings would pull it out of the plan.
SETTINGS_OF_THE_PLAN = ("worker_app", "worker_name", "worker_listeners", "worker_log_config")
# Settings that name workers: only the plan may, or a worker named by nobody would idle in silence.
SHARED_SETTINGS_OF_THE_PLAN = (
    "instance_map", "stream_writers", "enable_media_repo", "media_instance_running_background_jobs",
    "worker_replication_secret", "listeners",
    *sorted(row.setting for row in _worker_types.TABLE if row.setting),
)  # fmt: skip


def topology(rows: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """The checked plan of one homeserver.

    Args:
        rows: ``synapse_workers``, a list of mappings with keys out of ``ROW_KEYS``.
        settings: the shared inventory variables that matter for the plan, under the keys that
            ``roles/synapse/vars/main.yml`` gives them; ``hosts`` maps each inventory name to its private address,
            ``groups`` each group to its hosts.

    Returns:
        ``service``, ``server_name``, ``version``; ``main`` (a process); ``workers`` (processes by type, host and number);
        ``hosts`` ({name: {address, parts}}; parts out of main, workers, processes, nginx, postgresql, redis);
        ``nginx_hosts``; ``postgresql`` and ``redis`` ({host, clients}: on which host the
        collection sets it up, and the addresses of the other hosts that must reach it); ``pools`` ({type: worker names} of the planned types that take
        requests, in the order of the table); ``streams`` ({stream: worker names}); ``settings`` (what views need
        besides); ``problems`` (list of sentences, empty when the plan can be rolled out). With problems the rest is as
        complete as the input allows and must not be used.

        A process is ``name``, ``types``, ``host``, ``address``, ``number``, ``unit``, ``listen`` ({address, port} or
        {path}), ``replication`` (the same or None), ``metrics`` ({address, port} or None), ``resources``, ``streams``,
        ``media``, ``log_level``, ``cache_factor``, ``environment``, ``settings``, ``row`` (-1 for main).
    """
    return _Plan(rows, settings).value()


class _Plan:
    """Collects processes and problems while the rows are read once."""

    def __init__(self, rows: Any, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.problems: list[str] = []
        self.hosts: dict[str, str] = settings["hosts"]
        self.main_host: str = settings["main_host"]
        self.unix: bool = bool(settings.get("unix_sockets"))
        self.version = self._version(settings.get("version") or "")
        self.workers: list[dict[str, Any]] = []
        self._check_settings()
        self._read_rows(rows)
        self.workers.sort(key=_sort_key)
        self._let_media_workers_quarantine()
        self._check_plan()
        self._check_hosts()

    def value(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "service": settings["service"],
            "server_name": settings["server_name"],
            "version": settings.get("version") or "",
            "main": self._main(),
            "workers": self.workers,
            "hosts": {host: {"address": address, "parts": self._parts_of(host)} for host, address in self.hosts.items()},
            "nginx_hosts": list(settings["nginx_hosts"]),
            "pools": {
                row.name: names
                for row in _worker_types.TABLE
                if row.takes_requests and (names := [worker["name"] for worker in self.workers if row.name in worker["types"]])
            },
            "streams": {
                stream: names
                for row in _worker_types.TABLE
                for stream in row.streams
                if (names := [worker["name"] for worker in self.workers if stream in worker["streams"]])
            },
            "postgresql": {
                "host": settings.get("postgresql_host") or "",
                "clients": self._addresses_besides(settings.get("postgresql_host")),
            },
            "redis": {
                "host": settings.get("redis_host") or "",
                "clients": self._addresses_besides(settings.get("redis_host")),
            },
            "settings": settings,
            "problems": self.problems,
        }

    def _parts_of(self, host: str) -> list[str]:
        """What of the homeserver lives on a host; the playbooks go by this."""
        settings = self.settings
        parts = {
            "main": host == self.main_host,
            "workers": any(worker["host"] == host for worker in self.workers),
            "nginx": host in settings["nginx_hosts"],
            "postgresql": host == settings.get("postgresql_host"),
            "redis": host == settings.get("redis_host"),
        }
        parts["processes"] = parts["main"] or parts["workers"]
        return [part for part, is_here in parts.items() if is_here]

    def _addresses_besides(self, server: str | None) -> list[str]:
        """Addresses of the hosts with processes other than ``server``: whom a database there must let in."""
        if not server:
            return []
        hosts = {self.main_host, *(worker["host"] for worker in self.workers)} - {server}
        return sorted(self._address(host) for host in hosts)

    # Settings

    def _version(self, text: str) -> tuple[int, int]:
        if not text:
            return NEWEST_TESTED_SYNAPSE
        version = parse_version(text)
        if version is None:
            self._problem(f"synapse_version: {text!r} is no release number; write it like '1.163.2'")
            return NEWEST_TESTED_SYNAPSE
        if version < OLDEST_SYNAPSE:
            oldest = ".".join(map(str, OLDEST_SYNAPSE))
            self._problem(
                f"synapse_version: {text} is older than {oldest}, the oldest release whose workers this collection knows; "
                f"upgrade Synapse first"
            )
        return version

    def _check_settings(self) -> None:
        settings = self.settings
        name = settings["server_name"]
        if not isinstance(name, str) or not re.match(r"^[A-Za-z0-9.:\[\]-]+$", name):
            self._problem(f"synapse_server_name: {name!r} is no Matrix server name; write it like 'example.org'")
        if not re.match(r"^[a-z][a-z0-9-]*$", str(settings["service"])):
            self._problem(f"synapse_service: {settings['service']!r}; use small letters, digits and hyphens")
        for variable, hosts in (
            ("synapse_main_host", [self.main_host]),
            ("synapse_nginx_hosts", settings["nginx_hosts"]),
            ("synapse_postgresql_host", [settings.get("postgresql_host")]),
            ("synapse_redis_host", [settings.get("redis_host")]),
        ):
            for host in hosts:
                if host and host not in self.hosts:
                    self._problem(
                        f"{variable}: {host} is not in the group {settings['group']}; every host of this homeserver belongs to it"
                    )
        for key in sorted(set(settings.get("extra") or {}) & set(SHARED_SETTINGS_OF_THE_PLAN)):
            self._problem(f"synapse_settings: {key} is derived from synapse_workers; remove it there")
        if settings.get("log_level") not in LOG_LEVELS:
            self._problem(f"synapse_log_level: {settings.get('log_level')!r}; one of {', '.join(LOG_LEVELS)}")

    # Rows

    def _read_rows(self, rows: Any) -> None:
        if not isinstance(rows, list):
            self._problem("synapse_workers: must be a list of rows like {type: synchrotron, count: 2}")
            return
        for index, row in enumerate(rows):
            if not isinstance(row, dict):
                self._problem(f"synapse_workers[{index}]: must be a mapping like {{type: synchrotron, count: 2}}")
                continue
            before = len(self.problems)
            self._check_keys(index, row)
            types = self._types(index, row)
            hosts = self._row_hosts(index, row)
            count = self._count(index, row)
            row_name = self._row_name(index, row, types)
            overrides = self._overrides(index, row)
            first_port = self._first_port(index, row, types)
            if len(self.problems) > before:
                continue
            for host in hosts:
                for number in range(1, count + 1):
                    self.workers.append(self._worker(index, row_name, types, host, number, first_port + number - 1, overrides))

    def _check_keys(self, index: int, row: dict[str, Any]) -> None:
        for key in row:
            if key not in ROW_KEYS:
                self._problem(f"synapse_workers[{index}]: {key} is no key of a row{_did_you_mean(key, ROW_KEYS)}")

    def _types(self, index: int, row: dict[str, Any]) -> list[str]:
        where = f"synapse_workers[{index}]"
        if ("type" in row) == ("types" in row):
            self._problem(f"{where}: give either `type` (one duty) or `types` (a list: one process with several duties)")
            return []
        types = [row["type"]] if "type" in row else row["types"]
        if not isinstance(types, list) or not types:
            self._problem(f"{where}: `types` must be a list of worker types")
            return []
        if len(set(map(str, types))) < len(types):
            self._problem(f"{where}: a type is named twice")
            return []
        known = []
        for name in types:
            if not isinstance(name, str) or name not in BY_NAME:
                known_as = KNOWN_AS.get(str(name))
                hint = f"; here it is called {known_as}" if known_as else _did_you_mean(name, BY_NAME)
                self._problem(f"{where}: {name} is no worker type{hint}")
                continue
            since = BY_NAME[name].since
            if self.version < since:
                self._problem(
                    f"{where}: {name} came with Synapse {'.'.join(map(str, since))}, "
                    f"but synapse_version is {self.settings['version']}; upgrade or remove the row"
                )
            known.append(name)
        # In the order of the table, so that reordering the types of a row changes nothing.
        return sorted(known, key=ORDER.__getitem__)

    def _row_hosts(self, index: int, row: dict[str, Any]) -> list[str]:
        where = f"synapse_workers[{index}]"
        if "host" in row and "group" in row:
            self._problem(f"{where}: give either `host` or `group`, not both")
            return []
        for key in ("host", "group"):
            if key in row and not isinstance(row[key], str):
                self._problem(f"{where}: {key} is {row[key]!r}; one name out of the inventory")
                return []
        if "group" in row:
            groups = self.settings["groups"]
            if row["group"] not in groups:
                self._problem(f"{where}: there is no group {row['group']}{_did_you_mean(row['group'], groups)}")
                return []
            hosts = list(groups[row["group"]])
            if not hosts:
                self._problem(f"{where}: the group {row['group']} has no hosts")
        else:
            hosts = [row.get("host", self.main_host)]
        for host in hosts:
            if host not in self.hosts:
                self._problem(f"{where}: {host} is not in the group {self.settings['group']}{_did_you_mean(host, self.hosts)}")
        return hosts

    def _count(self, index: int, row: dict[str, Any]) -> int:
        count = _integer(row.get("count", 1))
        if count is None or not 0 <= count <= WORKERS_PER_ROW:
            self._problem(
                f"synapse_workers[{index}]: count is {row.get('count')!r}; a whole number from 0 to {WORKERS_PER_ROW} per host"
            )
            return 0
        return count

    def _row_name(self, index: int, row: dict[str, Any], types: list[str]) -> str:
        where = f"synapse_workers[{index}]"
        if "name" not in row:
            if len(types) > 1:
                self._problem(f"{where}: a row with several types needs a `name`, which its workers then carry")
            return types[0] if types else ""
        name = row["name"]
        if not isinstance(name, str) or not NAME.match(name):
            self._problem(f"{where}: name {name!r}; use small letters, digits and underscores, a letter first")
        elif name in RESERVED_NAMES:
            self._problem(f"{where}: {name} is Synapse's own name for the main process; choose another")
        elif name in BY_NAME:
            self._problem(f"{where}: {name} is the name of a worker type; choose another, or leave `name` out")
        return str(name)

    def _first_port(self, index: int, row: dict[str, Any], types: list[str]) -> int:
        if "port" in row:
            port = _integer(row["port"])
            highest = 65535 - METRICS_PORT_OFFSET - WORKERS_PER_ROW
            if port is None or not 1024 <= port <= highest:
                self._problem(f"synapse_workers[{index}]: port is {row['port']!r}; a whole number from 1024 to {highest}")
                return 0
            return port
        if not types:
            return 0
        return BY_NAME[types[0]].first_port + (NAMED_ROW_OFFSET if "name" in row else 0)

    def _overrides(self, index: int, row: dict[str, Any]) -> dict[str, Any]:
        where = f"synapse_workers[{index}]"
        level = row.get("log_level", self.settings.get("log_level", "INFO"))
        if level not in LOG_LEVELS and "log_level" in row:
            self._problem(f"{where}: log_level {level!r}; one of {', '.join(LOG_LEVELS)}")
        factor = _number(row.get("cache_factor", 0))
        if factor is None or factor < 0:
            self._problem(f"{where}: cache_factor is {row['cache_factor']!r}; a number above 0, Synapse's default is 0.5")
        environment = row.get("environment", {})
        if not isinstance(environment, dict):
            self._problem(f"{where}: environment must be a mapping of names to values")
            environment = {}
        for name, value in environment.items():
            if not VARIABLE_NAME.match(str(name)):
                self._problem(f"{where}: environment: {name!r} is no name of a variable")
            if any(char in str(value) for char in "\n\r\0"):
                self._problem(f"{where}: environment: the value of {name} must be one line")
        extra = row.get("settings", {})
        if not isinstance(extra, dict):
            self._problem(f"{where}: settings must be a mapping of Synapse settings")
            extra = {}
        for key in SETTINGS_OF_THE_PLAN:
            if key in extra:
                self._problem(f"{where}: settings: {key} is derived from the row; remove it there")
        return {
            "log_level": level,
            "cache_factor": factor or 0,
            "environment": {str(name): str(value) for name, value in environment.items()},
            "settings": extra,
        }

    # Processes

    def _worker(
        self, index: int, row_name: str, types: list[str], host: str, number: int, port: int, overrides: dict[str, Any]
    ) -> dict[str, Any]:
        rows = [BY_NAME[name] for name in types]
        infix = "" if host == self.main_host else f"{host}-"
        name = f"{row_name}-{infix}{number}"
        return {
            "name": name,
            "types": types,
            "host": host,
            "address": self._address(host),
            "number": number,
            "unit": f"{self.settings['service']}-worker@{name}.service",
            "listen": self._listen(host, name, port),
            "replication": self._listen(host, f"{name}.replication", port + REPLICATION_PORT_OFFSET)
            if any(row.streams for row in rows)
            else None,
            "metrics": self._metrics(port + METRICS_PORT_OFFSET),
            "resources": _union(row.resources for row in rows),
            "streams": _union(row.streams for row in rows),
            "media": any(row.media for row in rows),
            **overrides,
            "row": index,
        }

    def _main(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "name": "main",
            "types": ["main"],
            "host": self.main_host,
            "address": self._address(self.main_host),
            "number": 1,
            "unit": f"{settings['service']}.service",
            "listen": self._listen(self.main_host, "main", settings["main_port"]),
            "replication": self._listen(self.main_host, "main.replication", settings["main_replication_port"]),
            "metrics": self._metrics(settings["main_metrics_port"]),
            "resources": ["client", "federation"],
            "streams": [],
            "media": not any(worker["media"] for worker in self.workers),
            "log_level": settings.get("log_level", "INFO"),
            "cache_factor": 0,
            "environment": {},
            "settings": {},
            "row": -1,
        }

    def _address(self, host: str) -> str:
        return self.hosts.get(host, LOOPBACK)

    def _listen(self, host: str, name: str, port: int) -> dict[str, Any]:
        if self.unix:
            return {"path": f"/run/{self.settings['service']}/{name}.sock"}
        return {"address": self._address(host), "port": port}

    def _metrics(self, port: int) -> dict[str, Any] | None:
        return {"address": LOOPBACK, "port": port} if self.settings.get("metrics") else None

    def _let_media_workers_quarantine(self) -> None:
        """Give the first media worker the writing of quarantined media, unless the plan has a row for that.

        Main no longer loads the media repository then, so without this nobody could quarantine. The first one only: further
        media workers come and go without touching ``instance_map``.
        """
        quarantine = BY_NAME["quarantined_media_changes"]
        media = [worker for worker in self.workers if "media_repository" in worker["types"]]
        taken = any(quarantine.name in worker["types"] for worker in self.workers)
        if not media or taken or self.version < quarantine.since:
            return
        first = min(media, key=_sort_key)
        first["types"] = [*first["types"], quarantine.name]
        first["streams"] = [*first["streams"], *quarantine.streams]
        if first["replication"] is None:
            port = first["listen"].get("port", 0)
            name = f"{first['name']}.replication"
            first["replication"] = self._listen(first["host"], name, port + REPLICATION_PORT_OFFSET)

    # The plan as a whole

    def _check_plan(self) -> None:
        self._check_default_type()
        self._check_single()
        self._check_names()
        self._check_ports()
        self._check_media()
        settings = self.settings
        if settings.get("postgresql_host"):
            processes = len(self.workers) + 1
            # Each process opens one more connection while it starts; three are PostgreSQL's own reserve.
            needed = processes * (int(settings["database_pool_max"]) + 1) + 3
            if needed > int(settings["postgresql_max_connections"]):
                self._problem(
                    f"synapse_postgresql_max_connections: {processes} processes may open {needed} connections, more than "
                    f"{settings['postgresql_max_connections']}; raise it or lower synapse_database_pool_max"
                )

    def _check_default_type(self) -> None:
        name = self.settings["default_type"]
        if not name:
            return
        able = [row.name for row in _worker_types.TABLE if row.takes_requests and row.fallback_to_main]
        if name not in able:
            # The others do one thing that nobody else can; while such a worker restarts, everything else would fail with it.
            self._problem(f"synapse_default_type: {name} cannot serve what the plan has no type for; one of {', '.join(able)}")
        elif not any(name in worker["types"] for worker in self.workers):
            self._problem(
                f"synapse_default_type: no worker of type {name} is planned; add a row for it, or leave the variable empty"
            )

    def _check_single(self) -> None:
        for row in _worker_types.TABLE:
            if row.several:
                continue
            holders = [worker for worker in self.workers if row.name in worker["types"]]
            for worker in holders[1:]:
                self._problem(
                    f"synapse_workers[{worker['row']}]: Synapse allows one {row.name} worker and there is "
                    f"{holders[0]['name']} (row {holders[0]['row']}) already; remove {worker['name']}"
                )

    def _check_names(self) -> None:
        seen: dict[str, dict[str, Any]] = {}
        for worker in self.workers:
            other = seen.setdefault(worker["name"], worker)
            if other is not worker:
                self._problem(
                    f"synapse_workers[{worker['row']}]: {worker['name']} is made by row {other['row']} already; "
                    f"merge the rows by `count`, or give one a `name` of its own"
                )

    def _check_ports(self) -> None:
        kinds = ["metrics"] if self.unix else ["listen", "replication", "metrics"]
        seen: dict[tuple[str, int], tuple[dict[str, Any], str]] = {}
        for process in [self._main(), *self.workers]:
            for kind in kinds:
                if not process[kind]:
                    continue
                port = process[kind]["port"]
                other, other_kind = seen.setdefault((process["host"], port), (process, kind))
                # Two rows of one name are reported as such; their ports clash as a matter of course.
                if other is process or other["name"] == process["name"]:
                    continue
                self._problem(
                    f"synapse_workers[{process['row']}]: port {port} ({kind} of {process['name']}) on {process['host']} is "
                    f"taken by {other['name']} ({other_kind}); give the row a `port` of its own"
                )

    def _check_media(self) -> None:
        media = [worker for worker in self.workers if worker["media"]]
        hosts = sorted({worker["host"] for worker in media})
        if len(hosts) > 1 and not self.settings.get("media_store_shared"):
            self._problem(
                f"synapse_workers[{media[-1]['row']}]: media workers on several hosts ({', '.join(hosts)}) would not see each "
                f"other's files; keep them on one, or share the media store and set synapse_media_store_shared"
            )
        for worker in media:
            if "media_repository" not in worker["types"] and not any("media_repository" in w["types"] for w in media):
                self._problem(
                    f"synapse_workers[{worker['row']}]: quarantined_media_changes needs a media_repository worker; "
                    f"add one, or remove the row (the main process does both)"
                )

    def _check_hosts(self) -> None:
        used = {self.main_host, *self.settings["nginx_hosts"], *(worker["host"] for worker in self.workers)}
        used |= {self.settings.get(key) for key in ("postgresql_host", "redis_host")} - {None, ""}
        used &= set(self.hosts)
        for host in sorted(used):
            if not HOST_NAME.match(host):
                self._problem(f"{host}: the inventory name becomes part of file names; use letters, digits, . _ and -")
            self._check_address(host, alone=len(used) == 1)
        if len(used) > 1 and self.unix:
            self._problem(
                f"synapse_unix_sockets: processes on several hosts ({', '.join(sorted(used))}) cannot meet on a socket file; "
                f"set it to false"
            )
        elsewhere = sorted({worker["host"] for worker in self.workers} - {self.main_host})
        if elsewhere and not self.settings["base_settings_managed"]:
            self._problem(
                f"synapse_base_settings_managed: workers on {', '.join(elsewhere)} need the homeserver.yaml and the signing key of "
                f"{self.main_host}, which this collection does not copy as they are yours; keep the workers on {self.main_host}, "
                f"or let the collection manage the base settings"
            )
        addresses: dict[str, str] = {}
        for host in sorted(used):
            other = addresses.setdefault(self._address(host), host)
            if other != host and self._address(host) != LOOPBACK:
                self._problem(f"synapse_address: {host} and {other} both have {self._address(host)}")

    def _check_address(self, host: str, alone: bool) -> None:
        text = self._address(host)
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            self._problem(f"synapse_address: {host} has {text!r}, which is no IP address")
            return
        if address.is_unspecified:
            self._problem(f"synapse_address: {host} has {text}; name the one private address the other hosts reach")
        elif address.is_loopback and not alone:
            self._problem(
                f"synapse_address: {host} has {text}, which other hosts cannot reach; set its private address in the inventory"
            )
        elif address.is_global and not self.settings.get("public_addresses_allowed"):
            self._problem(
                f"synapse_address: {host} has the public address {text}; replication is not encrypted, "
                f"so use an address of a private network"
            )

    def _problem(self, sentence: str) -> None:
        if sentence not in self.problems:
            self.problems.append(sentence)


def processes(plan: dict[str, Any], host: str | None = None) -> Iterator[dict[str, Any]]:
    """The main process and the workers of ``plan``, on one host or on all."""
    for process in [plan["main"], *plan["workers"]]:
        if host is None or process["host"] == host:
            yield process


def _sort_key(worker: dict[str, Any]) -> tuple[int, str, str, int]:
    return (ORDER[worker["types"][0]], worker["name"].rsplit("-", 1)[0], worker["host"], worker["number"])


def _union(lists: Any) -> list[str]:
    return list(dict.fromkeys(item for items in lists for item in items))


def _integer(value: Any) -> int | None:
    # Inventory values made by Jinja are often text.
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return int(value)
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _did_you_mean(word: Any, known: Any) -> str:
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}" if len(list(known)) < 40 else ""
