"""How many connections a PostgreSQL has to give, and how a database sorts, asked of the server itself, whoever's it is. Changes nothing.

Sources: PostgreSQL 15 to 17, ``max_connections``, ``superuser_reserved_connections``, ``reserved_connections`` (16 and later) and the
view ``pg_stat_activity``, whose names of databases and roles everybody may read; ``pg_database``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Optional

SELECT = (
    "SELECT current_setting('max_connections')::int, "
    "current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true), '0')::int, "
    "(SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND coalesce(backend_type, 'client backend') = "
    "'client backend' AND datname IS NOT NULL AND datname <> {database}), "
    "(SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND coalesce(backend_type, 'client backend') = 'client backend' "
    "AND datname IS NOT NULL)"
)

# Run by Synapse's own Python, which has a driver and reads YAML; what it needs comes by its standard input, as there may be a password in it.
ASK = """
import json, sys
given = json.load(sys.stdin)
database = given["database"]
if not database:
    import yaml
    for path in given["files"]:
        database = (yaml.safe_load(open(path)) or {}).get("database") or database
args = dict((database or {}).get("args") or {})
answer = {"engine": (database or {}).get("name", ""), "pool": args.get("cp_max", 5)}
if answer["engine"] == "psycopg2":
    import psycopg2
    options = {key: value for key, value in args.items() if not key.startswith("cp_")}
    options["connect_timeout"] = 5
    link = psycopg2.connect(**options)
    cursor = link.cursor()
    cursor.execute(given["select"])
    answer["row"] = cursor.fetchone()
    cursor.execute("SELECT datcollate, datctype FROM pg_database WHERE datname = current_database()")
    answer["collation"], answer["ctype"] = cursor.fetchone()
    answer["unsafe_locale"] = bool((database or {}).get("allow_unsafe_locale"))
print(json.dumps(answer))
"""


def ours(module: Any, port: int, database: str) -> Optional[Dict[str, Any]]:
    """Of the cluster on this host, asked as its administrator; None when none answers at the port."""
    psql, runuser = module.get_bin_path("psql"), module.get_bin_path("runuser")
    if not psql or not runuser:
        return None
    literal = "'" + database.replace("'", "''") + "'"
    command = [runuser, "-u", "postgres", "--", psql, "-X", "-A", "-t", "-F", " ", "-p", str(port), "-d", "postgres"]
    code, out, _err = module.run_command([*command, "-c", SELECT.format(database=literal)], cwd="/")
    return _facts([int(word) for word in out.split()]) if not code and len(out.split()) == 4 else None


def theirs(module: Any, venv: str, user: str, database: str, settings_dir: str) -> Optional[Dict[str, Any]]:
    """Of the server that Synapse's settings name: ``database`` (JSON), or else what the files in ``settings_dir`` say. None when nobody
    can be asked: no Synapse here yet, no such user, no answer."""
    python, runuser = os.path.join(venv, "bin", "python"), module.get_bin_path("runuser")
    if not os.path.exists(python) or not runuser:
        return None
    folder = os.path.join(settings_dir, "conf.d")
    more = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    files = [
        os.path.join(settings_dir, "homeserver.yaml"),
        *(os.path.join(folder, name) for name in more if name.endswith(".yaml")),
    ]
    given = {"database": json.loads(database or "{}"), "files": [path for path in files if os.path.exists(path)]}
    given["select"] = SELECT.format(database="current_database()")
    code, out, _err = module.run_command([runuser, "-u", user, "--", python, "-c", ASK], data=json.dumps(given), cwd="/")
    if code:
        return None
    answer = json.loads(out)
    facts = _facts(answer.get("row") or [])
    return {**facts, **{key: answer[key] for key in ("pool", "collation", "ctype", "unsafe_locale")}} if facts else None


def _facts(row: List[int]) -> Optional[Dict[str, Any]]:
    if len(row) != 4:
        return None
    return dict(zip(("max_connections", "reserved", "others", "connected"), row))
