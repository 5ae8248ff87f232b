"""What was installed on a bare host is what the inventory names."""

from __future__ import annotations

from fleet import SERVICE, Fleet

VENV = f"/opt/venvs/{SERVICE}"


def test_synapse_comes_from_the_wheels(fleet: Fleet) -> None:
    ask = "from importlib.metadata import version; print(version('matrix-synapse'))"
    release = fleet.output(fleet.main_host, f'{VENV}/bin/python -c "{ask}"')
    assert fleet.output(fleet.main_host, f"ls /srv/wheels | grep -ci '^matrix_synapse-{release}-'") == "1"


def test_its_dependencies_fit_together(fleet: Fleet) -> None:
    assert fleet.output(fleet.main_host, f"{VENV}/bin/python -m pip check") == "No broken requirements found."


def test_nobody_but_root_may_change_the_program(fleet: Fleet) -> None:
    assert fleet.output(fleet.main_host, f"find {VENV} ! -type l \\( -perm /go=w -o ! -user root \\) | head -5") == ""


def test_the_service_may_read_the_program(fleet: Fleet) -> None:
    assert fleet.output(fleet.main_host, f"find {VENV} ! -type l ! -perm -o=r | head -5") == ""
