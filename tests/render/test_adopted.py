"""Servers that were set up by hand, adopted and rendered: the real Synapse judges their own settings with ours behind them, nginx their vhost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.synapse.workers.plugins.module_utils._nginx_config import summary
from ansible_collections.synapse.workers.plugins.plugin_utils._adoption import adoption
from ansible_collections.synapse.workers.plugins.plugin_utils._adoption_words import inventory_text
from ansible_collections.synapse.workers.plugins.plugin_utils._nginx_vhosts import include_line, vhost_check

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.unit.plugins.plugin_utils.by_hand import found, unit  # noqa: E402

SYNAPSE = ROOT / ".venv-synapse/bin/python"
CASES = {
    "of 2020": ROOT / "examples/adopt_existing/before",
    "monolith": ROOT / "molecule/adopt/files/monolith",
    "guide": ROOT / "molecule/adopt/files/guide",
}


class Server:
    """The files of a server below a folder that stands for its root, and what adopting it came to."""

    def __init__(self, before: Path, root: Path) -> None:
        self.root = root / "host"
        shutil.copytree(before, self.root)
        units = []
        for path in sorted((before / "etc/systemd/system").glob("*.service")):
            if not path.name.endswith("@.service"):
                units.append(unit(path))
                continue
            workers = sorted((before / "etc/matrix-synapse/workers").glob("*.yaml"))
            units += [unit(path, path.name.replace("@", f"@{worker.stem}")) for worker in workers]
        self.adopted = adoption(found(before, units))
        self.variables = self.adopted["variables"]
        self.settings = self.root / self.variables["synapse_config_dir"].lstrip("/")
        inventory = root / "inventory.yml"
        inventory.write_text(inventory_text(self.adopted, "host", {}))
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections"), "ANSIBLE_NOCOLOR": "1"}
        command = ["ansible-playbook", "synapse.workers.render", "-i", str(inventory), "-e", f"render_dir={root}"]
        ended = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr

    def here(self) -> None:
        """Let the settings speak of this folder instead of the root."""
        config_dir = self.variables["synapse_config_dir"]
        for path in self.settings.rglob("*.yaml"):
            path.write_text(path.read_text().replace(f"{config_dir}/", f"{self.settings}/").replace("/var/lib/", f"{self.root}/var/lib/"))
        (self.settings / "secrets").mkdir()
        (self.settings / "secrets/worker_replication_secret").write_text("secret")
        key = subprocess.run([SYNAPSE, "-m", "synapse._scripts.generate_signing_key"], capture_output=True, text=True, check=True)
        (self.settings / "signing.key").write_text(key.stdout)

    def effective(self) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        for path in [self.settings / "homeserver.yaml", *sorted((self.settings / "conf.d").glob("*.yaml"))]:
            settings.update(yaml.safe_load(path.read_text()))
        return settings


@pytest.fixture(scope="module", params=CASES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(CASES[request.param], tmp_path_factory.mktemp("adopted"))


def test_files_of_the_operator_are_as_they_were(server: Server, request: pytest.FixtureRequest) -> None:
    before = CASES[request.node.callspec.params["server"]]
    for path in before.rglob("*"):
        if path.is_file():
            assert (server.root / path.relative_to(before)).read_bytes() == path.read_bytes(), path


def test_nginx_takes_the_snippet_in_the_vhost_that_is_there(server: Server, tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx, "nginx is not installed; dev/test installs it"
    etc, service = server.root / "etc/nginx", server.variables["synapse_service"]
    site = etc / "sites-available/matrix"
    snippet = f"/etc/nginx/snippets/{service}.conf"
    # What the report tells the operator to do.
    text = site.read_text().replace("server_name", f"{include_line(snippet)}\n    server_name", 1)
    site.write_text(text.replace("location /_matrix/media/ {", "location /media-as-it-was/ {"))
    for path in [*etc.rglob("*.conf"), site]:
        text = path.read_text().replace("/etc/nginx/", f"{etc}/").replace("/var/log/nginx/", f"{tmp_path}/")
        path.write_text(text.replace("listen 80 default_server", "listen 18080"))
    main = etc / "nginx.conf"
    main.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/error.log;\nevents {{}}\nhttp {{ include {etc}/conf.d/*.conf; include {etc}/sites-available/*; }}\n"
    )
    ended = subprocess.run([nginx, "-T", "-c", main, "-e", tmp_path / "error.log"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    settings = {
        "snippet": f"{etc}/snippets/{service}.conf", "http": f"{etc}/conf.d/{service}.conf", "hostname": "x", "main": "127.0.0.1:8008",
        "well_known": False, "pcre_jit": False,
    }  # fmt: skip
    told = {**summary(ended.stdout), "installed": True, "error": ""}
    assert vhost_check(told, settings)["problems"] == []
    # The wildcard really matches what the roll-out writes.
    assert any(one["file"] == settings["snippet"] for block in told["servers"] for one in block["locations"])


def test_synapse_accepts_what_all_processes_would_read(server: Server, tmp_path: Path) -> None:
    server.here()
    workers = sorted(path.stem for path in (server.settings / "workers").glob("*-[0-9].yaml"))
    assert len(workers) == sum(row.get("count", 1) for row in server.adopted["workers"])
    script = ROOT / "roles/synapse/files/validate_settings.py"
    name = server.variables["synapse_server_name"]
    command: list[str | Path] = [SYNAPSE, script, server.settings, name, tmp_path, *workers]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    settings = server.effective()
    ports = [(listener["type"], listener.get("port")) for listener in settings["listeners"]]
    assert ("http", 8008) in ports
    assert ("replication", 9092) not in ports
    writers = {name for names in settings["stream_writers"].values() for name in names} - {"master"}
    assert writers <= set(settings["instance_map"]) <= {*workers, "main"}
    if any(row.get("type") == "federation_sender" for row in server.adopted["workers"]):
        assert settings["federation_sender_instances"] == ["federation_sender-1"]


def test_the_reader_tells_what_is_there_and_no_secret(server: Server) -> None:
    """After the settings speak of this folder. The database is that of nobody, so it cannot be asked."""
    script = ROOT / "roles/synapse/files/read_settings.py"
    command: list[str | Path] = [SYNAPSE, script, "root", server.settings / "homeserver.yaml"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "by-hand" not in ended.stdout
    told = json.loads(ended.stdout)
    keys = told["files"][str(server.settings / "homeserver.yaml")]["keys"]
    assert keys["database"]["args"]["user"] == "synapse"
    assert keys["server_name"] == server.variables["synapse_server_name"]
    assert told["database"]["kind"] == "postgresql"
    assert told["database"]["error"]
    # The TCP listener of 2020 is what Synapse itself refuses first.
    assert ("direct TCP replication" in told["refusal"]) == (server.variables["synapse_server_name"] == "old.example"), told["refusal"]
