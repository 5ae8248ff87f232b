"""The dashboard is one that Grafana knows: read into Grafana's own model of dashboards and written again, nothing of it is lost or changed.

That its queries find something is asked of a real Prometheus: ``molecule/fleet/tests/test_watching.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

BOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "roles/prometheus/files/grafana-dashboard.json").read_text())
register_default_plugins()


def unknown(given: Any, known: Any, where: str = "") -> Iterator[str]:
    """What Grafana's model has not kept as it was."""
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            yield from unknown(value, known.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        for number, (one, other) in enumerate(zip(given, known, strict=True)):
            yield from unknown(one, other, f"{where}[{number}]")
    elif given != known:
        yield f"{where}: {given!r} became {known!r}"


def by_grafana(board: dict[str, Any]) -> Any:
    return json.loads(JSONEncoder().encode(Dashboard.from_json(board)))


def test_grafana_knows_every_field() -> None:
    assert list(unknown(BOARD, by_grafana(BOARD))) == []


@pytest.mark.parametrize("field", ["fieldCofnig", "gridPosition"])
def test_a_wrong_field_is_found(field: str) -> None:
    board = json.loads(json.dumps(BOARD))
    board["panels"][1][field] = {"x": 1}
    assert [found.partition(":")[0] for found in unknown(board, by_grafana(board))] == [f"panels[1].{field}"]
