"""From what a host has to an inventory: the workers and variables of a Synapse that was set up by hand.

Sources: Synapse 1.163.2, ``synapse/config/workers.py`` and ``synapse/config/server.py`` (what is refused, and in which words), and its
``docs/upgrade.md`` (since which release).

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import re
from typing import Any

from ..module_utils import _endpoints
from ..module_utils._worker_types import (
    BY_NAME,
    METRICS_PORT_OFFSET,
    NAMED_ROW_OFFSET,
    ORDER,
    REPLICATION_PORT_OFFSET,
    TABLE,
    parse_version,
)
from ._adoption_words import OLD_APPS, findings
from ._before import resources_of
from ._nginx_vhosts import addresses_of, asks_main, in_the_way, include_line, includes, location_for

LOOPBACKS = ("127.0.0.1", "0.0.0.0", "::", "localhost")
OFFSETS = (0, REPLICATION_PORT_OFFSET, METRICS_PORT_OFFSET)
KNOWN_RESOURCES = (
    "client", "consent", "federation", "health", "keys", "media", "metrics", "openid", "replication", "static",
)  # fmt: skip


def adoption(found: dict[str, Any]) -> dict[str, Any]:
    """What the inventory of a host has to say for the Synapse that is there.

    Args:
        found: what the module ``installation_info`` returned.

    Returns:
        ``problems`` (what has to be settled before a roll-out, sentences), ``notes`` (what is worth knowing), ``obsolete`` (a list of
        ``where``, ``what``, ``since`` and ``instead``), ``understood`` (a list of ``what`` and ``as``), ``changes`` (what a roll-out would do),
        ``variables`` (of the inventory) and ``workers`` (rows of ``synapse_workers``).
    """
    return _Adoption(found).value()


class _Adoption:
    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.understood: list[tuple[str, str]] = []
        self.settings = effective(found["settings"])
        self.main: dict[str, Any] = next((unit for unit in found["units"] if unit["unit"] == found["main"]), {})
        self.workers = [unit for unit in found["units"] if unit["app"] != "homeserver" and not unit["ours"]]
        self.own = {name: effective(files) for name, files in found["worker_settings"].items()}
        self.taken = {one["port"] for one in found["listening"]}
        self.variables: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []

    def value(self) -> dict[str, Any]:
        if self._is_there():
            self._unit()
            self._identity()
            self._listeners()
            self._services()
            self._workers()
            self._nginx()
        problems, notes, obsolete = findings(self.found, self.settings, self.own)
        return {
            "problems": [*self.problems, *problems],
            "notes": [*self.notes, *notes],
            "obsolete": obsolete,
            "understood": [{"what": what, "as": meaning} for what, meaning in self.understood],
            "changes": self._changes() if self.variables else [],
            "variables": self.variables,
            "workers": self.rows,
        }

    def _is_there(self) -> bool:
        mains = [unit["unit"] for unit in self.found["units"] if unit["app"] == "homeserver"]
        if len(mains) > 1 and not self.found["main"]:
            self.problems.append(f"several units start a main process: {', '.join(mains)}; say which one with -e unit=NAME")
            return False
        if self.found["error"]:
            self.problems.append(f"{self.found['error']}; -e unit=…, -e paths=… and -e python=… can say what could not be found")
            return False
        return True

    def _unit(self) -> None:
        unit = str(self.main.get("unit", ""))
        service = unit[: -len(".service")]
        if not re.match(r"^[a-z][a-z0-9-]*$", service):
            self.problems.append(f"the main process runs as {unit}; its unit needs a name of small letters, digits and hyphens")
        base = str((self.main.get("configs") or list(self.found["settings"]))[0])
        folder, name = base.rsplit("/", 1)
        if name != "homeserver.yaml":
            self.problems.append(f"the settings of the main process are {base}; the roll-out reads {folder}/homeserver.yaml: "
                                 f"let that be a link to it")  # fmt: skip
        venv = str(self.found["python"]).rsplit("/bin/", 1)[0]
        package = bool(self.found["package"]) and service == "matrix-synapse" and venv == "/opt/venvs/matrix-synapse"
        data = str(self.main.get("working_directory") or "")
        if data in ("", "/", "~"):
            data = f"/var/lib/{service}"
        self.variables.update(
            synapse_service=service,
            synapse_install_method="debian" if package else "none",
            synapse_version="" if package else self.found["release"],
            synapse_venv=venv,
            synapse_user=self.main["user"],
            synapse_config_dir=folder,
            synapse_data_dir=data,
            synapse_base_settings_managed=False,
            synapse_main_unit_managed=False,
        )
        self.understood.append(
            (f"{unit}: Synapse {self.found['release']} of {venv}, as {self.main['user']}", "the main process; its unit stays")
        )
        self.understood.append((", ".join(path for path in self.found["settings"]), "stay, and are read by all processes"))
        if self.main["user"] == "root":
            self.problems.append(
                f"{unit} runs as root; give Synapse an account of its own first (User= in the unit, and its files)"
            )
        unread = [
            path
            for path in self.found["conf_d"]
            if path not in self.found["settings"] and not path.endswith("/90-synapse-workers.yaml")
        ]
        if unread:
            self.problems.append(
                f"{', '.join(unread)}: the main process does not read this today, and would when it reads conf.d/; move it away, or make "
                f"sure that it may be read"
            )
        for path in (folder, data, venv):
            if re.match(r"/(home|root|run/user)/", f"{path}/"):
                self.problems.append(
                    f"{path} is in somebody's home, which the units of workers do not see; move it to /etc, /var or /opt"
                )
        others = [unit["unit"] for unit in self.found["units"] if unit["ours"]]
        if others:
            self.notes.append(f"this collection has been here already: {', '.join(others)}")
        # The names that Synapse's own documentation gives to units of workers and to their target.
        if any(one["unit"].startswith(f"{service}-worker@") for one in self.workers):
            self.variables["synapse_worker_unit"] = f"{service}-role"
            self.variables["synapse_target"] = f"{service}-roles.target"

    def _identity(self) -> None:
        settings = self.settings
        vhost = self._vhost()
        names = [name for name in (vhost or {}).get("names", []) if re.match(r"^[A-Za-z0-9.-]+$", name)]
        url = str(
            settings.get("public_baseurl") or (f"https://{names[0]}/" if names else f"https://{settings.get('server_name')}/")
        )
        self.variables.update(
            synapse_server_name=settings.get("server_name", ""),
            synapse_public_baseurl=url,
            synapse_server_hostname=re.sub(r"^https?://([^:/]+).*$", r"\1", url),
        )
        media = str(settings.get("media_store_path") or "media_store")
        data = self.variables["synapse_data_dir"]
        if media.startswith("/") and not media.startswith(f"{data}/"):
            self.variables["synapse_writable_paths"] = [media]
        self.understood.append((f"media in {media}", "stay where they are"))

    def _listeners(self) -> None:
        theirs, dropped = [], []
        for listener in self.settings.get("listeners") or []:
            if not isinstance(listener, dict):
                continue
            if listener.get("type") == "replication":
                dropped.append(f"port {listener.get('port')} of type replication")
                continue
            resources = [
                {**one, "names": [name for name in one.get("names", []) if name in KNOWN_RESOURCES]}
                for one in listener.get("resources") or []
            ]
            unknown = resources_of(listener) - set(KNOWN_RESOURCES)
            if unknown:
                self.notes.append(
                    f"listener {listener.get('port')}: Synapse knows no resource {', '.join(sorted(unknown))} any more; left out"
                )
                listener = {**listener, "resources": [one for one in resources if one["names"]]}
            if listener.get("additional_resources"):
                self.notes.append(f"listener {listener.get('port')}: additional_resources are copied into the inventory as they are; "
                                  f"if they hold a secret, encrypt it there (ansible-vault)")  # fmt: skip
            theirs.append(listener)
        self.variables["synapse_main_listeners"] = theirs
        ports = {one.get("port") for one in theirs}
        self.variables["synapse_main_port"] = self._port(theirs, {"client", "federation"}, 8008, ports)
        self.variables["synapse_main_replication_port"] = self._port(theirs, {"replication"}, 9093, ports)
        self.variables["synapse_main_metrics_port"] = self._port(theirs, {"metrics"}, 21000, ports)
        for listener in theirs:
            where = listener.get("port") or listener.get("path")
            self.understood.append((f"listener {where} ({', '.join(sorted(_offered(listener)))})", "stays"))
        for what in dropped:
            self.understood.append((f"listener {what}", "is left out: Synapse refuses it"))

    def _port(self, listeners: list[dict[str, Any]], wanted: set[str], usual: int, own: set[Any]) -> int:
        """The port of the listener that offers ``wanted`` alone if need be, on loopback and without TLS; else a free one."""
        fitting = [
            listener["port"]
            for listener in listeners
            if isinstance(listener.get("port"), int)
            and not listener.get("tls")
            and wanted <= _offered(listener)
            and _on_loopback(listener)
            # Replication can do everything, so it does not stay with what clients reach.
            and (wanted != {"replication"} or not _offered(listener) & {"client", "federation"})
        ]
        if fitting:
            return int(fitting[0])
        port = usual
        while port in own or port in self.taken:
            port += 1
        self.taken.add(port)
        return port

    def _services(self) -> None:
        database, redis = self.found["database"], self.settings.get("redis") or {}
        if database["kind"] != "sqlite":
            self.variables["synapse_postgresql_host"] = ""
        if database["kind"] == "postgresql":
            about = "PostgreSQL"
            if not database["error"]:
                about += f" {database['version'].split(' ')[0]}, {database['bytes'] / 1e6:.0f} MB"
            self.understood.append((f"{about}, as homeserver.yaml says", "stays"))
        if redis.get("enabled"):
            self.variables["synapse_redis_host"] = ""
            where = redis.get("path") or f"{redis.get('host', 'localhost')}:{redis.get('port', 6379)}"
            self.understood.append((f"Redis at {where}", "stays"))

    # Workers

    def _workers(self) -> None:
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        replaced = []
        for unit in self.workers:
            types = self._types(unit)
            listen, metrics = _worker_listens(self.own.get(unit["unit"], {}))
            on = unit["active"] in ("active", "activating", "reloading") or unit["enabled"] == "enabled"
            if on:
                row: dict[str, Any] = {"unit": unit["unit"], "duty": any(_may_not_double(BY_NAME[name]) for name in types)}
                if listen:
                    row["listen"] = listen
                if metrics:
                    row["metrics"] = metrics
                replaced.append(row)
            meaning = ", ".join(types) or "no request that nginx sends there and no duty was found, so it is left out"
            state = "" if on else " (neither runs nor is enabled)"
            self.understood.append((f"{unit['unit']}{state}", meaning))
            if types:
                groups.setdefault(tuple(types), []).append(unit)
        taken: dict[str, str] = {}
        for combined, members in groups.items():
            self._row(combined, members, taken)
        self.rows.sort(key=lambda row: ORDER[row["type"] if "type" in row else row["types"][0]])
        if replaced:
            self.variables["synapse_replaced_units"] = replaced
        bound = [unit["unit"] for unit in self.workers if self.main["unit"] in unit["binds_to"] and unit["active"] == "active"]
        if bound:
            self.notes.append(f"{', '.join(bound)}: bound to {self.main['unit']} (BindsTo), so they stop when it restarts; their requests "
                              f"then go to the main process until the new workers answer")  # fmt: skip

    def _row(self, types: tuple[str, ...], members: list[dict[str, Any]], taken: dict[str, str]) -> None:
        singles = [name for name in types if not BY_NAME[name].several]
        kept = [name for name in types if name not in singles or name not in taken]
        if len(kept) < len(types):
            gone = [name for name in types if name not in kept]
            self.notes.append(
                f"{members[0]['unit']}: {', '.join(gone)} is done by one worker only, and {taken[gone[0]]} does it; left out"
            )
        if not kept:
            return
        taken.update(dict.fromkeys(singles, members[0]["unit"]))
        row: dict[str, Any] = {"type": kept[0]} if len(kept) == 1 else {"types": kept, "name": self._row_name(members)}
        if len(members) > 1 and not any(name in singles for name in kept):
            row["count"] = len(members)
        usual = BY_NAME[kept[0]].first_port + (NAMED_ROW_OFFSET if "name" in row else 0)
        port = next((port for port in (usual, *range(14000, 19000, 100)) if self._is_free(port, len(members))), usual)
        if port != usual:
            row["port"] = port
        self.taken.update(port + offset + number for offset in OFFSETS for number in range(len(members)))
        self.rows.append(row)

    def _is_free(self, port: int, count: int) -> bool:
        """Whether nobody listens where the workers of a row would; another homeserver of this host, for example."""
        return not any(port + offset + number in self.taken for offset in OFFSETS for number in range(count))

    def _row_name(self, members: list[dict[str, Any]]) -> str:
        own = self.own.get(members[0]["unit"], {})
        stem = re.sub(r"[^a-z0-9_]+", "_", str(own.get("worker_name") or members[0]["unit"].partition(".")[0]).lower())
        stem = re.sub(r"[_0-9]+$", "", stem).lstrip("_0123456789") or "helper"
        names = {row.get("name") for row in self.rows}
        if stem in BY_NAME or stem in ("main", "master"):
            stem += "_and_more"
        name, number = stem, 2
        while name in names:
            name, number = f"{stem}_{number}", number + 1
        return name

    def _types(self, unit: dict[str, Any]) -> list[str]:
        """The worker types that a unit of before amounts to."""
        own = self.own.get(unit["unit"], {})
        app = str(own.get("worker_app", "")).rpartition(".")[2] or unit["app"]
        name = str(own.get("worker_name") or own.get("worker_app") or "")
        types = set()
        if app in OLD_APPS:
            types.add(app)
        for row in TABLE:
            if any(name in _names((self.settings.get("stream_writers") or {}).get(stream)) for stream in row.streams):
                types.add(row.name)
            if row.setting and name in _names(self.settings.get(row.setting)):
                types.add(row.name)
        resources = {resource for listener in own.get("worker_listeners") or [] for resource in _offered(listener)}
        if "media" in resources and (own.get("enable_media_repo") or app == "media_repository"):
            types.add("media_repository")
        types |= self._asked_for(own)
        # Given to the first media worker by the plan itself.
        types.discard("quarantined_media_changes")
        version = parse_version(self.found["release"]) or (1, 163)
        return sorted((name for name in types if BY_NAME[name].since <= version), key=ORDER.__getitem__)

    def _asked_for(self, own: dict[str, Any]) -> set[str]:
        """The types whose requests nginx sends to a worker, by its locations of today."""
        listen, _metrics = _worker_listens(own)
        if not listen or not self.found["nginx"]["servers"]:
            return set()
        where = str(listen.get("path") or f"127.0.0.1:{listen['port']}")
        nginx = self.found["nginx"]
        counts: dict[str, tuple[int, int]] = {}
        for row in _endpoints.rows_for():
            kind = next(
                (
                    name
                    for name in row.types
                    if not BY_NAME[name].streams and not BY_NAME[name].setting and not BY_NAME[name].media
                ),
                "",
            )
            if not kind or row.types[0] != kind:
                continue
            total, hits = counts.get(kind, (0, 0))
            for path in _endpoints.expand(row.path):
                total += 1
                hits += any(self._goes_to(nginx, server, _endpoints.sample_of(path), where) for server in nginx["servers"])
            counts[kind] = (total, hits)
        return _without_stand_ins({kind for kind, (total, hits) in counts.items() if hits * 5 >= total})

    @staticmethod
    def _goes_to(nginx: dict[str, Any], server: dict[str, Any], path: str, where: str) -> bool:
        location = location_for(server, path)
        return location is not None and any(where in addresses_of(nginx, asked) for asked in location["asks"])

    # nginx

    def _vhost(self) -> dict[str, Any] | None:
        """The server block that clients reach."""
        nginx = self.found["nginx"]
        ports = {listener.get("port") for listener in self.settings.get("listeners") or [] if isinstance(listener, dict)}
        wanted = {f"127.0.0.1:{port}" for port in ports}
        asking = [server for server in nginx["servers"] if any(asks_main(nginx, server, one) for one in wanted)]
        asking.sort(key=lambda server: not any("ssl" in listen for listen in server["listen"]))
        return asking[0] if asking else None

    def _nginx(self) -> None:
        nginx = self.found["nginx"]
        if not nginx["installed"]:
            self.notes.append("there is no nginx; the roll-out installs it and writes a site")
            return
        vhost = self._vhost()
        if nginx["error"]:
            self.problems.append(f"nginx refuses its files as they are: {nginx['error']}")
        if vhost is None:
            self.problems.append(
                "no server block of nginx sends requests to the main process; say in the inventory who does (synapse_nginx_site)"
            )
            return
        self.variables["synapse_nginx_site"] = False
        # Whoever answers it today goes on to.
        self.variables["synapse_nginx_well_known"] = False
        if any(one["words"][0] == "pcre_jit" for one in nginx["main"]):
            self.variables["nginx_pcre_jit"] = False
        status = 8089
        while status in self.taken:
            status += 1
        if status != 8089:
            self.variables["synapse_nginx_status_port"] = status
        snippet = f"/etc/nginx/snippets/{self.variables['synapse_service']}.conf"
        if not includes(vhost, snippet):
            self.problems.append(
                f"put `{include_line(snippet)}` into the server block at {vhost['file']}:{vhost['line']} and reload nginx; it does nothing as "
                f"long as there is no such file, and your own locations stay for the day when it goes"
            )
        for sentence, is_problem in in_the_way(vhost, {"snippet": snippet, "well_known": False}):
            (self.problems if is_problem else self.notes).append(sentence)
        self.understood.append(
            (f"the vhost {vhost['file']}:{vhost['line']} ({' '.join(vhost['names'])})", "stays; it needs one more line")
        )

    def _changes(self) -> list[str]:
        variables = self.variables
        folder, service = variables["synapse_config_dir"], variables["synapse_service"]
        changes = [f"new: {folder}/conf.d/90-synapse-workers.yaml, which every process reads after your own files"]
        if self.rows:
            unit = variables.get("synapse_worker_unit", f"{service}-worker")
            changes.append(f"new: {folder}/workers/NAME.yaml, and {unit}@NAME.service, for each worker")
        changes.append(f"new: /etc/systemd/system/{service}.service.d/50-synapse-workers.conf"
                       + ("" if variables["synapse_install_method"] == "debian" else ", so that the main process reads conf.d/"))  # fmt: skip
        changes.append(f"new: {folder}/secrets/, with the secret by which processes know each other")
        if "synapse_redis_host" not in variables:
            changes.append(f"new: Redis, an instance of its own (redis-server@{service}.service)")
        if variables.get("synapse_nginx_site") is False:
            changes.append(f"new: /etc/nginx/conf.d/{service}.conf and /etc/nginx/snippets/{service}.conf")
        changes.append("restarts once: the main process")
        for row in variables.get("synapse_replaced_units", []):
            changes.append(f"stopped and disabled at the end, nothing of it removed: {row['unit']}")
        changes.append("edited: nothing. `synapse.workers.remove` takes back what is new")
        return changes


def effective(files: dict[str, Any]) -> dict[str, Any]:
    """What Synapse makes of several files: later ones replace whole keys; ours do not count."""
    settings: dict[str, Any] = {}
    for told in files.values():
        if not told.get("ours"):
            settings.update(told["keys"])
    return settings


def _without_stand_ins(types: set[str]) -> set[str]:
    """``types`` without those whose requests another of them takes anyway when nobody else is planned for them."""
    for name in sorted(types, key=ORDER.__getitem__, reverse=True):
        others = types - {name}
        rows = [row for row in _endpoints.rows_for() if name in row.types and _endpoints.pool_of(row, types) == name]
        if rows and all(_endpoints.pool_of(row, others) != _endpoints.MAIN for row in rows):
            types = others
    return types


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _offered(listener: Any) -> set[str]:
    if not isinstance(listener, dict):
        return set()
    return resources_of(listener) | {str(listener.get("type"))} - {"http"}


def _on_loopback(listener: dict[str, Any]) -> bool:
    addresses = [*(listener.get("bind_addresses") or []), *([listener["bind_address"]] if listener.get("bind_address") else [])]
    return not addresses or any(address in LOOPBACKS for address in addresses)


def _worker_listens(own: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """(where a worker takes requests, where its metrics are) by its settings."""
    listen, metrics = None, None
    for listener in own.get("worker_listeners") or []:
        if not isinstance(listener, dict):
            continue
        where = {"path": listener["path"]} if listener.get("path") else {"address": "127.0.0.1", "port": listener.get("port")}
        if listener.get("type") == "metrics":
            metrics = where
        elif listen is None and _offered(listener) & {"client", "federation", "media"}:
            listen = where
    return listen, metrics


def _may_not_double(row: Any) -> bool:
    return (bool(row.streams) and not row.media) or bool(row.setting)
