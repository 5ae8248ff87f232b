"""A bounded part of the fuzz, the same inventories each time; ``python -m tests.fuzz.run`` tries as many as there is time for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .house import Refused, files_of
from .inventories import Inventory, inventory
from .judges import Judges
from .run import run

# What was found by chance once: errors of Python, and what only Synapse refused.
FOUND: dict[str, dict[str, Any]] = {
    "a list of main hosts": {"synapse_main_host": ["app1"]},
    "a list in the list of hosts": {"synapse_nginx_hosts": [["app1"]]},
    "a host of Redis that is a mapping": {"synapse_redis_host": {"a": 1}},
    "a database that nobody names": {"synapse_postgresql_host": ""},
    "caches that are no mapping": {
        "synapse_settings": {"caches": " "},
        "synapse_workers": [{"type": "typing", "cache_factor": 2}],
    },
    "no list of networks": {"synapse_nginx_admin_allowed_from": False},
    "a negative burst": {"synapse_nginx_login_burst": -1},
    "a negative number of connections": {"nginx_keepalive": -1},
}


def one_host(**variables: Any) -> Inventory:
    """The smallest inventory with a worker, and what is added to it."""
    plan = {"synapse_server_name": "example.org", "synapse_install_method": "pip", "synapse_workers": [{"type": "typing"}]}
    return Inventory({"app1": {}}, {"all": ["app1"], "synapse": ["app1"]}, {**plan, **variables})


def test_an_inventory_gives_files_that_are_accepted_or_is_refused() -> None:
    # So many, however long they take: how fast the machine is, is not the question.
    outcome = run(range(1000, 1030))
    assert outcome.faults == []
    # Both happen, and the programs were asked.
    assert outcome.accepted
    assert outcome.refused
    assert outcome.parsed > outcome.accepted
    assert outcome.distinct


@pytest.mark.parametrize("case", FOUND)
def test_what_was_found_once_is_refused_in_words(case: str) -> None:
    with pytest.raises(Refused, match=f"^{next(iter(FOUND[case]))}|synapse_database: is empty"):
        files_of(one_host(**FOUND[case]))


def test_an_address_of_another_kind_is_refused_in_words() -> None:
    made = one_host(synapse_redis_host="app1")
    made.hosts = {"app1": {"synapse_address": "10.0.0.1"}, "app2": {"synapse_address": []}}
    made.groups = {"all": ["app1", "app2"], "synapse": ["app1", "app2"]}
    made.variables["synapse_workers"] = [{"type": "typing"}, {"type": "synchrotron", "host": "app2"}, {"type": "pusher"}]
    made.variables.update(synapse_main_host="app1", synapse_redis_host="app2", synapse_nginx_hosts=["app1"])
    with pytest.raises(Refused, match="synapse_address"):
        files_of(made)


def test_keys_of_any_kind_in_synapses_settings_are_no_error_of_ours() -> None:
    files_of(one_host(synapse_settings={"caches": {"per_cache_factors": {1: 2.0, "a": 1.0}}}))


def test_a_number_makes_the_same_inventory_again() -> None:
    assert [inventory(number) for number in range(50)] == [inventory(number) for number in range(50)]


def test_the_judges_can_say_no(tmp_path: Path) -> None:
    plan, files = files_of(one_host())
    judges = Judges(tmp_path / "judged")
    try:
        texts = files["app1"]
        assert judges.synapse(plan, texts) == {}
        assert judges.nginx(plan, texts) == ""
        shared, site = "/etc/matrix-synapse/conf.d/90-synapse-workers.yaml", "/etc/nginx/conf.d/matrix-synapse.conf"
        wrong = {
            **texts,
            shared: texts[shared].replace("typing-1:", "typing-2:"),
            site: texts[site].replace("\nupstream ", "\nupstraem ", 1),
        }
        assert "typing-1" in judges.synapse(plan, wrong)["main"]
        assert "upstraem" in judges.nginx(plan, wrong)
    finally:
        judges.close()
