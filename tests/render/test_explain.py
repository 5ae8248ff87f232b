"""The playbook `explain_route`, as an operator calls it; the hosts of the example do not exist."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def explain(*variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections"), "ANSIBLE_NOCOLOR": "1"}
    command = ["ansible-playbook", "synapse.workers.explain_route", "-i", str(ROOT / "examples/four_hosts/inventory.yml")]
    more = [word for variable in variables for word in ("-e", variable)]
    return subprocess.run([*command, *more], env=environment, capture_output=True, text=True, check=False)


def test_a_request_is_explained_without_touching_a_host() -> None:
    ended = explain("method=GET", "url='https://matrix.example.org/_matrix/client/v3/sync?since=s1'")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    _, _, rest = ended.stdout.partition('"msg": ')
    lines = json.JSONDecoder().raw_decode(rest)[0]
    assert lines[0] == "request:      GET /_matrix/client/v3/sync?since=s1"
    assert lines[1].startswith("goes to:      synchrotron (")
    assert "server:       10.0.0.12:11100 synchrotron-app2-1 on app2" in lines
    assert "changed=0" in ended.stdout


def test_a_request_has_to_be_named() -> None:
    ended = explain("method=GET")
    assert ended.returncode != 0
    assert "say which request with -e url=/path?query" in ended.stdout + ended.stderr
