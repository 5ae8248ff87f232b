"""Reads the settings of a Synapse that is there, by its own Python, and tells what a plan needs of them. Changes nothing.

Usage: read_settings.py USER PATH…; paths as for --config-path (a folder means its *.yaml files, sorted). Prints JSON: ``files`` ({path: ``keys``
(known ones with their values, of others the name), or ``error``}), ``database`` (what the server behind it says) and ``refusal`` (why Synapse
would not start with them). No secret is printed: values are told of the keys that are named below and of no others.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import glob
import io
import json
import os
import pwd
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import yaml
from synapse.config._base import Config, ConfigError
from synapse.config.homeserver import HomeServerConfig

# Looking must leave nothing behind: Synapse makes missing folders while it reads, and here they would be root's.
Config.ensure_directory = staticmethod(Config.abspath)

# Settings that say which processes there are and how they meet, and those that a plan has to repeat.
TOLD = (
    "server_name", "public_baseurl", "serve_server_wellknown", "listeners", "pid_file", "daemonize", "log_config", "media_store_path",
    "uploads_path", "signing_key_path", "max_upload_size", "enable_metrics", "instance_map", "stream_writers",
    "federation_sender_instances", "send_federation", "pusher_instances", "start_pushers", "run_background_tasks_on",
    "notify_appservices", "notify_appservices_from_worker", "update_user_directory", "update_user_directory_from_worker",
    "enable_media_repo", "media_instance_running_background_jobs", "enable_group_creation", "worker_app", "worker_name",
    "worker_listeners", "worker_pid_file", "worker_daemonize", "worker_log_config", "worker_log_file", "worker_replication_host",
    "worker_replication_port", "worker_replication_http_port", "worker_replication_http_tls", "worker_main_http_uri",
    "worker_replication_secret_path", "worker_cpu_affinity", "report_stats", "web_client", "web_client_location", "tls_certificate_path",
    "tls_private_key_path", "no_tls", "use_presence", "outbound_federation_restricted_to",
)  # fmt: skip


def database(value: Any) -> Any:
    """`database` without what it takes to get in."""
    if not isinstance(value, dict):
        return None
    arguments = value.get("args") or {}
    told = {key: arguments[key] for key in ("database", "dbname", "user", "host", "port", "cp_max") if key in arguments}
    return {"name": value.get("name"), "allow_unsafe_locale": bool(value.get("allow_unsafe_locale")), "args": told}


def redis(value: Any) -> Any:
    """`redis` without its password."""
    if not isinstance(value, dict):
        return None
    return {key: value[key] for key in ("enabled", "host", "port", "path", "dbid", "use_tls") if key in value}


def files_of(paths: list[str]) -> list[str]:
    """As Synapse finds them (config/_base.py, find_config_files)."""
    found = []
    for path in paths:
        found += sorted(glob.glob(os.path.join(glob.escape(path), "*.yaml"))) if os.path.isdir(path) else [path]
    return found


def look(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what is told of a file, what it holds)."""
    try:
        with open(path) as stream:
            text = stream.read()
        content = yaml.safe_load(text) or {}
    except (OSError, yaml.YAMLError) as error:
        # YAML's errors quote the line, which may hold a secret.
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: {getattr(error, 'problem', '')}" if mark else getattr(error, "strerror", "") or type(error).__name__
        return {"error": where, "keys": {}, "others": []}, {}
    if not isinstance(content, dict):
        return {"error": "is no mapping", "keys": {}, "others": []}, {}
    keys = {key: content[key] for key in TOLD if key in content}
    for key, function in (("database", database), ("redis", redis)):
        if key in content:
            keys[key] = function(content[key])
    told = {
        "error": "",
        "keys": keys,
        "others": sorted(str(key) for key in content if key not in keys),
        "ours": "Written by synapse.workers" in text,
    }
    return told, content


def refusal(paths: list[str]) -> str:
    """Why Synapse would not start with these files, or ''."""
    words = io.StringIO()
    try:
        with redirect_stdout(words), redirect_stderr(words):
            HomeServerConfig.load_config("Look at the settings", [word for path in paths for word in ("--config-path", path)])
    except ConfigError as error:
        where = ".".join(error.path or ())
        return " ".join(f"{where}: {error.msg}".lstrip(": ").split())
    except SystemExit:
        return " ".join(words.getvalue().split())
    except Exception as error:  # whatever it is, the process would not start
        return f"{type(error).__name__}: {error}"
    return ""


def ask(settings: Any, user: str) -> dict[str, Any]:
    """What the database says of itself, asked as the homeserver's user."""
    if not isinstance(settings, dict):
        return {"kind": "", "error": "there is no `database` in the settings"}
    arguments = dict(settings.get("args") or {})
    if settings.get("name") == "sqlite3":
        path = str(arguments.get("database", ""))
        return {"kind": "sqlite", "path": path, "error": "", "bytes": os.path.getsize(path) if os.path.exists(path) else 0}
    told: dict[str, Any] = {"kind": "postgresql", "error": ""}
    for key in [key for key in arguments if key.startswith("cp_")]:
        del arguments[key]
    try:
        account = pwd.getpwnam(user)
        if os.getuid() == 0:
            os.initgroups(user, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        import psycopg2

        connection = psycopg2.connect(connect_timeout=5, **arguments)
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_encoding_to_char(encoding), datcollate, datctype, pg_database_size(oid), current_setting('server_version'), "
                "current_setting('max_connections')::int, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') "
                "FROM pg_database WHERE datname = current_database()"
            )
            answer = list(cursor.fetchone())
            for name in ("encoding", "collation", "ctype", "bytes", "version", "max_connections", "connections"):
                told[name] = answer.pop(0)
        connection.close()
    except Exception as error:  # whatever it is, it is for the operator to read; libpq's own words name no password
        told["error"] = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return told


def main() -> None:
    user, *paths = sys.argv[1:]
    files, effective = {}, {}
    for path in files_of(paths):
        files[path], content = look(path)
        if not files[path].get("ours"):
            effective.update(content)
    # What the server's own settings amount to: ours may make up for what Synapse refuses in them.
    refused = refusal([path for path in files if not files[path].get("ours")])
    print(json.dumps({"files": files, "refusal": refused, "database": ask(effective.get("database"), user)}, default=str))


if __name__ == "__main__":
    main()
