"""The plan: what it derives, what stays the same when the list is edited, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.module_utils._worker_types import BY_NAME, TABLE
from ansible_collections.synapse.workers.plugins.plugin_utils._change_plan import process_states
from ansible_collections.synapse.workers.plugins.plugin_utils._homeserver import main_listeners, process_files, shared_config
from ansible_collections.synapse.workers.plugins.plugin_utils._nginx import nginx_upstreams
from ansible_collections.synapse.workers.plugins.plugin_utils._topology import processes
from hypothesis import given
from hypothesis import strategies as st

from .plans import HOSTS, good_plan, lists_of_rows, plan

UNITS = {"main": "main unit", "worker": "worker unit"}
SINGLE = [row.name for row in TABLE if not row.several]


def by_name(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {worker["name"]: worker for worker in value["workers"]}


def without_row(worker: dict[str, Any]) -> dict[str, Any]:
    """A worker but for the index of its row, which is for messages only."""
    return {key: item for key, item in worker.items() if key != "row"}


def test_a_row_makes_as_many_workers_as_it_counts() -> None:
    value = good_plan({"type": "synchrotron", "count": 3})
    assert [worker["name"] for worker in value["workers"]] == ["synchrotron-1", "synchrotron-2", "synchrotron-3"]
    assert value["workers"][1] == {
        "name": "synchrotron-2",
        "types": ["synchrotron"],
        "host": "app1",
        "address": "10.0.0.1",
        "number": 2,
        "unit": "matrix-synapse-worker@synchrotron-2.service",
        "listen": {"address": "10.0.0.1", "port": 11101},
        "replication": None,
        "metrics": {"address": "127.0.0.1", "port": 21101},
        "resources": ["client"],
        "streams": [],
        "media": False,
        "log_level": "INFO",
        "cache_factor": 0,
        "environment": {},
        "settings": {},
        "row": 0,
    }


def test_a_group_counts_for_each_of_its_hosts() -> None:
    value = good_plan({"type": "synchrotron", "group": "others", "count": 2})
    assert {(worker["name"], worker["host"]) for worker in value["workers"]} == {
        ("synchrotron-app2-1", "app2"),
        ("synchrotron-app2-2", "app2"),
        ("synchrotron-app3-1", "app3"),
        ("synchrotron-app3-2", "app3"),
    }


def test_one_process_may_have_several_duties() -> None:
    value = good_plan({"types": ["receipts", "typing"], "name": "writers"})
    worker = value["workers"][0]
    assert (worker["name"], worker["types"], worker["streams"]) == (
        "writers-1",
        ["typing", "receipts"],
        ["typing", "receipts"],
    )
    assert value["pools"] == {"typing": ["writers-1"], "receipts": ["writers-1"]}
    assert value["streams"] == {"typing": ["writers-1"], "receipts": ["writers-1"]}


def test_numbers_may_come_as_text_from_jinja() -> None:
    assert len(good_plan({"type": "synchrotron", "count": "2"})["workers"]) == 2


def test_overrides_reach_every_worker_of_their_row_only() -> None:
    value = good_plan(
        {
            "type": "synchrotron",
            "count": 2,
            "log_level": "DEBUG",
            "environment": {"A": 1},
            "settings": {"use_presence": False},
        },
        {"type": "client_reader"},
    )
    workers = by_name(value)
    for name in ("synchrotron-1", "synchrotron-2"):
        assert workers[name]["log_level"] == "DEBUG"
        assert workers[name]["environment"] == {"A": "1"}
        assert workers[name]["settings"] == {"use_presence": False}
    assert workers["client_reader-1"]["log_level"] == "INFO"


def test_the_first_media_worker_writes_quarantines_unless_a_row_does() -> None:
    value = good_plan({"type": "media_repository", "count": 2})
    assert value["streams"] == {"quarantined_media_changes": ["media_repository-1"]}
    assert value["pools"]["quarantined_media_changes"] == ["media_repository-1"]
    apart = good_plan({"type": "media_repository", "count": 2}, {"type": "quarantined_media_changes"})
    assert apart["streams"] == {"quarantined_media_changes": ["quarantined_media_changes-1"]}
    assert "quarantined_media_changes" not in good_plan({"type": "media_repository"}, version="1.151.0")["streams"]


def test_sockets_take_the_place_of_ports() -> None:
    value = good_plan({"type": "typing"}, unix_sockets=True, hosts={"app1": "127.0.0.1"}, groups={})
    assert value["workers"][0]["listen"] == {"path": "/run/matrix-synapse/typing-1.sock"}
    assert value["workers"][0]["replication"] == {"path": "/run/matrix-synapse/typing-1.replication.sock"}


# What an edit of the list may not touch


@given(lists_of_rows(), st.randoms())
def test_reordering_changes_nothing_but_indexes(rows: list[dict[str, Any]], random: Any) -> None:
    before = good_plan(*rows)
    shuffled = list(rows)
    random.shuffle(shuffled)
    after = good_plan(*shuffled)
    assert [without_row(worker) for worker in after["workers"]] == [without_row(worker) for worker in before["workers"]]
    assert {key: after[key] for key in after if key != "workers"} == {key: before[key] for key in before if key != "workers"}


@given(lists_of_rows(), st.data())
def test_removing_a_row_changes_no_other_worker(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    if not rows:
        return
    gone = data.draw(st.integers(0, len(rows) - 1))
    before = by_name(plan(*rows))
    after = by_name(plan(*rows[:gone], *rows[gone + 1 :]))
    kept = {name for name, worker in before.items() if worker["row"] != gone}
    assert set(after) == kept
    for name in kept:
        assert without_row(after[name]) == without_row(before[name])


@given(lists_of_rows(), st.data())
def test_another_count_keeps_the_workers_both_have(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    several = [index for index, row in enumerate(rows) if row.get("count") and row.get("type") not in SINGLE]
    if not several:
        return
    chosen = data.draw(st.sampled_from(several))
    count = data.draw(st.integers(1, 9))
    before = by_name(good_plan(*rows))
    after = by_name(good_plan(*rows[:chosen], {**rows[chosen], "count": count}, *rows[chosen + 1 :]))
    for name in set(before) & set(after):
        assert after[name] == before[name]
    assert set(before) - set(after) == {
        name for name, worker in before.items() if worker["row"] == chosen and worker["number"] > count
    }


@given(lists_of_rows())
def test_more_synchrotrons_concern_no_process_that_runs(rows: list[dict[str, Any]]) -> None:
    rows = [row for row in rows if row.get("type") != "synchrotron"]
    before = good_plan(*rows, {"type": "synchrotron", "count": 1})
    after = good_plan(*rows, {"type": "synchrotron", "count": 3})
    for host in HOSTS:
        states = {state["name"]: state for state in process_states(after, host, UNITS)}
        for state in process_states(before, host, UNITS):
            assert states[state["name"]] == state
        files = {file["path"]: file for file in process_files(after, host)}
        for file in process_files(before, host):
            assert files[file["path"]] == file


@given(lists_of_rows())
def test_no_two_listeners_share_a_port(rows: list[dict[str, Any]]) -> None:
    value = good_plan(*rows)
    ports = [
        (process["host"], process[kind]["port"])
        for process in [value["main"], *value["workers"]]
        for kind in ("listen", "replication", "metrics")
        if process[kind]
    ]
    assert len(set(ports)) == len(ports)


@given(lists_of_rows())
def test_every_writer_stands_in_instance_map_and_every_pool_has_workers(rows: list[dict[str, Any]]) -> None:
    value = good_plan(*rows)
    workers = by_name(value)
    for names in value["streams"].values():
        assert all(workers[name]["replication"] for name in names)
    for names in value["pools"].values():
        assert names


def test_same_list_same_bytes_under_any_hash_seed() -> None:
    program = (
        "import json; from tests.unit.plugins.plugin_utils.plans import plan;"
        "from ansible_collections.synapse.workers.plugins.plugin_utils._homeserver import process_files;"
        "rows=[{'type':t,'environment':{'B':'2','A':'1'}} for t in ('typing','synchrotron','media_repository','pusher')];"
        "value=plan(*rows); print(json.dumps([value, process_files(value,'app1')]))"
    )
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../../.."))
    texts = set()
    for seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([root, *sys.path])}
        texts.add(subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True).stdout)
    assert len(texts) == 1


# What it refuses, each with the row and the way out

REFUSED: dict[str, tuple[list[Any], list[str]]] = {
    "unknown type": (
        [{"type": "synchotron"}],
        ["synapse_workers[0]: synchotron is no worker type; did you mean synchrotron?"],
    ),
    "a name other tools use": (
        [{"type": "sync_worker"}],
        ["synapse_workers[0]: sync_worker is no worker type; here it is called synchrotron"],
    ),
    "second single writer": (
        [{"type": "typing"}, {"type": "typing", "host": "app2"}],
        ["synapse_workers[1]: Synapse allows one typing worker and there is typing-1 (row 0) already; remove typing-app2-1"],
    ),
    "a type twice on one host": (
        [{"type": "synchrotron"}, {"type": "synchrotron", "count": 1}],
        [
            "synapse_workers[1]: synchrotron-1 is made by row 0 already; merge the rows by `count`, or give one a `name` of its own"
        ],
    ),
    "both type and types": (
        [{"type": "typing", "types": ["receipts"]}],
        ["synapse_workers[0]: give either `type` (one duty) or `types` (a list: one process with several duties)"],
    ),
    "several duties without a name": (
        [{"types": ["typing", "receipts"]}],
        ["synapse_workers[0]: a row with several types needs a `name`, which its workers then carry"],
    ),
    "unknown key": (
        [{"type": "typing", "cuont": 2}],
        ["synapse_workers[0]: cuont is no key of a row; did you mean count?"],
    ),
    "negative count": (
        [{"type": "synchrotron", "count": -1}],
        ["synapse_workers[0]: count is -1; a whole number from 0 to 50 per host"],
    ),
    "host outside the group": (
        [{"type": "synchrotron", "host": "app9"}],
        ["synapse_workers[0]: app9 is not in the group synapse; did you mean app3?"],
    ),
    "no such group": (
        [{"type": "synchrotron", "group": "other"}],
        ["synapse_workers[0]: there is no group other; did you mean others?"],
    ),
    "group without hosts": (
        [{"type": "synchrotron", "group": "nobody"}],
        ["synapse_workers[0]: the group nobody has no hosts"],
    ),
    "a name that is main's": (
        [{"type": "typing", "name": "master"}],
        ["synapse_workers[0]: master is Synapse's own name for the main process; choose another"],
    ),
    "port taken": (
        [{"type": "synchrotron", "port": 11300}, {"type": "client_reader"}],
        [
            "synapse_workers[1]: port 11300 (listen of client_reader-1) on app1 is taken by listen of synchrotron-1 (synapse_workers[0]); "
            "give the row a `port` of its own",
            "synapse_workers[1]: port 21300 (metrics of client_reader-1) on app1 is taken by metrics of synchrotron-1 (synapse_workers[0]); "
            "give the row a `port` of its own",
        ],
    ),
    "media on two hosts": (
        [{"type": "media_repository"}, {"type": "media_repository", "host": "app2"}],
        [
            "synapse_workers[1]: media workers on several hosts (app1, app2) would not see each other's files; "
            "keep them on one, or share the media store and set synapse_media_store_shared"
        ],
    ),
    "quarantine without media": (
        [{"type": "quarantined_media_changes"}],
        [
            "synapse_workers[0]: quarantined_media_changes needs a media_repository worker; add one, or remove the row "
            "(the main process does both)"
        ],
    ),
    "settings of the plan in a row": (
        [{"type": "typing", "settings": {"worker_name": "x"}}],
        ["synapse_workers[0]: settings: worker_name is derived from the row; remove it there"],
    ),
    "a line break in the environment": (
        [{"type": "typing", "environment": {"A": "1\nExecStart=/bin/sh"}}],
        ["synapse_workers[0]: environment: the value of A must be one line"],
    ),
    "no mapping": (["synchrotron"], ["synapse_workers[0]: must be a mapping like {type: synchrotron, count: 2}"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_row_is_refused_with_the_way_out(case: str) -> None:
    rows, problems = REFUSED[case]
    assert plan(*rows)["problems"] == problems


@pytest.mark.parametrize("name", SINGLE)
def test_a_second_worker_of_a_single_type_is_refused(name: str) -> None:
    assert len(plan({"type": name, "count": 2})["problems"]) == 1


def test_all_problems_come_at_once() -> None:
    problems = plan({"type": "x"}, {"type": "typing", "count": 3}, {"type": "presence", "host": "nowhere"}, server_name="")[
        "problems"
    ]
    assert len(problems) == 5


SETTINGS_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "loopback address of several hosts": (
        {"hosts": {**HOSTS, "app2": "127.0.0.1"}},
        "synapse_address: app2 has 127.0.0.1, which other hosts cannot reach; set its private address in the inventory",
    ),
    "public address": (
        {"hosts": {**HOSTS, "app2": "8.8.8.8"}},
        "synapse_address: app2 has the public address 8.8.8.8; replication is not encrypted, so use an address of a private network",
    ),
    "one address twice": (
        {"hosts": {**HOSTS, "app2": "10.0.0.1"}},
        "synapse_address: app1 and app2 both have 10.0.0.1",
    ),
    "no address": (
        {"hosts": {**HOSTS, "app2": "app2.internal"}},
        "synapse_address: app2 has 'app2.internal', which is no IP address",
    ),
    "sockets between hosts": (
        {"unix_sockets": True},
        "synapse_unix_sockets: processes on several hosts (app1, app2) cannot meet on a socket file; set it to false",
    ),
    "base settings of somebody else on several hosts": (
        {"base_settings_managed": False},
        "synapse_base_settings_managed: workers on app2 need the homeserver.yaml and the signing key of app1, which this "
        "collection does not copy as they are yours; keep the workers on app1, or let the collection manage the base settings",
    ),
    "a type that stands in, misspelt": (
        {"default_type": "reader"},
        "synapse_default_type: reader cannot serve what the plan has no type for; one of synchrotron, initial_synchrotron, "
        "client_reader, event_creator, user_dir, frontend_proxy, federation_reader, federation_inbound",
    ),
    "a type that stands in, though nobody would for it": (
        {"default_type": "media_repository"},
        "synapse_default_type: media_repository cannot serve what the plan has no type for; one of synchrotron, initial_synchrotron, "
        "client_reader, event_creator, user_dir, frontend_proxy, federation_reader, federation_inbound",
    ),
    "a type that stands in, not planned": (
        {"default_type": "client_reader"},
        "synapse_default_type: no worker of type client_reader is planned; add a row for it, or leave the variable empty",
    ),
    "too few connections": (
        {"postgresql_max_connections": 10},
        "synapse_postgresql_max_connections: 2 processes may open 15 connections, more than 10; "
        "raise it to 15, or lower synapse_database_pool_max to 2",
    ),
    "a release too old": (
        {"version": "1.98.0"},
        "synapse_version: 1.98.0 is older than 1.140, the oldest release whose workers this collection knows; upgrade Synapse first",
    ),
    "a setting the plan derives": (
        {"extra": {"instance_map": {}}},
        "synapse_settings: instance_map is derived from synapse_workers; remove it there",
    ),
}


@pytest.mark.parametrize("case", SETTINGS_REFUSED)
def test_bad_settings_are_refused_with_the_way_out(case: str) -> None:
    changes, problem = SETTINGS_REFUSED[case]
    assert plan({"type": "synchrotron", "host": "app2"}, **changes)["problems"] == [problem]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from([*BY_NAME, "app1", "others", "main", "nowhere"])


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "types",
                    "name",
                    "count",
                    "host",
                    "group",
                    "port",
                    "log_level",
                    "cache_factor",
                    "environment",
                    "settings",
                    "x",
                ]
            ),
            JUNK | WORDS | st.integers(0, 60) | st.lists(WORDS, max_size=4),
            max_size=5,
        )
        | JUNK,
        max_size=5,
    )
)
def test_whatever_is_written_gives_a_plan_or_sentences(rows: list[Any]) -> None:
    value = plan(*rows)
    json.dumps(value)
    assert all(isinstance(problem, str) and problem for problem in value["problems"])


LISTENER: dict[str, Any] = {"type": "http", "port": 8008, "resources": [{"names": ["client", "federation"]}]}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"main_listeners": [{**LISTENER, "tls": True}]}, "synapse_main_listeners[0]: port 8008 is synapse_main_port, but the listener offers "
         "client, federation over TLS; choose another synapse_main_port"),
        ({"main_listeners": [{"type": "http", "port": 9093, "resources": [{"names": ["client"]}]}]},
         "synapse_main_listeners[0]: port 9093 is synapse_main_replication_port, but the listener offers client; "
         "choose another synapse_main_replication_port"),
        ({"main_listeners": [{"type": "replication", "port": 9092}]},
         "synapse_main_listeners[0]: Synapse refuses listeners of type replication since 1.67; remove it"),
        ({"main_listeners": ["8008"]},
         "synapse_main_listeners[0]: must be a listener in Synapse's own terms, with `type` and `port` or `path`"),
        ({"main_listeners": [{**LISTENER, "port": 11100}]},
         "synapse_workers[0]: port 11100 (listen of synchrotron-1) on app1 is taken by the main process (synapse_main_listeners[0]); "
         "give the row a `port` of its own"),
        ({"replaced_units": [{"unit": "old"}]},
         "synapse_replaced_units[0]: must be a mapping with a `unit` like 'synapse-synchrotron.service'"),
        ({"replaced_units": [{"unit": "matrix-synapse-worker@synchrotron-1.service"}]},
         "synapse_replaced_units[0]: matrix-synapse-worker@synchrotron-1.service is a unit of the plan itself; remove it here"),
        ({"replaced_units": [{"unit": "old.service", "port": 1}]},
         "synapse_replaced_units[0]: port is no key of it; known: unit, host, listen, metrics, duty"),
        ({"worker_unit": "a@b"}, "synapse_worker_unit: 'a@b'; small letters, digits and hyphens, a letter first"),
        ({"target": "a"}, "synapse_target: 'a'; a name like 'synapse-workers.target'"),
    ],
)  # fmt: skip
def test_what_was_there_before_has_to_make_sense(changes: dict[str, Any], problem: str) -> None:
    assert plan({"type": "synchrotron"}, **changes)["problems"] == [problem]


def test_listeners_of_the_operator_stay_and_get_what_is_missing() -> None:
    theirs = [{**LISTENER, "x_forwarded": True}, {"type": "http", "port": 8448, "tls": True, "resources": []}]
    value = good_plan({"type": "synchrotron"}, main_listeners=theirs, base_settings_managed=False)
    listeners = main_listeners(value)
    assert listeners[:2] == theirs
    assert [(one["type"], one["port"]) for one in listeners[2:]] == [("http", 9093), ("metrics", 21000)]
    assert listeners[2]["resources"][0]["names"] == ["replication"]


def test_beside_somebody_elses_settings_everything_about_workers_is_said() -> None:
    value = shared_config(good_plan(base_settings_managed=False), "app1")
    assert {key: value[key] for key in ("stream_writers", "federation_sender_instances", "send_federation", "enable_media_repo")} == {
        "stream_writers": {},
        "federation_sender_instances": None,
        "send_federation": True,
        "enable_media_repo": True,
    }
    value = shared_config(good_plan({"type": "media_repository"}, {"type": "typing"}, base_settings_managed=False), "app1")
    assert value["enable_media_repo"] is False
    assert value["stream_writers"]["typing"] == ["typing-1"]
    assert "send_federation" not in shared_config(good_plan(), "app1")


def test_two_homeservers_on_one_host_share_no_name_and_no_file() -> None:
    first = good_plan({"type": "synchrotron"}, {"type": "typing"})
    changes = {
        "service": "second", "worker_unit": "second-worker", "target": "second.target", "config_dir": "/etc/second",
        "secrets_dir": "/etc/second/secrets", "data_dir": "/var/lib/second", "log_dir": "/var/log/second", "user": "second",
        "server_name": "second.example", "main_port": 8108, "main_replication_port": 9193, "main_metrics_port": 21001,
        "unix_sockets": False, "database_user": "second", "database_name": "second", "redis_port": 6380,
    }  # fmt: skip
    second = good_plan({"type": "synchrotron", "port": 18100}, {"type": "typing", "port": 18200}, **changes)
    names, places = [], []
    for value in (first, second):
        names.append(
            {process["unit"] for process in processes(value)}
            | {row["path"] for row in process_files(value, "app1")}
            | {upstream["name"] for upstream in nginx_upstreams(value)}
            | {shared_config(value, "app1")["redis"]["path"]}
        )
        places.append({process[kind]["port"] for process in processes(value) for kind in ("listen", "replication", "metrics") if process[kind]})
    assert not names[0] & names[1]
    assert not places[0] & places[1]
