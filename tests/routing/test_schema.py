"""What a roll-out asks and does about the schema of the database, tried with the oldest and the newest real Synapse.

On SQLite, as that needs no server. PostgreSQL, on which a failed update leaves nothing behind, is for the scenario `upgrade`.
"""

from __future__ import annotations

import json
import pwd
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.plugin_utils._upgrade import schema_check

from .releases import ROOT, python_of, releases

FILES = ROOT / "roles/synapse/files"
RELEASES = releases()
NEWEST, *_between, OLDEST = RELEASES
FORTH = {"before": [OLDEST], "after": NEWEST, "back": False}
BACK = {"before": [NEWEST], "after": OLDEST, "back": True}


def run(script: str, release: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """As the role does: the script on stdin, here without a change of account."""
    python = python_of(release, RELEASES[release])
    account = pwd.getpwuid(folder.stat().st_uid).pw_name
    command = [str(python), "-W", "ignore", "-", str(folder), account, *more]
    return subprocess.run(command, input=(FILES / script).read_text(), capture_output=True, text=True, check=False)


def ask(folder: Path, release: str, by: str) -> dict[str, Any]:
    """What the Python of the release ``by`` says of the database, and of ``release``."""
    python = python_of(release, RELEASES[release])
    schema = python.parents[1] / "lib/python3*/site-packages/synapse/storage/schema/__init__.py"
    ended = run("schema.py", by, folder, str(schema))
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings in two files and a database that the oldest release has made."""
    folder = tmp_path_factory.mktemp("server") / "etc"
    (folder / "conf.d").mkdir(parents=True)
    key = [str(python_of(OLDEST, RELEASES[OLDEST])), "-W", "ignore", "-m", "synapse._scripts.generate_signing_key"]
    (folder / "signing.key").write_text(subprocess.run(key, capture_output=True, text=True, check=True).stdout)
    settings = {
        "server_name": "example.org",
        "report_stats": False,
        "signing_key_path": "signing.key",
        "media_store_path": str(folder.parent / "media"),
        "database": {"name": "sqlite3", "args": {"database": "/nowhere"}},
        "macaroon_secret_key": "secret",
        "form_secret": "secret",
        "trusted_key_servers": [],
    }
    (folder / "homeserver.yaml").write_text(json.dumps(settings))
    later = {"database": {"name": "sqlite3", "args": {"database": str(folder.parent / "db")}}}
    (folder / "conf.d/database.yaml").write_text(json.dumps(later))
    made = run("update_schema.py", OLDEST, folder)
    assert made.returncode == 0, made.stderr[-2000:]
    return folder


def test_the_way_is_told_before_and_gone(server: Path) -> None:
    """One story: forth, back, and a database that has gone too far."""
    before = ask(server, NEWEST, by=OLDEST)
    assert schema_check(before, FORTH)["outdated"]
    assert before["database"]["version"] < before["release"]["version"]
    assert before["release"]["tokens"] > before["running"]["tokens"] > 0

    ended = run("update_schema.py", NEWEST, server)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "Applying schema " in ended.stderr
    # Reading the settings has made no folder that they name.
    assert sorted(path.name for path in server.parent.iterdir() if not path.name.startswith("db-")) == ["db", "etc"]

    after = ask(server, OLDEST, by=NEWEST)
    assert after["database"].items() <= before["release"].items()
    assert schema_check(after, BACK, token_loss_allowed=True)["problems"] == []
    assert "Invalid stream token" in schema_check(after, BACK)["problems"][0]
    assert run("update_schema.py", OLDEST, server).returncode == 0

    with sqlite3.connect(server.parent / "db") as database:
        database.execute("UPDATE schema_compat_version SET compat_version = ?", (after["release"]["version"] + 1,))
    assert schema_check(ask(server, OLDEST, by=NEWEST), BACK)["problems"]
    # And Synapse says the same.
    refused = run("update_schema.py", OLDEST, server)
    assert refused.returncode == 1
    assert "too new for the server to understand" in refused.stderr


def test_what_cannot_be_asked_is_said(server: Path, tmp_path: Path) -> None:
    # A release that is not there yet is no error: it is asked when it is.
    assert json.loads(run("schema.py", NEWEST, server, str(tmp_path / "none*")).stdout) == {}
    (tmp_path / "homeserver.yaml").write_text(json.dumps({"database": {"name": "sqlite3", "args": {"database": "/no/db"}}}))
    assert "unable to open database file" in ask(tmp_path, NEWEST, by=NEWEST)["error"]
