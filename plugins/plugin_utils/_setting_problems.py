"""What is wrong with the shared inventory variables, before a row of workers is read.

Everything here would be refused later by Synapse, nginx, PostgreSQL, Redis or systemd, or taken as something else than was meant;
then some of the hosts would have been changed already.

Sources: Synapse 1.163.2, ``synapse/config/workers.py`` (settings of old releases that end the start), ``key.py`` and
``registration.py`` (secrets that may not be said twice), ``util/stringutils.py`` (server names); nginx 1.22, ``ngx_parse_size``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any

from ..module_utils._worker_types import NEWEST_TESTED_SYNAPSE, OLDEST_SYNAPSE, parse_version
from ._rows import DERIVED, LOG_LEVELS, OBSOLETE, SETTINGS_OF_THE_PLAN
from ._words import integer, shown

# Settings with a variable of their own, as more than Synapse goes by them.
HAVE_A_VARIABLE = {
    "server_name": "synapse_server_name",
    "public_baseurl": "synapse_public_baseurl",
    "database": "synapse_database",
    "redis": "synapse_redis",
}
# The same, where the collection writes the base settings; Synapse takes either the value or the file that holds it.
HAVE_A_VARIABLE_IN_BASE = {
    "macaroon_secret_key": "synapse_macaroon_secret_key",
    "form_secret": "synapse_form_secret",
    "registration_shared_secret": "synapse_registration_shared_secret",
    "signing_key": "synapse_signing_key",
}

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
# Of paths, accounts and names that stand in units, settings and nginx's files: nothing that any of them would have to quote.
_PATH = re.compile(r"/[A-Za-z0-9._/@+-]*")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_SERVICE = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
_TARGET = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?[.]target")
_LONGEST_SERVICE = 30
_DATABASE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_SIZE = re.compile(r"[0-9]{1,12}[kKmMgG]?")
_URL = re.compile(r"https?://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?(?:/[A-Za-z0-9._~/-]*)?")

# Below this two names are not near enough to be one misspelt.
NEAR = 0.9


def setting_problems(settings: dict[str, Any]) -> list[str]:
    """A sentence for everything that is wrong with the shared variables.

    ``settings`` are those of ``_topology.topology``. A key that is missing there is not looked at.
    """
    return [
        *_server_name(settings),
        *_shapes(settings),
        *_version(settings),
        *_places(settings),
        *_synapse_settings(settings),
        *_services(settings),
        *_tls(settings),
        *_unread(settings),
    ]


def release_of(settings: dict[str, Any]) -> tuple[int, int]:
    """The release that the plan is for; the newest that is known when none is named, or none that exists."""
    return parse_version(str(settings.get("version") or "")) or NEWEST_TESTED_SYNAPSE


def is_server_name(name: Any) -> bool:
    """Whether Synapse takes it for the name of a homeserver: a host name or an address, with a port or without."""
    if not isinstance(name, str) or len(name) > 230:
        return False
    host, colon, port = name.rpartition(":")
    if not colon or name.endswith("]"):
        host, port = name, ""
    elif not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        return False
    if host.startswith("[") and host.endswith("]"):
        return _is(ipaddress.IPv6Address, host[1:-1])
    return bool(_HOST.fullmatch(host)) and ".." not in host


def _server_name(settings: dict[str, Any]) -> Iterator[str]:
    name = settings["server_name"]
    if not is_server_name(name):
        yield f"synapse_server_name: {shown(name)} is no Matrix server name; write it like 'example.org'"


def _is(kind: Callable[[str], Any], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _matches(pattern: re.Pattern[str], longest: int = 200) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and len(value) <= longest and bool(pattern.fullmatch(value))


def _between(lowest: int, highest: int) -> Callable[[Any], bool]:
    return lambda value: (read := integer(value)) is not None and lowest <= read <= highest


_is_path = _matches(_PATH)
_is_port = _between(1, 65535)
_PORT = "a port from 1 to 65535"
_FOLDER = "the whole path of a folder, of letters, digits and . _ @ + - /"
_FILE = "the whole path of a file, of letters, digits and . _ @ + - /"
_AN_ACCOUNT = "a system account: small letters, digits, _ and -, a letter first, 32 at most"


def _is_url(value: Any) -> bool:
    found = _URL.fullmatch(value) if isinstance(value, str) else None
    if not found or len(value) > 300:
        return False
    host = found["host"]
    right = _is(ipaddress.IPv6Address, host[1:-1]) if host.startswith("[") else _is_host_name(host)
    return right and (found["port"] is None or _is_port(found["port"]))


def _is_host_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 230 and (
        (bool(_HOST.fullmatch(value)) and ".." not in value)
        or (value[:1] == "[" and value[-1:] == "]" and _is(ipaddress.IPv6Address, value[1:-1]))
    )  # fmt: skip


# variable → key in the settings, what it must be, and that in words.
_SHAPES: dict[str, tuple[str, Callable[[Any], bool], str]] = {
    "synapse_service": ("service", _matches(_SERVICE, _LONGEST_SERVICE), "small letters, digits and hyphens, a letter first"),
    "synapse_worker_unit": (
        "worker_unit",
        _matches(_SERVICE, _LONGEST_SERVICE + 10),
        "small letters, digits and hyphens, a letter first",
    ),
    "synapse_target": ("target", _matches(_TARGET), "a name like 'synapse-workers.target'"),
    "synapse_user": ("user", _matches(_ACCOUNT), _AN_ACCOUNT),
    "synapse_nginx_user": ("nginx_user", _matches(_ACCOUNT), _AN_ACCOUNT),
    "synapse_venv": ("venv", _is_path, _FOLDER),
    "synapse_config_dir": ("config_dir", _is_path, _FOLDER),
    "synapse_data_dir": ("data_dir", _is_path, _FOLDER),
    "synapse_log_dir": ("log_dir", _is_path, _FOLDER),
    "synapse_public_baseurl": ("public_baseurl", _is_url, "a URL like https://matrix.example.org/"),
    "synapse_log_level": ("log_level", lambda value: value in LOG_LEVELS, f"one of {', '.join(LOG_LEVELS)}"),
    "synapse_log_keep_days": ("log_keep_days", _between(0, 36500), "days, 0 or more"),
    "synapse_main_port": ("main_port", _is_port, _PORT),
    "synapse_main_replication_port": ("main_replication_port", _is_port, _PORT),
    "synapse_main_metrics_port": ("main_metrics_port", _is_port, _PORT),
    "synapse_postgresql_port": ("postgresql_port", _is_port, _PORT),
    "synapse_redis_port": ("redis_port", _is_port, _PORT),
    "synapse_nginx_listen_http": ("nginx_listen_http", _is_port, _PORT),
    "synapse_nginx_listen_https": ("nginx_listen_https", _is_port, _PORT),
    "synapse_nginx_status_port": ("nginx_status_port", _is_port, _PORT),
    "synapse_database_name": ("database_name", _matches(_DATABASE_NAME), "letters, digits, _ and -, 63 at most"),
    "synapse_database_user": ("database_user", _matches(_DATABASE_NAME), "letters, digits, _ and -, 63 at most"),
    "synapse_database_pool_max": ("database_pool_max", _between(1, 1000), "connections of a process, 1 or more"),
    # What PostgreSQL can count (MAX_BACKENDS).
    "synapse_postgresql_max_connections": ("postgresql_max_connections", _between(4, 262142), "connections, 4 or more"),
    "synapse_server_hostname": ("server_hostname", _is_host_name, "a host name like matrix.example.org"),
    "synapse_nginx_max_body_size": ("nginx_max_body_size", _matches(_SIZE), "a size in nginx's terms, like 50M"),
    "synapse_nginx_login_burst": ("nginx_login_burst", _between(1, 100000), "requests, 1 or more"),
    "nginx_keepalive": ("nginx_keepalive", _between(1, 65535), "connections, 1 or more"),
    "synapse_nginx_access_log": ("nginx_access_log", _is_path, _FILE),
    "synapse_tls_certificate_path": ("tls_certificate_path", lambda value: value == "" or _is_path(value), _FILE),
    "synapse_tls_certificate_key_path": ("tls_certificate_key_path", lambda value: value == "" or _is_path(value), _FILE),
    "synapse_start_timeout": ("start_timeout", _between(1, 86400), "seconds, 1 or more"),
    "synapse_nginx_hold_timeout": ("hold_timeout", _between(1, 3600), "seconds, from 1 to 3600"),
    "synapse_drain_timeout": ("drain_timeout", _between(0, 86400), "seconds, 0 or more"),
}


def _shapes(settings: dict[str, Any]) -> Iterator[str]:
    for variable, (key, is_right, words) in _SHAPES.items():
        if key in settings and not is_right(settings[key]):
            yield f"{variable}: {shown(settings[key])}; {words}"
    for key in ("nginx_admin_allowed_from", "firewall_allowed_from"):
        networks = settings.get(key, [])
        if not isinstance(networks, list):
            yield f"synapse_{key}: {shown(networks)}; a list of networks, like ['10.0.0.0/8'], or []"
            continue
        for network in networks:
            if not isinstance(network, str) or not _is(lambda text: ipaddress.ip_network(text, strict=False), network):
                yield f"synapse_{key}: {shown(network)} is no network; write it like '10.0.0.0/8'"
    for variable in settings.get("odd_secrets") or []:
        yield (
            f"{variable}: holds a blank, a quote or a sign that is not ASCII, which the programs it is for would each read in "
            f"another way; make one with `openssl rand -hex 32`"
        )


def _version(settings: dict[str, Any]) -> Iterator[str]:
    text = settings.get("version") or ""
    if not text:
        return
    version = parse_version(str(text))
    if version is None:
        yield f"synapse_version: {shown(text)} is no release number; write it like '1.163.2'"
    elif version < OLDEST_SYNAPSE:
        yield (
            f"synapse_version: {text} is older than {'.'.join(map(str, OLDEST_SYNAPSE))}, the oldest release whose workers this "
            f"collection knows; upgrade Synapse first"
        )


def _places(settings: dict[str, Any]) -> Iterator[str]:
    """Hosts that are named must be hosts of this homeserver."""
    for variable, key, optional in (
        ("synapse_main_host", "main_host", False),
        ("synapse_nginx_hosts", "nginx_hosts", True),
        ("synapse_postgresql_host", "postgresql_host", True),
        ("synapse_redis_host", "redis_host", True),
        ("synapse_prometheus_host", "prometheus_host", True),
    ):
        named: Any = settings.get(key)
        if key == "nginx_hosts" and not isinstance(named, list):
            yield f"{variable}: {shown(named)}; a list of hosts of the inventory"
            continue
        for host in named if key == "nginx_hosts" else [named]:
            if not isinstance(host, str) and not (host is None and optional):
                yield f"{variable}: {shown(host)}; one name out of the inventory"
            elif not host and optional and key != "nginx_hosts":
                continue
            elif host not in settings["hosts"]:
                yield f"{variable}: {host or shown(host)} is not in the group {settings['group']}; every host of this homeserver belongs to it"


def _synapse_settings(settings: dict[str, Any]) -> Iterator[str]:
    extra = settings.get("extra") or {}
    if not isinstance(extra, dict):
        yield "synapse_settings: must be a mapping of Synapse settings"
        return
    if not isinstance(extra.get("caches") or {}, dict):
        yield f"synapse_settings: caches: {shown(extra['caches'])}; must be a mapping, like {{global_factor: 1.0}}"
    in_base = HAVE_A_VARIABLE_IN_BASE if settings.get("base_settings_managed") else {}
    for key in sorted(map(str, extra)):
        if key in DERIVED or key in SETTINGS_OF_THE_PLAN:
            yield f"synapse_settings: {key} is derived from synapse_workers; remove it there"
        elif key in OBSOLETE:
            yield f"synapse_settings: {key} is of old releases, where it took the place of what synapse_workers says; remove it"
        elif key in HAVE_A_VARIABLE or key in in_base:
            yield f"synapse_settings: {key} has a variable of its own, {HAVE_A_VARIABLE.get(key) or in_base[key]}; set that"


def _services(settings: dict[str, Any]) -> Iterator[str]:
    """Somebody must say where PostgreSQL is. Beside the Debian package, and where the base settings are not ours, a file of the
    operator's may; Synapse is asked about those (``roles/synapse/files/validate_settings.py``)."""
    if not settings.get("base_settings_managed") or settings.get("install_method") == "debian":
        return
    if not settings.get("postgresql_host") and not settings.get("database"):
        yield "synapse_database: is empty, and so is synapse_postgresql_host; one of them has to say where PostgreSQL is"
    if not settings.get("redis_host") and not settings.get("redis"):
        yield "synapse_redis: is empty, and so is synapse_redis_host; one of them has to say where Redis is, by which workers hear of each other"


def _tls(settings: dict[str, Any]) -> Iterator[str]:
    certificate, key = settings.get("tls_certificate_path", ""), settings.get("tls_certificate_key_path", "")
    if bool(certificate) != bool(key):
        missing = "synapse_tls_certificate_key_path" if certificate else "synapse_tls_certificate_path"
        yield f"{missing}: is empty, and nginx needs a certificate and its key; set both or neither"


def _unread(settings: dict[str, Any]) -> Iterator[str]:
    """Variables of the inventory that nobody reads and that look like one of ours: most likely misspelt."""
    known = settings.get("known_variables") or []
    own = settings.get("own_variables") or []
    for name in sorted(set(settings.get("inventory_variables") or []) - set(known) - set(own)):
        near = difflib.get_close_matches(name, known, n=1, cutoff=NEAR)
        if near:
            yield (
                f"{name}: nobody reads a variable of this name; did you mean {near[0]}? "
                f"If it is one of yours, list it in synapse_own_variables"
            )
