"""Reads the rows of ``synapse_workers``, one by one: what a row alone says, and what is wrong with it.

What rows do to each other is looked at when the plan is made (``_plan_problems.py``).

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..module_utils._worker_types import (
    BY_NAME,
    KNOWN_AS,
    METRICS_PORT_OFFSET,
    NAMED_ROW_OFFSET,
    ORDER,
    TABLE,
    WORKERS_PER_ROW,
)
from ._words import did_you_mean, integer, number, shown

ROW_KEYS = (
    "type", "types", "name", "count", "host", "group", "port",
    "log_level", "cache_factor", "environment", "settings",
)  # fmt: skip
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

# Synapse calls the main process 'master' inside stream_writers and 'main' in instance_map; a worker of either name would
# take over its duties (synapse/config/workers.py, 1.163.2).
RESERVED_NAMES = ("main", "master")
# Also a systemd instance name, a file name and an upstream server's comment.
NAME = re.compile(r"[a-z][a-z0-9_]*")
LONGEST_NAME = 64
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Keys that make a worker what it is; a row's own settings would pull it out of the plan.
SETTINGS_OF_THE_PLAN = ("worker_app", "worker_name", "worker_listeners", "worker_log_config")

# Settings that name workers: only the plan may, or a worker named by nobody would idle in silence.
DERIVED = (
    "instance_map", "stream_writers", "enable_media_repo", "media_instance_running_background_jobs",
    "worker_replication_secret", "worker_replication_secret_path", "listeners",
    *sorted(row.setting for row in TABLE if row.setting),
)  # fmt: skip

# Settings of old releases. Synapse refuses the first three and follows the others, which then disagree with the plan.
OBSOLETE = (
    "worker_replication_host", "worker_replication_http_port", "worker_replication_port", "worker_replication_http_tls",
    "worker_main_http_uri", "send_federation", "start_pushers", "notify_appservices", "update_user_directory",
)  # fmt: skip

# Processes that disagree on these are no homeserver.
SAID_ONCE = {"server_name": "synapse_server_name", "redis": "synapse_redis"}


@dataclass(frozen=True)
class Row:
    """A row without a mistake."""

    index: int
    name: str
    """What its workers' names begin with."""
    types: list[str]
    """In the order of the table, so that reordering the types of a row changes nothing."""
    hosts: list[str]
    count: int
    """Workers on each host."""
    first_port: int
    overrides: dict[str, Any]
    """``log_level``, ``cache_factor``, ``environment`` and ``settings`` of its workers."""


def read_rows(rows: Any, settings: dict[str, Any], version: tuple[int, int]) -> tuple[list[Row], list[str]]:
    """The rows without a mistake, and a sentence for every mistake in the others.

    Args:
        rows: ``synapse_workers``, whatever it is.
        settings: as ``_topology.topology`` gets them.
        version: release of Synapse that the plan is for.
    """
    if not isinstance(rows, list):
        return [], ["synapse_workers: must be a list of rows like {type: synchrotron, count: 2}"]
    good, problems = [], []
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            problems.append(f"synapse_workers[{index}]: must be a mapping like {{type: synchrotron, count: 2}}")
            continue
        reader = _Reader(index, row, settings, version)
        read = reader.read()
        problems += reader.problems
        if not reader.problems:
            good.append(read)
    return good, problems


class _Reader:
    def __init__(self, index: int, row: dict[str, Any], settings: dict[str, Any], version: tuple[int, int]) -> None:
        self.index = index
        self.row = row
        self.settings = settings
        self.version = version
        self.problems: list[str] = []

    def read(self) -> Row:
        """The row as far as it can be read; right when there are no ``problems`` afterwards."""
        for key in self.row:
            if key not in ROW_KEYS:
                self._problem(f"{shown(key).strip(chr(39))} is no key of a row{did_you_mean(key, ROW_KEYS)}")
        types = self._types()
        hosts = self._hosts()
        count = self._count()
        name = self._name(types)
        return Row(self.index, name, types, hosts, count, self._first_port(types), self._overrides())

    def _problem(self, sentence: str) -> None:
        self.problems.append(f"synapse_workers[{self.index}]: {sentence}")

    def _types(self) -> list[str]:
        row = self.row
        if ("type" in row) == ("types" in row):
            self._problem("give either `type` (one duty) or `types` (a list: one process with several duties)")
            return []
        types = [row["type"]] if "type" in row else row["types"]
        if not isinstance(types, list) or not types:
            self._problem("`types` must be a list of worker types")
            return []
        if len(set(map(str, types))) < len(types):
            self._problem("a type is named twice")
            return []
        known = []
        for name in types:
            if not isinstance(name, str) or name not in BY_NAME:
                known_as = KNOWN_AS.get(str(name))
                hint = f"; here it is called {known_as}" if known_as else did_you_mean(name, BY_NAME)
                word = name if isinstance(name, str) else shown(name)
                self._problem(f"{word} is no worker type{hint}")
                continue
            since = BY_NAME[name].since
            if self.version < since:
                self._problem(
                    f"{name} came with Synapse {'.'.join(map(str, since))}, "
                    f"but synapse_version is {self.settings['version']}; upgrade or remove the row"
                )
            known.append(name)
        return sorted(known, key=ORDER.__getitem__)

    def _hosts(self) -> list[str]:
        row, settings = self.row, self.settings
        if "host" in row and "group" in row:
            self._problem("give either `host` or `group`, not both")
            return []
        for key in ("host", "group"):
            if key in row and not isinstance(row[key], str):
                self._problem(f"{key} is {shown(row[key])}; one name out of the inventory")
                return []
        if "group" in row:
            groups = settings["groups"]
            if row["group"] not in groups:
                self._problem(f"there is no group {row['group']}{did_you_mean(row['group'], groups)}")
                return []
            hosts = list(groups[row["group"]])
            if not hosts:
                self._problem(f"the group {row['group']} has no hosts")
        else:
            hosts = [row.get("host", settings["main_host"])]
        for host in hosts:
            if host not in settings["hosts"]:
                self._problem(f"{host} is not in the group {settings['group']}{did_you_mean(host, settings['hosts'])}")
        return hosts

    def _count(self) -> int:
        count = integer(self.row.get("count", 1))
        if count is None or not 0 <= count <= WORKERS_PER_ROW:
            self._problem(f"count is {shown(self.row.get('count'))}; a whole number from 0 to {WORKERS_PER_ROW} per host")
            return 0
        return count

    def _name(self, types: list[str]) -> str:
        row = self.row
        if "name" not in row:
            if len(types) > 1:
                self._problem("a row with several types needs a `name`, which its workers then carry")
            return types[0] if types else ""
        name = row["name"]
        if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            self._problem(
                f"name {shown(name)}; use small letters, digits and underscores, a letter first, {LONGEST_NAME} at most"
            )
        elif name in RESERVED_NAMES:
            self._problem(f"{name} is Synapse's own name for the main process; choose another")
        elif name in BY_NAME:
            self._problem(f"{name} is the name of a worker type; choose another, or leave `name` out")
        return str(name)

    def _first_port(self, types: list[str]) -> int:
        if "port" in self.row:
            port = integer(self.row["port"])
            highest = 65535 - METRICS_PORT_OFFSET - WORKERS_PER_ROW
            if port is None or not 1024 <= port <= highest:
                self._problem(f"port is {shown(self.row['port'])}; a whole number from 1024 to {highest}")
                return 0
            return port
        if not types:
            return 0
        return BY_NAME[types[0]].first_port + (NAMED_ROW_OFFSET if "name" in self.row else 0)

    def _overrides(self) -> dict[str, Any]:
        row = self.row
        level = row.get("log_level", self.settings.get("log_level", "INFO"))
        if level not in LOG_LEVELS and "log_level" in row:
            self._problem(f"log_level {shown(level)}; one of {', '.join(LOG_LEVELS)}")
        factor = number(row.get("cache_factor", 0))
        if factor is None or factor < 0:
            self._problem(f"cache_factor is {shown(row['cache_factor'])}; a number above 0, Synapse's default is 0.5")
        environment = row.get("environment", {})
        if not isinstance(environment, dict):
            self._problem("environment must be a mapping of names to values")
            environment = {}
        for name, value in environment.items():
            if not VARIABLE_NAME.fullmatch(str(name)):
                self._problem(f"environment: {shown(name)} is no name of a variable")
            if any(char in str(value) for char in "\n\r\0"):
                self._problem(f"environment: the value of {shown(name).strip(chr(39))} must be one line")
        extra = row.get("settings", {})
        if not isinstance(extra, dict):
            self._problem("settings must be a mapping of Synapse settings")
            extra = {}
        for key in sorted(map(str, extra)):
            if key in SETTINGS_OF_THE_PLAN:
                self._problem(f"settings: {key} is derived from the row; remove it there")
            elif key in DERIVED:
                self._problem(f"settings: {key} is derived from synapse_workers for all processes alike; remove it there")
            elif key in OBSOLETE:
                self._problem(
                    f"settings: {key} is of old releases, where it took the place of what synapse_workers says; remove it"
                )
            elif key in SAID_ONCE:
                self._problem(f"settings: {key} has to be the same for all processes; set {SAID_ONCE[key]}")
        return {
            "log_level": level,
            "cache_factor": factor or 0,
            "environment": {str(name): str(value) for name, value in environment.items()},
            "settings": extra,
        }
