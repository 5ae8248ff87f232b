"""Opening logs: what rotation left, in order; what is compressed, by what the host has."""

from __future__ import annotations

import gzip
import lzma
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.synapse.workers.plugins.module_utils._log_files import (
    Unreadable,
    blocks,
    compression_of,
    files_of,
    is_binary,
    opened,
    rotated,
)

TEXT = b"".join(b"line %d\n" % number for number in range(50_000))


def read(path: Path) -> bytes:
    with opened(str(path)) as stream:
        return b"".join(blocks(stream, str(path)))


def test_plain_and_compressed_files_hold_the_same(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(TEXT)
    (tmp_path / "gz").write_bytes(gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]))  # by magic, not by name; two members
    (tmp_path / "xz").write_bytes(lzma.compress(TEXT))
    assert {read(tmp_path / name) for name in ("plain", "gz", "xz")} == {TEXT}


def test_blocks_are_of_whole_lines_but_for_the_last(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(TEXT + b"no end")
    with opened(str(tmp_path / "log")) as stream:
        found = list(blocks(stream, "log"))
    assert len(found) > 3
    assert all(block.endswith(b"\n") for block in found[:-1])
    assert b"".join(found) == TEXT + b"no end"


def test_bytes_by_chance_are_never_taken_for_text() -> None:
    random_ = random.Random(1)
    for _ in range(1000):
        noise = random_.randbytes(random_.randrange(200, 5000))
        assert is_binary(noise)
        assert is_binary(bytes(byte or 1 for byte in noise))  # NULs give it away, but need not be there


@pytest.mark.parametrize(
    "line",
    [
        '10.0.0.1 - - [23/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "a"',
        r'10.0.0.1 - - [23/Nov/2026:10:00:00 +0000] "\x16\x03\x01\x00" 400 5 "-" "-"',
        "2026-11-23 10:00:00,123 - synapse.access - INFO - {@ä:h} Processed request: 網絡 \x1b[32mgreen\x1b[0m\tü",
        '10.0.0.1 - Jürgen "GET / HTTP/1.1" 200 5 "-" "Größe: é à ñ, latin-1 throughout"',
    ],
)
def test_lines_of_logs_are_text(line: str) -> None:
    for encoding in ("utf-8", "latin-1"):
        assert not is_binary((line + "\r\n").encode(encoding, "replace") * 9)
    # One broken line does not make a file binary.
    assert not is_binary((line + "\n").encode() * 99 + b"\0\1\2\3\n")


@pytest.mark.skipif(not shutil.which("zstd"), reason="there is no zstd here")
def test_zstd_by_the_program(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(TEXT)
    subprocess.run(["zstd", "-q", str(tmp_path / "plain"), "-o", str(tmp_path / "z")], check=True)
    assert read(tmp_path / "z") == TEXT
    whole = (tmp_path / "z").read_bytes()
    (tmp_path / "short").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unreadable, match="short ends too early: a truncated zstd file"):
        read(tmp_path / "short")
    (tmp_path / "broken").write_bytes(whole[:200] + b"\xff" * 50 + whole[250:])
    with pytest.raises(Unreadable, match=r"broken is damaged, zstd says: [A-Z]"):
        read(tmp_path / "broken")


def test_zstd_that_the_host_cannot_unpack_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "z").write_bytes(b"\x28\xb5\x2f\xfd")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(Unreadable, match="install the package zstd"):
        read(tmp_path / "z")


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_truncated_or_damaged_file_is_said(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    whole = pack(TEXT)
    (tmp_path / "short").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unreadable, match="short ends too early: a truncated"):
        read(tmp_path / "short")
    (tmp_path / "broken").write_bytes(whole[:2000] + b"\xff" * 50 + whole[2050:])
    with pytest.raises(Unreadable, match="broken is damaged"):
        read(tmp_path / "broken")


def test_rotated_files_come_in_the_order_of_time(tmp_path: Path) -> None:
    names = ["a.log", "a.log.1", "a.log.2.gz", "a.log.10.zst", "a.log-20261120.xz", "a.log-20261119"]
    for name in [*names, "a.log.bak", "a.log.1.swp", "a.logx", "a.log-x", "b.log"]:
        (tmp_path / name).write_text("")
    found = [Path(path).name for path in rotated(str(tmp_path / "a.log"))]
    assert found == ["a.log-20261119", "a.log-20261120.xz", "a.log.10.zst", "a.log.2.gz", "a.log.1", "a.log"]


def test_patterns_and_doubles(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "c[1].log"):
        (tmp_path / name).write_text("")
    paths = [str(tmp_path / name) for name in ("*.log", "a.log", "c[1].log")]
    assert [Path(path).name for path in files_of(paths, False)] == ["a.log", "b.log", "c[1].log"]
    with pytest.raises(Unreadable, match="no file of that pattern"):
        files_of([str(tmp_path / "x*.log")], False)


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 3_000_000)
    with pytest.raises(Unreadable, match="longer than a mebibyte"):
        read(tmp_path / "log")


def test_no_permission_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may read everything, so the refusal is the kernel's by hand."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(Unreadable, match="no permission to read it; run with `become`"):
        compression_of(str(tmp_path / "log"))
