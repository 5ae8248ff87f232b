"""The module as Ansible calls it: what it answers, and a clear word for each log that cannot be read."""

from __future__ import annotations

import gzip
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from .calls import ROOT, call

sys.path.insert(0, str(ROOT))

from bench.access_log import traffic

LINE = '10.0.0.1 - - [{}] "GET /_matrix/client/v3/sync?since=s1 HTTP/1.1" 200 5 "-" "a"\n'


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, traffic.Log]:
    path = tmp_path_factory.mktemp("log") / "access.log"
    return path, traffic.write(path, 5_000)


def test_it_answers_counts_and_changes_nothing(log: tuple[Path, traffic.Log]) -> None:
    path, truth = log
    before = (path.stat().st_mtime_ns, sorted(os.listdir(path.parent)))
    for check in (False, True):
        found = call("access_log", check, path=str(path))
        assert found["total"] == truth.lines - truth.pools[""]
        assert found["changed"] is False
        assert found["worker_types"]["user_dir"]["requests"] == truth.pools["user_dir"]
        assert [(file["format"], file["requests"]) for file in found["files"]] == [("combined", truth.lines)]
    assert (path.stat().st_mtime_ns, sorted(os.listdir(path.parent))) == before
    assert found["host"]["cores"] >= 1


def test_a_look_counts_nothing(log: tuple[Path, traffic.Log]) -> None:
    found = call("access_log", path=str(log[0]), look_only=True)
    assert found["bytes"] == log[0].stat().st_size
    assert "total" not in found


def test_rotated_and_compressed_files_are_one_log(tmp_path: Path, log: tuple[Path, traffic.Log]) -> None:
    lines = log[0].read_bytes().splitlines(keepends=True)
    (tmp_path / "access.log.2.gz").write_bytes(gzip.compress(b"".join(lines[:2000])))
    (tmp_path / "access.log.1").write_bytes(b"".join(lines[2000:5000]))
    (tmp_path / "access.log").write_text("")
    found, whole = call("access_log", path=str(tmp_path / "access.log"), rotated=True), call("access_log", path=str(log[0]))
    different = {"files", "host", "bytes", "invocation"}
    assert {name: found[name] for name in found.keys() - different} == {name: whole[name] for name in whole.keys() - different}
    assert [Path(file["path"]).name for file in found["files"]] == ["access.log.2.gz", "access.log.1", "access.log"]


def test_a_log_format_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(
        "[23/Nov/2026:10:04:59 +0100] 127.0.0.1:8083: GET /_matrix/client/v3/sync?since=s HTTP/1.1 200 0.310\n"
    )
    given = "log_format backend '[$time_local] $upstream_addr: $request $status $request_time';"
    found = call("access_log", path=str(tmp_path / "log"), log_format=given)
    assert (found["total"], found["worker_types"]["synchrotron"]["seconds"]) == (1, 0.31)


def test_a_window_of_time(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(LINE.format(f"23/Nov/2026:{hour:02}:30:00 +0000") for hour in range(24)))
    found = call("access_log", path=str(tmp_path / "log"), since="2026-11-23T08:00", until="2026-11-23 18:00")
    assert (found["total"], found["outside_window"], found["first"]) == (10, 14, "2026-11-23T08:30:00")


GOOD = LINE.format("23/Nov/2026:10:00:00 +0000").encode()
NOISE = bytes(byte or 1 for byte in random.Random(1).randbytes(1000))  # not a single NUL


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (None, {}, "there is no such file; say where the access log is with `path`"),
        (b"", {}, "empty; was it rotated just now?"),
        (b"\x7fELF\x01\0\0\0" * 100, {}, "is no text but something binary"),
        (gzip.compress(NOISE), {}, "is no text but something binary"),
        (gzip.compress(GOOD * 20_000)[:800], {}, "ends too early: a truncated gzip file"),
        (b"hello?access_token=secret\n" * 9, {}, "is in none of the formats that were tried"),
        (GOOD, {"format": "json"}, "its first line is: 10.0.0.1 - - [23/Nov"),
        (GOOD, {"log_format": "$status"}, "log_format names no request"),
        (GOOD, {"since": "yesterday"}, "'yesterday' is no time; write 2026-11-23"),
        (GOOD, {"until": "2020-01-01"}, "1 outside of `since` and `until`, 0 requests of something else, none of"),
        (GOOD.replace(b"_matrix", b"matrix"), {}, "1 requests of something else, none of the Matrix API"),
        (GOOD, {"synapse_version": "new"}, "'new' is no release; write it as 1.163"),
        (b"BZh91AY", {}, "is compressed by bzip2"),
    ],
)
def test_what_cannot_be_read_gets_a_clear_word(
    tmp_path: Path, content: bytes | None, options: dict[str, Any], words: str
) -> None:
    if content is not None:
        (tmp_path / "log").write_bytes(content)
    found = call("access_log", path=str(tmp_path / "log"), **options)
    assert found.get("failed"), found
    assert words in found["msg"]
    assert "secret" not in found["msg"]
    assert "Traceback" not in str(found)


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    assert "is a folder; name the log in it" in call("access_log", path=str(tmp_path))["msg"]
