"""What a host has to give, and what is taken: cores, memory, ports, connections. Read from /proc, and changes nothing.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import glob
import ipaddress
import os
import re
import socket
import sys
from typing import Any, Dict, Iterator, List, Optional

PAGE = os.sysconf("SC_PAGE_SIZE")
# st of /proc/net/tcp (include/net/tcp_states.h).
LISTEN = "0A"
# Debian's nginx, where nginx.conf says nothing else.
WORKER_CONNECTIONS = 512


def text(path: str) -> str:
    """Content, or '' when it cannot be had."""
    try:
        with open(path, errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def cores() -> int:
    """Cores that processes here may use."""
    return len(os.sched_getaffinity(0))


def memory() -> Dict[str, int]:
    """``total``, ``available`` and ``swap`` in MB."""
    found = dict(re.findall(r"(?m)^(MemTotal|MemAvailable|SwapTotal): +([0-9]+)", text("/proc/meminfo")))
    names = {"total": "MemTotal", "available": "MemAvailable", "swap": "SwapTotal"}
    return {name: int(found.get(key, 0)) // 1024 for name, key in names.items()}


def has_address(address: str) -> bool:
    """Whether a process could listen at an address of this host."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as link:
        try:
            link.bind((address, 0))
        except OSError:
            return False
    return True


class Programs:
    """Who runs here: process ids, the unit each belongs to, and its sockets."""

    def __init__(self, proc: str = "/proc") -> None:
        self.proc = proc
        self.pids = [int(name) for name in os.listdir(proc) if name.isdigit()]

    def unit(self, pid: int) -> str:
        """systemd's unit of a process, '' for none."""
        units = re.findall(r"([^/\n]+\.(?:service|scope|socket))(?=/|$)", text(f"{self.proc}/{pid}/cgroup"))
        return str(units[-1]).replace("\\x2d", "-") if units else ""

    def memory_of(self, pattern: str) -> Dict[str, int]:
        """{unit: MB in use} of the units that match a regular expression."""
        used: Dict[str, int] = {}
        for pid in self.pids:
            unit = self.unit(pid)
            if re.match(pattern, unit):
                fields = text(f"{self.proc}/{pid}/statm").split()
                used[unit] = used.get(unit, 0) + (int(fields[1]) * PAGE if len(fields) > 1 else 0)
        return {unit: size // 1048576 for unit, size in sorted(used.items())}

    def listeners(self) -> List[Dict[str, Any]]:
        """Every TCP socket that waits: ``address`` ('' for all), ``port``, ``program`` and ``unit`` ('' for what has none)."""
        sockets = list(self._sockets())
        wanted = {one["inode"] for one in sockets}
        owners: Dict[str, int] = {}
        for pid in self.pids:
            if len(owners) == len(wanted):
                break
            for inode in self._inodes(pid):
                if inode in wanted:
                    owners.setdefault(inode, pid)
        found: Dict[Any, Dict[str, Any]] = {}
        for one in sockets:
            pid = owners.get(one["inode"], 0)
            key = (one["address"], one["port"])
            found.setdefault(key, {
                "address": one["address"], "port": one["port"],
                "program": text(f"{self.proc}/{pid}/comm").strip() if pid else "", "unit": self.unit(pid) if pid else "",
            })  # fmt: skip
        return [found[key] for key in sorted(found)]

    def _sockets(self) -> Iterator[Dict[str, Any]]:
        for name in ("tcp", "tcp6"):
            for line in text(f"{self.proc}/net/{name}").splitlines()[1:]:
                fields = line.split()
                if len(fields) > 9 and fields[3] == LISTEN:
                    address, port = fields[1].split(":")
                    yield {"address": _address(address), "port": int(port, 16), "inode": fields[9]}

    def _inodes(self, pid: int) -> Iterator[str]:
        for path in glob.iglob(f"{self.proc}/{pid}/fd/*"):
            try:
                target = os.readlink(path)
            except OSError:
                continue
            if target.startswith("socket:["):
                yield target[8:-1]


def _address(words: str) -> str:
    """The kernel's spelling, words of 32 bits in the machine's order, as people write it; '' for every address."""
    data = b"".join(int(words[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(words), 8))
    address = ipaddress.ip_address(data)
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return "" if address.is_unspecified else str(address)


def nginx_limits(folder: str = "/etc/nginx", pid_file: str = "/run/nginx.pid", proc: str = "/proc") -> Optional[Dict[str, int]]:
    """``connections`` that each process of nginx takes and ``files`` that it may open (0: not known); None without nginx."""
    settings = re.sub(r"#.*", "", text(f"{folder}/nginx.conf"))
    if not settings.strip():
        return None
    said = re.findall(r"\bworker_connections\s+([0-9]+)\s*;", settings)
    limit = re.findall(r"\bworker_rlimit_nofile\s+([0-9]+)\s*;", settings)
    pid = text(pid_file).strip()
    of_process = re.findall(r"(?m)^Max open files +([0-9]+)", text(f"{proc}/{pid}/limits")) if pid.isdigit() else []
    return {"connections": int(said[-1]) if said else WORKER_CONNECTIONS, "files": int((limit or of_process or ["0"])[-1])}
