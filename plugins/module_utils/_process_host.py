"""What a host knows of its processes of Synapse: systemd's view, what each was started with, the installed release.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import glob
import json
import os
from typing import Any, Dict, Iterator, List, Tuple

from ansible_collections.synapse.workers.plugins.module_utils._process_changes import RELEASE

PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")


class Failure(Exception):
    """Something did not come up; str() is for the operator."""


class Systemd:
    """systemctl, with as few calls as there are questions."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def run(self, *words: str, check: bool = True) -> str:
        """What systemctl prints; a Failure when it fails and ``check`` is set."""
        code, out, err = self.module.run_command(["systemctl", *words])
        if code and check:
            raise Failure("systemctl {}: {}".format(" ".join(words), err.strip() or out.strip()))
        return str(out)

    def show(self, units: List[str], properties: Tuple[str, ...] = PROPERTIES) -> Dict[str, Dict[str, str]]:
        """{unit: {property: value}} of units, in one call; of patterns those units that are loaded."""
        # No systemctl, no processes: so a bare host under check mode is told about, not tripped over.
        if not units or not self.module.get_bin_path("systemctl"):
            return {}
        out = self.run("show", "--property=" + ",".join(properties), *units, check=False)
        blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in out.strip().split("\n\n") if block]
        return {block["Id"]: block for block in blocks}

    def last_words(self, unit: str) -> str:
        """The end of the unit's journal: what an operator would look up next."""
        _code, out, _err = self.module.run_command(["journalctl", "--unit", unit, "--lines=12", "--no-pager", "--output=cat"])
        return str(out).strip()


class Memory:
    """What each process was started with: a file of JSON per process."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name + ".json")

    def __iter__(self) -> Iterator[str]:
        for path in sorted(glob.glob(os.path.join(glob.escape(self.folder), "*.json"))):
            yield os.path.basename(path)[: -len(".json")]

    def recall(self, name: str) -> Dict[str, Any]:
        """What is remembered of a process; empty when that is nothing, or damaged."""
        return self._read(self._path(name))

    def since(self, name: str) -> float:
        """When it was last remembered, in seconds since 1970; 0 when nothing is."""
        path = self._path(name)
        return os.stat(path).st_mtime if os.path.exists(path) else 0.0

    def remember(self, process: Dict[str, Any]) -> None:
        """That ``process`` runs, what it was started with, and why it was."""
        self._write(self._path(process["name"]), {**self._facts(process), "parts": process["parts"]})

    @staticmethod
    def _facts(process: Dict[str, Any]) -> Dict[str, Any]:
        return {
            "unit": process["unit"],
            "listen": process["probe"].get("listen"),
            "metrics": process["probe"].get("metrics"),
            "serves": process["serves"],
            "yields": process["yields"],
            "reason": process.get("reason", ""),
        }

    def expect(self, process: Dict[str, Any]) -> None:
        """That ``process`` may come to run by what is planned, whatever becomes of this run: what differs is forgotten."""
        before = self.recall(process["name"]) or self._facts(process)
        if "parts" in before:
            # The release is told by the next run, and decides its order: an older one than runs does no harm.
            before["parts"] = {
                part: digest for part, digest in before["parts"].items() if part == RELEASE or process["parts"].get(part) == digest
            }
        self._write(self._path(process["name"]), before)

    def remember_replaced(self, units: Dict[str, Dict[str, str]]) -> None:
        """That units of before are switched off, and what they were; what is known of one is not overwritten."""
        known = self.replaced()
        for unit, state in units.items():
            known.setdefault(
                unit, {"enabled": state.get("UnitFileState") == "enabled", "active": state.get("ActiveState") == "active"}
            )
        if known:
            self._write(self.folder + ".replaced", known)

    def replaced(self) -> Dict[str, Dict[str, bool]]:
        """The units of before that were switched off: whether they were ``enabled`` and ``active``."""
        return self._read(self.folder + ".replaced")

    def forget(self, name: str) -> None:
        """That there is such a process."""
        if os.path.exists(self._path(name)):
            os.unlink(self._path(name))

    @staticmethod
    def _read(path: str) -> Dict[str, Any]:
        try:
            with open(path) as stream:
                data = json.load(stream)
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def _write(self, path: str, data: Dict[str, Any]) -> None:
        if not os.path.isdir(self.folder):
            os.makedirs(self.folder, 0o755)
        with open(path + ".new", "w") as stream:
            json.dump(data, stream, indent=1, sort_keys=True)
        os.rename(path + ".new", path)


def installed_release(venv: str) -> str:
    """The release in the virtual environment, read from its package folder (starting Python would cost more); '' for none."""
    found = glob.glob(os.path.join(glob.escape(venv), "lib", "python3*", "site-packages", "matrix_synapse-*.dist-info"))
    return os.path.basename(found[0])[len("matrix_synapse-") : -len(".dist-info")] if len(found) == 1 else ""


def venvs_of_releases(base: str) -> Dict[str, str]:
    """{folder: release in it} of ``base``, where that is no link, and of the folders beside it that are named after what they hold.

    Links are left out: processes shall run from a folder that stays what it is while another release comes.
    """
    folders = [base, *sorted(glob.glob(glob.escape(base) + "-*"))]
    found = {folder: installed_release(folder) for folder in folders if os.path.isdir(folder) and not os.path.islink(folder)}
    return {folder: release for folder, release in found.items() if folder == base or folder == f"{base}-{release}"}


def target_of(link: str) -> str:
    """Where a link leads to; '' when it is none."""
    return os.path.join(os.path.dirname(link), os.readlink(link)) if os.path.islink(link) else ""


def stamp_of(folder: str) -> str:
    """Names and times of change of the files in a folder: another text when one was replaced."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return " ".join(f"{name}@{os.stat(os.path.join(folder, name)).st_mtime_ns}" for name in names)
