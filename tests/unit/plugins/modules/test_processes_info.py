"""What a host tells of its processes, asked of real files. systemd's part is for the scenarios."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

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
        value = call("processes_info", memory=str(tmp_path), venv=str(tmp_path / "synapse"))
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
