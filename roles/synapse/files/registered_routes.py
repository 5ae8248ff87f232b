"""Asks the installed Synapse which requests its processes have servlets for: main, and a worker.

Usage: registered_routes.py FOLDER ACCOUNT [MEMORY TABLE]. Prints JSON:

* ``release``: the installed release;
* ``key``: a digest of all that the answer depends on: the release, the settings and ``TABLE`` (a digest of what the answer is
  compared with, '' unless given);
* ``remembered``: whether the file ``MEMORY`` holds that key, which says that the comparison went well before. Then that is all,
  for Synapse takes seconds to load;
* ``main`` and ``worker``: lists of ``[method, regular expression]`` in the order in which Synapse tries them;
* ``error``: why there is no such list.

No database is asked or changed: the settings are read, and the database among them is replaced by an empty one in memory.

Source: ``synapse/_scripts/generate_workers_map.py`` (in every release from 1.140 to 1.163), which sees the client,
federation and key servlets. Media, administration, pages for people, single sign-on and the interface for the Matrix
Authentication Service are registered elsewhere.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import pwd
import sys
import tempfile
from contextlib import redirect_stdout
from importlib import metadata

# Settings that come last. `databases` is another spelling of the first, and both together are refused.
WITHOUT_DATABASE = {"database": {"name": "sqlite3", "args": {"database": ":memory:"}}, "databases": None}


def paths_of(folder: str) -> list[str]:
    """The files that all processes read, in Synapse's own order (a folder's files sorted by name)."""
    base = os.path.join(folder, "homeserver.yaml")
    return [path for path in [base, *sorted(glob.glob(os.path.join(folder, "conf.d", "*.yaml")))] if os.path.exists(path)]


def key_of(release: str, paths: list[str], table: str) -> str:
    """A digest of everything that the comparison depends on."""
    digest = hashlib.sha256(f"{release}\n{table}\n".encode())
    for path in paths:
        with open(path, "rb") as stream:
            digest.update(hashlib.sha256(stream.read()).digest())
    return digest.hexdigest()


def remembered(memory: str) -> str:
    """The key in the file ``memory``, '' when there is none."""
    try:
        with open(memory, encoding="utf-8") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def become(account: str) -> None:
    """Give up root's rights: the settings may name modules, which are loaded."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam(account)
        os.initgroups(account, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


def registered(paths: list[str]) -> dict[str, list[list[str]]]:
    """What the two kinds of processes register with these settings."""
    from synapse._scripts.generate_workers_map import get_registered_paths_for_default
    from synapse.config._base import Config
    from synapse.config.homeserver import HomeServerConfig

    # Reading settings would make the folders that they name.
    Config.ensure_directory = classmethod(lambda cls, path: cls.abspath(path))  # type: ignore[method-assign, assignment]
    logging.disable(logging.CRITICAL)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as last:
        json.dump(WITHOUT_DATABASE, last)  # JSON is YAML
        last.flush()
        arguments = [word for path in [*paths, last.name] for word in ("--config-path", path)]
        config = HomeServerConfig.load_config("List the servlets", arguments)
    kinds = {"main": None, "worker": "synapse.app.generic_worker"}
    return {kind: [list(found) for found in get_registered_paths_for_default(app, config)] for kind, app in kinds.items()}


def main() -> None:
    folder, account, memory, table = [*sys.argv[1:], "", ""][:4]
    paths = paths_of(folder)
    answer: dict[str, object] = {"release": metadata.version("matrix-synapse")}
    key = key_of(str(answer["release"]), paths, table)
    answer.update(key=key, remembered=remembered(memory) == key)
    if not answer["remembered"]:
        become(account)
        try:
            with redirect_stdout(sys.stderr):
                answer.update(registered(paths))
        except (Exception, SystemExit) as error:  # of the settings or of Synapse; whatever it is, there is no list
            answer["error"] = f"with the settings in {folder}: {type(error).__name__}: {error}"
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
