"""Shared variables that Synapse, nginx or another program would refuse later, or take for something else."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.plugin_utils._setting_problems import is_server_name, setting_problems

from .plans import HOSTS, plan, settings

NAMES = {
    "example.org": True,
    "example.org:8448": True,
    "localhost": True,
    "192.0.2.1:8448": True,
    "[2001:db8::1]": True,
    "[2001:db8::1]:8448": True,
    "": False,
    "example.org:": False,
    "example.org:0": False,
    "example.org:65536": False,
    "a:b:c": False,
    "-example.org": False,
    "example..org": False,
    "[example]": False,
    "exa mple.org": False,
    "example.org\n": False,
    "müller.example": False,
}


@pytest.mark.parametrize("name", NAMES)
def test_server_names_are_those_of_synapse(name: str) -> None:
    assert is_server_name(name) == NAMES[name]


# A value each that the program which reads it would refuse or misread, and the beginning of the answer.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a service with a dot": ({"service": "matrix.synapse"}, "synapse_service: 'matrix.synapse'; small letters"),
    "a service with a hyphen at its end": ({"service": "synapse-"}, "synapse_service: 'synapse-'; small letters"),
    "an account with a blank": ({"user": "a b"}, "synapse_user: 'a b'; a system account"),
    "a folder with a blank": ({"config_dir": "/etc/a b"}, "synapse_config_dir: '/etc/a b'; the whole path of a folder"),
    "a folder relative to who knows what": ({"data_dir": "data"}, "synapse_data_dir: 'data'; the whole path of a folder"),
    "a URL with a quote": ({"public_baseurl": "https://a'b/"}, 'synapse_public_baseurl: "https://a\'b/"; a URL like'),
    "a URL with a variable of nginx": ({"public_baseurl": "https://$host/"}, "synapse_public_baseurl: 'https://$host/'; a URL like"),
    "a URL without a scheme": ({"public_baseurl": "matrix.example.org"}, "synapse_public_baseurl: 'matrix.example.org'; a URL like"),
    "a port that is none": ({"main_port": 70000}, "synapse_main_port: 70000; a port from 1 to 65535"),
    "a port that is text": ({"nginx_listen_http": "http"}, "synapse_nginx_listen_http: 'http'; a port from 1 to 65535"),
    "no pool": ({"database_pool_max": 0}, "synapse_database_pool_max: 0; connections of a process, 1 or more"),
    "a database with a quote": ({"database_name": 'a"b'}, "synapse_database_name: 'a\"b'; letters, digits"),
    "a size in other terms": ({"nginx_max_body_size": "50 MB"}, "synapse_nginx_max_body_size: '50 MB'; a size in nginx's terms"),
    "a host name with a wildcard's end": ({"server_hostname": "a;b"}, "synapse_server_hostname: 'a;b'; a host name"),
    "a log that is no file": ({"nginx_access_log": "off; deny all"}, "synapse_nginx_access_log: 'off; deny all'; the whole path"),
    "a network that is none": ({"nginx_admin_allowed_from": ["10.0.0.0/33"]}, "synapse_nginx_admin_allowed_from: '10.0.0.0/33' is no network"),
    "a certificate without a key": ({"tls_certificate_path": "/a.pem"}, "synapse_tls_certificate_key_path: is empty, and nginx needs"),
    "a secret with blanks": ({"odd_secrets": ["synapse_redis_password"]}, "synapse_redis_password: holds a blank, a quote"),
    "a time that is none": ({"drain_timeout": -1}, "synapse_drain_timeout: -1; seconds, 0 or more"),
    "hosts as text": ({"nginx_hosts": "app1"}, "synapse_nginx_hosts: 'app1'; a list of hosts of the inventory"),
    "a host of nowhere": ({"redis_host": "app9"}, "synapse_redis_host: app9 is not in the group synapse; every host"),
    "a host that is a list": ({"main_host": ["app1"]}, "synapse_main_host: ['app1']; one name out of the inventory"),
    "nobody who has PostgreSQL": ({"postgresql_host": ""}, "synapse_database: is empty, and so is synapse_postgresql_host; one of them"),
    "nobody who has Redis": ({"redis_host": ""}, "synapse_redis: is empty, and so is synapse_redis_host; one of them has to say"),
    "no release": ({"version": "newest"}, "synapse_version: 'newest' is no release number; write it like '1.163.2'"),
    "a process that shall be a worker": ({"extra": {"worker_app": "x"}}, "synapse_settings: worker_app is derived from synapse_workers"),
    "settings of old releases": (
        {"extra": {"start_pushers": False}},
        "synapse_settings: start_pushers is of old releases, where it took the place of what synapse_workers says; remove it",
    ),
    "Redis in the wrong place": ({"extra": {"redis": {}}}, "synapse_settings: redis has a variable of its own, synapse_redis; set that"),
    "a secret said twice": (
        {"extra": {"macaroon_secret_key": "x"}},
        "synapse_settings: macaroon_secret_key has a variable of its own, synapse_macaroon_secret_key; set that",
    ),
    "a variable that is misspelt": (
        {"inventory_variables": ["synapse_workres"]},
        "synapse_workres: nobody reads a variable of this name; did you mean synapse_workers? If it is one of yours",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_would_be_refused_later_is_refused_first(case: str) -> None:
    changes, beginning = WRONG[case]
    (problem,) = setting_problems(settings(**changes))
    assert problem.startswith(beginning)


RIGHT: dict[str, dict[str, Any]] = {
    "as they come": {},
    "IPv6 all over": {"server_name": "[fd00::1]", "public_baseurl": "https://[fd00::1]:8443/", "server_hostname": "[fd00::1]"},
    "a size without a unit": {"nginx_max_body_size": "0"},
    "one address for the administration": {"nginx_admin_allowed_from": ["192.0.2.7", "fd00::/8", "10.0.0.5/8"]},
    "an own secret where the base is the operator's": {"base_settings_managed": False, "extra": {"form_secret": "x"}},
    "a variable of somebody else": {"inventory_variables": ["synapse_backup_dir", "nginx_vhosts", "redis_version"]},
    "one that looks like ours": {"inventory_variables": ["synapse_adress"], "own_variables": ["synapse_adress"]},
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_is_taken(case: str) -> None:
    assert setting_problems(settings(**RIGHT[case])) == []


# What hosts and services do to each other; each with a synchrotron on app2.
TOGETHER: dict[str, tuple[dict[str, Any], list[str]]] = {
    "main and nginx at one port": (
        {"main_port": 80},
        ["synapse_main_port: port 80 (listen of main) on app1 is taken by nginx (synapse_nginx_listen_http); choose another"],
    ),
    "PostgreSQL at the port of replication": (
        {"postgresql_port": 9093},
        [
            "synapse_main_replication_port: port 9093 (replication of main) on app1 is taken by PostgreSQL (synapse_postgresql_port); "
            "choose another"
        ],
    ),
    "Redis at the port of PostgreSQL": (
        {"redis_port": 5432},
        ["synapse_redis_port: port 5432 (Redis) on app1 is taken by PostgreSQL (synapse_postgresql_port); choose another"],
    ),
    "SQLite": (
        {"postgresql_host": "", "database": {"name": "sqlite3", "args": {"database": "/a.db"}}},
        [
            "synapse_database: name is 'sqlite3', not 'psycopg2'; workers need PostgreSQL, as SQLite lets one process write "
            "(synapse_port_db moves a database there)"
        ],
    ),
    "a database without a place": (
        {"postgresql_host": "", "database": {"name": "psycopg2"}},
        ["synapse_database: has no `args`, the mapping that says where the database is"],
    ),
    "Redis that is off": (
        {"redis_host": "", "redis": {"host": "10.0.0.9"}},
        ["synapse_redis: has no `enabled: true`; workers hear of each other through Redis only"],
    ),
    "an address of this link only": (
        {"hosts": {**HOSTS, "app2": "169.254.1.1"}},
        ["synapse_address: app2 has 169.254.1.1, at which no other host reaches it; set its private address in the inventory"],
    ),
    "two kinds of addresses": (
        {"hosts": {**HOSTS, "app2": "fd00::2"}},
        ["synapse_address: some hosts have an IPv4 and some an IPv6 address; they have to reach each other, so use one kind"],
    ),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_what_cannot_be_together_is_refused(case: str) -> None:
    changes, problems = TOGETHER[case]
    assert plan({"type": "synchrotron", "host": "app2"}, **changes)["problems"] == problems


ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "a row that names all writers": (
        {"type": "typing", "settings": {"stream_writers": {}}},
        "synapse_workers[0]: settings: stream_writers is derived from synapse_workers for all processes alike; remove it there",
    ),
    "a row of an old release": (
        {"type": "typing", "settings": {"worker_replication_host": "x"}},
        "synapse_workers[0]: settings: worker_replication_host is of old releases, where it took the place of what synapse_workers "
        "says; remove it",
    ),
    "a row with a Redis of its own": (
        {"type": "typing", "settings": {"redis": {}}},
        "synapse_workers[0]: settings: redis has to be the same for all processes; set synapse_redis",
    ),
    "a name with a line break": (
        {"type": "typing", "name": "a\n"},
        "synapse_workers[0]: name 'a\\n'; use small letters, digits and underscores, a letter first, 64 at most",
    ),
    "a factor that is no number": (
        {"type": "typing", "cache_factor": float("inf")},
        "synapse_workers[0]: cache_factor is inf; a number above 0, Synapse's default is 0.5",
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_row_says_nothing_that_is_not_its_own(case: str) -> None:
    row, problem = ROWS[case]
    assert plan(row)["problems"] == [problem]
