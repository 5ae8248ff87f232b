"""A bounded part of the fuzz, the same inventories each time; ``python -m tests.fuzz.run`` tries as many as there is time for."""

from __future__ import annotations

from pathlib import Path

import pytest

from .house import files_of
from .inventories import Inventory, inventory
from .judges import Judges
from .run import run

# Numbers that found something once: lists where names belong, a database that nobody names.
FOUND = (35, 95, 115, 227)


def test_an_inventory_gives_files_that_are_accepted_or_is_refused() -> None:
    outcome = run(range(1000, 2000), seconds=40)
    assert outcome.faults == []
    # Both happen, and the programs were asked.
    assert outcome.accepted
    assert outcome.refused
    assert outcome.parsed > outcome.accepted
    assert outcome.distinct


@pytest.mark.parametrize("number", FOUND)
def test_what_was_found_once_stays_mended(number: int) -> None:
    outcome = run(range(number, number + 1))
    assert (outcome.faults, outcome.refused) == ([], 1)


def test_a_number_makes_the_same_inventory_again() -> None:
    assert [inventory(number) for number in range(50)] == [inventory(number) for number in range(50)]


def test_the_judges_can_say_no(tmp_path: Path) -> None:
    made = Inventory({"app1": {}}, {"all": ["app1"], "synapse": ["app1"]}, {
        "synapse_server_name": "example.org", "synapse_install_method": "pip", "synapse_workers": [{"type": "typing"}],
    })  # fmt: skip
    plan, files = files_of(made)
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
