"""The module that writes files, run as Ansible runs it, on a real file system."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .calls import ME, MY_GROUP, call


class Host:
    """A folder as a host, and the module's calls on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = folder / "state" / "files.json"

    def file(self, name: str, content: str, **more: Any) -> dict[str, Any]:
        return {
            "path": str(self.folder / name),
            "content": content,
            "owner": ME,
            "group": MY_GROUP,
            "mode": "0640",
            **more,
        }

    def run(self, *files: dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
        return call("files", check, **{"files": list(files), "manifest": str(self.manifest), **more})

    def listing(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.folder)): path.read_text()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and "state" not in path.parts
        }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_writes_what_differs_and_nothing_the_second_time(host: Host) -> None:
    first = host.run(host.file("a/one", "1"), host.file("two", "2"))
    assert first["changed"]
    assert host.listing() == {"a/one": "1", "two": "2"}
    assert oct((host.folder / "two").stat().st_mode & 0o7777) == "0o640"
    second = host.run(host.file("a/one", "1"), host.file("two", "3"))
    assert second["changed_files"] == [str(host.folder / "two")]
    third = host.run(host.file("a/one", "1"), host.file("two", "3"))
    assert not third["changed"]


def test_what_cannot_be_written_leaves_the_other_files_too(host: Host) -> None:
    host.run(host.file("one", "1"), host.file("two", "2"))
    refused = host.run(host.file("one", "changed"), host.file("three", "3", owner="nobody-has-this-name"))
    assert "there is no user nobody-has-this-name" in refused["msg"]
    assert host.listing() == {"one": "1", "two": "2"}


def test_check_mode_tells_the_same_and_writes_nothing(host: Host) -> None:
    told = host.run(host.file("one", "1"), check=True)
    assert not host.listing()
    assert not host.manifest.exists()
    done = host.run(host.file("one", "1"))
    for key in ("changed", "changed_files", "removed_files", "diff"):
        assert told[key] == done[key]


def test_a_diff_per_changed_file_and_none_for_the_others(host: Host) -> None:
    host.run(host.file("one", "old\n"), host.file("two", "2\n"))
    diff = host.run(host.file("one", "new\n"), host.file("two", "2\n"))["diff"]
    assert [(part["before"], part["after"]) for part in diff] == [("old\n", "new\n")]


def test_secrets_are_hidden_in_diffs(host: Host) -> None:
    text = "password: hunter2\nworker_replication_secret_path: /x\nargs:\n  password: hunter3\nmacaroon_secret_key: 'hunter4'\n"
    answer = host.run(host.file("one", text))
    assert "hunter" not in json.dumps(answer)
    assert "worker_replication_secret_path: /x" in answer["diff"][0]["after"]


def test_a_wrong_mode_is_a_change(host: Host) -> None:
    host.run(host.file("one", "1"))
    (host.folder / "one").chmod(0o666)
    answer = host.run(host.file("one", "1"))
    assert answer["changed"]
    assert answer["diff"][0]["before"]["mode"] == "0666"
    assert (host.folder / "one").stat().st_mode & 0o7777 == 0o640


def test_what_is_no_longer_wanted_goes_and_the_version_before_is_kept(host: Host) -> None:
    host.run(host.file("one", "1"), host.file("two", "2"))
    kept = host.run(host.file("one", "1b"), purge=False)
    assert kept["removed_files"] == []
    assert kept["left_files"] == [str(host.folder / "two")]
    answer = host.run(host.file("one", "1b"))
    assert answer["removed_files"] == [str(host.folder / "two")]
    assert answer["left_files"] == []
    assert host.listing() == {"one": "1b"}
    previous = host.manifest.with_suffix(".previous")
    assert previous.joinpath(str(host.folder / "one")[1:]).read_text() == "1"
    assert previous.joinpath(str(host.folder / "two")[1:]).read_text() == "2"
    assert previous.stat().st_mode & 0o777 == 0o700


def test_a_file_of_somebody_else_is_never_replaced(host: Host) -> None:
    (host.folder / "one").write_text("by hand")
    answer = host.run(host.file("one", "1"), host.file("two", "2"))
    assert answer["failed"]
    assert str(host.folder / "one") in answer["msg"]
    assert host.listing() == {"one": "by hand"}


def test_a_file_of_somebody_else_with_the_same_text_is_taken_over(host: Host) -> None:
    (host.folder / "one").write_text("1")
    assert not host.run(host.file("one", "1")).get("failed")
    assert not host.run(host.file("one", "2")).get("failed")


def test_a_run_that_was_killed_between_two_files_is_mended(host: Host) -> None:
    host.run(host.file("one", "1"), host.file("two", "2"))
    # As a kill leaves it: remembered, one file new, one not yet there.
    (host.folder / "two").unlink()
    (host.folder / "one").write_text("1b")
    answer = host.run(host.file("one", "1b"), host.file("two", "2b"))
    assert not answer.get("failed")
    assert host.listing() == {"one": "1b", "two": "2b"}


def test_a_note_is_remembered_until_another_takes_its_place(host: Host) -> None:
    def noted() -> str:
        return str(json.loads(host.manifest.read_text())["note"])

    host.run(host.file("one", "1"), note="for a while")
    host.run(state="applied")
    assert noted() == "for a while"
    assert not host.run(host.file("one", "1"), check=True)["changed"]
    assert noted() == "for a while"
    # The same files, now for good.
    assert not host.run(host.file("one", "1"))["changed"]
    assert noted() == ""


def test_what_was_written_stays_unapplied_until_somebody_says_so(host: Host) -> None:
    assert host.run(host.file("one", "1"))["unapplied"]
    again = host.run(host.file("one", "1"))
    assert not again["changed"]
    assert again["unapplied"]
    assert not host.run(state="applied")["changed"]
    assert not host.run(host.file("one", "1"))["unapplied"]
    assert host.run(host.file("one", "2"), check=True)["unapplied"]
    assert not host.run(host.file("one", "1"))["unapplied"]
    assert host.run()["removed_files"] == [str(host.folder / "one")]


def test_nothing_is_replaced_when_the_daemon_refuses(host: Host) -> None:
    host.run(host.file("etc/one", "good"))
    rules = {
        "copy": [str(host.folder / "etc")],
        "command": ["grep", "-q", "good", "{root}" + str(host.folder / "etc" / "one")],
    }
    answer = host.run(host.file("etc/one", "bad"), host.file("etc/two", "x"), validate=rules)
    assert answer["failed"]
    assert "still in force" in answer["msg"]
    assert host.listing() == {"etc/one": "good"}
    assert not host.run(host.file("etc/one", "good too"), validate=rules).get("failed")


def test_the_daemon_sees_the_whole_folder_with_its_paths_turned(host: Host) -> None:
    etc = host.folder / "etc"
    etc.mkdir()
    (etc / "main").write_text(f"include {etc}/one;")
    (etc / "secret.key").write_text("key")
    rules = {
        "copy": [str(etc)],
        "exclude": ["*.key"],
        "rewrite": True,
        "command": [
            "sh",
            "-c",
            f"grep -q 'include {{root}}{etc}/one;' {{root}}{etc}/main && test ! -e {{root}}{etc}/secret.key",
        ],
    }
    assert not host.run(host.file("etc/one", "1"), validate=rules).get("failed")


def test_validation_waits_for_a_daemon_that_is_yet_to_be_installed(host: Host) -> None:
    rules = {"command": ["false"], "requires": [str(host.folder / "daemon")]}
    assert not host.run(host.file("one", "1"), check=True, validate=rules).get("failed")


def test_rendering_writes_below_a_root_and_nowhere_else(host: Host) -> None:
    root = host.folder / "render"
    answer = host.run(host.file("one", "1", owner="nobody-of-this-name"), root=str(root))
    assert answer["changed"]
    assert list(host.listing()) == [str((root / str(host.folder / "one")[1:]).relative_to(host.folder))]
    assert not host.manifest.exists()
    assert not host.run(host.file("one", "1"), root=str(root))["changed"]


def test_an_account_that_is_missing_is_said(host: Host) -> None:
    answer = host.run(host.file("one", "1", owner="nobody-of-this-name"))
    assert answer["failed"]
    assert "there is no user nobody-of-this-name" in answer["msg"]


def test_the_contents_do_not_appear_among_the_arguments(host: Host) -> None:
    answer = host.run(host.file("one", "token-of-a-kind"), _ansible_verbosity=4)
    assert "token-of-a-kind" not in json.dumps(answer["invocation"])


def test_folders_that_were_made_go_when_nothing_is_in_them_any_more(host: Host) -> None:
    (host.folder / "theirs").mkdir()
    mine = {"path": str(host.folder / "made/deeper"), "owner": ME, "group": MY_GROUP, "mode": "0750"}
    host.run(host.file("made/deeper/one", "1"), host.file("theirs/two", "2"), host.file("new/three", "3"), directories=[mine])
    (host.folder / "new/somebody").write_text("else's")
    host.run()
    assert {path.name for path in host.folder.iterdir()} == {"state", "theirs", "new"}
    assert host.listing() == {"new/somebody": "else's"}


def test_a_folder_of_somebody_else_keeps_its_mode(host: Host) -> None:
    folder = host.folder / "theirs"
    folder.mkdir()
    folder.chmod(0o711)
    wish = {"path": str(folder), "owner": ME, "group": MY_GROUP, "mode": "0750", "kept": True}
    assert not host.run(directories=[wish])["changed"]
    host.run(host.file("theirs/one", "1"), directories=[wish])
    assert folder.stat().st_mode & 0o777 == 0o711
    assert host.run(host.file("theirs/one", "1"), directories=[{**wish, "kept": False}])["changed"]
    assert folder.stat().st_mode & 0o777 == 0o750
