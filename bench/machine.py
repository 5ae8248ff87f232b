"""Where and when something was measured.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import datetime
import os
import platform
import re
from pathlib import Path


def machine() -> str:
    """``23 Nov 2026, 2 cores of AMD EPYC, load 4``."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    day = datetime.datetime.now(tz=datetime.UTC).strftime("%d %b %Y")
    cores = len(os.sched_getaffinity(0))
    return f"{day}, {cores} cores of {names[0] if names else platform.machine()}, load {os.getloadavg()[0]:.0f}"
