#!/usr/bin/env python3
"""Print what an installed Synapse really registers, per kind of process, as JSON.

Runs inside the virtual environment of a Synapse release (it imports ``synapse``), without database or Redis.
For the main process and for a worker it builds the same resource trees that ``SynapseHomeServer._listener_http`` and
``GenericWorkerServer._listen_http`` would bind to a port, and writes down every leaf:

* a ``JsonResource`` as its list of ``[method, regex, servlet]``, in the order in which Synapse tries them;
* any other resource as the methods that it renders.

Output: ``{"version": str, "kinds": {kind: [{"prefix": str, "routes": [[method, regex, servlet], ...]} |
{"path": str, "leaf": bool, "methods": [str, ...]}]}}``. Kinds are ``main``, ``worker`` (listener resources client and
federation) and ``media`` (a worker that loads the media repository), each also as ``…+mas`` with accounts delegated
to the Matrix Authentication Service, and ``media_main`` for a main process that keeps the media repository.
"""

import copy
import json
import logging
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

import synapse
from synapse.app import generic_worker, homeserver
from synapse.config._base import ConfigError
from synapse.config.homeserver import HomeServerConfig
from synapse.storage import DataStore

# Everything that adds a servlet: the table must know where a request goes once the operator switches a feature on.
EXPERIMENTAL = {
    "msc2654_enabled": True,
    "msc2815_enabled": True,
    "msc3026_enabled": True,
    "msc3391_enabled": True,
    "msc3575_enabled": True,
    "msc3720_enabled": True,
    "msc3773_enabled": True,
    "msc3814_enabled": True,
    "msc3881_enabled": True,
    "msc3890_enabled": True,
    "msc3912_enabled": True,
    "msc3983_appservice_otk_claims": True,
    "msc4069_profile_inhibit_propagation": True,
    "msc4133_enabled": True,
    "msc4140_enabled": True,
    "msc4143_enabled": True,
    "msc4151_enabled": True,
    "msc4155_enabled": True,
    "msc4169_enabled": True,
    "msc4222_enabled": True,
    "msc4235_enabled": True,
    "msc4267_enabled": True,
    "msc4306_enabled": True,
    "msc4354_enabled": True,
    "msc4370_enabled": True,
    "msc4446_enabled": True,
    "msc4450_enabled": True,
    "msc4452_enabled": True,
    "msc4491_enabled": True,
    "msc4502_enabled": True,
    "msc4512_enabled": True,
}

PLAIN: dict[str, Any] = {
    "server_name": "example.org",
    "public_baseurl": "https://example.org/",
    "macaroon_secret_key": "not a secret",
    "form_secret": "not a secret",
    "registration_shared_secret": "not a secret",
    "enable_registration": True,
    "enable_registration_without_verification": True,
    "report_stats": False,
    "trusted_key_servers": [],
    "max_event_delay_duration": "24h",
    "allow_public_rooms_over_federation": True,
    "serve_server_wellknown": True,
    "federation_whitelist_endpoint_enabled": True,
    "limit_profile_requests_to_users_who_share_rooms": False,
    "account_validity": {"enabled": True, "period": "6w"},
    "login_via_existing_session": {"enabled": True},
    "cas_config": {"enabled": True, "server_url": "https://cas.example.org/"},
    "oidc_providers": [
        {
            "idp_id": "test",
            "idp_name": "Test",
            "discover": False,
            "issuer": "https://oidc.example.org/",
            "client_id": "synapse",
            "client_secret": "not a secret",
            "authorization_endpoint": "https://oidc.example.org/authorize",
            "token_endpoint": "https://oidc.example.org/token",
            "userinfo_endpoint": "https://oidc.example.org/userinfo",
            "backchannel_logout_enabled": True,
            "user_mapping_provider": {"config": {"localpart_template": "{{ user.sub }}"}},
        }
    ],
    "redis": {"enabled": True},
    "instance_map": {"main": {"host": "127.0.0.1", "port": 9093}},
    "worker_replication_secret": "not a secret",
    "experimental_features": EXPERIMENTAL,
}

DELEGATED = (
    "account_validity",
    "cas_config",
    "enable_registration_without_verification",
    "oidc_providers",
    "registration_shared_secret",
)
# Accounts delegated to the Matrix Authentication Service; both spellings, as the newer one came with release 1.136.
MAS: dict[str, Any] = {
    **{key: value for key, value in PLAIN.items() if key not in DELEGATED},
    "enable_registration": False,
    "login_via_existing_session": {"enabled": False},
    "password_config": {"enabled": False},
    "matrix_authentication_service": {"enabled": True, "endpoint": "http://localhost:8080/", "secret": "not a secret"},
    "experimental_features": {**EXPERIMENTAL, "msc4108_enabled": True, "msc4388_mode": "open"},
}

HTTP = {"type": "http", "port": 8008, "bind_addresses": ["127.0.0.1"]}


def parsed(settings: dict[str, Any], folder: str) -> HomeServerConfig:
    """The settings as Synapse's own configuration, with files it insists on placed in ``folder``."""
    files = {
        "signing_key_path": f"{folder}/signing.key",
        "media_store_path": f"{folder}/media",
        "pid_file": f"{folder}/pid",
        "database": {"name": "sqlite3", "args": {"database": ":memory:"}},
    }
    features = dict(settings["experimental_features"])
    while True:
        config = HomeServerConfig()
        try:
            # A copy each time: older releases take `main` out of the instance_map they are given.
            wanted = copy.deepcopy({**settings, **files, "experimental_features": features})
            config.parse_config_dict(wanted, folder, folder)
        except ConfigError as error:
            # A feature may ask for another one that this release or this set of settings lacks: go on without it.
            path = list(error.path or ())
            if path[:1] not in (["experimental"], ["experimental_features"]) or path[-1] not in features:
                raise
            print(f"without {path[-1]}: {error.msg}", file=sys.stderr)
            del features[path[-1]]
        else:
            return config


def resources_of(settings: dict[str, Any], worker: bool, folder: str) -> dict[str, Any]:
    """The dictionary path -> resource that the process would turn into its tree."""
    caught: list[dict[str, Any]] = []
    module = generic_worker if worker else homeserver

    def catch(resources: dict[str, Any], root: Any) -> Any:
        caught.append(dict(resources))
        return root

    config = parsed(settings, folder)
    base = generic_worker.GenericWorkerServer if worker else homeserver.SynapseHomeServer
    # The full store: the worker's refuses a database that no main process has set up. Servlets do not differ.
    process = type("Process", (base,), {"DATASTORE_CLASS": DataStore})(config.server.server_name, config=config)
    process.setup()
    module.create_resource_tree = catch
    generic_worker._base.listen_http = lambda *args, **kwargs: []
    homeserver.listen_http = lambda *args, **kwargs: []
    if worker:
        process._listen_http(config.worker.worker_listeners[0])
    else:
        process._listener_http(config, config.server.listeners[0])
    (resources,) = caught
    return resources


def methods_of(resource: Any) -> list[str]:
    """The HTTP methods that a resource other than a ``JsonResource`` renders (HEAD and OPTIONS left out)."""
    names = ("_async_render_", "render_")
    return sorted(m for m in ("DELETE", "GET", "POST", "PUT") if any(hasattr(resource, name + m) for name in names))


def leaves(path: str, resource: Any) -> list[dict[str, Any]]:
    """One entry per resource at or below ``path`` that answers requests."""
    routes = getattr(resource, "_routes", None)
    if routes is not None:
        found: list[tuple[str, str, str]] = []
        for pattern, methods in routes.items():
            for method, entry in methods.items():
                callback = getattr(entry.callback, "__wrapped__", entry.callback)
                servlet = getattr(callback, "__self__", None)
                denied = getattr(type(servlet), "WORKERS_DENIED_METHODS", ()) if servlet else ()
                is_worker = resource.hs.config.worker.worker_app is not None
                if is_worker and method.decode() in denied:
                    continue
                found.append((method.decode(), pattern.pattern, type(servlet).__name__))
        return [{"prefix": path, "routes": found}]
    entries: list[dict[str, Any]] = []
    for name, child in getattr(resource, "children", {}).items():
        entries += leaves(f"{path}/{name.decode()}", child)
    methods = methods_of(resource)
    if methods and (resource.isLeaf or not entries):
        entries.append({"path": path, "leaf": bool(resource.isLeaf), "methods": methods})
    return entries


EVERYTHING = ["client", "federation"]
LISTENER = [{**HTTP, "resources": [{"names": EVERYTHING}]}]
MEDIA_LISTENER = [{**HTTP, "resources": [{"names": [*EVERYTHING, "media"]}]}]
WORKER = {"worker_app": "synapse.app.generic_worker", "worker_name": "w1"}

KINDS: dict[str, dict[str, Any]] = {
    "main": {"listeners": LISTENER, "enable_media_repo": False},
    "media_main": {"listeners": LISTENER, "enable_media_repo": True},
    "worker": {**WORKER, "worker_listeners": LISTENER, "enable_media_repo": False},
    "media": {**WORKER, "worker_listeners": MEDIA_LISTENER, "enable_media_repo": True},
}
VARIANTS: dict[str, dict[str, Any]] = {"": PLAIN, "+mas": MAS}


def registered_by(kind: str) -> list[dict[str, Any]]:
    """All leaves of one kind of process, ``main`` or ``worker+mas`` for example."""
    logging.disable(logging.CRITICAL)
    name, plus, variant = kind.partition("+")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "signing.key").write_text(f"ed25519 a_test {'a' * 43}\n")
        Path(folder, "media").mkdir()
        resources = resources_of({**VARIANTS[plus + variant], **KINDS[name]}, name in ("worker", "media"), folder)
        return [entry for path in resources for entry in leaves(path, resources[path])]


def main() -> None:
    """Write the JSON document to standard output."""
    kinds = [kind + variant for variant in VARIANTS for kind in KINDS]
    # A process each: Synapse keeps the groups of servlets in a global variable.
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        found = dict(zip(kinds, pool.map(registered_by, kinds, chunksize=1), strict=False))
    json.dump({"version": synapse.__version__, "kinds": found}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
