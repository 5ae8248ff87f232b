"""The module that makes secrets once, run as Ansible runs it, on a real file system."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from .calls import ME, MY_GROUP, call


class Host:
    """A folder of secrets, and the module's calls on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "secrets"

    def run(self, *files: dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
        owned = {"directory": str(self.folder), "owner": ME, "group": MY_GROUP}
        return call("secret_files", check, **{**owned, "files": list(files), **more})

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def mode(self, name: str = "") -> int:
        return stat.S_IMODE((self.folder / name).stat().st_mode)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_missing_secret_is_made_and_then_kept_for_ever(host: Host) -> None:
    first = host.run({"name": "form_secret"})
    made = host.text("form_secret")
    assert (first["changed"], first["written"], first["generated"]) == (True, ["form_secret"], ["form_secret"])
    assert first["contents"] == {"form_secret": made.strip()}
    assert len(made.strip()) == 48
    assert made.strip().isalnum()

    again = host.run({"name": "form_secret"})
    assert (again["changed"], again["written"], again["generated"]) == (False, [], [])
    assert host.text("form_secret") == made


def test_two_secrets_differ(host: Host) -> None:
    contents = host.run({"name": "a"}, {"name": "b"})["contents"]
    assert contents["a"] != contents["b"]


def test_nobody_else_may_read(host: Host) -> None:
    host.run({"name": "pgpass", "value": "x", "mode": "0400"}, {"name": "form_secret"})
    assert (host.mode(), host.mode("pgpass"), host.mode("form_secret")) == (0o750, 0o400, 0o640)


def test_a_mode_that_somebody_loosened_is_put_right_and_the_secret_stays(host: Host) -> None:
    host.run({"name": "form_secret"})
    made = host.text("form_secret")
    (host.folder / "form_secret").chmod(0o644)
    assert host.run({"name": "form_secret"})["written"] == ["form_secret"]
    assert (host.text("form_secret"), host.mode("form_secret")) == (made, 0o640)


def test_a_given_value_outweighs_the_one_that_is_there(host: Host) -> None:
    host.run({"name": "form_secret"})
    result = host.run({"name": "form_secret", "value": "given\n"})
    assert (result["written"], result["generated"], result["contents"]) == (["form_secret"], [], {"form_secret": "given"})
    assert host.text("form_secret") == "given\n"


def test_a_damaged_empty_file_counts_as_missing(host: Host) -> None:
    host.run({"name": "form_secret"})
    (host.folder / "form_secret").write_text("\n")
    assert host.run({"name": "form_secret"})["generated"] == ["form_secret"]


def test_a_command_may_make_the_secret(host: Host) -> None:
    result = host.run({"name": "signing.key", "command": ["echo", "ed25519 a_1 key"]})
    assert result["contents"] == {"signing.key": "ed25519 a_1 key"}
    assert host.text("signing.key") == "ed25519 a_1 key\n"


def test_a_command_that_fails_leaves_no_file(host: Host) -> None:
    result = host.run({"name": "signing.key", "command": ["sh", "-c", "echo half; echo why >&2; exit 3"]})
    assert result["failed"]
    assert result["msg"] == "signing.key: sh ended with 3: why"
    assert list(host.folder.iterdir()) == []


def test_check_mode_names_what_it_would_make_and_makes_nothing(host: Host) -> None:
    result = host.run({"name": "made"}, {"name": "given", "value": "v"}, {"name": "brought", "generate": False}, check=True)
    assert (result["changed"], result["written"], result["generated"]) == (True, ["made", "given", "brought"], ["made"])
    assert result["contents"] == {"made": None, "given": "v", "brought": None}
    assert not host.folder.exists()


def test_check_mode_does_not_fail_where_the_account_is_yet_to_be_made(host: Host) -> None:
    assert host.run({"name": "made"}, check=True, group="no-such-group")["changed"]
    refused = host.run({"name": "made"}, group="no-such-group")
    assert refused["failed"]
    assert "no-such-group" in refused["msg"]


def test_a_secret_that_only_another_host_may_make_is_not_made_here(host: Host) -> None:
    refused = host.run({"name": "brought", "generate": False})
    assert refused["failed"]
    assert refused["msg"] == f"{host.folder}/brought is missing, and nobody gave its value"


def test_no_value_is_in_the_diff_or_in_what_was_called(host: Host) -> None:
    result = host.run({"name": "form_secret", "value": "do-not-tell"}, {"name": "made"})
    del result["contents"]
    assert "do-not-tell" not in json.dumps(result)
    assert host.text("made").strip() not in json.dumps(result)
