"""A real Prometheus asks everyone, wakes somebody for a worker that stopped, and fills the dashboard; the playbook tells the same."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import ROOT, SERVICE, Fleet
from outsider.judge import Row

FOLDER = "/etc/prometheus/synapse"
STOPPED = "synchrotron-fleet-app2-1"
# Nothing in a server of a few minutes, and that nobody asks just now, gives these a value.
QUIET = re.compile("synapse_event_processing_lag|in_flight")


class Prometheus:
    """One that asks what a roll-out told it to, here on loopback."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        host = fleet.variable("synapse_prometheus_host")
        for kind, suffix in (("targets", "json"), ("rules", "yml")):
            (folder / f"{kind}.{suffix}").write_text(fleet.output(host, f"cat {FOLDER}/{kind}/{SERVICE}.{suffix}"))
        settings = {
            "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
            "scrape_configs": [
                {
                    "job_name": "synapse",
                    "metrics_path": "/_synapse/metrics",
                    "file_sd_configs": [{"files": [str(folder / "targets.json")]}],
                }
            ],
            "rule_files": [str(folder / "rules.yml")],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        command = [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self.address}",
        ]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def get(self, path: str) -> Any:
        """``data`` of an answer of its API."""
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def until(self, what: Any, seconds: int = 180) -> Any:
        """What ``what`` returns, once it returns something."""
        deadline = time.monotonic() + seconds
        while True:
            assert self.process.poll() is None, "prometheus ended"
            try:
                if found := what():
                    return found
            except OSError:
                pass
            assert time.monotonic() < deadline, "nothing in time"
            time.sleep(0.5)

    def query(self, expression: str) -> list[dict[str, Any]]:
        return list(self.get("query?" + urllib.parse.urlencode({"query": expression}))["result"])


@pytest.fixture(scope="module")
def prometheus(fleet: Fleet, outcome: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """After the walk of an outsider, so that there is something to see."""
    assert outcome
    if not shutil.which("prometheus"):
        subprocess.run([ROOT / "dev/packages", "prometheus"], check=True)
    running = Prometheus(tmp_path_factory.mktemp("prometheus"), fleet)
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.wait(20)


def test_every_process_is_asked_and_answers(prometheus: Prometheus, fleet: Fleet) -> None:
    everyone = {"main", *fleet.workers()}

    def all_up() -> dict[str, str]:
        health = {one["labels"]["process"]: one["health"] for one in prometheus.get("targets")["activeTargets"]}
        return health if health and set(health.values()) == {"up"} else {}

    assert set(prometheus.until(all_up)) == everyone
    # Synapse's own words for who it is agree with the labels.
    assert {one["metric"]["process"] for one in prometheus.query("synapse_build_info")} == everyone


def test_the_dashboard_shows_something_everywhere(prometheus: Prometheus) -> None:
    board = json.loads((ROOT / "roles/prometheus/files/grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 10
    for expression in expressions:
        asked = expression.replace("$instance", "fleet.example").replace("$__rate_interval", "1m")
        if QUIET.search(asked):
            prometheus.query(asked)
        else:
            prometheus.until(lambda asked=asked: prometheus.query(asked), 60)


def test_a_worker_that_stopped_wakes_somebody(prometheus: Prometheus, fleet: Fleet) -> None:
    unit, host = f"{SERVICE}-worker@{STOPPED}.service", fleet.workers()[STOPPED]
    fleet.output(host, f"systemctl stop {unit}")
    try:

        def firing() -> list[dict[str, Any]]:
            return [alert for alert in prometheus.get("alerts")["alerts"] if alert["state"] == "firing"]

        (alert,) = prometheus.until(firing)
        told = told_of(fleet)
    finally:
        fleet.output(host, f"systemctl start {unit}")
    assert alert["labels"]["alertname"] == "SynapseProcessDown"
    assert (alert["labels"]["process"], alert["labels"]["host"]) == (STOPPED, host)
    assert alert["annotations"]["summary"] == f"{STOPPED} on {host} does not answer"
    assert told[STOPPED].split()[:2] == [host, "inactive"]
    prometheus.until(lambda: not prometheus.get("alerts")["alerts"])


def told_of(fleet: Fleet) -> dict[str, str]:
    """What the playbook ``status`` says of each process."""
    command = ["ansible-playbook", f"--inventory={fleet.inventory}", "synapse.workers.status", "-e", "seconds=1"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=fleet.environment)
    # As YAML or as JSON, whatever Ansible was told to write.
    lines = re.findall(r'^\s+(?:- |")([a-z_]+(?:-[a-z0-9-]+)?  .*?)"?,?$', run.stdout, re.MULTILINE)
    return {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in lines}


def test_status_tells_of_every_process(fleet: Fleet, outcome: list[Row]) -> None:
    told = told_of(fleet)
    assert outcome
    for name, host in {"main": fleet.main_host, **fleet.workers()}.items():
        where, state, *_ = told[name].split()
        assert (where, state) == (host, "ready"), told[name]
    # nginx counted what the outsider asked.
    assert re.search(r" MB +[0-9.]+ ", told["main"])
