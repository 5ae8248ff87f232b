"""The one derivation: the operator's list × the table of worker types → ``synapse_topology``.

Everything that is written to a host is a view of the value made here. Nothing else reads ``synapse_workers``.

The rules for names and ports are what lets an inventory be edited on a live server: a worker's name, port and unit follow
from its own row and number only, never from its place in the list or from other rows.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..module_utils import _worker_types
from ..module_utils._worker_types import BY_NAME, METRICS_PORT_OFFSET, ORDER, REPLICATION_PORT_OFFSET
from ._before import problems_of_before, replaced_units
from ._plan_problems import LOOPBACK, plan_problems
from ._rows import Row, read_rows
from ._setting_problems import release_of, setting_problems


def topology(rows: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """The checked plan of one homeserver.

    Args:
        rows: ``synapse_workers``, a list of mappings with keys out of ``ROW_KEYS``.
        settings: the shared inventory variables that matter for the plan, under the keys that
            ``roles/synapse/vars/main.yml`` gives them; ``hosts`` maps each inventory name to its private address,
            ``groups`` each group to its hosts.

    Returns:
        ``service``, ``server_name``, ``version``; ``main`` (a process); ``workers`` (processes by type, host and number);
        ``hosts`` ({name: {address, parts}}; parts out of main, workers, processes, nginx, postgresql, redis, prometheus);
        ``nginx_hosts``; ``replaced`` ({host: units of before that go}: ``name``, ``unit``, ``listen``, ``metrics``, ``yields``);
        ``postgresql`` and ``redis`` ({host, clients}: on which host the
        collection sets it up, and the addresses of the other hosts that must reach it); ``pools`` ({type: worker names} of the planned types that take
        requests, in the order of the table); ``streams`` ({stream: worker names}); ``settings`` (what views need
        besides); ``problems`` (list of sentences, empty when the plan can be rolled out). With problems the rest is as
        complete as the input allows and must not be used.

        A process is ``name``, ``types``, ``host``, ``address``, ``number``, ``unit``, ``listen`` ({address, port} or
        {path}), ``replication`` (the same or None), ``metrics`` ({address, port} or None), ``resources``, ``streams``,
        ``media``, ``log_level``, ``cache_factor``, ``environment``, ``settings``, ``row`` (-1 for main).
    """
    wrong_settings = setting_problems(settings)
    settings = _readable(settings)
    good_rows, wrong_rows = read_rows(rows, settings, release_of(settings))
    plan = _Plan(good_rows, settings).value()
    plan["problems"] = list(dict.fromkeys([*wrong_settings, *wrong_rows, *plan_problems(plan), *problems_of_before(plan)]))
    return plan


def _readable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with which the rest of a plan can be looked at, for its mistakes too: names that are none are nobody."""
    names = {
        key: settings[key] if isinstance(settings.get(key), str) else "" for key in ("main_host", "postgresql_host", "redis_host")
    }
    hosts = settings["nginx_hosts"] if isinstance(settings["nginx_hosts"], list) else []
    addresses = {host: str(address) for host, address in settings["hosts"].items()}
    return {
        **settings,
        **names,
        "hosts": addresses,
        "nginx_hosts": list(dict.fromkeys(host for host in hosts if isinstance(host, str))),
    }


# What only the checks need.
_FOR_CHECKS = ("odd_secrets", "known_variables", "inventory_variables", "own_variables", "nginx_keepalive", "nginx_login_burst")


class _Plan:
    """The processes that the rows make."""

    def __init__(self, rows: list[Row], settings: dict[str, Any]) -> None:
        self.settings = settings
        self.hosts: dict[str, str] = settings["hosts"]
        self.main_host: str = settings["main_host"]
        self.nginx_hosts: list[str] = settings["nginx_hosts"]
        self.unix: bool = bool(settings.get("unix_sockets"))
        self.workers = [
            self._worker(row, host, number) for row in rows for host in row.hosts for number in range(1, row.count + 1)
        ]
        self.workers.sort(key=_sort_key)
        self._let_media_workers_quarantine()

    def value(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "service": settings["service"],
            "server_name": settings["server_name"],
            "version": settings.get("version") or "",
            "main": self._main(),
            "workers": self.workers,
            "hosts": {host: {"address": address, "parts": self._parts_of(host)} for host, address in self.hosts.items()},
            "nginx_hosts": self.nginx_hosts,
            "replaced": replaced_units(settings["replaced_units"], self.main_host),
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
            "settings": {key: value for key, value in settings.items() if key not in _FOR_CHECKS},
        }

    def _parts_of(self, host: str) -> list[str]:
        """What of the homeserver lives on a host; the playbooks go by this."""
        settings = self.settings
        parts = {
            "main": host == self.main_host,
            "workers": any(worker["host"] == host for worker in self.workers),
            "nginx": host in self.nginx_hosts,
            "postgresql": host == settings.get("postgresql_host"),
            "redis": host == settings.get("redis_host"),
            "prometheus": host == settings.get("prometheus_host"),
        }
        parts["processes"] = parts["main"] or parts["workers"]
        return [part for part, is_here in parts.items() if is_here]

    def _addresses_besides(self, server: str | None) -> list[str]:
        """Addresses of the hosts with processes other than ``server``: whom a database there must let in."""
        if not server:
            return []
        hosts = {self.main_host, *(worker["host"] for worker in self.workers)} - {server}
        return sorted(self._address(host) for host in hosts)

    # Processes

    def _worker(self, row: Row, host: str, number: int) -> dict[str, Any]:
        duties = [BY_NAME[name] for name in row.types]
        infix = "" if host == self.main_host else f"{host}-"
        name = f"{row.name}-{infix}{number}"
        port = row.first_port + number - 1
        return {
            "name": name,
            "types": row.types,
            "host": host,
            "address": self._address(host),
            "number": number,
            "unit": f"{self.settings['worker_unit']}@{name}.service",
            "listen": self._listen(host, name, port),
            "replication": self._listen(host, f"{name}.replication", port + REPLICATION_PORT_OFFSET)
            if any(duty.streams for duty in duties)
            else None,
            "metrics": self._metrics(host, port + METRICS_PORT_OFFSET),
            "resources": _union(duty.resources for duty in duties),
            "streams": _union(duty.streams for duty in duties),
            "media": any(duty.media for duty in duties),
            **row.overrides,
            "row": row.index,
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
            "metrics": self._metrics(self.main_host, settings["main_metrics_port"]),
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

    def _metrics(self, host: str, port: int) -> dict[str, Any] | None:
        if not self.settings.get("metrics"):
            return None
        # They tell nothing that an outsider should know, so they leave the host only where somebody waits for them.
        leave = self.settings.get("prometheus_host") not in ("", None, host)
        return {"address": self._address(host) if leave else LOOPBACK, "port": port}

    def _let_media_workers_quarantine(self) -> None:
        """Give the first media worker the writing of quarantined media, unless the plan has a row for that.

        Main no longer loads the media repository then, so without this nobody could quarantine. The first one only: further
        media workers come and go without touching ``instance_map``.
        """
        quarantine = BY_NAME["quarantined_media_changes"]
        media = [worker for worker in self.workers if "media_repository" in worker["types"]]
        taken = any(quarantine.name in worker["types"] for worker in self.workers)
        if not media or taken or release_of(self.settings) < quarantine.since:
            return
        first = min(media, key=_sort_key)
        first["types"] = [*first["types"], quarantine.name]
        first["streams"] = [*first["streams"], *quarantine.streams]
        if first["replication"] is None:
            port = first["listen"].get("port", 0)
            name = f"{first['name']}.replication"
            first["replication"] = self._listen(first["host"], name, port + REPLICATION_PORT_OFFSET)


def processes(plan: dict[str, Any], host: str | None = None) -> Iterator[dict[str, Any]]:
    """The main process and the workers of ``plan``, on one host or on all."""
    for process in [plan["main"], *plan["workers"]]:
        if host is None or process["host"] == host:
            yield process


def _sort_key(worker: dict[str, Any]) -> tuple[int, str, str, int]:
    return (ORDER[worker["types"][0]], worker["name"].rsplit("-", 1)[0], worker["host"], worker["number"])


def _union(lists: Any) -> list[str]:
    return list(dict.fromkeys(item for items in lists for item in items))
