"""The check that a roll-out makes on the host, with what real releases register: the table fits, a broken row is named."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.synapse.workers.plugins.module_utils import _endpoints
from ansible_collections.synapse.workers.plugins.plugin_utils._homeserver import process_files
from ansible_collections.synapse.workers.plugins.plugin_utils._route_check import route_check

from .edge import ROOT, rendered
from .plans import PLANS
from .releases import registered, releases

PYTHON = ROOT / ".venv-synapse/bin/python"
SCRIPT = ROOT / "roles/synapse/files/registered_routes.py"
RELEASES = list(releases())
NEWEST = RELEASES[0]
# The resources whose servlets Synapse lists on a host.
LISTED = ("/_matrix/client", "/_matrix/federation", "/_matrix/key")


def listed(release: str, variant: str = "") -> dict[str, Any]:
    """What a host with everything switched on would say."""
    kinds = registered(release, releases()[release])["kinds"]
    return {"release": release} | {
        kind: [
            [method, pattern]
            for leaf in kinds[kind + variant]
            if leaf.get("prefix", "").startswith(LISTED)
            for method, pattern, _ in leaf["routes"]
        ]
        for kind in ("main", "worker")
    }


@pytest.mark.parametrize("variant", ["", "+mas"])
@pytest.mark.parametrize("release", RELEASES)
def test_the_table_fits_the_release(release: str, variant: str) -> None:
    said = route_check(listed(release, variant), release)
    print("\n" + "; ".join(said["summary"]))
    assert said["problems"] == []
    assert said["compared"] > 150


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of settings that a roll-out writes for one host, with a database that does not answer."""
    folder = tmp_path_factory.mktemp("host") / "matrix-synapse"
    _, plan = rendered(
        PLANS["one_host"], synapse_version=NEWEST, synapse_config_dir=str(folder), synapse_data_dir=str(folder / "data")
    )
    for file in process_files(plan, "app1"):
        path = Path(file["path"])
        if path.is_relative_to(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])
    secrets = folder / "secrets"
    secrets.mkdir()
    for name in ("worker_replication_secret", "macaroon_secret_key", "form_secret", "registration_shared_secret"):
        (secrets / name).write_text("secret")
    (secrets / "signing.key").write_text(f"ed25519 a_test {'a' * 43}\n")
    return folder


def ask(settings: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """As the role does it: the program comes through standard input."""
    command = [str(PYTHON), "-", str(settings), "root", *more]
    return subprocess.run(command, input=SCRIPT.read_text(), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def answer(settings: Path) -> dict[str, Any]:
    ended = ask(settings)
    assert ended.returncode == 0, ended.stderr
    value: dict[str, Any] = json.loads(ended.stdout)
    return value


def test_the_installed_synapse_says_what_its_processes_register(answer: dict[str, Any], settings: Path) -> None:
    database = [yaml.safe_load(path.read_text()).get("database", {}) for path in sorted(settings.rglob("*.yaml"))]
    assert [one["name"] for one in database if one] == ["psycopg2"], "the settings name a real database, which was not asked"
    said = route_check(answer, NEWEST)
    print("\n" + "; ".join(said["summary"]))
    assert (answer["release"], said["problems"], said["notes"]) == (NEWEST, [], [])
    assert said["compared"] > 150


def changed(name: str, **changes: Any) -> tuple[_endpoints.Endpoint, ...]:
    rows = tuple(row._replace(**changes) if row.name == name else row for row in _endpoints.TABLE)
    assert rows != _endpoints.TABLE
    return rows


MEMBERS = "GET /_matrix/client/{v1}/rooms/{room}/(messages|members|joined_members|state)"
BROKEN: dict[str, tuple[tuple[_endpoints.Endpoint, ...], list[str]]] = {
    "misspelt": (
        changed(MEMBERS, path="/_matrix/client/{v1}/rooms/{room}/(messages|membres|joined_members|state)"),
        ["GET /_matrix/client/v3/rooms/{room_id}/members: workers of this release serve it, but no row of the table names it"],
    ),
    "gone": (
        tuple(row for row in _endpoints.TABLE if "createRoom" not in row.path),
        [
            "POST /_matrix/client/v3/createRoom: workers of this release serve it, but no row of the table names it",
            "PUT /_matrix/client/v3/createRoom/{txn_id}: workers of this release serve it, but no row of the table names it",
        ],
    ),
    "sent to workers that do not serve it": (
        changed("POST /_matrix/client/{v1}/logout(/all)?", types=("client_reader",)),
        [
            "POST /_matrix/client/v3/logout: workers of this release do not serve it, but the table sends it to client_reader",
            "POST /_matrix/client/v3/logout/all: workers of this release do not serve it, but the table sends it to client_reader",
        ],
    ),
    "with a method too many": (
        changed("GET /_matrix/federation/v1/version", methods=("POST",)),
        ["GET /_matrix/federation/v1/version: workers of this release serve it, but no row of the table names it"],
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_row_is_named(how: str, answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    table, problems = BROKEN[how]
    monkeypatch.setattr(_endpoints, "TABLE", table)
    assert [problem.partition(";")[0] for problem in route_check(answer, NEWEST)["problems"]] == problems


def test_what_was_found_fitting_is_not_asked_again(answer: dict[str, Any], settings: Path, tmp_path: Path) -> None:
    memory = tmp_path / "routes-that-fit"
    first = json.loads(ask(settings, str(memory), "a table").stdout)
    assert (first["remembered"], len(first["worker"])) == (False, len(answer["worker"]))
    memory.write_text(first["key"] + "\n")
    again = json.loads(ask(settings, str(memory), "a table").stdout)
    assert again == {"release": NEWEST, "key": first["key"], "remembered": True}
    assert json.loads(ask(settings, str(memory), "another table").stdout)["remembered"] is False
    (settings / "conf.d/90-more.yaml").write_text("experimental_features: {msc3720_enabled: true}\n")
    more = json.loads(ask(settings, str(memory), "a table").stdout)
    (settings / "conf.d/90-more.yaml").unlink()
    assert more["remembered"] is False
    assert len(more["worker"]) > len(first["worker"])


def test_settings_that_synapse_refuses_are_said(settings: Path) -> None:
    (settings / "conf.d/90-wrong.yaml").write_text("stream_writers: {typing: [nobody-1]}\n")
    ended = ask(settings)
    (settings / "conf.d/90-wrong.yaml").unlink()
    (problem,) = route_check(json.loads(ended.stdout), NEWEST)["problems"]
    assert problem.startswith(f"Synapse could not be asked: with the settings in {settings}: ConfigError: ")
