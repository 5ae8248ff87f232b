"""A part is settled until somebody touches what it left, or it is given something else. systemd's part is for the scenarios."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.module_utils._settled import fingerprint, whole

from .calls import ME, call


class Part:
    """One part with a file of its own, one that the module `files` remembers, a folder and a command."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.memory = folder, folder / "settled"
        self.file, self.remembered, self.manifest = folder / "one.conf", folder / "two.conf", folder / "two.json"
        self.said = folder / "said"
        self.file.write_text("1")
        self.remembered.write_text("2")
        self.manifest.write_text(json.dumps({"files": [str(self.remembered)]}))
        self.said.write_text("3")
        self.places: dict[str, Any] = {
            "paths": [str(folder / "*.conf"), str(folder)],
            "manifests": [str(self.manifest)],
            "users": [ME],
            "commands": [["cat", str(self.said)]],
        }

    def settle(self, check: bool = False) -> dict[str, Any]:
        return call("settled", check=check, memory=str(self.memory), parts={"one": {**self.places, "wish": "wished"}})

    def seen(self) -> dict[str, str]:
        answer = call(
            "processes_info",
            memory=str(self.folder / "no"),
            settled=str(self.memory),
            parts={"one": self.places, "two": self.places},
        )
        return dict(answer["settled"])


def test_a_part_that_never_went_through_is_not_settled(tmp_path: Path) -> None:
    assert Part(tmp_path).seen() == {}


def test_a_part_that_went_through_tells_what_it_was_given(tmp_path: Path) -> None:
    part = Part(tmp_path)
    assert part.settle()["changed"] is False
    assert part.seen() == {"one": "wished"}
    assert (part.memory / "one.json").stat().st_mode & 0o777 == 0o600


def test_a_dry_run_settles_nothing(tmp_path: Path) -> None:
    part = Part(tmp_path)
    part.settle(check=True)
    assert part.seen() == {}


def put_back(part: Part) -> None:
    """Another text, and then the old one with the old time: only the time of the change betrays it."""
    info = part.file.stat()
    part.file.write_text("9")
    part.file.write_text("1")
    os.utime(part.file, ns=(info.st_atime_ns, info.st_mtime_ns))


TOUCHES: dict[str, Callable[[Part], object]] = {
    "edited and put back": put_back,
    "removed": lambda part: part.file.unlink(),
    "one more that fits the pattern": lambda part: (part.folder / "new.conf").write_text(""),
    "another mode": lambda part: part.file.chmod(0o600),
    "a remembered file is gone": lambda part: part.remembered.unlink(),
    "a remembered file is edited": lambda part: part.remembered.write_text("9"),
    "the memory itself": lambda part: part.manifest.write_text('{"files": []}'),
    "another mode of the folder": lambda part: part.folder.chmod(0o711),
    "the command says something else": lambda part: part.said.write_text("9"),
    "the command fails": lambda part: part.said.unlink(),
    "what was kept is damaged": lambda part: (part.memory / "one.json").write_text("{"),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_whatever_is_touched_unsettles(touch: Callable[[Part], object], tmp_path: Path) -> None:
    part = Part(tmp_path)
    part.settle()
    touch(part)
    assert part.seen() == {}
    part.settle()
    assert part.seen() == {"one": "wished"}


def test_a_unit_that_was_started_again_is_another() -> None:
    places = whole({"units": ["redis*"]})
    unit = {"Id": "redis@a.service", "ActiveState": "active", "InvocationID": "1"}
    before = fingerprint(places, {"redis@a.service": unit, "nginx.service": unit})
    assert fingerprint(places, {"redis@a.service": unit, "nginx.service": {**unit, "ActiveState": "failed"}}) == before
    assert fingerprint(places, {"redis@a.service": {**unit, "InvocationID": "2"}}) != before
    assert fingerprint(places, {}) != before


def test_a_command_that_is_not_there_is_no_error() -> None:
    places = whole({"commands": [["/no/such/command"]], "users": ["nobody-has-this-name"]})
    assert fingerprint(places, {}) == fingerprint(places, {})
