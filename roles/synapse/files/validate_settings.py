"""Asks the installed Synapse whether it would start with a folder of settings: main and every worker, in one process.

Usage: validate_settings.py FOLDER SERVER_NAME. Ends with 0, or with 1 and a line per refused process.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import glob
import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout

from synapse.config._base import Config, ConfigError
from synapse.config.homeserver import HomeServerConfig

# Looking must leave nothing behind: Synapse makes missing folders while it reads, and here they would be root's.
Config.ensure_directory = staticmethod(Config.abspath)


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


def main() -> int:
    folder, server_name = sys.argv[1:]
    shared = paths_of(folder)
    workers = sorted(path for path in glob.glob(os.path.join(folder, "workers", "*.yaml")) if not path.endswith(".log.yaml"))
    refused = False
    for name, extra in [("main", []), *((os.path.basename(path)[: -len(".yaml")], [path]) for path in workers)]:
        reason = refusal([*shared, *extra], server_name)
        if reason:
            refused = True
            print(f"{name}: {reason}")
    return int(refused)


if __name__ == "__main__":
    sys.exit(main())
