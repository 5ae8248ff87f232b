"""Which run this is, and whether another one is over (``module_utils/_run_lock.py`` keeps them apart).

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import getpass
import multiprocessing
import os
import secrets
import socket
from pathlib import Path
from typing import Any


def this_run(playbook: str) -> dict[str, Any]:
    """A name for this run, which tells it from all others and says who to ask.

    Args:
        playbook: what is run.

    Returns:
        ``id``, ``playbook``, ``user``, ``controller`` (host name), ``pid``, and what tells a process from a later one with its number:
        ``place`` (boot and process namespace of the controller) and ``started`` (in the kernel's ticks).
    """
    # Tasks are templated in a child of ansible-playbook.
    parent = multiprocessing.parent_process()
    pid = (parent.pid if parent else None) or os.getpid()
    return {
        "id": secrets.token_hex(4),
        "playbook": playbook,
        "user": _user(),
        "controller": socket.gethostname(),
        "pid": pid,
        "place": _place(),
        "started": _started(pid),
    }


def run_is_over(run: dict[str, Any]) -> bool:
    """Whether ``run`` was one of this very machine and its process is gone; False when that cannot be known."""
    if not run or run.get("controller") != socket.gethostname() or not run.get("place") or run["place"] != _place():
        return False
    return _started(run["pid"]) != run["started"]


def run_in_words(run: dict[str, Any]) -> str:
    """``roll_out, begun by alice on laptop (process 4711) 12 minutes ago``."""
    minutes = int(run.get("age", 0)) // 60
    ago = "just now" if not minutes else f"{minutes} minute{'s' if minutes > 1 else ''} ago"
    return "{playbook}, begun by {user} on {controller} (process {pid}) {ago}".format(**run, ago=ago)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        return str(os.getuid())


def _place() -> str:
    """'' where there is no /proc to ask."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When the process started, '' when there is none. Field 22 of proc(5)'s stat; the second may hold blanks."""
    try:
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
