"""Units that were here before, switched off by the module as it asks systemd: a stand-in notes what it is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .calls import call

SYSTEMCTL = """#!/usr/bin/env python3
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
units = json.loads((folder / "units.json").read_text())
verb, words = sys.argv[1], [word for word in sys.argv[2:] if not word.startswith("--")]
if verb == "show":
    print("\\n\\n".join(f"Id={name}\\nActiveState={units[name][0]}\\nUnitFileState={units[name][1]}" for name in words if name in units))
else:
    with open(folder / "asked", "a") as stream:
        stream.write(" ".join(sys.argv[1:]) + "\\n")
    if verb == "disable":
        for name in words:
            units[name] = ["inactive", "disabled"]
        (folder / "units.json").write_text(json.dumps(units))
"""
REPLACED = [
    {"name": "old-sync", "unit": "old-sync.service"},
    {"name": "old-typing", "unit": "old-typing.service", "yields": True},
    {"name": "off-already", "unit": "off-already.service", "yields": True},
]


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a systemctl that knows three units."""
    (tmp_path / "systemctl").write_text(SYSTEMCTL)
    (tmp_path / "systemctl").chmod(0o755)
    on = ["active", "enabled"]
    units = {"old-sync.service": on, "old-typing.service": on, "off-already.service": ["inactive", "disabled"]}
    (tmp_path / "units.json").write_text(json.dumps(units))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def run(systemd: Path, state: str, check: bool = False) -> list[tuple[str, str]]:
    arguments: dict[str, Any] = {"processes": [], "replaced": REPLACED, "memory": str(systemd / "memory"), "state": state}
    return [(entry["name"], entry["action"]) for entry in call("processes", check, **arguments)["plan"]]


def test_a_unit_with_a_duty_is_off_before_its_successor_starts_and_the_others_later(systemd: Path) -> None:
    assert run(systemd, "stopped_together") == [("old-typing", "retire")]
    assert (systemd / "asked").read_text().splitlines()[0] == "disable --now old-typing.service"
    # From here on only the other one is left.
    assert run(systemd, "retired") == [("old-sync", "retire")]
    assert run(systemd, "retired") == []
    told = json.loads((systemd / "memory.replaced").read_text())
    assert told == {name: {"active": True, "enabled": True} for name in ("old-sync.service", "old-typing.service")}


def test_a_dry_run_switches_nothing_off(systemd: Path) -> None:
    assert run(systemd, "retired", check=True) == [("old-sync", "retire"), ("old-typing", "retire")]
    assert not (systemd / "asked").exists()
    assert not (systemd / "memory.replaced").exists()
