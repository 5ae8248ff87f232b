"""What the tests of all scenarios share: the fleet, and one walk of an outsider through its edge.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "dev"), str(ROOT / "molecule/shared")]

from fleet import Fleet  # noqa: E402
from outsider.judge import Row, summary, table  # noqa: E402

from bench.load.load import Load  # noqa: E402
from bench.load.people import Size  # noqa: E402
from bench.machine import machine  # noqa: E402


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    """The scenario that molecule verifies."""
    if "DOCKER_HOST" not in os.environ:
        engine = subprocess.run([ROOT / "dev/engine"], capture_output=True, text=True, check=True)
        os.environ["DOCKER_HOST"] = engine.stdout.strip()
    return Fleet(Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory")


@pytest.fixture(scope="session")
def outcome(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> list[Row]:
    """Every request of ``dev/outsider``, judged. The table is printed, whatever becomes of it."""
    rows, short = fleet.traffic(tmp_path_factory.mktemp("outsider"))
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{table(rows, short)}\n\n{summary(rows)}")
    return rows


@pytest.fixture(scope="session")
def size() -> Size:
    """Of the load. Half the pace is much for two cores that run the server, the load and Ansible."""
    return Size(pace=0.5)


@pytest.fixture(scope="session")
def load(fleet: Fleet, size: Size, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Load]:
    """Hundreds of long-polls and whatever else users do, from the first test that asks for it until the last one is over.

    The account is printed, and kept in ``.cache/load/<scenario>.*`` with what nginx and Ansible logged meanwhile.
    """
    scenario = fleet.inventory.parent.name
    kept = ROOT / ".cache/load" / scenario
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.with_suffix(".ansible.log").unlink(missing_ok=True)
    fleet.environment["ANSIBLE_LOG_PATH"] = str(kept.with_suffix(".ansible.log"))
    load = fleet.load(tmp_path_factory.mktemp("load"), size)
    try:
        with load:
            yield load
    finally:
        load.write(kept, f"{scenario}: {load.size.polls} long-polls, {machine()}")
        kept.with_suffix(".nginx.log").write_text(
            "\n".join(fleet.output(host, "cat /var/log/nginx/error.log /var/log/nginx/*.access.log") for host in fleet.edges)
        )
        capture = pytestconfig.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n{load.size.polls} long-polls, {machine()}\n\n{load.table()}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The shared tests first: what a scenario adds may change the plan, and takes longer to say that something is wrong."""
    items.sort(key=lambda item: "molecule/shared/tests" not in str(item.path))
