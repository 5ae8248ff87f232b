"""Copies a stopped homeserver's SQLite database to PostgreSQL by Synapse's own tool, and counts the rows on both sides.

Usage: copy_database.py look|copy FOLDER; the target, Synapse's `database` as JSON, on standard input. To be run by Synapse's Python as
the account of the homeserver; `look` only says whether it can be done, also while the homeserver runs. FOLDER holds homeserver.yaml and
conf.d; the database that their `database` names is read and never written. Prints JSON: ``tables``, ``rows``, ``differing`` ({table:
[SQLite, PostgreSQL]}) and ``source``; ends with 1 and words when it cannot be done, or the copy failed.

Sources: Synapse 1.163.2, ``docs/postgres.md``, and ``synapse/_scripts/synapse_port_db.py`` (what is left out, as it can be made anew).

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import glob
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from typing import Any

import psycopg2
import yaml
from synapse._scripts.synapse_port_db import IGNORED_TABLES

# Stands in the database of PostgreSQL from the beginning of a copy until it is found to be whole.
MARK = "synapse.workers: a copy of a SQLite database, not whole"
# What the tool makes anew, keeps for itself, or brings over in part (of sent transactions those of the last day).
NOT_COMPARED = {
    *IGNORED_TABLES, "schema_version", "schema_compat_version", "applied_schema_deltas", "applied_module_schemas", "background_updates",
    "user_directory_stream_pos", "sent_transactions", "port_from_sqlite3",
}  # fmt: skip


def settings_of(folder: str) -> dict[str, Any]:
    """What Synapse makes of the folder: later files replace whole keys. Our own file speaks of the time after."""
    settings: dict[str, Any] = {}
    for path in [os.path.join(folder, "homeserver.yaml"), *sorted(glob.glob(os.path.join(folder, "conf.d", "*.yaml")))]:
        if os.path.basename(path) != "90-synapse-workers.yaml":
            with open(path) as stream:
                settings.update(yaml.safe_load(stream) or {})
    return settings


def holds(target: dict[str, Any]) -> str:
    """What is in the database of PostgreSQL: '' for nothing, ``MARK`` for what a copy that failed has left, else the name of a table."""
    with connection(target) as server, server.cursor() as cursor:
        cursor.execute("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'public'")
        if (cursor.fetchone() or ("",))[0] == MARK:
            return MARK
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') LIMIT 1")
        return str((cursor.fetchone() or ("",))[0])


def mark(target: dict[str, Any], words: str | None) -> None:
    """Say in the database itself that it is no homeserver's yet, or with None that it is one now."""
    with connection(target) as server, server.cursor() as cursor:
        cursor.execute("COMMENT ON SCHEMA public IS %s", (words,))


def pending(source: str) -> list[str]:
    """Work that Synapse still has to do in the old database; its tool copies none that has some."""
    with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as old:
        return [name for (name,) in old.execute("SELECT update_name FROM background_updates ORDER BY ordering")]


def empty(target: dict[str, Any]) -> None:
    """Take away what a copy that failed has left; nothing else is ever taken away."""
    if holds(target) != MARK:
        return
    with connection(target) as server, server.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def connection(target: dict[str, Any]) -> Any:
    return psycopg2.connect(**{key: value for key, value in target["args"].items() if not key.startswith("cp_")})


def copy(source: str, settings: dict[str, Any]) -> None:
    """Run Synapse's tool on a private copy of the database, which it writes to."""
    folder = os.path.dirname(os.path.abspath(source))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".copy-") as private:
        snapshot, config = os.path.join(private, "homeserver.db"), os.path.join(private, "homeserver.yaml")
        with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as old, sqlite3.connect(snapshot) as new:
            old.backup(new)
        with open(os.open(config, os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
            yaml.safe_dump(settings, stream)
        command = [sys.executable, "-m", "synapse._scripts.synapse_port_db", "--sqlite-database", snapshot, "--postgres-config", config]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=private)
    if ended.returncode:
        lines = (ended.stderr or ended.stdout).strip().splitlines()
        sys.exit("\n".join(lines[-12:]) or "synapse_port_db failed and said nothing")


def compare(source: str, target: dict[str, Any]) -> dict[str, Any]:
    """The rows of each table on both sides."""
    differing, tables, rows = {}, 0, 0
    with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as old, connection(target) as new, new.cursor() as cursor:
        names = {name for (name,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")}
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        names &= {name for (name,) in cursor.fetchall()}
        for name in sorted(names - NOT_COMPARED):
            (before,) = old.execute(f'SELECT count(*) FROM "{name}"').fetchone()
            cursor.execute(f'SELECT count(*) FROM "{name}"')
            (after,) = cursor.fetchone()
            tables, rows = tables + 1, rows + before
            if before != after:
                differing[name] = [before, after]
    return {"tables": tables, "rows": rows, "differing": differing, "source": source}


def main() -> None:
    what, folder = sys.argv[1:]
    target = json.load(sys.stdin)
    settings = settings_of(folder)
    source = settings.get("database", {}).get("args", {}).get("database", "")
    if settings.get("database", {}).get("name") != "sqlite3" or not os.path.exists(source):
        sys.exit(f"the settings in {folder} name no SQLite database that is there")
    if (found := holds(target)) not in ("", MARK):
        sys.exit(f"the database of PostgreSQL is not empty (it has a table {found}), and a homeserver would be mixed into what is there")
    if left := pending(source):
        sys.exit(f"Synapse is still busy with {', '.join(left)} in the old database; let it run until it is done, then come again")
    if what == "look":
        print(json.dumps({"source": source, "bytes": os.path.getsize(source)}))
        return
    empty(target)
    mark(target, MARK)
    copy(source, {**settings, "database": target})
    result = compare(source, target)
    if not result["differing"]:
        # From here on it is a homeserver's database, and never again one to be emptied.
        mark(target, None)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
