"""How servers write their requests into logs: what of a line is the method, the target, the answer and the time.

Known by themselves: nginx's ``combined`` (Apache's combined and common log begin alike), this collection's own format, which is
``combined`` with more at its end, Synapse's request log, and JSON with the field names of nginx's variables or of Caddy. Any
other format of nginx is read by its ``log_format``.

Sources: nginx 1.22, ``ngx_http_log_module`` (``combined``; ``escape=default`` writes a quote within a value as ``\\x22``, so a quote
in the file always begins or ends a field); Apache 2.4, ``mod_log_config``; Synapse, ``synapse/http/site.py``
(``SynapseRequest._finished_processing``): up to 1.149 ``(cpu, system) (wait/time/count)``, from 1.150 ``ru=(…) db=(…)``;
Caddy 2, ``http.log.access``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import json
import re
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Pattern, Sequence, Tuple

MONTHS = {
    name: number
    for number, name in enumerate(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1)
}


class Request(NamedTuple):
    """What one line says."""

    stamp: str
    """When it was logged, in the log's own time zone: ``2026-11-23T10:04:59``; '' where the log does not say."""
    method: str
    target: str
    """Path and query as the client sent them, as far as the log keeps them."""
    status: int
    """0 where the log does not say."""
    seconds: Optional[float] = None
    """How long the answer took."""
    worker: str = ""
    """Who answered, where the log says it."""
    cpu: Optional[float] = None
    """Seconds of CPU time, by Synapse's own log."""
    database: Optional[float] = None
    """Seconds of database transactions, by Synapse's own log."""


class Format(NamedTuple):
    """A way to write requests."""

    name: str
    title: str
    """What people call it."""
    parse: Callable[[bytes], Optional[Request]]
    """The request of a line; None when the line holds none."""
    quick: str = ""
    """Regular expression for a whole request in the hour that is being read; '' where there is none so simple. ``{stamp}`` is that
    hour as the log writes it, ``{unless}`` a look ahead from the query of a ``/sync``.

    Groups: method, target, status, and unless ``news`` is given worker and seconds, with the first three empty for ``news``."""
    news: str = ""
    """The same for what is by far the most of a day and needs no more than to be counted: a ``/sync`` that waited for news and
    got an answer. '' where the log says more of it."""
    stamp: Callable[[str], str] = str
    """From an hour, ``2026-11-23T10``, to how the log writes it."""
    other_lines: bool = False
    """Whether lines without a request are part of the format."""


class UnknownVariable(ValueError):
    """A ``log_format`` lacks what is needed; str() says what."""


# --- Text --------------------------------------------------------------------------------------------------------------------


def clf_hour(hour: str) -> str:
    """``2026-11-23T10`` → ``23/Nov/2026:10``."""
    names = list(MONTHS)
    return f"{hour[8:10]}/{names[int(hour[5:7]) - 1]}/{hour[:4]}:{hour[11:13]}"


def _clf_stamp(text: str) -> str:
    """``23/Nov/2026:10:04:59 +0000`` → ``2026-11-23T10:04:59``."""
    month = MONTHS.get(text[3:6], 0)
    return f"{text[7:11]}-{month:02}-{text[:2]}T{text[12:20]}"


def _epoch_stamp(text: str) -> str:
    """Seconds since the epoch → the same instant in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(float(text)))


def _number(text: str) -> Optional[float]:
    """Seconds; of several, as nginx writes after a retry, the sum. None where there is none (``-``)."""
    found = [float(part) for part in re.findall(r"\d+(?:\.\d+)?", text)]
    return sum(found) if found else None


# The beginning that combined, ours and Apache's share. What follows is read only where it matters.
_COMBINED = rb'.*?\[(\d\d/\w\w\w/\d{4}:\d\d:\d\d:\d\d) [+-]\d{4}\] "([A-Z]+) ([^ "]+)(?: HTTP/\d(?:\.\d)?)?" (\d\d\d) '
_TAIL = r'[^"]*"[^"]*" "[^"]*" worker=([^ ]+) upstream="[^"]*" upstream_time="[^"]*" time=([\d.]+)'
_OURS = _COMBINED + _TAIL.encode()
# Quick to match: what has a fixed length is skipped, and each other set of characters is of one that it must not be, the loop that
# `re` runs fastest. A first `s` that begins `since=` tells that neither full_state nor another name with an s stands before it;
# `{unless}` is filled in where it may stand behind. `" 200 ` ends the request: a number follows no other field.
_BEGIN = r"[^\[]*\[{stamp}:.{14}"
_NEWS = r'GET /_matrix/client/(?:v3|r0)/sync\?{unless}[^s]*since=[^& ][^"]*" 200 '
_ANY = r'([A-Z]+) ([^ ]+) HTTP/\d\.\d" (\d\d\d) '


def _combined(pattern: bytes) -> Callable[[bytes], Optional[Request]]:
    match, shorter = re.compile(pattern).match, re.compile(_COMBINED).match

    def parse(line: bytes) -> Optional[Request]:
        # A log may have begun before its format became ours.
        found = match(line) or shorter(line)
        if found is None:
            return None
        stamp, method, target, status, *more = [part.decode("latin-1") for part in found.groups()]
        if not more:
            return Request(_clf_stamp(stamp), method, target, int(status))
        return Request(_clf_stamp(stamp), method, target, int(status), float(more[1]), more[0])

    return parse


_SYNAPSE = re.compile(
    rb".*?(?:(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)[^ ]* .*?)?synapse\.access\..*? Processed request: "
    rb"(-?[\d.]+)sec/-?[\d.]+sec (?:ru=)?\((-?[\d.]+)sec, (-?[\d.]+)sec\) (?:db=)?\((-?[\d.]+)sec/(-?[\d.]+)sec/\d+\) "
    rb'\d*B (\d+)!? "([A-Z]+) ([^ "]+) [^"]*"'
).match


def _synapse(line: bytes) -> Optional[Request]:
    found = _SYNAPSE(line)
    if found is None:
        return None
    day, clock, seconds, user, system, _rest, database, status, method, target = [
        part.decode("latin-1") if part else "" for part in found.groups()
    ]
    stamp = f"{day}T{clock}" if day else ""
    return Request(stamp, method, target, int(status), float(seconds), "", float(user) + float(system), float(database))


# --- Any log_format of nginx -------------------------------------------------------------------------------------------------

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_LIKE_STATUS = r"\d\d\d"
_NUMBERS = r"-|[\d., :-]*[\d-]"
_STAMPS: Dict[str, Tuple[str, Callable[[str], str]]] = {
    "time_local": (r"\d\d/\w\w\w/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}", _clf_stamp),
    "time_iso8601": (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", lambda text: text[:19]),
    "msec": (r"\d+\.\d+", _epoch_stamp),
}


def log_format_text(text: str) -> str:
    """The format itself out of what stands in nginx's configuration, with or without ``log_format NAME`` and quotes."""
    text = text.strip().rstrip(";").strip()
    text = re.sub(r"^log_format\s+\S+\s+", "", text)
    text = re.sub(r"^escape=(?:default|json|none)\s+", "", text)
    parts = re.findall(r"'((?:[^'\\]|\\.)*)'" if text.startswith("'") else r'"((?:[^"\\]|\\.)*)"', text)
    if text[:1] not in ("'", '"') or not parts:
        return text
    return re.sub(r"\\(.)", r"\1", "".join(parts))


def from_log_format(text: str) -> Format:
    """Raises UnknownVariable when no method, target or time can be found in the format."""
    text = log_format_text(text)
    pattern, at, known = "", 0, set()
    for found in _VARIABLE.finditer(text):
        pattern += re.escape(text[at : found.start()])
        at = found.end()
        name = found.group(1) or found.group(2)
        quoted = text[: found.start()].count('"') % 2 == 1
        piece, group = _piece(name, quoted)
        if group in known or not group:
            pattern += f"(?:{piece})"
        else:
            known.add(group)
            pattern += piece if group == "request" else f"(?P<{group}>{piece})"
    pattern += re.escape(text[at:]) + r"\s*$"
    stamps = [name for name in _STAMPS if name in known]
    if "request" not in known and not {"method", "target"} <= known:
        raise UnknownVariable("log_format names no request: it needs $request, or $request_method and $request_uri")
    if not stamps:
        raise UnknownVariable("log_format names no time: it needs $time_local, $time_iso8601 or $msec")
    return Format("log_format", "the given log_format", _by_groups(re.compile(pattern.encode()), stamps[0]))


def _piece(name: str, quoted: bool) -> Tuple[str, str]:
    """(regular expression, name of what it is or '') for a variable."""
    if name == "request":
        return r"(?P<method>[A-Z]+) (?P<target>[^ \"]+)(?: HTTP/\d(?:\.\d)?)?", "request"
    if name == "request_method":
        return r"[A-Z]+", "method"
    # Also a variable of one's own, as ours that hides tokens.
    if name.endswith("uri"):
        return r"[^ \"]+", "target"
    if name in _STAMPS:
        return _STAMPS[name][0], name
    if name == "status":
        return _LIKE_STATUS, "status"
    if name in ("request_time", "upstream_response_time"):
        return _NUMBERS, name
    if name.endswith("worker"):
        return r"[^ \"]+", "worker"
    return (r'(?:[^"\\]|\\.)*' if quoted else r".*?"), ""


def _by_groups(pattern: Pattern[bytes], stamp: str) -> Callable[[bytes], Optional[Request]]:
    names = pattern.groupindex
    to_stamp = _STAMPS[stamp][1]
    seconds = next((name for name in ("request_time", "upstream_response_time") if name in names), "")

    def parse(line: bytes) -> Optional[Request]:
        found = pattern.match(line)
        if found is None:
            return None
        parts = {name: value.decode("latin-1") for name, value in found.groupdict().items() if value is not None}
        return Request(
            to_stamp(parts[stamp]),
            parts["method"],
            parts["target"].replace("\\/", "/"),
            int(parts.get("status", 0)),
            _number(parts[seconds]) if seconds else None,
            parts.get("worker", ""),
        )

    return parse


# --- JSON --------------------------------------------------------------------------------------------------------------------

# In order of preference; a dot goes one level down.
JSON_FIELDS: Dict[str, Tuple[str, ...]] = {
    "request": ("request",),
    "method": ("request_method", "method", "request.method"),
    "target": ("request_uri", "uri", "request.uri", "path"),
    "status": ("status",),
    "stamp": ("time_local", "time_iso8601", "msec", "ts", "time", "timestamp", "@timestamp"),
    "seconds": ("request_time", "duration", "upstream_response_time"),
    "worker": ("worker",),
}


def from_json_fields(fields: Optional[Dict[str, str]] = None) -> Format:
    """JSON, one object a line. ``fields`` says what a field is called where it is none of ``JSON_FIELDS``."""
    names = {what: ((fields or {}).get(what),) if (fields or {}).get(what) else known for what, known in JSON_FIELDS.items()}

    def value(entry: Any, what: str) -> Any:
        for name in names[what]:
            here = entry
            for part in [name] if isinstance(here, dict) and name in here else str(name).split("."):
                here = here.get(part) if isinstance(here, dict) else None
            if here is not None and not isinstance(here, dict):
                return here
        return None

    def parse(line: bytes) -> Optional[Request]:
        try:
            entry = json.loads(line.decode("utf-8", "replace"))
        except ValueError:
            return None
        if not isinstance(entry, dict):
            return None
        words = str(value(entry, "request") or "").split(" ")
        method = str(value(entry, "method") or words[0])
        target = str(value(entry, "target") or (words[1] if len(words) > 1 else ""))
        if not re.match(r"[A-Z]+$", method) or not target:
            return None
        status, seconds = str(value(entry, "status") or 0), value(entry, "seconds")
        return Request(
            _any_stamp(value(entry, "stamp")),
            method,
            target,
            int(status) if status.isdigit() else 0,
            None if seconds is None else _number(str(seconds)),
            str(value(entry, "worker") or ""),
        )

    return Format("json", "JSON", parse)


def _any_stamp(given: Any) -> str:
    """A time as logs write it → ``2026-11-23T10:04:59``, or ''."""
    text = str(given or "")
    if re.match(r"\d+(\.\d+)?$", text):
        return _epoch_stamp(text)
    if re.match(_STAMPS["time_local"][0], text):
        return _clf_stamp(text)
    return text[:19].replace(" ", "T") if re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d", text) else ""


# --- Which one ---------------------------------------------------------------------------------------------------------------

OURS = Format("backend", "this collection's own format", _combined(_OURS), f"{_BEGIN}(?:{_NEWS}|{_ANY}){_TAIL}", "", clf_hour)
COMBINED = Format(
    "combined", "combined, as nginx and Apache write it", _combined(_COMBINED), _BEGIN + _ANY, _BEGIN + _NEWS, clf_hour
)
SYNAPSE = Format("synapse", "Synapse's own log", _synapse, other_lines=True)
NAMES = ("auto", "combined", "backend", "json", "synapse")
"""What an operator may ask for by name."""


def by_name(name: str, json_fields: Optional[Dict[str, str]] = None) -> Sequence[Format]:
    """The formats that a name stands for, in the order in which they are tried."""
    known: List[Format] = [OURS, COMBINED, SYNAPSE, from_json_fields(json_fields)]
    return [one for one in known if name in ("auto", one.name)]


def detect(lines: Sequence[bytes], formats: Sequence[Format]) -> Optional[Format]:
    """The format that reads most of the lines, the first of those that read as many; None when none reads a single one.

    The first lines of a log may well be of broken requests, and those of Synapse's log mostly are of something else.
    """
    scores = []
    for one in formats:
        found = [request for request in map(one.parse, lines) if request]
        # Ours reads combined as well; it is ours where workers are named.
        scores.append(0 if one is OURS and not any(request.worker for request in found) else len(found))
    best = max(scores, default=0)
    return formats[scores.index(best)] if best else None
