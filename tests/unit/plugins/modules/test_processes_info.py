"""What a host tells of its processes, asked of real files. systemd's part is for the scenarios."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

from ansible_collections.synapse.workers.plugins.module_utils._host_facts import nginx_limits
from ansible_collections.synapse.workers.plugins.module_utils._process_host import Memory

from .calls import call

PROCESS: dict[str, Any] = {
    "name": "synchrotron-1",
    "unit": "matrix-synapse-worker@synchrotron-1.service",
    "parts": {"own settings": "1"},
    "serves": ["synchrotron"],
    "yields": False,
    "probe": {"listen": {"address": "127.0.0.1", "port": 1}, "metrics": None},
}


def test_a_bare_host_tells_that_there_is_nothing(tmp_path: Path) -> None:
    value = call("processes_info", memory=str(tmp_path / "no"), version_of=str(tmp_path / "no"), secrets=str(tmp_path / "no"))
    assert not value["changed"]
    assert {key: value[key] for key in ("units", "remembered", "release", "stamp", "written")} == {
        "units": {},
        "remembered": {},
        "release": "",
        "stamp": "",
        "written": {},
    }


def test_what_was_remembered_is_told(tmp_path: Path) -> None:
    Memory(str(tmp_path)).remember(PROCESS)
    (tmp_path / "damaged.json").write_text("{")
    told = call("processes_info", memory=str(tmp_path))["remembered"]
    assert told["damaged"] == {}
    assert told["synchrotron-1"]["parts"] == {"own settings": "1"}
    assert told["synchrotron-1"]["serves"] == ["synchrotron"]


def test_the_release_is_read_from_the_package(tmp_path: Path) -> None:
    package = tmp_path / "lib/python3.11/site-packages/matrix_synapse-1.163.2.dist-info"
    package.mkdir(parents=True)
    assert call("processes_info", memory=str(tmp_path), version_of=str(tmp_path))["release"] == "1.163.2"


def test_the_releases_beside_each_other_are_told(tmp_path: Path) -> None:
    def venv(name: str, release: str) -> Path:
        (tmp_path / name / f"lib/python3.11/site-packages/matrix_synapse-{release}.dist-info").mkdir(parents=True)
        return tmp_path / name

    def told() -> dict[str, Any]:
        value = call("processes_info", memory=str(tmp_path), version_of=str(tmp_path / "synapse"))
        return {key: value[key] for key in ("venvs", "venv_link")}

    newest = venv("synapse-1.163.2", "1.163.2")
    # Neither is one of ours: the name does not fit.
    venv("synapse-mine", "1.160.0")
    (tmp_path / "synapse-1.150.0").mkdir()
    folder = venv("synapse", "1.142.0")
    assert told() == {"venvs": {str(folder): "1.142.0", str(newest): "1.163.2"}, "venv_link": ""}
    kept = folder.rename(tmp_path / "synapse-1.142.0")
    (tmp_path / "synapse").symlink_to("synapse-1.163.2")
    assert told() == {"venvs": {str(kept): "1.142.0", str(newest): "1.163.2"}, "venv_link": str(newest)}


def test_files_are_told_as_they_are_now(tmp_path: Path) -> None:
    manifest, kept, gone = tmp_path / "nginx.json", tmp_path / "kept", tmp_path / "gone"
    arguments: dict[str, Any] = {"manifest": str(manifest), "note": "for a while"}
    accounts = {"owner": kept.parent.owner(), "group": kept.parent.group()}
    files = [{"path": str(path), "content": "1", **accounts} for path in (kept, gone)]
    assert call("files", files=files, **arguments)["changed"]
    gone.unlink()
    value = call("processes_info", memory=str(tmp_path / "no"), manifests=[str(manifest), str(tmp_path / "other.json")])
    assert value["written"] == {
        str(manifest): {
            "files": {str(kept): hashlib.sha256(b"1").hexdigest(), str(gone): ""},
            "applied": False,
            "note": "for a while",
        },
        str(tmp_path / "other.json"): {"files": {}, "applied": True, "note": ""},
    }
    manifest.write_text(json.dumps([]))
    assert call("processes_info", memory=str(tmp_path / "no"), manifests=[str(manifest)])["written"][str(manifest)]["files"] == {}


def test_the_host_tells_what_it_has_and_who_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as link, socket.create_server(("::", 0), family=socket.AF_INET6) as everywhere:
        host = call("processes_info", memory=str(tmp_path), budget={"address": "127.0.0.1", "service": "matrix-synapse"})["host"]
        listeners = {one["port"]: one for one in host["listeners"]}
        mine = listeners[link.getsockname()[1]]
        assert (mine["address"], mine["program"]) == ("127.0.0.1", Path("/proc/self/comm").read_text().strip())
        assert listeners[everywhere.getsockname()[1]]["address"] == ""
    assert host["address_here"]
    assert host["cores"] >= 1
    assert host["memory"]["total"] >= host["memory"]["available"] > 0
    assert host["postgresql"] is None


def test_an_address_that_no_interface_has_is_told(tmp_path: Path) -> None:
    budget = {"address": "192.0.2.1", "service": "matrix-synapse"}
    assert not call("processes_info", memory=str(tmp_path), budget=budget)["host"]["address_here"]


def test_limits_of_nginx_are_read_without_its_comments(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text("worker_rlimit_nofile 9000;\nevents {\n  worker_connections 768;\n  # worker_connections 1;\n}\n")
    assert nginx_limits(str(tmp_path), str(tmp_path / "no.pid")) == {"connections": 768, "files": 9000}
    assert nginx_limits(str(tmp_path / "no")) is None


def test_units_that_were_switched_off_are_told_as_they_were_first(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path / "processes"))
    on, off = {"ActiveState": "active", "UnitFileState": "enabled"}, {"ActiveState": "inactive", "UnitFileState": "disabled"}
    memory.remember_replaced({"old-1.service": on})
    memory.remember_replaced({"old-1.service": off, "old-2.service": off})
    assert call("processes_info", memory=str(tmp_path / "processes"))["replaced"] == {
        "old-1.service": {"active": True, "enabled": True},
        "old-2.service": {"active": False, "enabled": False},
    }
