"""What a host has to give, read from folders that look like /proc."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible_collections.synapse.workers.plugins.module_utils._host_facts import PAGE, Programs, memory

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F48 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 {main} 1 0 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 {nginx} 1 0 100 0 0 10 0
   2: 0100007F:2B5C 0100007F:1F48 01 00000000:00000000 00:00000000 00000000     0        0 {other} 1 0 100 0 0 10 0
   3: 4D4D1EAC:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 {gone} 1 0 100 0 0 10 0
"""
TCP6 = """\
  sl  local_address remote_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 {nginx} 1 0 100 0 0 10 0
   1: 00000000000000000000000001000000:1F49 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 {main} 1 0 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:1F4A 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 {main} 1 0 100 0 0 10 0
"""


@pytest.fixture
def proc(tmp_path: Path) -> str:
    programs = {
        7: ("nginx", "0::/system.slice/nginx.service\n", 0, "socket:[11]"),
        8: ("python", "0::/docker-1.scope/system.slice/matrix-synapse.service\n", 1000, "socket:[12]"),
        9: ("python", "0::/system.slice/system-w.slice/matrix-synapse-worker@synchrotron-1.service\n", 2000, "/dev/null"),
        10: ("bash", "0::/user.slice/user-0.slice/session-3.scope\n", 3000, "/dev/null"),
    }
    for pid, (name, cgroup, pages, target) in programs.items():
        folder = tmp_path / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "comm").write_text(f"{name}\n")
        (folder / "cgroup").write_text(cgroup)
        (folder / "statm").write_text(f"9999 {pages * 1048576 // PAGE} 1 1 0 1 0\n")
        (folder / "fd/3").symlink_to(target)
    (tmp_path / "net").mkdir()
    inodes = {"main": 12, "nginx": 11, "other": 13, "gone": 14}
    (tmp_path / "net/tcp").write_text(TCP.format(**inodes))
    (tmp_path / "net/tcp6").write_text(TCP6.format(**inodes))
    return str(tmp_path)


@pytest.mark.skipif(sys.byteorder != "little", reason="the texts are those of a little-endian machine")
def test_who_listens_is_told_with_unit_and_address(proc: str) -> None:
    nginx = {"program": "nginx", "unit": "nginx.service"}
    main = {"program": "python", "unit": "matrix-synapse.service"}
    assert Programs(proc).listeners() == [
        {"address": "", "port": 80, **nginx},
        {"address": "127.0.0.1", "port": 8008, **main},
        {"address": "127.0.0.1", "port": 8010, **main},
        # Of a namespace or a user that cannot be looked at.
        {"address": "172.30.77.77", "port": 6379, "program": "", "unit": ""},
        {"address": "::1", "port": 8009, **main},
    ]


def test_memory_is_told_for_each_unit_of_the_service(proc: str) -> None:
    assert Programs(proc).memory_of(r"matrix-synapse(-worker@.*)?\.service$") == {
        "matrix-synapse-worker@synchrotron-1.service": 2000,
        "matrix-synapse.service": 1000,
    }


def test_memory_of_this_machine_adds_up() -> None:
    assert memory()["total"] >= memory()["available"] > 0
