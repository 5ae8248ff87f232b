"""From the lines of a log to counts: which requests, of which worker type, when, how long.

The table that routes (``_endpoints.py``) is the table that counts. It is asked once for each shape of a path: the segments that
are words of the table, and for all others only what the table can tell apart. So a day of millions of requests asks it some
hundred times, and report and routing cannot disagree.

Memory does not grow with the log: shapes, samples and times are bounded, hours are as many as the log has.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import re
from io import BytesIO
from itertools import repeat
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from ._endpoints import AREAS, Endpoint, Version, area_of, candidates, expand, first_for, rows_for
from ._log_formats import Format

Match = Callable[[bytes], Any]

MOST_SHAPES = 10_000
"""Shapes whose answer is remembered."""
MOST_UNKNOWN = 2_000
"""Shapes counted of what no row explains."""
SAMPLES = 5
UNKNOWN, ELSEWHERE = -1, -2
"""Instead of a row's number: no row names the request; it is no request of the Matrix API at all."""


# --- Which row ---------------------------------------------------------------------------------------------------------------


class Classifier:
    """Which row of the table means a request."""

    def __init__(self, version: Optional[Version] = None) -> None:
        self.rows: Tuple[Endpoint, ...] = rows_for(version)
        self.numbers = {id(row): number for number, row in enumerate(self.rows)}
        self._word: Callable[[bytes, bytes], bytes] = _words(self.rows).get
        self._answers: Dict[Tuple[bytes, ...], Any] = {}
        """By method and shape."""

    def __call__(self, method: bytes, target: bytes) -> int:
        """Number of the row, or UNKNOWN, or ELSEWHERE. ``target`` is the raw request target."""
        path, mark, query = target.partition(b"?")
        # The shape: each segment that no row writes out is a star. Equal shapes, equal rows.
        key = (method, *map(self._word, path.split(b"/"), _STARS))
        found = self._answers.get(key)
        if found.__class__ is int:
            return found
        if found is None or found is _BY_DOT:
            found = self._ask(key, method, path)
            if found.__class__ is int:
                return found
        rows, otherwise = found
        row = first_for(rows, (mark + query).decode("latin-1"))
        return otherwise if row is None else self.numbers[id(row)]

    def _ask(self, key: Tuple[bytes, ...], method: bytes, path: bytes) -> Any:
        """A number, or where the query decides (rows to try, what it is when none of them holds)."""
        room = len(self._answers) < MOST_SHAPES
        if key[4:6] == (b"unstable", b"*"):
            # The areas tell an unstable prefix, which has a dot in it, from an id.
            if room:
                self._answers[key] = _BY_DOT
            key = (*key, b"." if _UNSTABLE_PREFIX(path) else b"")
            if key in self._answers:
                return self._answers[key]
        text = path.decode("latin-1")
        found: Any = UNKNOWN if area_of(text) else ELSEWHERE
        rows = candidates(method.decode("latin-1"), text, self.rows)
        if rows:
            found = self.numbers[id(rows[0])] if not rows[0].query else (rows, found)
        if room:
            self._answers[key] = found
        return found


def _words(rows: Iterable[Endpoint]) -> Dict[bytes, bytes]:
    """Every segment that a row or the beginning of an area writes out; the empty one too, since a path may end with a slash."""
    found = {part for row in rows for path in expand(row.path) for part in path.split("/") if "{" not in part}
    for area in AREAS:
        found |= set(re.findall(r"[A-Za-z_][A-Za-z0-9_-]*", area.prefix)) | {".well-known"}
    return {word.encode(): word.encode() for word in found}


_STARS = repeat(b"*")
_BY_DOT: Any = object()
"""Instead of an answer: it is found under the shape and what follows ``unstable``."""
_UNSTABLE_PREFIX: Match = re.compile(rb"/[^/]*/[^/]*/unstable/[^/.]+\.[^/]").match
_PLAIN = re.compile(r"[a-z_][a-z_.]{0,40}$").match


def readable_shape(target: str) -> str:
    """A target for people who wonder what it is: names left, ids as ``*``, no query (it may hold tokens)."""
    parts = target.partition("?")[0].split("/")[:12]
    kept = [part if not part or _PLAIN(part) or re.match(r"(?:v|r)\d$", part) else "*" for part in parts]
    return "/".join(kept)[:160]


# --- How long ----------------------------------------------------------------------------------------------------------------


def bucket(seconds: float) -> int:
    """Number of the bucket of a time: eight for each doubling, so that a bucket's middle is at most 6 % off."""
    thousandths = int(seconds * 1000 + 0.5)
    if thousandths < 16:
        return max(thousandths, 0)
    shift = thousandths.bit_length() - 4
    return 8 * shift + (thousandths >> shift)


def middle(number: int) -> float:
    """The time in the middle of a bucket, in seconds."""
    if number < 16:
        return number / 1000
    shift = number // 8 - 1
    low = (number - 8 * shift) << shift
    return (low + ((1 << shift) - 1) / 2) / 1000


def percentile(buckets: Dict[int, int], share: float) -> Optional[float]:
    """The time that this share of requests did not exceed, in seconds; None when there is none."""
    left = share * sum(buckets.values())
    for number in sorted(buckets):
        left -= buckets[number]
        if left <= 1e-9:
            return middle(number)
    return None


# --- Counting ----------------------------------------------------------------------------------------------------------------


class Times:
    """Times of one endpoint and method."""

    __slots__ = ("buckets", "cpu", "database", "seconds", "with_cpu")

    def __init__(self) -> None:
        self.buckets: Dict[int, int] = {}
        self.seconds = self.cpu = self.database = 0.0
        self.with_cpu = 0


class Window(NamedTuple):
    """From when to when, in the time zone of the log; '' is without an end. ``until`` itself is outside."""

    since: str = ""
    until: str = ""

    def holds(self, stamp: str) -> bool:
        return (not self.since or stamp >= self.since) and (not self.until or stamp < self.until)

    def holds_hour(self, hour: str) -> bool:
        """Whether all of an hour lies inside."""
        return self.holds(f"{hour}:00:00") and self.holds(f"{hour}:59:60")


Key = Tuple[bytes, int, bytes]
"""(method, number of the row, status)."""


def _holds(block: bytes, word: bytes) -> bool:
    """Whether a word is in a block: piece by piece, since Python 3.10 and later search small ones three times as fast."""
    size = 28_000
    return any(block.find(word, at, at + size + len(word)) >= 0 for at in range(0, len(block), size))


class Tally:
    """What was counted so far."""

    def __init__(self, classifier: Classifier, window: Optional[Window] = None) -> None:
        self.classifier = classifier
        self.window = window or Window()
        self.lines = self.malformed = self.outside = self.other_lines = 0
        self.counts: Dict[Key, int] = {}
        self.hours: Dict[str, Dict[int, int]] = {}
        """Requests of each hour and row."""
        self.times: Dict[Tuple[bytes, int], Times] = {}
        self.workers: Dict[Tuple[str, Key], int] = {}
        self.unknown: Dict[Tuple[str, str], int] = {}
        self.samples: List[str] = []
        self.first = self.last = ""
        self._hour = ""
        self._end: Optional[Tuple[bytes, Format]] = None
        """The last line of those that were read quickly."""
        self._compiled: Dict[Tuple[str, str, bool], Match] = {}
        self._here: Dict[Key, int] = {}
        sync = classifier(b"GET", b"/_matrix/client/v3/sync?since=s")
        self._hot_key: Key = (b"GET", sync, b"200")

    def read(self, block: bytes, log: Format) -> None:
        """Counts one block of whole lines."""
        lines = BytesIO(block).readlines()
        if log.quick and self._hour and self.window.holds_hour(self._hour):
            # The quick way does not look at minutes.
            self._end = (lines[-1], log)
            self._read_quickly(lines, log, _holds(block, b"full_state"))
        else:
            for line in lines:
                self._read_slowly(line, log)

    def _read_quickly(self, lines: List[bytes], log: Format, full_state: bool) -> None:
        """For the lines of the hour that is being read; the first line of another ends it, for this block."""
        hour = self._hour
        if log.news:
            # What says its hour itself can be counted whatever stands around it.
            others = list(filter(self._pattern(log, "(?!" + log.news + ")", full_state), lines))
            self._here[self._hot_key] = self._here.get(self._hot_key, 0) + len(lines) - len(others)
            self.lines += len(lines) - len(others)
            lines = others
        match, classify, here = self._pattern(log, log.quick, full_state), self.classifier, self._here
        rest = iter(lines)
        for line in rest:
            found = match(line)
            if found is None:
                self._read_slowly(line, log)
                # What it was counted in is emptied with each hour.
                if self._hour != hour:
                    break
                continue
            method, target, status, *more = found.groups()
            key = (method, classify(method, target), status) if method else self._hot_key
            here[key] = here.get(key, 0) + 1
            self.lines += 1
            if key[1] < 0:
                self._add_unknown(key, target)
            if more:
                self._add_details(key, more[0].decode("latin-1"), float(more[1]))
        for line in rest:
            self._read_slowly(line, log)

    def _pattern(self, log: Format, text: str, full_state: bool) -> Match:
        """A quick expression for the hour that is being read.

        Whether anyone asks for his full state is looked up in the block at once: nearly no client does, and asking each line
        would cost a quarter more.
        """
        key = (text, self._hour, full_state)
        if key not in self._compiled:
            filled = text.replace("{stamp}", re.escape(log.stamp(self._hour)))
            filled = filled.replace("{unless}", r"(?![^ ]*full_state)" if full_state else "")
            # One hour after the other: no more than the last few are of use.
            self._compiled = {**dict(list(self._compiled.items())[-3:]), key: re.compile(filled.encode()).match}
        return self._compiled[key]

    def _read_slowly(self, line: bytes, log: Format) -> None:
        """Counts any line."""
        if not line.strip():
            return
        self.lines += 1
        request = log.parse(line)
        if request is None:
            if log.other_lines:
                self.other_lines += 1
                return
            self.malformed += 1
            if len(self.samples) < SAMPLES:
                self.samples.append(shown(line))
            return
        if (self.window.since or self.window.until) and not self.window.holds(request.stamp):
            self.outside += 1
            return
        hour = request.stamp[:13]
        if hour != self._hour:
            self.fold()
            self._hour = hour
        if request.stamp:
            self.first = min(self.first or request.stamp, request.stamp)
            self.last = max(self.last, request.stamp)
        method, target = request.method.encode("latin-1", "replace"), request.target.encode("latin-1", "replace")
        key = (method, self.classifier(method, target), b"%d" % request.status)
        self._here[key] = self._here.get(key, 0) + 1
        if key[1] < 0:
            self._add_unknown(key, target)
        if request.seconds is not None or request.worker:
            self._add_details(key, request.worker, request.seconds)
        if request.cpu is not None:
            times = self.times[key[:2]]
            times.cpu += request.cpu
            times.database += request.database or 0.0
            times.with_cpu += 1

    def _add_details(self, key: Key, worker: str, seconds: Optional[float]) -> None:
        if seconds is not None:
            times = self.times.get(key[:2])
            if times is None:
                times = self.times[key[:2]] = Times()
            times.seconds += seconds
            number = bucket(seconds)
            times.buckets[number] = times.buckets.get(number, 0) + 1
        if worker:
            self.workers[worker, key] = self.workers.get((worker, key), 0) + 1

    def _add_unknown(self, key: Key, target: bytes) -> None:
        if key[1] != UNKNOWN:
            return
        shape = (key[0].decode("latin-1"), readable_shape(target.decode("latin-1")))
        if shape not in self.unknown and len(self.unknown) >= MOST_UNKNOWN:
            shape = ("", "other shapes")
        self.unknown[shape] = self.unknown.get(shape, 0) + 1

    def fold(self) -> None:
        """Puts what was counted of the current hour where it belongs; to be called once more at the end."""
        end = self._end and self._end[1].parse(self._end[0])
        if end and self.window.holds(end.stamp):
            self.last = max(self.last, end.stamp)
        self._end = None
        if self._here:
            hour = self.hours.setdefault(self._hour, {})
            for key, count in self._here.items():
                if count:
                    self.counts[key] = self.counts.get(key, 0) + count
                    hour[key[1]] = hour.get(key[1], 0) + count
            # Emptied, not replaced: a loop may still hold it.
            self._here.clear()


_HIDDEN = re.compile(r"((?:access_token|loginToken|token|ticket)=)[^&\s\"]*")


def shown(line: bytes) -> str:
    """The beginning of a line for people: printable, without tokens."""
    text = line[:200].decode("utf-8", "replace").rstrip("\r\n")
    return _HIDDEN.sub(r"\1<hidden>", "".join(char if char.isprintable() else "·" for char in text))[:120]
