"""Settings and rows for tests of the topology, and strategies that make many of them."""

from __future__ import annotations

from typing import Any

from ansible_collections.synapse.workers.plugins.module_utils._worker_types import TABLE
from ansible_collections.synapse.workers.plugins.plugin_utils._topology import topology
from hypothesis import strategies as st

HOSTS = {"app1": "10.0.0.1", "app2": "10.0.0.2", "app3": "10.0.0.3"}


def settings(**changes: Any) -> dict[str, Any]:
    """The settings of a homeserver on three hosts; ``changes`` replace single ones."""
    return {
        "group": "synapse",
        "hosts": dict(HOSTS),
        "groups": {"synapse": list(HOSTS), "others": ["app2", "app3"], "nobody": [], "strangers": ["web9"]},
        "main_host": "app1",
        "nginx_hosts": ["app1"],
        "postgresql_host": "app1",
        "redis_host": "app1",
        "prometheus_host": "",
        "public_addresses_allowed": False,
        "unix_sockets": False,
        "default_type": "",
        "hold": True,
        "service": "matrix-synapse",
        "worker_unit": "matrix-synapse-worker",
        "target": "matrix-synapse.target",
        "server_name": "example.org",
        "version": "1.163.2",
        "install_method": "pip",
        "user": "matrix-synapse",
        "config_dir": "/etc/matrix-synapse",
        "data_dir": "/var/lib/matrix-synapse",
        "log_dir": "/var/log/matrix-synapse",
        "secrets_dir": "/etc/matrix-synapse/secrets",
        "base_settings_managed": True,
        "extra": {},
        "public_baseurl": "https://example.org/",
        "report_stats": False,
        "trusted_key_servers": [{"server_name": "matrix.org"}],
        "media_store_shared": False,
        "log_to": "journald",
        "log_level": "INFO",
        "log_keep_days": 7,
        "metrics": True,
        "main_listeners": [],
        "replaced_units": [],
        "main_port": 8008,
        "main_replication_port": 9093,
        "main_metrics_port": 21000,
        "database": {},
        "database_name": "synapse",
        "database_user": "matrix-synapse",
        "database_pool_max": 5,
        "postgresql_port": 5432,
        "postgresql_max_connections": 5000,
        "redis": {},
        "redis_port": 6379,
        "venv": "/opt/venvs/matrix-synapse",
        "nginx_user": "www-data",
        "nginx_site": True,
        "nginx_listen_http": 80,
        "nginx_listen_https": 443,
        "nginx_status_port": 8089,
        "nginx_max_body_size": "50M",
        "nginx_admin_allowed_from": [],
        "nginx_access_log": "/var/log/nginx/matrix-synapse.access.log",
        "server_hostname": "matrix.example.org",
        "tls_certificate_path": "",
        "tls_certificate_key_path": "",
        "start_timeout": 120,
        "drain_timeout": 45,
        "hold_timeout": 120,
        "odd_secrets": [],
        "known_variables": ["synapse_workers", "synapse_address", "synapse_redis_port", "nginx_keepalive"],
        "inventory_variables": ["synapse_workers"],
        "own_variables": [],
        **changes,
    }


def plan(*rows: Any, **changes: Any) -> dict[str, Any]:
    """The topology of ``rows``."""
    return topology(list(rows), settings(**changes))


def good_plan(*rows: Any, **changes: Any) -> dict[str, Any]:
    """The topology of ``rows``, which has no problems."""
    value = plan(*rows, **changes)
    assert value["problems"] == []
    return value


@st.composite
def lists_of_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Lists that make a plan without problems: each type at most once per host, single ones once in all."""
    rows = []
    media_host = draw(st.sampled_from(sorted(HOSTS)))
    for row in draw(st.lists(st.sampled_from(TABLE), unique=True, max_size=12)):
        if row.media:
            continue
        hosts = draw(st.lists(st.sampled_from(sorted(HOSTS)), unique=True, min_size=1, max_size=3 if row.several else 1))
        for host in hosts:
            rows.append({"type": row.name, "host": host, "count": draw(st.integers(0, 5)) if row.several else 1})
    if draw(st.booleans()):
        rows.append({"type": "media_repository", "host": media_host, "count": draw(st.integers(1, 3))})
    if draw(st.booleans()):
        rows.append({"types": ["synchrotron", "client_reader"], "name": "readers", "count": draw(st.integers(0, 3))})
    return draw(st.permutations(rows))
