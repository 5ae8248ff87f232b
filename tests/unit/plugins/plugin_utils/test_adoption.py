"""Servers that were set up by hand, and the inventories they amount to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.synapse.workers.plugins.module_utils._installation import what_it_starts
from ansible_collections.synapse.workers.plugins.plugin_utils._adoption import adoption
from ansible_collections.synapse.workers.plugins.plugin_utils._adoption_words import inventory_text, report_text
from ansible_collections.synapse.workers.plugins.plugin_utils._topology import topology

from .by_hand import POSTGRESQL, found, unit
from .plans import settings

ROOT = Path(__file__).resolve().parents[4]
OLD = ROOT / "examples/adopt_existing/before"
SYSTEM = OLD / "etc/systemd/system"


def old_server(**changes: Any) -> dict[str, Any]:
    """The server of 2020 on today's Synapse: its main process and all of its workers refuse their settings."""
    units = [unit(path, active="failed") for path in sorted(SYSTEM.glob("*.service"))]
    return found(OLD, units, **changes)


def changed_settings(value: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """``value`` with other settings of the main process."""
    name = "/etc/matrix-synapse/homeserver.yaml"
    told = value["settings"][name]
    return {**value, "settings": {**value["settings"], name: {**told, "keys": {**told["keys"], **keys}}}}


@pytest.mark.parametrize(
    ("command", "app", "python", "configs"),
    [
        ("/v/bin/python -m synapse.app.homeserver --config-path=/e/homeserver.yaml --config-path=/e/conf.d/", "homeserver", "/v/bin/python",
         ["/e/homeserver.yaml", "/e/conf.d/"]),
        ("/v/bin/python3.11 -B -m synapse.app.synchrotron -c /e/h.yaml -c /e/w.yaml", "synchrotron", "/v/bin/python3.11", ["/e/h.yaml", "/e/w.yaml"]),
        ("/v/bin/synapse_worker --config-path /e/h.yaml", "generic_worker", "/v/bin/python", ["/e/h.yaml"]),
        ("/v/bin/synctl start /e/homeserver.yaml", "homeserver", "/v/bin/python", ["/e/homeserver.yaml"]),
        ("/usr/bin/python3 -m http.server", "", "/usr/bin/python3", []),
        ("", "", "", []),
    ],
)  # fmt: skip
def test_command_lines_are_understood(command: str, app: str, python: str, configs: list[str]) -> None:
    assert what_it_starts(command) == {"app": app, "python": python, "configs": configs}


def test_the_workers_of_2020_become_rows() -> None:
    value = adoption(old_server())
    assert value["workers"] == [
        {"type": "synchrotron", "count": 2},
        {"type": "event_creator"},
        {"type": "media_repository"},
        {"type": "federation_reader"},
        {"type": "federation_sender"},
        {"type": "pusher"},
    ]


def test_what_stands_in_the_way_in_the_vhost_is_named() -> None:
    include, media = adoption(old_server())["problems"]
    assert include.startswith("put `include /etc/nginx/snippets/matrix-synapse[.]conf;` into the server block at /etc/nginx/sites-enabled/matrix:3")
    assert media.startswith("/etc/nginx/sites-enabled/matrix:20: `location /_matrix/media/` takes requests away")


def test_each_obsolete_key_of_2020_is_named_with_its_release_and_successor() -> None:
    obsolete = {(row["what"], row["since"]): row["instead"] for row in adoption(old_server())["obsolete"]}
    refused = "deprecated in 1.84, refused since 1.88"
    assert set(obsolete) == {
        ("the listener on port 9092 of type replication", "deprecated in 1.18, refused since 1.67"),
        ("worker_replication_port", "deprecated in 1.18, refused since 1.67"),
        ("worker_replication_host", refused),
        ("worker_replication_http_port", refused),
        ("no worker_name", "the app's name stands in, so two of one app share it"),
        ("send_federation: false", "the old way"),
        ("start_pushers: false", "the old way"),
        ("send_federation", "without effect in a worker"),
        *((f"worker_app: synapse.app.{app}", "an alias since 1.12") for app in
          ("synchrotron", "event_creator", "federation_reader", "federation_sender", "media_repository", "pusher")),
    }  # fmt: skip
    assert all(obsolete.values())


def test_the_listeners_stay_but_for_what_synapse_refuses() -> None:
    variables = adoption(old_server())["variables"]
    assert [one["port"] for one in variables["synapse_main_listeners"]] == [8008, 9093]
    assert (variables["synapse_main_port"], variables["synapse_main_replication_port"]) == (8008, 9093)


def test_old_units_are_replaced_and_those_with_a_duty_first() -> None:
    replaced = {row["unit"]: row for row in adoption(old_server())["variables"]["synapse_replaced_units"]}
    assert {name for name, row in replaced.items() if row["duty"]} == {
        "matrix-synapse-federation_sender1.service",
        "matrix-synapse-pusher1.service",
    }
    assert replaced["matrix-synapse-synchrotron2.service"]["listen"] == {"address": "127.0.0.1", "port": 8084}
    assert "matrix-synapse.service" not in replaced


def test_the_inventory_makes_a_plan_without_problems() -> None:
    value = adoption(old_server())
    text = inventory_text(value, "app1", {"ansible_user": "root"})
    inventory = yaml.safe_load(text)["synapse"]
    assert inventory["hosts"] == {"app1": {"ansible_user": "root"}}
    variables = inventory["vars"]
    assert variables.pop("synapse_workers") == value["workers"]
    assert variables == value["variables"]
    changes = {name[len("synapse_") :]: content for name, content in variables.items() if name[len("synapse_") :] in settings()}
    plan = topology(value["workers"], settings(**{**changes, "hosts": {"app1": "127.0.0.1"}, "redis_host": "app1"}))
    assert plan["problems"] == []
    assert [one["unit"] for one in plan["replaced"]["app1"]] == [row["unit"] for row in variables["synapse_replaced_units"]]


def test_a_secret_is_in_neither_file() -> None:
    value = adoption(old_server())
    text = inventory_text(value, "app1", {}) + report_text(value, old_server(), "app1")
    assert "by-hand" not in text


@pytest.mark.parametrize(
    ("database", "words"),
    [
        ({"kind": "sqlite", "path": "/var/lib/synapse/homeserver.db", "error": ""}, "migrate_database"),
        ({**POSTGRESQL, "collation": "en_US.UTF-8", "ctype": "en_US.UTF-8"}, "the collation en_US.UTF-8"),
        ({**POSTGRESQL, "encoding": "SQL_ASCII"}, "the encoding SQL_ASCII"),
    ],
)
def test_a_database_that_will_not_do_is_named_with_the_way_out(database: dict[str, Any], words: str) -> None:
    problem = adoption(old_server(database=database))["problems"][-1]
    assert words in problem


def test_a_listener_for_clients_that_nginx_cannot_use_gets_one_beside_it() -> None:
    tls = [{"type": "http", "port": 8448, "tls": True, "resources": [{"names": ["client", "federation"]}]}]
    value = adoption({**changed_settings(old_server(), listeners=tls), "listening": [{"address": "127.0.0.1", "port": 8008}]})
    variables = value["variables"]
    assert variables["synapse_main_listeners"] == tls
    assert variables["synapse_main_port"] == 8009
    # nginx asks nobody here, so who does has to be said.
    assert any("no server block" in problem for problem in value["problems"])


def test_replication_does_not_stay_with_what_clients_reach() -> None:
    everything = [{"type": "http", "port": 8008, "resources": [{"names": ["client", "federation", "replication"]}]}]
    variables = adoption(changed_settings(old_server(), listeners=everything))["variables"]
    assert variables["synapse_main_replication_port"] == 9093


def test_booleans_that_cannot_stand_beside_their_successor_have_to_go() -> None:
    problem = adoption(changed_settings(old_server(), update_user_directory=False))["problems"][-1]
    assert "remove the line `update_user_directory`" in problem


def test_settings_that_nobody_reads_today_are_named() -> None:
    value = old_server(conf_d=["/etc/matrix-synapse/conf.d/registration.yaml", "/etc/matrix-synapse/conf.d/forgotten.yaml"])
    problem = adoption(value)["problems"][0]
    assert problem.startswith("/etc/matrix-synapse/conf.d/forgotten.yaml: the main process does not read this today")


def test_several_main_processes_have_to_be_told_apart() -> None:
    value = old_server()
    other = {**value["units"][0], "unit": "other.service", "app": "homeserver"}
    (problem,) = adoption({**value, "units": [*value["units"], other], "main": ""})["problems"]
    assert "-e unit=NAME" in problem


def test_a_host_without_synapse_says_so() -> None:
    value = {**old_server(), "units": [], "main": "", "error": "no unit that starts Synapse's main process was found"}
    result = adoption(value)
    assert result["variables"] == {}
    assert "no unit that starts" in result["problems"][0]
    assert "no unit that starts" in report_text(result, value, "app1")


# A guide's way: a template unit, generic workers, instance_map, and nginx with regular expressions.

GUIDE = ROOT / "molecule/adopt/files/guide"


def guide_server(**changes: Any) -> dict[str, Any]:
    system = GUIDE / "etc/systemd/system"
    names = [path.stem for path in sorted((GUIDE / "etc/matrix-synapse/workers").glob("*.yaml"))]
    units = [unit(system / "matrix-synapse.service")]
    units += [unit(system / "matrix-synapse-worker@.service", f"matrix-synapse-worker@{name}.service") for name in names]
    return found(GUIDE, units, **changes)


def test_generic_workers_become_what_nginx_and_the_settings_make_of_them() -> None:
    value = adoption(guide_server())
    assert value["workers"] == [
        {"type": "synchrotron", "count": 2},
        {"type": "federation_reader"},
        {"types": ["typing", "receipts"], "name": "stream_writer"},
        {"type": "federation_sender"},
    ]


def test_names_of_units_that_are_taken_are_left_to_their_owner() -> None:
    variables = adoption(guide_server())["variables"]
    assert variables["synapse_worker_unit"] == "matrix-synapse-role"
    assert variables["synapse_target"] == "matrix-synapse-roles.target"
    assert variables["synapse_redis_host"] == ""


def test_a_second_homeserver_of_a_host_gets_ports_of_its_own() -> None:
    taken = [{"address": "127.0.0.1", "port": port} for port in (11100, 21400, 21000, 8089)]
    value = adoption(old_server(listening=taken))
    ports = {row["type"]: row.get("port") for row in value["workers"]}
    assert (ports["synchrotron"], ports["event_creator"], ports["media_repository"]) == (14100, 14000, None)
    assert (value["variables"]["synapse_main_metrics_port"], value["variables"]["synapse_nginx_status_port"]) == (21001, 8090)


def test_the_example_is_what_adopt_makes_of_it() -> None:
    value, host = adoption(old_server()), "matrix.example.org"
    assert (OLD.parent / "inventory.yml").read_text() == inventory_text(value, host, {})
    assert (OLD.parent / "report.md").read_text() == report_text(value, old_server(), host)
