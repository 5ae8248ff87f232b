"""Which parts of a roll-out have nothing to do on a host (``module_utils/_settled.py`` says when that is so).

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

# Of a collection, what does the work.
CODE = (
    "plugins/**/*.py",
    "playbooks/vars/*.yml",
    *(f"roles/*/{kind}/**/*" for kind in ("tasks", "vars", "defaults", "templates", "files")),
)
ROOT = Path(__file__).resolve().parents[2]


def part_wishes(places: dict[str, Any], given: dict[str, Any], names: list[str], common: Any = None) -> dict[str, Any]:
    """For the module ``settled``: where each of the named parts leaves something, and as ``wish`` a digest of what it goes by.

    Args:
        places: name → kind of place → list, as the module takes it.
        given: name → whatever the part goes by, of any shape.
        names: of the parts that are meant.
        common: what all of them go by besides.
    """
    return {name: {**places[name], "wish": _digest([common, given[name]])} for name in names}


def settled_parts(given: dict[str, Any], seen: dict[str, str], common: Any = None) -> list[str]:
    """Names of the parts that have nothing to do.

    Args:
        given: as above.
        seen: what the module ``processes_info`` returned as ``settled``.
        common: as above.
    """
    return [name for name in given if name in seen and seen[name] == _digest([common, given[name]])]


def unsettled_parts(topology: dict[str, Any], settled: dict[str, list[str]], routes: bool = True) -> dict[str, list[str]]:
    """The parts that have something to do, by host; hosts where all are settled are left out.

    Args:
        topology: ``synapse_topology``.
        settled: inventory name → what ``settled_parts`` returned for that host.
        routes: whether the routes are compared with the installed Synapse.
    """
    found = {}
    for host, names in settled.items():
        parts = topology["hosts"][host]["parts"]
        needed = [name for name in ("postgresql", "redis", "nginx", "prometheus") if name in parts]
        needed += ["ground", "host"] * ("processes" in parts) + ["routes"] * ("main" in parts and routes)
        needed += ["firewall"] * bool(topology["settings"].get("firewall") and parts)
        if left := [name for name in needed if name not in names]:
            found[host] = left
    return found


def _digest(given: Any) -> str:
    """Of what a part goes by and of the code that would do it.

    A slow one, of 10 ms: there are passwords in it, and whoever reads a digest in the output of a run shall not try words against it.
    """
    text = json.dumps(given, sort_keys=True) + _code()
    return hashlib.scrypt(text.encode(), salt=b"synapse.workers", n=2**12, r=8, p=1, dklen=32).hex()


@cache
def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted({path for pattern in CODE for path in ROOT.glob(pattern) if path.is_file()}):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
