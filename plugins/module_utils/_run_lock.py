"""One run at a time on a host: which run holds it, and until when.

A run writes its name into a file on each host before it changes anything there, and notes its end in it, also when it failed. When the
controller is killed, or loses the host, there is no such note. That binds nobody for ever: the controller that was killed sees that its
own process is gone (``plugin_utils/_runs.py``), whoever knows that the run is over may say so, and after a while, or when the host
has booted since, it counts as over.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from typing import Any, Dict, Iterator, Optional, Sequence

# No roll-out takes longer, and nobody waits longer for one that was killed and forgotten.
LEASE = 3 * 3600  # seconds

Run = Dict[str, Any]


class RunLock:
    """The lock of one homeserver on this host: a file of JSON, which stays when the run has ended."""

    def __init__(self, path: str) -> None:
        self.path = path

    def last(self) -> Run:
        """The run that was here last, or is here; empty when there was none."""
        try:
            with open(self.path) as stream:
                run = json.load(stream)
        except (OSError, ValueError):
            return {}
        return run if isinstance(run, dict) and isinstance(run.get("id"), str) else {}

    def holder(self) -> Optional[Run]:
        """The run that holds the host, and for how many seconds (``age``); None when nobody does."""
        run = self.last()
        age = int(time.time() - run.get("since", 0))
        if not run or run.get("ended") or run.get("boot") != _boot() or age > LEASE:
            return None
        return dict(run, age=age)

    def take(self, run: Run, instead_of: Sequence[str] = ()) -> Optional[Run]:
        """None when ``run`` holds the host now, else who does. ``instead_of``: ids of runs that are known to be over."""
        with self._alone():
            holder = self.holder()
            if holder and holder["id"] not in [run["id"], *instead_of]:
                return holder
            self._write(dict(run, since=time.time(), boot=_boot(), ended=False))
            return None

    def give_back(self, run: Run) -> None:
        """Note the end of ``run``, unless another one has taken the host meanwhile."""
        with self._alone():
            last = self.last()
            if last.get("id") == run["id"]:
                try:
                    self._write(dict(last, ended=True))
                except OSError:
                    # A full disk may be what ended the run, and still lets go.
                    os.unlink(self.path)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else looks and takes meanwhile."""
        folder = os.path.dirname(self.path)
        if not os.path.isdir(folder):
            os.makedirs(folder, 0o755)
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _write(self, run: Run) -> None:
        temporary = self.path + ".new"
        with open(temporary, "w") as stream:
            json.dump(run, stream)
        os.rename(temporary, self.path)


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as stream:
            return stream.read().strip()
    except OSError:
        return ""
