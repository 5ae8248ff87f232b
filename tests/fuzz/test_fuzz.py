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
}


def one_host(**variables: Any) -> Inventory:
    """The smallest inventory with a worker, and what is added to it."""
    plan = {"synapse_server_name": "example.org", "synapse_install_method": "pip", "synapse_workers": [{"type": "typing"}]}
    return Inventory({"app1": {}}, {"all": ["app1"], "synapse": ["app1"]}, {**plan, **variables})


def test_an_inventory_gives_files_that_are_accepted_or_is_refused() -> None:
    outcome = run(range(1000, 2000), seconds=40)
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
