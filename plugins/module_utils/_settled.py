"""Whether anything that a part of a roll-out reads or leaves on a host has changed since the part last went through.

A part (PostgreSQL, Redis, what a host needs for processes, nginx) takes a dozen module calls to find out that it has nothing
to do. When it has gone through it is *settled*: a fingerprint of what it left is kept, with a digest of what it was given. As
long as both are the same it has nothing to do; in any other case it looks at everything itself, as it did the first time.
Files go by the time of their last change of any kind (``st_ctime``), which nobody can set: whoever edits a file, or puts an old
one back, unsettles the part. Units go by systemd's ``InvocationID``, so a restart does too.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import fnmatch
import glob
import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
from typing import Any, Dict, Iterator, List

# What a unit is, beyond what every look asks for.
UNIT_PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "InvocationID")

# Where a part leaves something: lists of `paths` (shell patterns), `manifests` (memories of the module `files`), `units` (patterns),
# `users`, `commands` (argv; what they print).
Places = Dict[str, List[Any]]
KINDS = ("paths", "manifests", "units", "users", "commands")


def whole(places: Dict[str, Any]) -> Places:
    """``places`` with every kind of place, none of it where it was not named."""
    return {kind: list(places.get(kind, [])) for kind in KINDS}


def units_of(parts: Dict[str, Any]) -> List[str]:
    """The patterns of units that the parts name."""
    return sorted({pattern for places in parts.values() for pattern in whole(places)["units"]})


def fingerprint(places: Places, units: Dict[str, Dict[str, str]]) -> str:
    """A digest of what lies at ``places`` now.

    Args:
        places: as above.
        units: systemd's ``UNIT_PROPERTIES`` of at least the units that ``places`` names.
    """
    seen = [
        sorted(_file(path) for pattern in places["paths"] for path in glob.glob(pattern)),
        [_file(path) for manifest in places["manifests"] for path in [manifest, *_remembered(manifest)]],
        [[properties.get(name, "") for name in UNIT_PROPERTIES] for properties in _chosen(places["units"], units)],
        [_account(name) for name in places["users"]],
        [_said(command) for command in places["commands"]],
    ]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _file(path: str) -> List[Any]:
    """What changes when somebody touches the file; of a folder only its owner and mode, for its entries come and go."""
    try:
        info = os.stat(path)
    except OSError:
        return [path]
    ownership = [path, info.st_uid, info.st_gid, info.st_mode]
    return ownership if stat.S_ISDIR(info.st_mode) else [*ownership, info.st_size, info.st_ctime_ns]


def _remembered(manifest: str) -> List[str]:
    try:
        with open(manifest) as stream:
            return [str(path) for path in json.load(stream)["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _chosen(patterns: List[str], units: Dict[str, Dict[str, str]]) -> Iterator[Dict[str, str]]:
    for name in sorted(units):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            yield units[name]


def _account(name: str) -> List[Any]:
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        return [name]
    groups = [group.gr_name for group in grp.getgrall() if name in group.gr_mem]
    return [name, user.pw_uid, user.pw_gid, user.pw_dir, user.pw_shell, sorted(groups)]


def _said(command: List[str]) -> List[Any]:
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=False, cwd="/")
    except (OSError, subprocess.SubprocessError) as error:
        return [type(error).__name__]
    return [run.returncode, run.stdout.decode("utf-8", "replace")]


class Settled:
    """What is kept of parts that went through: a file of JSON per part, for root only."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def _path(self, part: str) -> str:
        return os.path.join(self.folder, part + ".json")

    def recall(self, part: str) -> Dict[str, str]:
        """``fingerprint`` and ``wish``; empty when the part never went through, or what was kept is damaged."""
        try:
            with open(self._path(part)) as stream:
                kept = json.load(stream)
            return {"fingerprint": str(kept["fingerprint"]), "wish": str(kept["wish"])}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def keep(self, part: str, places: Places, units: Dict[str, Dict[str, str]], wish: str) -> None:
        """That the part went through just now, with what it was given."""
        if not os.path.isdir(self.folder):
            os.makedirs(self.folder, 0o755)
        temporary = self._path(part) + ".new"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as stream:
            json.dump({"fingerprint": fingerprint(places, units), "wish": wish}, stream)
        os.rename(temporary, self._path(part))

    def wishes(self, parts: Dict[str, Places], units: Dict[str, Dict[str, str]]) -> Dict[str, str]:
        """{part: what it was given}, of those parts of ``parts`` that are as they were left."""
        kept = {part: self.recall(part) for part in parts}
        return {
            part: kept[part]["wish"]
            for part, places in parts.items()
            if kept[part] and kept[part]["fingerprint"] == fingerprint(places, units)
        }
