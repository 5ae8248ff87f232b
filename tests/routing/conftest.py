"""The real Synapse releases, and a real nginx per plan."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .edge import Edge
from .judge import Judge
from .releases import registered, releases


@pytest.fixture(scope="session")
def judges() -> Callable[[str], Judge]:
    """The judge of a release, by its number."""
    known: dict[str, Judge] = {}
    requirements = releases()

    def judge(release: str) -> Judge:
        if release not in known:
            known[release] = Judge(registered(release, requirements[release]))
        return known[release]

    return judge


@pytest.fixture(scope="session")
def edges() -> Iterator[Callable[..., Edge]]:
    """Starts an nginx with the files rendered for a plan; the same plan and variables get the same one."""
    running: dict[str, Edge] = {}
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:

        def edge(workers: list[dict[str, Any]], **variables: Any) -> Edge:
            key = json.dumps([workers, variables], sort_keys=True)
            if key not in running:
                place = Path(folder, str(len(running)))
                place.mkdir()
                running[key] = Edge(place, workers, **variables)
            return running[key]

        yield edge
        for one in running.values():
            one.close()
