"""What Synapse's processes read: views of ``synapse_topology`` as data, and the text of the files made of them.

The functions that end in ``_config`` return plain data (what is said); ``process_files`` lays it out (how it is written).

Sources: Synapse 1.163.2, ``docs/usage/configuration/config_documentation.md`` and ``docs/workers.md``; that files are merged
shallowly, by top-level key, is ``synapse/config/_base.py`` (``read_config_files``), so one file of ours holds whole keys.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

from ..module_utils._worker_types import BY_NAME, TABLE
from ._topology import processes

WORKER_APP = "synapse.app.generic_worker"
# 0o660: nginx's group may write. Synapse wants the number, and YAML has no octal that both parsers read alike.
SOCKET_MODE = 432

MASTER = "master"

# What a homeserver.yaml of somebody else may say of workers, and how our file says that there are none: a key that is not in
# the later file would stay in force. With null, Synapse takes the main process (synapse/config/workers.py,
# `_worker_names_performing_this_duty` and `_should_this_worker_perform_duty`; the older booleans count where the lists are null).
# `worker_replication_secret` and its path exclude each other.
WITHOUT_WORKERS: dict[str, Any] = {
    "worker_replication_secret": None,
    # systemd would take a process that goes into the background for one that has ended.
    "daemonize": False,
    "stream_writers": {},
    **dict.fromkeys((row.setting for row in TABLE if row.setting), None),
    "send_federation": True,
    "start_pushers": True,
    "enable_media_repo": True,
    "media_instance_running_background_jobs": None,
}


def base_config(plan: dict[str, Any]) -> dict[str, Any]:
    """What a homeserver has whether it has workers or not: its name, keys, folders and secrets.

    Written only where the collection installed Synapse itself (``synapse_base_settings_managed``).
    """
    settings = plan["settings"]
    secrets = settings["secrets_dir"]
    return {
        "server_name": plan["server_name"],
        "public_baseurl": settings["public_baseurl"],
        "signing_key_path": f"{secrets}/signing.key",
        "macaroon_secret_key_path": f"{secrets}/macaroon_secret_key",
        "form_secret_path": f"{secrets}/form_secret",
        "registration_shared_secret_path": f"{secrets}/registration_shared_secret",
        "log_config": f"{settings['config_dir']}/main.log.yaml",
        "media_store_path": f"{settings['data_dir']}/media",
        "report_stats": bool(settings["report_stats"]),
        "trusted_key_servers": settings["trusted_key_servers"],
        "suppress_key_server_warning": True,
    }


def shared_config(plan: dict[str, Any], host: str) -> dict[str, Any]:
    """What all processes of the homeserver on ``host`` share because there are workers.

    The same on every host but for the way to PostgreSQL and Redis.
    """
    settings = plan["settings"]
    config: dict[str, Any] = {
        **({} if settings["base_settings_managed"] else WITHOUT_WORKERS),
        "listeners": main_listeners(plan),
        "worker_replication_secret_path": f"{settings['secrets_dir']}/worker_replication_secret",
        "instance_map": _instance_map(plan),
    }
    if settings.get("metrics"):
        config["enable_metrics"] = True
    if redis := redis_config(plan, host):
        config["redis"] = redis
    if database := database_config(plan, host):
        config["database"] = database
    if plan["streams"]:
        config["stream_writers"] = {stream: _writers(stream, names) for stream, names in plan["streams"].items()}
    config.update(_duties(plan))
    # Last, so that the operator has the last word on everything the plan does not derive.
    config.update(settings.get("extra") or {})
    return config


def worker_config(plan: dict[str, Any], worker: dict[str, Any]) -> dict[str, Any]:
    """The settings of one worker; its row's own ``settings`` come last."""
    config: dict[str, Any] = {
        "worker_app": WORKER_APP,
        "worker_name": worker["name"],
        "worker_log_config": _log_path(plan, worker),
        "worker_listeners": _worker_listeners(worker),
    }
    if worker["media"]:
        config["enable_media_repo"] = True
    if worker["cache_factor"]:
        # The whole key is replaced, so what all processes have is repeated here.
        shared = (plan["settings"].get("extra") or {}).get("caches") or {}
        config["caches"] = {**shared, "global_factor": worker["cache_factor"]}
    config.update(worker["settings"])
    return config


def log_config(plan: dict[str, Any], process: dict[str, Any]) -> dict[str, Any]:
    """Python's logging configuration of one process: to the journal, or to a file of its own rotated at midnight."""
    settings = plan["settings"]
    if settings["log_to"] == "file":
        handler: dict[str, Any] = {
            "class": "logging.handlers.TimedRotatingFileHandler",
            "formatter": "precise",
            "filename": f"{settings['log_dir']}/{process['name']}.log",
            "when": "midnight",
            "backupCount": int(settings["log_keep_days"]),
            "encoding": "utf8",
        }
    else:
        handler = {"class": "logging.StreamHandler", "formatter": "journal"}
    return {
        "version": 1,
        "formatters": {
            "precise": {"format": "%(asctime)s - %(name)s - %(lineno)d - %(levelname)s - %(request)s - %(message)s"},
            # The journal stamps the time and knows the process itself.
            "journal": {"format": "%(name)s - %(lineno)d - %(levelname)s - %(request)s - %(message)s"},
        },
        "handlers": {"default": handler},
        # Its DEBUG lines hold access tokens.
        "loggers": {"synapse.storage.SQL": {"level": "INFO"}},
        "root": {"level": process["log_level"], "handlers": ["default"]},
        "disable_existing_loggers": False,
    }


def database_config(plan: dict[str, Any], host: str) -> dict[str, Any] | None:
    """Synapse's ``database`` on ``host``; None when homeserver.yaml has it and we leave it alone."""
    settings = plan["settings"]
    if settings.get("database"):
        return settings["database"]
    server = settings.get("postgresql_host")
    if not server:
        return None
    args: dict[str, Any] = {"user": settings["database_user"], "dbname": settings["database_name"]}
    if host == server:
        # Peer authentication over the socket: no password to keep.
        # The port is part of the socket's name.
        args.update(host="/var/run/postgresql", port=int(settings["postgresql_port"]))
    else:
        args.update(
            host=plan["hosts"][server]["address"],
            port=int(settings["postgresql_port"]),
            passfile=f"{settings['secrets_dir']}/pgpass",
        )
    args.update(
        application_name=plan["service"],
        cp_min=1,
        cp_max=int(settings["database_pool_max"]),
    )
    return {"name": "psycopg2", "args": args}


def redis_config(plan: dict[str, Any], host: str) -> dict[str, Any] | None:
    """Synapse's ``redis`` on ``host``; None when homeserver.yaml has it and we leave it alone."""
    settings = plan["settings"]
    if settings.get("redis"):
        return settings["redis"]
    server = settings.get("redis_host")
    if not server:
        return None
    config: dict[str, Any] = {"enabled": True}
    if host == server:
        # An instance of our own, so that what else uses Redis there is left alone (roles/redis).
        config["path"] = f"/run/redis-{plan['service']}/redis-server.sock"
    else:
        config.update(host=plan["hosts"][server]["address"], port=int(settings["redis_port"]))
    if plan["redis"]["clients"]:
        config["password_path"] = f"{settings['secrets_dir']}/redis_password"
    return config


def process_files(plan: dict[str, Any], host: str) -> list[dict[str, Any]]:
    """Every YAML and environment file that the processes on ``host`` read, with owner, group and mode.

    Returns a list of ``{path, content, owner, group, mode}``; no host without processes gets any.
    """
    settings = plan["settings"]
    here = list(processes(plan, host))
    if not here:
        return []
    config_dir = settings["config_dir"]
    base = f"{config_dir}/homeserver.yaml"
    if settings["install_method"] == "debian":
        # There the package's own homeserver.yaml stays as it is, and this file outweighs it.
        base = f"{config_dir}/conf.d/10-synapse-base.yaml"
    texts = {}
    if settings["base_settings_managed"]:
        texts[base] = _yaml("What this homeserver is, with or without workers.", base_config(plan))
    texts[f"{config_dir}/conf.d/90-synapse-workers.yaml"] = _yaml(
        "What all processes share because there are workers: how they find each other, and who writes which stream. "
        "A change here is read by a process when it starts.",
        shared_config(plan, host),
    )
    for process in here:
        if process["name"] == "main":
            if settings["base_settings_managed"]:
                texts[_log_path(plan, process)] = _yaml("Where the main process logs.", log_config(plan, process))
            continue
        texts[f"{config_dir}/workers/{process['name']}.yaml"] = _yaml(
            f"{process['name']}: {'; '.join(BY_NAME[name].purpose for name in process['types'])}.",
            worker_config(plan, process),
        )
        texts[_log_path(plan, process)] = _yaml(f"Where {process['name']} logs.", log_config(plan, process))
        if process["environment"]:
            texts[f"{config_dir}/workers/{process['name']}.env"] = _environment(process)
    return [
        {"path": path, "content": text, "owner": "root", "group": settings["user"], "mode": "0640"}
        for path, text in texts.items()
    ]


def main_listeners(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """What the main process listens on: what the operator has, as it is, and what is missing there.

    Synapse replaces the whole key by that of the last file, so ours carries both.
    """
    main = plan["main"]
    theirs = plan["settings"]["main_listeners"]
    taken = {listener.get("port") or listener.get("path") for listener in theirs}
    return [*theirs, *(one for one in _needed_listeners(main) if (one.get("port") or one["path"]) not in taken)]


def _needed_listeners(main: dict[str, Any]) -> list[dict[str, Any]]:
    listeners = [
        _http(main["listen"], ["client", "federation"], forwarded=True),
        # Never beside client requests: replication can do everything.
        _http(main["replication"], ["replication"]),
    ]
    if main["metrics"]:
        listeners.append(_metrics(main["metrics"]))
    return listeners


def _worker_listeners(worker: dict[str, Any]) -> list[dict[str, Any]]:
    listeners = [_http(worker["listen"], ["health", *worker["resources"]], forwarded=bool(worker["resources"]))]
    if worker["replication"]:
        listeners.append(_http(worker["replication"], ["replication"]))
    if worker["metrics"]:
        listeners.append(_metrics(worker["metrics"]))
    return listeners


def _http(listen: dict[str, Any], resources: list[str], forwarded: bool = False) -> dict[str, Any]:
    listener: dict[str, Any] = {"type": "http"}
    if "path" in listen:
        listener.update(path=listen["path"], mode=SOCKET_MODE)
    else:
        # Without bind_addresses Synapse listens on every interface.
        listener.update(port=listen["port"], bind_addresses=[listen["address"]])
    if forwarded:
        listener["x_forwarded"] = True
    listener["resources"] = [{"names": resources, "compress": False}]
    return listener


def _metrics(listen: dict[str, Any]) -> dict[str, Any]:
    return {"type": "metrics", "port": listen["port"], "bind_addresses": [listen["address"]]}


def _instance_map(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Where replication finds main and every stream writer; others are never asked by name."""
    return {process["name"]: _location(process["replication"]) for process in processes(plan) if process["replication"]}


def _location(listen: dict[str, Any]) -> dict[str, Any]:
    if "path" in listen:
        return {"path": listen["path"]}
    return {"host": listen["address"], "port": listen["port"]}


def _writers(stream: str, names: list[str]) -> list[str]:
    # Main keeps writing this stream too: its background update does (Synapse 1.152 and later).
    return [*names, MASTER] if stream == "quarantined_media_changes" else names


def _duties(plan: dict[str, Any]) -> dict[str, Any]:
    """The settings that name the workers of a duty, and who loads the media repository."""
    duties: dict[str, Any] = {}
    for row in TABLE:
        names = [worker["name"] for worker in plan["workers"] if row.name in worker["types"]]
        if row.setting and names:
            duties[row.setting] = names if row.setting_is_list else names[0]
    media = [worker["name"] for worker in plan["workers"] if "media_repository" in worker["types"]]
    if media:
        duties["enable_media_repo"] = False
        duties["media_instance_running_background_jobs"] = media[0]
    return duties


def _log_path(plan: dict[str, Any], process: dict[str, Any]) -> str:
    config_dir = plan["settings"]["config_dir"]
    if process["name"] == "main":
        return f"{config_dir}/main.log.yaml"
    return f"{config_dir}/workers/{process['name']}.log.yaml"


def _environment(process: dict[str, Any]) -> str:
    lines = [_header(f"Environment of {process['name']}, from its row in synapse_workers.")]
    for name, value in sorted(process["environment"].items()):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
        lines.append(f'{name}="{escaped}"\n')
    return "".join(lines)


def _yaml(comment: str, data: dict[str, Any]) -> str:
    """A YAML file as one keeps it by hand: a comment that says what it is, a blank line between the top-level keys."""
    parts = [_header(comment)]
    for key, value in data.items():
        parts.append(
            yaml.dump({key: value}, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=120, allow_unicode=True)
        )
    return "\n".join(parts)


def _header(comment: str) -> str:
    text = f"{comment} Written by synapse.workers; edit the inventory instead."
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, 100, break_on_hyphens=False, break_long_words=False))


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, no anchors for repeated values."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True
