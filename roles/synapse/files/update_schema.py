"""Brings the database to the schema of the Synapse that runs this, before the first process of that release starts.

Usage: update_schema.py FOLDER ACCOUNT. Ends with 0, or with 1 and the reason last.

This is Synapse's own ``update_synapse_database`` (in every release from 1.140 to 1.163), for settings that are spread over
several files; it takes one. Processes of the release before go on meanwhile. Each delta is committed by itself
(``PostgresEngine.executescript``, release 1.163.2), and those that were are not made again; so that nobody waits behind one that itself waits
for a table, it gives up after some seconds, and may be called again.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import glob
import io
import os
import pwd
import sys

import yaml

# Of libpq: what `options` in the settings says outweighs it.
PATIENCE = "-c lock_timeout=5s"


def merged(folder: str) -> str:
    """The settings that all processes read, as one file: a key of a later one replaces that of an earlier one, as Synapse has it."""
    settings: dict[str, object] = {}
    for path in [os.path.join(folder, "homeserver.yaml"), *sorted(glob.glob(os.path.join(folder, "conf.d", "*.yaml")))]:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as stream:
                settings.update(yaml.safe_load(stream) or {})
    return yaml.safe_dump(settings)


def become(account: str) -> None:
    """The account of the processes: the database may know it by its name, and it reads the password's file."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam(account)
        os.initgroups(account, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


def main() -> None:
    folder, account = sys.argv[1:]
    settings = merged(folder)
    become(account)
    # Paths that are not absolute are meant from there.
    os.chdir(folder)
    os.environ.setdefault("PGOPTIONS", PATIENCE)
    from synapse._scripts import update_synapse_database
    from synapse.config._base import Config

    # Reading settings would make the folders that they name.
    Config.ensure_directory = classmethod(lambda cls, path: cls.abspath(path))  # type: ignore[method-assign, assignment]
    # Without a file of it nobody reads the password in one.
    sys.stdin = io.StringIO(settings)
    sys.argv[1:] = ["--database-config", "-"]
    update_synapse_database.main()


if __name__ == "__main__":
    main()
