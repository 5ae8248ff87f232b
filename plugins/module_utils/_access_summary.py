"""From a tally to what the module answers: plain data, sorted, with totals that add up.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, Iterable, List, Optional

from ._access_log import ELSEWHERE, UNKNOWN, Tally, Times, middle, percentile
from ._endpoints import AREA, MAIN, Endpoint, sample_of

TOP = 15
"""How many shapes of unknown requests are named, and how many workers' refusals."""
REFUSED = (b"404", b"405")
"""What Synapse answers to a request that a process does not serve: M_UNRECOGNIZED."""


def type_of(row: Endpoint) -> str:
    """The worker type that serves the row where it is planned, or ``main``."""
    return row.types[0] if row.types else MAIN


def span_seconds(first: str, last: str) -> int:
    """Seconds from one stamp to another, at least one; 0 when a stamp is missing."""
    try:
        return max(1, int((datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()))
    except ValueError:
        return 0


def rate(hours: Dict[str, int], span: int) -> float:
    """Requests per second in the busiest hour. A log that is shorter than an hour counts as long as it is."""
    return max(hours.values(), default=0) / float(min(3600, span) if span else 3600)


def summary(tally: Tally) -> Dict[str, Any]:
    """What the module returns of the counts; see its RETURN."""
    tally.fold()
    rows = tally.classifier.rows
    span = span_seconds(tally.first, tally.last)
    requests = sum(tally.counts.values())
    elsewhere = sum(count for key, count in tally.counts.items() if key[1] == ELSEWHERE)
    unknown = sum(count for key, count in tally.counts.items() if key[1] == UNKNOWN)
    total = requests - elsewhere
    groups = _groups(tally, total, span)
    types: Dict[str, Dict[str, Any]] = {}
    for number, row in enumerate(rows):
        types.setdefault(type_of(row), {"rows": []})["rows"].append(number)
    worker_types = {}
    for name, found in sorted(types.items()):
        entry = _load(tally, found["rows"], total, span)
        if name != MAIN and entry["requests"]:
            worker_types[name] = entry
    main_rows = types.get(MAIN, {"rows": []})["rows"]
    cpu = sum(times.cpu for times in tally.times.values())
    for entry in [*worker_types.values(), *groups]:
        entry["cpu_percent"] = _percent(entry["cpu_seconds"], cpu) if cpu else None
    return {
        "lines": tally.lines,
        "total": total,
        "elsewhere": elsewhere,
        "malformed": tally.malformed,
        "malformed_samples": tally.samples,
        "other_lines": tally.other_lines,
        "outside_window": tally.outside,
        "main_only": sum(_count(tally, main_rows).values()),
        "unknown": unknown,
        "unknown_shapes": _unknown(tally),
        "first": tally.first,
        "last": tally.last,
        "span_seconds": span,
        "hours": _hours(tally, range(len(rows)), and_unknown=True),
        "peak_rate": round(rate(_hours(tally, range(len(rows)), and_unknown=True), span), 3),
        "cpu_seconds": round(cpu, 3) if cpu else None,
        "worker_types": worker_types,
        "groups": groups,
        "endpoints": _endpoints(tally, total),
        "answered_by": _answered_by(tally, total),
        "refused_by_workers": _refused(tally),
    }


def _count(tally: Tally, numbers: Iterable[int]) -> Dict[bytes, int]:
    """Requests by status."""
    wanted, found = set(numbers), {}  # type: ignore[var-annotated]
    for (_method, number, status), count in tally.counts.items():
        if number in wanted:
            found[status] = found.get(status, 0) + count
    return found


def _hours(tally: Tally, numbers: Iterable[int], and_unknown: bool = False) -> Dict[str, int]:
    """Requests by hour, without the hours that have none. Lines without a time count for no hour."""
    wanted = {*numbers, UNKNOWN} if and_unknown else set(numbers)
    found = {hour: sum(count for number, count in counts.items() if number in wanted) for hour, counts in tally.hours.items()}
    return {hour: count for hour, count in sorted(found.items()) if count and hour}


def _times(tally: Tally, numbers: Iterable[int]) -> Times:
    wanted, found = set(numbers), Times()
    for (_method, number), times in tally.times.items():
        if number in wanted:
            found.seconds += times.seconds
            found.cpu += times.cpu
            found.database += times.database
            found.with_cpu += times.with_cpu
            for bucket, count in times.buckets.items():
                found.buckets[bucket] = found.buckets.get(bucket, 0) + count
    return found


def _percent(part: float, whole: float) -> float:
    return round(100.0 * part / whole, 3) if whole else 0.0


def _rounded(value: Optional[float]) -> Optional[float]:
    return None if value is None else round(value, 3)


def _load(tally: Tally, numbers: List[int], total: int, span: int) -> Dict[str, Any]:
    """What rows of the table ask together."""
    statuses = _count(tally, numbers)
    hours, times = _hours(tally, numbers), _times(tally, numbers)
    requests = sum(statuses.values())
    timed = bool(times.buckets)
    return {
        "requests": requests,
        "percent": _percent(requests, total),
        "peak_rate": round(rate(hours, span), 3),
        "hours": hours,
        "statuses": {status.decode(): count for status, count in sorted(statuses.items())},
        "seconds": round(times.seconds, 3) if timed else None,
        "p50_seconds": _rounded(percentile(times.buckets, 0.5)),
        "p95_seconds": _rounded(percentile(times.buckets, 0.95)),
        "seconds_histogram": [[round(middle(bucket), 3), count] for bucket, count in sorted(times.buckets.items())],
        "cpu_seconds": round(times.cpu, 3) if times.with_cpu else None,
        "database_seconds": round(times.database, 3) if times.with_cpu else None,
    }


def _groups(tally: Tally, total: int, span: int) -> List[Dict[str, Any]]:
    """Requests by the types that may serve them, in order of preference: what any plan can be reckoned from."""
    found: Dict[Any, List[int]] = {}
    for number, row in enumerate(tally.classifier.rows):
        found.setdefault((row.types, row.only, AREA[row.area].resource), []).append(number)
    groups = []
    for (types, only, resource), numbers in found.items():
        load = _load(tally, numbers, total, span)
        if load["requests"]:
            del load["seconds_histogram"]
            groups.append({"types": list(types), "only": only, "resource": resource, **load})
    return sorted(groups, key=lambda group: -group["requests"])


def _endpoints(tally: Tally, total: int) -> List[Dict[str, Any]]:
    """Each method of each row that was asked, most asked first."""
    found: Dict[Any, Dict[bytes, int]] = {}
    for (method, number, status), count in tally.counts.items():
        if number >= 0:
            by_status = found.setdefault((method, number), {})
            by_status[status] = by_status.get(status, 0) + count
    entries = []
    for (method, number), statuses in found.items():
        row = tally.classifier.rows[number]
        times = tally.times.get((method, number)) or Times()
        requests = sum(statuses.values())
        entries.append(
            {
                "method": method.decode("latin-1"),
                "endpoint": row.path,
                "condition": row.query,
                "type": type_of(row),
                "requests": requests,
                "percent": _percent(requests, total),
                "statuses": {status.decode(): count for status, count in sorted(statuses.items())},
                "seconds": round(times.seconds, 3) if times.buckets else None,
                "p95_seconds": _rounded(percentile(times.buckets, 0.95)),
                "cpu_seconds": round(times.cpu, 3) if times.with_cpu else None,
                "database_seconds": round(times.database, 3) if times.with_cpu else None,
            }
        )
    return sorted(entries, key=lambda entry: (-entry["requests"], entry["endpoint"], entry["method"]))


def _unknown(tally: Tally) -> List[Dict[str, Any]]:
    ordered = sorted(tally.unknown.items(), key=lambda item: (-item[1], item[0]))
    return [{"method": method, "shape": shape, "requests": count} for (method, shape), count in ordered[:TOP]]


def _answered_by(tally: Tally, total: int) -> Dict[str, Dict[str, Any]]:
    """Requests by the process that answered, where the log says it; ``-`` is nginx itself."""
    found: Dict[str, int] = {}
    for (worker, key), count in tally.workers.items():
        if key[1] != ELSEWHERE:
            found[worker] = found.get(worker, 0) + count
    return {
        worker: {"requests": count, "percent": _percent(count, total)}
        for worker, count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    }


def _refused(tally: Tally) -> List[Dict[str, Any]]:
    """Requests that a worker answered with 404 or 405, most suspicious first.

    A single 404 may well be right (no such profile). A worker that never answers a kind of request with anything else most
    likely does not serve it: that is what ``always`` says.
    """
    answers: Dict[Any, List[int]] = {}
    for (worker, (method, number, status)), count in tally.workers.items():
        if worker in ("-", MAIN) or number == ELSEWHERE:
            continue
        entry = answers.setdefault((worker, method, number), [0, 0])
        entry[0] += count
        entry[1] += count if status in REFUSED else 0
    rows = tally.classifier.rows
    found = [
        {
            "worker": worker,
            "method": method.decode("latin-1"),
            "endpoint": rows[number].path if number >= 0 else "unknown",
            "sample": sample_of(rows[number].path) if number >= 0 else "",
            "requests": refused,
            "always": refused == answered,
        }
        for (worker, method, number), (answered, refused) in answers.items()
        if refused
    ]
    return sorted(found, key=lambda entry: (not entry["always"], -entry["requests"], entry["worker"], entry["endpoint"]))[:TOP]
