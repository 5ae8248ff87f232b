"""Inventories by chance: good ones of every shape, and the same after what hands and programs do to inventories.

The same number gives the same inventory.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.synapse.workers.plugins.module_utils._worker_types import TABLE

SINGLE = [row.name for row in TABLE if not row.several and not row.media]
SEVERAL = [row.name for row in TABLE if row.several and not row.media]
HOSTS = ["app1", "app2", "db.example.org", "edge-1"]

# Values that somebody's editor, template or keyboard leaves where another kind of value belongs.
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 65535, 65536, 10**12, 0.5, float("inf"), float("nan"), "", " ", "0", "-1", "1", "08", "٣", "yes",
    "x" * 300, "a b", "a\nb", "a'b", 'a"b', "a;b", "a{b}", "$host", "a\\", "a#b", "a/../b", "../a", "/", "//", "/tmp/a b", "ü", "\0", "a\x7f",
    "-a", "a-", "a.b", "%i", "127.0.0.1", "0.0.0.0", "::1", "fe80::1%eth0", "10.0.0.300", "8.8.8.8", "10.0.0.0/8", "app1", "main", "master",
    "synchrotron", [], [[]], [None], ["app1"], ["app1", "app1"], [1, "a", None], {}, {"a": 1}, {1: {"b": [2]}}, {"name": "psycopg2"},
)  # fmt: skip

# Settings of Synapse that it takes; an operator's own, which are not ours to judge.
GOOD_SETTINGS: dict[str, Any] = {
    "max_upload_size": "20M",
    "enable_registration": False,
    "presence": {"enabled": False},
    "caches": {"global_factor": 1.5, "per_cache_factors": {"get_users_in_room": 2.0}},
    "rc_message": {"per_second": 5, "burst_count": 20},
    "media_retention": {"remote_media_lifetime": "14d"},
    "turn_uris": ["turn:turn.example.org"],
    "trusted_key_servers": [],
    "url_preview_enabled": False,
    "experimental_features": {"msc4306_enabled": True},
}
# What the plan decides, what releases of long ago had, what has a variable: each is to be refused.
BAD_SETTINGS: dict[str, Any] = {
    "worker_app": "synapse.app.generic_worker",
    "worker_name": "a",
    "instance_map": {},
    "stream_writers": {"typing": "nobody"},
    "listeners": [],
    "enable_media_repo": False,
    "federation_sender_instances": ["a"],
    "run_background_tasks_on": "a",
    "worker_replication_secret": "a",
    "worker_replication_host": "127.0.0.1",
    "start_pushers": False,
    "notify_appservices": False,
    "redis": {"enabled": False},
    "database": {"name": "sqlite3", "args": {"database": ":memory:"}},
    "macaroon_secret_key": "a",
    "form_secret": "a",
    "server_name": "other.example",
}


@dataclass
class Inventory:
    """What an operator has written."""

    hosts: dict[str, dict[str, Any]]
    groups: dict[str, list[str]]
    variables: dict[str, Any]
    raw: bool = False
    """Whether junk stands where Synapse's own settings are passed through; then Synapse may refuse them itself."""
    changes: list[str] = field(default_factory=list)
    """What was done to it after it was good."""


def inventory(number: int) -> Inventory:
    """The inventory of that number. Of three, one is good."""
    chance = random.Random(number)
    made = _good(chance)
    if number % 3:
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            change = chance.choice(CHANGES)
            change(made, chance)
            made.changes.append(change.__name__)
    return made


def _good(chance: random.Random) -> Inventory:
    names = chance.sample(HOSTS, chance.choice((1, 1, 2, 3, 4)))
    net = chance.choice(("10.1.2.{}", "192.168.7.{}", "172.16.9.{}", "fd00:7::{}"))
    hosts: dict[str, dict[str, Any]] = {name: {"synapse_address": net.format(number)} for number, name in enumerate(names, 1)}
    main = names[0]
    some = chance.sample(names, chance.randint(1, len(names)))
    variables: dict[str, Any] = {
        "synapse_server_name": chance.choice(("example.org", "example.org:8448", "localhost", "192.0.2.1", "[2001:db8::1]:443")),
        "synapse_server_hostname": "matrix.example.org",
        "synapse_install_method": chance.choice(("pip", "none", "debian")),
        "synapse_main_host": main,
        "synapse_nginx_hosts": chance.sample(names, chance.randint(1, min(2, len(names)))),
        "synapse_postgresql_host": chance.choice(names),
        "synapse_redis_host": chance.choice(names),
    }
    if len(names) == 1 and chance.random() < 0.5:
        del hosts[main]["synapse_address"]
        variables["synapse_unix_sockets"] = chance.random() < 0.5
    for name, values in {
        "synapse_version": ("1.163.2", "1.140.0", "1.151.0", "1.163.2+bookworm1", ""),
        "synapse_service": ("matrix-synapse", "synapse2"),
        "synapse_metrics": (True, False, "yes"),
        "synapse_log_to": ("journald", "file"),
        "synapse_log_level": ("DEBUG", "WARNING"),
        "synapse_nginx_site": (True, False),
        "synapse_nginx_well_known": (True, False),
        "synapse_nginx_hold": (True, False),
        "synapse_firewall": (True, False),
        "synapse_firewall_allowed_from": ([], ["10.1.2.77"], ["10.0.0.0/8", "fd00::/8"]),
        "synapse_nginx_admin_allowed_from": ([], ["10.0.0.0/8"], ["192.0.2.7", "fd00::/8"]),
        "synapse_nginx_max_body_size": ("50M", "1024", "0", "2g"),
        "synapse_nginx_listen_http": (80, 8080, "81"),
        "synapse_main_port": (8008, 8018),
        "synapse_config_dir": ("/etc/matrix-synapse", "/srv/synapse/etc"),
        "synapse_public_baseurl": ("https://matrix.example.org/", "http://[::1]:8008", "https://example.org/a"),
        "synapse_postgresql_max_connections": (300, 2000, "5000"),
        "synapse_database_pool_max": (5, 10, "3"),
        "synapse_base_settings_managed": (True, True, False),
        "synapse_trusted_key_servers": ([], [{"server_name": "matrix.org"}]),
    }.items():
        if chance.random() < 0.25:
            variables[name] = chance.choice(values)
    if chance.random() < 0.2:
        variables.update(synapse_tls_certificate_path="/etc/ssl/a.pem", synapse_tls_certificate_key_path="/etc/ssl/a.key")
    if chance.random() < 0.15:
        variables.update(
            synapse_postgresql_host="", synapse_database={"name": "psycopg2", "args": {"host": "10.1.2.99", "dbname": "s"}}
        )
    if chance.random() < 0.15:
        variables.update(synapse_redis_host="", synapse_redis={"enabled": True, "host": "10.1.2.98"})
    if chance.random() < 0.4:
        chosen = chance.sample(sorted(GOOD_SETTINGS), chance.randint(1, 3))
        variables["synapse_settings"] = {key: copy.deepcopy(GOOD_SETTINGS[key]) for key in chosen}
    rows = _rows(chance, names, main)
    variables["synapse_workers"] = rows
    planned = {row.get("type") for row in rows if row.get("count", 1)}
    if chance.random() < 0.15 and "client_reader" in planned:
        variables["synapse_default_type"] = "client_reader"
    return Inventory(hosts, {"all": names, "synapse": names, "some": some, "empty": []}, variables)


def _rows(chance: random.Random, names: list[str], main: str) -> list[dict[str, Any]]:
    single, several = chance.sample(SINGLE, len(SINGLE)), chance.sample(SEVERAL, chance.randint(0, 6))
    rows: list[dict[str, Any]] = []
    for kind in several:
        row: dict[str, Any] = {"type": kind, "count": chance.choice((0, 1, 1, 2, 3, 5))}
        row.update(chance.choice(({}, {"host": chance.choice(names)}, {"group": "some"})))
        rows.append(row)
    if chance.random() < 0.5:
        alone = single.pop()
        rows.append({"type": alone, "host": chance.choice(names)})
    if chance.random() < 0.5:
        together = [single.pop() for _ in range(chance.randint(1, 4))] + chance.sample(SEVERAL, chance.randint(0, 2))
        rows.append({"types": together, "name": chance.choice(("writers", "a", "background_2")), "host": chance.choice(names)})
    if chance.random() < 0.3:
        rows.append({"type": "media_repository", "count": chance.choice((1, 2)), "host": chance.choice((main, names[-1]))})
    for row in rows:
        if chance.random() < 0.15:
            row["log_level"] = "DEBUG"
        if chance.random() < 0.15:
            row["cache_factor"] = chance.choice((0.5, 2, "1.5"))
        if chance.random() < 0.1:
            row["environment"] = {"LD_PRELOAD": "/usr/lib/libjemalloc.so.2", "A_B": 'a "b" $c \\ d'}
        if chance.random() < 0.1:
            row["settings"] = {"max_upload_size": "1M"}
        if chance.random() < 0.1:
            row["port"] = chance.choice((23000, 24100, "25000"))
    chance.shuffle(rows)
    return rows


# What happens to inventories


def _somewhere(made: Inventory, chance: random.Random) -> tuple[Any, Any]:
    """A container within the inventory, and a key of it."""
    at: Any
    key: Any
    at, key = chance.choice(
        [(made.variables, key) for key in made.variables] + [(values, key) for values in made.hosts.values() for key in values]
    )
    while isinstance(at[key], (dict, list)) and at[key] and chance.random() < 0.7:
        at = at[key]
        key = chance.choice(list(at) if isinstance(at, dict) else range(len(at)))
    return at, key


def _is_raw(made: Inventory, at: Any) -> bool:
    """Whether a container is within what is handed to Synapse as it is."""
    raw = [
        made.variables.get(name)
        for name in ("synapse_settings", "synapse_database", "synapse_redis", "synapse_trusted_key_servers")
    ]
    rows = made.variables.get("synapse_workers")
    raw += [row.get("settings") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return any(_within(at, one) for one in raw)


def _within(at: Any, where: Any) -> bool:
    if at is where:
        return True
    inner = where.values() if isinstance(where, dict) else where if isinstance(where, list) else ()
    return any(_within(at, one) for one in inner)


def a_value_is_junk(made: Inventory, chance: random.Random) -> None:
    at, key = _somewhere(made, chance)
    raw_variables = ("synapse_settings", "synapse_database", "synapse_redis", "synapse_trusted_key_servers", "settings")
    made.raw = made.raw or _is_raw(made, at) or key in raw_variables
    at[key] = copy.deepcopy(chance.choice(JUNK))


def a_variable_is_set_to_junk(made: Inventory, chance: random.Random) -> None:
    name = chance.choice(VARIABLES)
    made.raw = made.raw or name in ("synapse_settings", "synapse_database", "synapse_redis", "synapse_trusted_key_servers")
    made.variables[name] = copy.deepcopy(chance.choice(JUNK))


def a_row_has_junk(made: Inventory, chance: random.Random) -> None:
    rows = made.variables.get("synapse_workers")
    keys = ("type", "types", "name", "count", "host", "group", "port", "log_level", "cache_factor", "environment", "settings")
    if isinstance(rows, list) and (mappings := [row for row in rows if isinstance(row, dict)]):
        key = chance.choice(keys)
        made.raw = made.raw or key == "settings"
        chance.choice(mappings)[key] = copy.deepcopy(chance.choice(JUNK))


def a_key_goes(made: Inventory, chance: random.Random) -> None:
    at, key = _somewhere(made, chance)
    made.raw = made.raw or _is_raw(made, at)
    del at[key]


def a_word_is_misspelt(made: Inventory, chance: random.Random) -> None:
    at, key = _somewhere(made, chance)
    made.raw = made.raw or _is_raw(made, at)
    if isinstance(at, dict) and isinstance(key, str) and chance.random() < 0.5:
        at[_misspelt(key, chance)] = at.pop(key)
    elif isinstance(at[key], str):
        at[key] = _misspelt(at[key], chance)


def _misspelt(word: str, chance: random.Random) -> str:
    if not word:
        return "x"
    place = chance.randrange(len(word))
    return chance.choice((word[:place] + word[place + 1 :], word[:place] + word[place] + word[place:], word.upper(), f"{word} "))


def a_row_comes_twice(made: Inventory, chance: random.Random) -> None:
    rows = made.variables.get("synapse_workers")
    if isinstance(rows, list) and rows:
        rows.append(copy.deepcopy(chance.choice(rows)))


def a_row_comes_from_anywhere(made: Inventory, chance: random.Random) -> None:
    rows = made.variables.get("synapse_workers")
    if isinstance(rows, list):
        kind = chance.choice([row.name for row in TABLE])
        rows.append({"type": kind, "count": chance.choice((1, 2, 50, 51)), "host": chance.choice(HOSTS)})


def a_row_takes_a_port(made: Inventory, chance: random.Random) -> None:
    rows = made.variables.get("synapse_workers")
    if isinstance(rows, list) and (mappings := [row for row in rows if isinstance(row, dict)]):
        chance.choice(mappings)["port"] = chance.choice((8008, 9093, 11100, 11101, 21000, 1023, 3100, 5432))


def an_address_is_wrong(made: Inventory, chance: random.Random) -> None:
    words = ("127.0.0.1", "0.0.0.0", "8.8.8.8", "::", "fd00::9", "host.internal", "10.1.2.1", "169.254.0.1", "224.0.0.1")
    chance.choice(list(made.hosts.values()))["synapse_address"] = chance.choice(words)


def a_part_is_elsewhere(made: Inventory, chance: random.Random) -> None:
    name = chance.choice(("synapse_main_host", "synapse_postgresql_host", "synapse_redis_host"))
    made.variables[name] = chance.choice((*HOSTS, ""))


def settings_are_not_for_here(made: Inventory, chance: random.Random) -> None:
    key = chance.choice(sorted(BAD_SETTINGS))
    settings = made.variables.setdefault("synapse_settings", {})
    if isinstance(settings, dict):
        # Beside a homeserver.yaml of the operator his secrets are his, and Synapse says when he has them twice.
        made.raw = made.raw or (
            key in ("macaroon_secret_key", "form_secret") and not made.variables.get("synapse_base_settings_managed", True)
        )
        settings[key] = copy.deepcopy(BAD_SETTINGS[key])


CHANGES: tuple[Callable[[Inventory, random.Random], None], ...] = (
    a_value_is_junk, a_value_is_junk, a_variable_is_set_to_junk, a_variable_is_set_to_junk, a_row_has_junk, a_row_has_junk, a_key_goes,
    a_word_is_misspelt, a_row_comes_twice, a_row_comes_from_anywhere, a_row_takes_a_port, an_address_is_wrong, a_part_is_elsewhere,
    settings_are_not_for_here,
)  # fmt: skip

VARIABLES: tuple[str, ...] = ()
"""Every variable of the roles that write files; ``house`` fills it in."""
