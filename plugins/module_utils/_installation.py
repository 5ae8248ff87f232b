"""Finds a Synapse that somebody set up by hand: its units, and what each of them starts.

Sources: Synapse 1.163.2, ``synapse/app/`` (names of the programs), ``synapse/_scripts/synctl.py`` and the entry points of its package;
systemd 252, ``systemctl show``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import glob
import os
import re
from typing import Any, Dict, List

UNIT_DIRS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/lib/systemd/system",
    "/usr/lib/systemd/system",
)
PROPERTIES = (
    "Id", "FragmentPath", "ExecStart", "User", "Group", "WorkingDirectory", "ActiveState", "UnitFileState", "BindsTo", "WantedBy", "Type",
)  # fmt: skip
OURS = "Written by synapse.workers"

ARGV = re.compile(r"argv\[\]=(.*?) ; ignore_errors=")


def what_it_starts(command: str) -> Dict[str, Any]:
    """What a command line starts of Synapse.

    Returns:
        ``app`` (``homeserver``, the last part of a worker's app, or '' where it is no Synapse), ``python`` (of its virtual environment, or
        '') and ``configs`` (the arguments of ``--config-path``).
    """
    words = command.split()
    app, python, configs = "", "", []
    for position, word in enumerate(words):
        following = words[position + 1] if position + 1 < len(words) else ""
        name = os.path.basename(word)
        if name.startswith("python") and not python:
            python = word
        elif word == "-m" and following.startswith("synapse.app."):
            app = following.rpartition(".")[2]
        elif name in ("synapse_homeserver", "synapse_worker"):
            app = "homeserver" if name == "synapse_homeserver" else "generic_worker"
            python = os.path.join(os.path.dirname(word), "python")
        elif name == "synctl":
            app = "homeserver"
            # A synctl of a virtual environment stands beside its Python.
            python = os.path.join(os.path.dirname(word), "python")
            configs += [later for later in words[position + 1 :] if later.endswith((".yaml", ".yml"))][:1]
        elif word in ("-c", "--config-path") and following:
            configs.append(following)
        elif word.startswith("--config-path="):
            configs.append(word.partition("=")[2])
    return {"app": app, "python": python, "configs": configs}


def unit_names(folders: List[str]) -> List[str]:
    """The services whose files speak of Synapse; of templates the instances that are enabled or were ever asked for."""
    names = set()
    for folder in folders:
        for path in glob.glob(os.path.join(glob.escape(folder), "*.service")) + glob.glob(
            os.path.join(glob.escape(folder), "*.service.d", "*.conf")
        ):
            try:
                with open(path, errors="replace") as stream:
                    text = stream.read()
            except OSError:
                continue
            if "synapse" not in text.lower() and "synctl" not in text:
                continue
            unit = os.path.basename(path) if path.endswith(".service") else os.path.basename(os.path.dirname(path))[: -len(".d")]
            if not unit.endswith("@.service"):
                names.add(unit)
                continue
            stem = unit[: -len(".service")]
            names.add(stem + "*.service")
            for link in glob.glob(os.path.join(glob.escape(folder), "*.wants", stem + "*.service")):
                names.add(os.path.basename(link))
    return sorted(names)


def units(module: Any, folders: List[str]) -> List[Dict[str, Any]]:
    """The units that start something of Synapse."""
    names = unit_names(folders)
    if not names or not module.get_bin_path("systemctl"):
        return []
    _code, listed, _err = module.run_command(["systemctl", "list-units", "--all", "--plain", "--no-legend", *names])
    whole = {name for name in names if "*" not in name} | {line.split()[0] for line in listed.splitlines() if line.strip()}
    _code, out, _err = module.run_command(["systemctl", "show", "--property=" + ",".join(PROPERTIES), *sorted(whole)])
    found = []
    for block in out.strip().split("\n\n"):
        shown = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        match = ARGV.search(shown.get("ExecStart", ""))
        starts = what_it_starts(match.group(1) if match else "")
        if starts["app"]:
            found.append(_unit(shown, starts))
    return found


def _unit(shown: Dict[str, str], starts: Dict[str, Any]) -> Dict[str, Any]:
    path = shown.get("FragmentPath", "")
    try:
        with open(path, errors="replace") as stream:
            ours = OURS in stream.read()
    except OSError:
        ours = False
    return {
        "unit": shown["Id"],
        "file": path,
        "ours": ours,
        "user": shown.get("User", "") or "root",
        "group": shown.get("Group", ""),
        "working_directory": shown.get("WorkingDirectory", "").lstrip("!-"),
        "active": shown.get("ActiveState", ""),
        "enabled": shown.get("UnitFileState", ""),
        "binds_to": shown.get("BindsTo", "").split(),
        "wanted_by": shown.get("WantedBy", "").split(),
        "type": shown.get("Type", ""),
        **starts,
    }
