"""Asks the installed Synapse whether it would start with a folder of settings: main and the named workers, in one process.

Usage: validate_settings.py FOLDER SERVER_NAME MEMORY [WORKER…]. MEMORY is the folder in which this collection remembers what it did. Ends with 0, or
with 1 and a line per refused process.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import glob
import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout

import yaml
from synapse.config._base import Config, ConfigError
from synapse.config.homeserver import HomeServerConfig

# Looking must leave nothing behind: Synapse makes missing folders while it reads, and here they would be root's.
Config.ensure_directory = staticmethod(Config.abspath)

OURS = "90-synapse-workers.yaml"
# Written once a copy of the SQLite database is whole: roles/main/tasks/migrate.yml.
MIGRATED = "database-migrated.json"
# What the plan decides. Another value behind it would leave workers without work, or two of them with one duty.
DECIDED = (
    "listeners",
    "instance_map",
    "stream_writers",
    "redis",
    "database",
    "enable_media_repo",
    "media_instance_running_background_jobs",
    "worker_replication_secret",
    "worker_replication_secret_path",
    "federation_sender_instances",
    "pusher_instances",
    "update_user_directory_from_worker",
    "notify_appservices_from_worker",
    "run_background_tasks_on",
    "send_federation",
    "start_pushers",
)
# Ours only where the inventory does not leave them to the operator.
OF_THE_PLAN_SOMETIMES = ("redis", "database")
# The old words for two duties; Synapse 1.163.2 refuses them beside the new one (config/workers.py, _should_this_worker_perform_duty).
OLD_DUTIES = {
    "notify_appservices": "notify_appservices_from_worker",
    "update_user_directory": "update_user_directory_from_worker",
}


def paths_of(folder: str) -> list[str]:
    """The files that all processes read, in Synapse's own order (a folder's files sorted by name)."""
    base = os.path.join(folder, "homeserver.yaml")
    return [path for path in [base, *sorted(glob.glob(os.path.join(folder, "conf.d", "*.yaml")))] if os.path.exists(path)]


def refusal(paths: list[str], server_name: str) -> str:
    """Why Synapse refuses these files, or ''."""
    words = io.StringIO()
    arguments = [word for path in paths for word in ("--config-path", path)]
    try:
        with redirect_stdout(words), redirect_stderr(words):
            config = HomeServerConfig.load_config("Check the settings", arguments)
    except ConfigError as error:
        where = ".".join(error.path or ())
        return f"{where}: {error.msg}" if where else error.msg
    except SystemExit:
        return words.getvalue().strip()
    except Exception as error:  # whatever it is, the process would not start
        return f"{type(error).__name__}: {error}"
    if config.server.server_name != server_name:
        return f"server_name is {config.server.server_name}, but the inventory says {server_name}"
    if config.worker.worker_app:
        return unfit_for_workers(config)
    return ""


def unfit_for_workers(config: HomeServerConfig) -> str:
    """What a worker starts with and does not work with, or ''."""
    if not config.redis.redis_enabled:
        return "redis: is not enabled, and workers hear of each other through Redis only; set synapse_redis_host or synapse_redis"
    if any(database.config["name"] == "sqlite3" for database in config.database.databases):
        return (
            "database: is SQLite, which lets one process write; workers need PostgreSQL (synapse_postgresql_host or "
            "synapse_database; synapse_port_db moves a database there)"
        )
    return ""


def quarrels(paths: list[str], memory: str) -> list[str]:
    """What Synapse would take in silence: a file behind ours that undoes the plan, and a duty that nobody would do."""
    contents = {}
    for path in paths:
        with open(path) as stream:
            contents[path] = yaml.safe_load(stream) or {}
    ours = next((path for path in paths if os.path.basename(path) == OURS), None)
    if ours is None:
        return []
    found = []
    theirs: dict[str, object] = {}
    for path in paths:
        if path != ours:
            theirs.update(contents[path])
    database = theirs.get("database")
    if isinstance(database, dict) and database.get("name") == "sqlite3" and contents[ours].get("database"):
        file = str((database.get("args") or {}).get("database"))
        if os.path.exists(file) and not os.path.exists(os.path.join(memory, MIGRATED)):
            found.append(
                f"the homeserver's database is {file} (SQLite), and with these settings it would begin anew with an empty one in PostgreSQL; "
                f"synapse.workers.migrate_database copies it (docs/adopt.md)"
            )
    for path in paths[paths.index(ours) + 1 :]:
        for key in DECIDED:
            if key in contents[path] and (key in contents[ours] or key not in OF_THE_PLAN_SOMETIMES):
                found.append(f"{path} sets {key} after {OURS} and undoes the plan; remove it there, or give the file an earlier name")
    for old, new in OLD_DUTIES.items():
        where = [path for path in paths if path != ours and old in contents[path]]
        if where and (contents[ours].get(new) or not contents[where[-1]][old]):
            found.append(f"{where[-1]} sets {old}, which {new} has replaced; remove the line, nothing else says who does it")
    return found


def main() -> int:
    folder, server_name, memory, *workers = sys.argv[1:]
    shared = paths_of(folder)
    refused = False
    try:
        sentences = quarrels(shared, memory)
    except (yaml.YAMLError, AttributeError, TypeError):
        sentences = []  # Synapse has its own words for files that are none
    for sentence in sentences:
        refused = True
        print(f"main: {sentence}")
    for name, extra in [("main", []), *((name, [os.path.join(folder, "workers", f"{name}.yaml")]) for name in workers)]:
        reason = refusal([*shared, *extra], server_name)
        if reason:
            refused = True
            print(f"{name}: {reason}")
    return int(refused)


if __name__ == "__main__":
    sys.exit(main())
