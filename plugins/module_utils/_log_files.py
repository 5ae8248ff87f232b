"""Opening logs: plain and compressed, rotated ones in the order of time, each refusal one sentence.

Nothing is written, and nothing is held but one block.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import glob
import gzip
import io
import lzma
import os
import re
import shutil
import subprocess
import zlib
from contextlib import contextmanager
from typing import IO, Dict, Iterator, List, Sequence, Tuple

BLOCK = 1 << 16
"""Bytes read at once: larger blocks leave the processor's cache, and the allocator's, and are slower."""
LONGEST_LINE = 1 << 20
"""A line longer than this is none: nginx refuses requests far shorter."""
_PRINTABLE = bytes({*b"\t\n\r\x1b", *range(0x20, 0x7F), *range(0x80, 0x100)})
MAGIC: Dict[bytes, str] = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}


class Unreadable(Exception):
    """A file cannot be read; str() is the sentence for the operator."""


def rotated(path: str) -> List[str]:
    """What logrotate has made of a log, oldest first, the log itself last.

    Numbered (``.1``, ``.2.gz``: the higher the older) or dated (``-20261122``, ``-20261122.gz``).
    """
    found: List[Tuple[int, int, str]] = []
    for other in glob.glob(glob.escape(path) + "[.-]*"):
        rest = re.match(r"(?:\.(\d{1,4})|-(\d{8}(?:-?\d{2,10})?))(?:\.(?:gz|xz|zst))?$", other[len(path) :])
        if rest and rest.group(1):
            found.append((1, -int(rest.group(1)), other))
        elif rest:
            found.append((0, int(rest.group(2).replace("-", "").ljust(18, "0")), other))
    return [other for _rest, _rest, other in sorted(found)] + ([path] if os.path.lexists(path) or not found else [])


def files_of(paths: Sequence[str], with_rotated: bool) -> List[str]:
    """Every file that is meant, each once. Raises Unreadable when a path or pattern names none."""
    found: List[str] = []
    for path in paths:
        matches = sorted(glob.glob(path)) if glob.has_magic(path) and not os.path.lexists(path) else [path]
        if not matches:
            raise Unreadable(f"{path}: no file of that pattern")
        for match in matches:
            found += rotated(match) if with_rotated else [match]
    return list(dict.fromkeys(found))


def compression_of(path: str) -> str:
    """``gzip``, ``xz``, ``zstd`` or '', by the first bytes. Raises Unreadable."""
    try:
        if os.path.isdir(path):
            raise Unreadable(f"{path} is a folder; name the log in it")
        with open(path, "rb") as stream:
            head = stream.read(6)
    except FileNotFoundError:
        raise Unreadable(f"{path}: there is no such file; say where the access log is with `path`") from None
    except PermissionError:
        raise Unreadable(
            f"{path}: no permission to read it; run with `become`, or as a member of the group that owns it"
        ) from None
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    kind = next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")
    if kind == "bzip2":
        raise Unreadable(f"{path} is compressed by bzip2, which no log rotation of nginx uses; unpack it first")
    return kind


def is_binary(block: bytes) -> bool:
    """Whether a block is no text: one byte in fifty is a control character, or one in ten no UTF-8.

    Of bytes by chance, as compressed ones are, it is one in nine and two in five. Logs have nearly none: nginx escapes
    both, Apache and Synapse all control characters. Few bytes may be anything; their format tells.
    """
    controls = len(block.translate(None, _PRINTABLE))
    return controls * 50 > len(block) or block.decode("utf-8", "replace").count("\ufffd") * 10 > len(block)


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The text of a log, unpacked on the way. Raises Unreadable, also while it is being read."""
    kind = compression_of(path)
    try:
        # pylint takes a line inside a `with` for one that nobody cleans up after.
        with _unpacked(path, kind) as stream:  # pylint: disable=contextmanager-generator-missing-cleanup
            yield stream
    except EOFError:
        raise Unreadable(f"{path} ends too early: a truncated {kind} file; leave it out, or get it anew") from None
    except (zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise Unreadable(f"{path} is damaged, {kind} says: {error}") from None


@contextmanager
def _unpacked(path: str, kind: str) -> Iterator[IO[bytes]]:
    if kind == "gzip":
        with gzip.open(path, "rb") as packed:
            yield packed  # type: ignore[misc]
    elif kind == "xz":
        with lzma.open(path, "rb") as packed:
            yield packed
    elif kind == "zstd":
        with _zstd(path) as stream:  # pylint: disable=contextmanager-generator-missing-cleanup
            yield stream
    else:
        with open(path, "rb", buffering=BLOCK) as stream:
            yield stream


@contextmanager
def _zstd(path: str) -> Iterator[IO[bytes]]:
    """By what the host has: Python 3.14's own module, the program zstd, or the module zstandard.

    In this order, since zstandard takes a truncated file for a whole one.
    """
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        pass
    else:
        try:
            with zstd.open(path, "rb") as stream:
                yield stream
        except zstd.ZstdError as error:
            raise Unreadable(f"{path} is damaged, zstd says: {error}") from None
        return
    program = shutil.which("zstd", path="/usr/bin:/bin:/usr/local/bin")
    if program:
        with _zstd_program(program, path) as stream:
            yield stream
        return
    try:
        import zstandard  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise Unreadable(
            f"{path} is compressed by zstd, which this host cannot unpack; install the package zstd or python3-zstandard"
        ) from None
    try:
        with open(path, "rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as unpacked:
            yield io.BufferedReader(unpacked)
    except zstandard.ZstdError as error:
        raise Unreadable(f"{path} is damaged, zstd says: {error}") from None


@contextmanager
def _zstd_program(program: str, path: str) -> Iterator[IO[bytes]]:
    process = subprocess.Popen([program, "-dcq", "--", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if not process.stdout or not process.stderr:
        raise AssertionError("both were asked for")
    try:
        yield process.stdout
        said = process.stderr.read().decode("utf-8", "replace").strip()
        if process.wait() and "premature end" in said:
            raise EOFError
        if process.returncode:
            # It writes the path before, and shortens it to the width of a terminal.
            raise Unreadable(f"{path} is damaged, zstd says: {said.rpartition(' : ')[2] or process.returncode}")
    finally:
        process.stdout.close()
        process.stderr.close()
        if process.poll() is None:
            process.kill()
            process.wait()


def blocks(stream: IO[bytes], path: str) -> Iterator[bytes]:
    """Blocks of whole lines. The last line may lack its end, as of a log that is being written."""
    while True:
        block = stream.read(BLOCK)
        if not block:
            return
        rest = stream.readline(LONGEST_LINE)
        if len(rest) == LONGEST_LINE:
            raise Unreadable(f"{path} is no log: a line of it is longer than a mebibyte")
        yield block + rest
