"""Tells which schema the database has and allows, and which a release of Synapse expects and allows. Changes nothing.

Usage: schema.py FOLDER ACCOUNT SCHEMA, where SCHEMA is the release's ``synapse/storage/schema/__init__.py`` (a shell pattern is
allowed). Prints JSON: ``database`` and ``release``, each with ``version`` and ``compat``; ``tokens``, the number of keys in a token of /sync, of
that release and of the one that runs this; ``error``, why there is no answer; or nothing in it, when there is no such file.

No module of Synapse is loaded: the release need not be one that works. Sources: Synapse 1.163.2,
``synapse/storage/prepare_database.py`` (``_get_or_create_schema_state``) and ``synapse/config/database.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import ast
import glob
import importlib.util
import json
import os
import pwd
import sys
from typing import Any

import yaml


def settings_of(folder: str) -> dict[str, Any]:
    """The settings that all processes read: a key of a later file replaces that of an earlier one, as Synapse has it."""
    settings: dict[str, Any] = {}
    paths = [os.path.join(folder, "homeserver.yaml"), *sorted(glob.glob(os.path.join(folder, "conf.d", "*.yaml")))]
    for path in paths:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as stream:
                settings.update(yaml.safe_load(stream) or {})
    return settings


def main_database(settings: dict[str, Any]) -> dict[str, Any]:
    """The one that holds the store ``main``: ``name`` and ``args``."""
    databases = (settings.get("databases") or {}).values() or [settings.get("database") or {}]
    return next(found for found in databases if "main" in found.get("data_stores", ["main"]))


def connected(database: dict[str, Any]) -> Any:
    arguments = {name: value for name, value in (database.get("args") or {}).items() if not name.startswith("cp_")}
    if database["name"] == "sqlite3":
        import sqlite3

        return sqlite3.connect(f"file:{arguments['database']}?mode=ro", uri=True)
    import psycopg2

    return psycopg2.connect(**{"connect_timeout": 60, **arguments})


def schema_of_database(settings: dict[str, Any]) -> dict[str, int]:
    connection = connected(main_database(settings))
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT version FROM schema_version")
        (version,) = cursor.fetchone()
        cursor.execute("SELECT compat_version FROM schema_compat_version")
        # Databases of releases before 1.37 have no such row.
        (compat,) = cursor.fetchone() or (0,)
        return {"version": int(version), "compat": int(compat)}
    finally:
        connection.close()


def schema_of_release(pattern: str) -> dict[str, int]:
    with open(glob.glob(pattern)[0], encoding="utf-8") as stream:
        tree = ast.parse(stream.read())
    values = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return {"version": values["SCHEMA_VERSION"], "compat": values["SCHEMA_COMPAT_VERSION"]}


def parts_of_tokens(package: str) -> int:
    """Of how many keys the tokens of /sync are made (``StreamToken``) in the ``synapse`` at a path; 0 where that is not to be seen."""
    path = os.path.join(package, "types", "__init__.py")
    if not os.path.exists(path):
        return 0
    with open(path, encoding="utf-8") as stream:
        tree = ast.parse(stream.read())
    fields = [
        field.target.id
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == "StreamToken"
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    ]
    return len([name for name in fields if name.endswith("_key")])


def become(account: str) -> None:
    """The account of the processes: the database may know it by its name, and it reads the password's file."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam(account)
        os.initgroups(account, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


def main() -> None:
    folder, account, pattern = sys.argv[1:]
    answer: dict[str, Any] = {}
    if not glob.glob(pattern):
        print("{}")
        return
    try:
        answer["release"] = schema_of_release(pattern)
        answer["release"]["tokens"] = parts_of_tokens(os.path.dirname(os.path.dirname(os.path.dirname(glob.glob(pattern)[0]))))
        running = importlib.util.find_spec("synapse")
        answer["running"] = {"tokens": parts_of_tokens(os.path.dirname(str(running.origin))) if running else 0}
        settings = settings_of(folder)
        become(account)
        os.chdir("/")
        answer["database"] = schema_of_database(settings)
    except Exception as error:  # of the database, the settings or the release; whatever it is, nobody knows whether they fit
        answer["error"] = f"{type(error).__name__}: {str(error).strip()}"
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
