"""What the access log told, to be read: a table for the terminal, and the numbers of the plots of a page.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

BAR = 24
"""Characters of the longest bar in the terminal."""
COLOURED = 5
"""Types with a colour of their own in the plot by hour; all others share one."""
DAYS_FROM = 14 * 24
"""From this many hours on the plot is by day."""
NAMED_ENDPOINTS = 20
OUTWEIGHS = 60
"""Percent from which on a type is left out in a second plot by hour."""


def number(value: float) -> str:
    """``1234567`` → ``1,234,567``."""
    return f"{value:,.0f}"


def percent(value: float) -> str:
    """One decimal, and never 0.0 for what is there."""
    return "< 0.1 %" if 0 < value < 0.05 else f"{value:.1f} %"


def seconds(value: float | None) -> str:
    """``0.0123`` → ``12 ms``, ``28.4`` → ``28 s``; '' for what is not known."""
    if value is None:
        return ""
    if value < 1:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def duration(value: float | None) -> str:
    """A sum of times: ``563 h``, ``36 min``, ``12 s``; '' for what is not known."""
    if value is None:
        return ""
    for unit, size in (("h", 3600), ("min", 60)):
        if value >= 2 * size:
            return f"{value / size:,.0f} {unit}"
    return f"{value:.0f} s"


def bar_of(share: float, width: int = BAR) -> str:
    """A bar of eighths of a character; ``share`` is 0 to 1."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    if share > 0 and not eighths:
        eighths = 1
    return "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")


def _rows(counted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry per worker type, then what stays on the main process."""
    found = [{"name": name, **entry} for name, entry in counted["worker_types"].items()]
    found.sort(key=lambda row: (-row["requests"], row["name"]))
    total = counted["total"]
    for name, count in (("only main", counted["main_only"]), ("unknown", counted["unknown"])):
        if count:
            found.append({"name": name, "requests": count, "percent": 100.0 * count / total if total else 0.0})
    return found


def _period(counted: Mapping[str, Any]) -> str:
    first, last = counted["first"].replace("T", " "), counted["last"].replace("T", " ")
    if not first:
        return "the log says no times"
    return f"{first[:16]} to {last[11:16] if first[:10] == last[:10] else last[:16]}"


def _busiest(counted: Mapping[str, Any]) -> str:
    hours = counted["hours"]
    return max(hours, key=lambda hour: (hours[hour], hour)).replace("T", " ") + ":00" if hours else ""


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Aligned columns; those named in ``left`` begin at the left. Columns without any text are left out."""
    kept = [column for column in range(len(head)) if any(row[column] for row in rows)]
    widths = {column: max(len(row[column]) for row in [head, *rows]) for column in kept}
    lines = []
    for row in [head, *rows]:
        cells = [row[column].ljust(widths[column]) if column in left else row[column].rjust(widths[column]) for column in kept]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "─" * max(map(len, lines)), *lines[1:]]


def table(counted: Mapping[str, Any]) -> list[str]:
    """The counts as lines for a terminal."""
    total = counted["total"]
    busiest = f"; busiest hour {_busiest(counted)}, {counted['peak_rate']:.1f} a second" if counted["hours"] else ""
    lines = [f"{number(total)} requests of the Matrix API, {_period(counted)}{busiest}"]
    rows = []
    for row in _rows(counted):
        rows.append(
            [
                row["name"],
                number(row["requests"]),
                percent(row["percent"]),
                f"{row['peak_rate']:.1f}" if row.get("peak_rate") is not None and counted["hours"] else "",
                duration(row.get("seconds")),
                seconds(row.get("p95_seconds")),
                percent(row["cpu_percent"]) if row.get("cpu_percent") is not None else "",
                bar_of(row["requests"] / total if total else 0),
            ]
        )
    head = ["worker type", "requests", "share", "peak/s", "all time", "p95", "CPU", ""]
    lines += ["", *_grid(head, rows, (0, 7))]
    notes = []
    if counted["malformed"]:
        notes.append(f"{number(counted['malformed'])} lines hold no request")
    if counted["elsewhere"]:
        notes.append(f"{number(counted['elsewhere'])} requests were not for the Matrix API")
    if counted["outside_window"]:
        notes.append(f"{number(counted['outside_window'])} lie outside of the time asked for")
    if notes:
        lines += ["", "Not counted: " + "; ".join(notes) + "."]
    if counted["unknown_shapes"]:
        lines += ["", "No worker is known for:"]
        lines += _grid(
            ["requests", "method", "path"],
            [[number(shape["requests"]), shape["method"], shape["shape"]] for shape in counted["unknown_shapes"][:8]],
            (1, 2),
        )
    if counted["answered_by"]:
        lines += ["", "Who answered:"]
        lines += _grid(
            ["process", "requests", "share", ""],
            [
                [
                    name if name != "-" else "nginx itself",
                    number(row["requests"]),
                    percent(row["percent"]),
                    bar_of(row["percent"] / 100),
                ]
                for name, row in list(counted["answered_by"].items())[:20]
            ],
            (0, 3),
        )
    never = [row for row in counted["refused_by_workers"] if row["always"]]
    if never:
        lines += ["", "Answered with nothing but 404 or 405, so most likely asked of the wrong process:"]
        lines += _grid(
            ["requests", "worker", "method", "endpoint"],
            [[number(row["requests"]), row["worker"], row["method"], row["endpoint"]] for row in never[:8]],
            (1, 2, 3),
        )
    return lines


def share_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The counts for a plan of some types, as lines for a terminal."""
    body = [[row["type"], number(row["requests"]), f"{row['percent']:.2f} %", bar_of(row["percent"] / 100)] for row in rows]
    total = sum(row["requests"] for row in rows)
    return _grid(["worker", "requests", "share", ""], [*body, ["total", number(total), "100.00 %" if total else "", ""]], (0, 3))


# --- The page ----------------------------------------------------------------------------------------------------------------


def page(counted: Mapping[str, Any], advice: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Everything the page shows, as text and as numbers from 0 to 100; the template only lays it out.

    ``advice``: a recommendation, for the plot of what it would bring about.
    """
    rows = _rows(counted)
    longest = max((row["requests"] for row in rows), default=1)
    coloured = [row["name"] for row in rows if row["name"] in counted["worker_types"]][:COLOURED]
    colours = {name: place + 1 for place, name in enumerate(coloured)}
    # One type may be so much of the log that the others need a plot of their own to be seen.
    heavy = [name for name in coloured[:1] if len(coloured) > 1 and counted["worker_types"][name]["percent"] > OUTWEIGHS]
    return {
        "facts": _facts(counted),
        "period": _period(counted),
        "types": [
            {
                "name": row["name"],
                "colour": colours.get(row["name"], 0),
                "requests": number(row["requests"]),
                "percent": percent(row["percent"]),
                "width": round(100 * row["requests"] / longest, 2),
                **_figures(row, counted),
            }
            for row in rows
        ],
        "columns": [
            {"key": key, "title": title}
            for key, title in (
                ("peak", "peak/s"),
                ("time", "all together"),
                ("p95", "p95"),
                ("cpu", "CPU"),
                ("database", "database"),
            )
            if any(_figures(row, counted)[key] for row in rows)
        ],
        "effect": _effect(advice) if advice else {"rows": [], "core": 0},
        "hours": _hours(counted, colours),
        "rest": _hours(counted, colours, heavy) if heavy else None,
        "heavy": heavy,
        "latency": _latency(counted, colours),
        "endpoints": [
            {
                "method": row["method"],
                "endpoint": row["endpoint"] + (f"  ({row['condition'].replace('_', ' ')})" if row["condition"] else ""),
                "type": row["type"],
                "requests": number(row["requests"]),
                "percent": percent(row["percent"]),
                "p95": seconds(row["p95_seconds"]),
                "failed": _failed(row["statuses"]),
            }
            for row in counted["endpoints"][:NAMED_ENDPOINTS]
        ],
        "unknown": [{**row, "requests": number(row["requests"])} for row in counted["unknown_shapes"]],
        "answered_by": [
            {
                "name": name if name != "-" else "nginx itself",
                "requests": number(row["requests"]),
                "percent": percent(row["percent"]),
            }
            for name, row in counted["answered_by"].items()
        ],
        "refused": [{**row, "requests": number(row["requests"])} for row in counted["refused_by_workers"] if row["always"]],
        "malformed": [*counted["malformed_samples"]],
        "files": [{**file, "bytes": _bytes(file["bytes"]), "requests": number(file["requests"])} for file in counted["files"]],
    }


def _figures(row: Mapping[str, Any], counted: Mapping[str, Any]) -> dict[str, str]:
    """What a row says beside its count; '' for what the log does not know."""
    return {
        "peak": f"{row['peak_rate']:.1f}" if row.get("peak_rate") is not None and counted["hours"] else "",
        "time": duration(row.get("seconds")),
        "p95": seconds(row.get("p95_seconds")),
        "cpu": percent(row["cpu_percent"]) if row.get("cpu_percent") is not None else "",
        "database": duration(row.get("database_seconds")),
    }


def _effect(advice: Mapping[str, Any]) -> dict[str, Any]:
    """How busy the processes are in the busiest hour, without the workers and with them: bars, and where a whole core is."""
    effect = advice["effect"]
    bars = [("main process today", effect["main_busy_percent_before"], 0)]
    if advice["pools"]:
        bars.append(("main process then", effect["main_busy_percent_after"], 0))
    for pool in advice["pools"]:
        name = pool["types"][0] if len(pool["types"]) == 1 else "writers"
        bars.append((f"{name}, each of {pool['count']}" if pool["count"] > 1 else name, pool["busy_percent_each"], 1))
    full = max(100.0, *(busy for _name, busy, _colour in bars))
    return {
        "rows": [
            {"name": name, "text": percent(busy), "width": round(100 * busy / full, 2), "colour": c} for name, busy, c in bars
        ],
        "core": round(10_000 / full, 2),
    }


def _failed(statuses: Mapping[str, int]) -> str:
    """Share of answers from 500 on."""
    failed = sum(count for status, count in statuses.items() if status >= "500")
    return percent(100.0 * failed / sum(statuses.values())) if failed else ""


def _bytes(value: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _facts(counted: Mapping[str, Any]) -> list[dict[str, str]]:
    facts = [{"label": "requests", "value": number(counted["total"])}]
    if counted["hours"]:
        facts.append(
            {"label": f"a second at {_busiest(counted)[11:]}, the busiest hour", "value": f"{counted['peak_rate']:,.1f}"}
        )
    top = max(counted["worker_types"].items(), key=lambda item: item[1]["requests"], default=None)
    if top:
        facts.append({"label": f"are for {top[0]}", "value": percent(top[1]["percent"])})
    on_main = counted["main_only"] + counted["unknown"]
    facts.append(
        {"label": "only main can serve", "value": percent(100.0 * on_main / counted["total"] if counted["total"] else 0)}
    )
    return facts


def _steps(highest: float) -> float:
    """A round distance of grid lines: three to five of them below the highest value."""
    if highest <= 0:
        return 1
    power = 10 ** math.floor(math.log10(highest / 3))
    return next(power * factor for factor in (1, 2, 5, 10) if highest / (power * factor) < 5)


def _short(value: float) -> str:
    """``1500`` → ``1.5 k``, for a grid line."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def _slots(hours: Iterable[str]) -> list[str]:
    """Every hour from the first to the last, those without a request too; every day when there are many."""
    first, last = datetime.fromisoformat(min(hours)), datetime.fromisoformat(max(hours))
    count = int((last - first).total_seconds()) // 3600 + 1
    if count <= DAYS_FROM:
        return [(first + timedelta(hours=number)).isoformat()[:13] for number in range(count)]
    return [(first + timedelta(days=number)).isoformat()[:10] for number in range((last.date() - first.date()).days + 1)]


def _hours(counted: Mapping[str, Any], colours: Mapping[str, int], without: Sequence[str] = ()) -> dict[str, Any]:
    """Bars by hour, or by day when there are many: each a stack of types, in percent of the plot's width and height.

    ``without``: types that are left out.
    """
    if not counted["hours"]:
        return {"bars": [], "grid": [], "legend": [], "labels": [], "unit": ""}
    coloured = [name for name in colours if name not in without]
    totals = dict.fromkeys(_slots(counted["hours"]), 0)
    width = len(next(iter(totals)))
    for hour, count in counted["hours"].items():
        totals[hour[:width]] += count - sum(counted["worker_types"][name]["hours"].get(hour, 0) for name in without)
    parts: dict[str, dict[str, int]] = {}
    for name in coloured:
        for hour, count in counted["worker_types"][name]["hours"].items():
            entry = parts.setdefault(hour[:width], {})
            entry[name] = entry.get(name, 0) + count
    highest = max(totals.values())
    step = _steps(highest)
    top = step * math.ceil(highest / step)
    slot = 100 / len(totals)
    gap = min(0.2, 0.2 * slot) if len(totals) > 60 else 0.16 * slot
    bars, labels = [], []
    every = max(1, math.ceil(len(totals) / 8))
    for place, (when, count) in enumerate(totals.items()):
        low, segments = 0.0, []
        stack = [(name, colours[name], parts.get(when, {}).get(name, 0)) for name in coloured]
        stack.append(("others", 0, count - sum(part for _name, _colour, part in stack)))
        for name, colour, part in stack:
            if part > 0:
                high = 100 * part / top
                segments.append(
                    {
                        "y": round(100 - low - high, 3),
                        "height": round(high, 3),
                        "colour": colour,
                        "name": name,
                    }
                )
                low += high
        title = f"{when.replace('T', ' ')}{':00' if width == 13 else ''}: {number(count)}"
        bars.append({"x": round(place * slot + gap, 3), "width": round(slot - 2 * gap, 3), "segments": segments, "title": title})
        if place % every == 0:
            labels.append({"x": round(place * slot, 3), "text": _when(when)})
    lines = round(top / step)
    return {
        "bars": bars,
        "labels": labels,
        "grid": [{"y": round(100 - 100 * line / lines, 3), "text": _short(step * line)} for line in range(lines + 1)],
        "legend": [{"name": name, "colour": colours[name]} for name in coloured]
        + ([{"name": "others", "colour": 0}] if len(counted["worker_types"]) > len(colours) or counted["main_only"] else []),
        "unit": "day" if width == 10 else "hour",
    }


def _when(text: str) -> str:
    """``2026-11-23T10`` → ``10:00``, ``2026-11-23`` → ``23 Nov``."""
    if len(text) == 13:
        return f"{text[11:]}:00"
    return datetime.fromisoformat(text).strftime("%d %b")


def _latency(counted: Mapping[str, Any], colours: Mapping[str, int]) -> dict[str, Any]:
    """For each type half and nineteen of twenty answers, on a logarithmic scale from a millisecond to what is needed."""
    rows = [
        {"name": name, **entry}
        for name, entry in counted["worker_types"].items()
        if entry["p95_seconds"] is not None and entry["requests"]
    ]
    if not rows:
        return {"rows": [], "grid": []}
    rows.sort(key=lambda row: (-row["requests"], row["name"]))
    slowest = max(row["p95_seconds"] for row in rows)
    decades = max(2, math.ceil(math.log10(max(slowest, 0.001) * 1000) + 1e-9))

    def place(value: float) -> float:
        return round(100 * math.log10(max(value, 0.001) * 1000) / decades, 2)

    return {
        "rows": [
            {
                "name": row["name"],
                "colour": colours.get(row["name"], 0),
                "half": place(row["p50_seconds"]),
                "most": place(row["p95_seconds"]),
                "text": f"{seconds(row['p50_seconds'])} · {seconds(row['p95_seconds'])}",
            }
            for row in rows
        ],
        "grid": [
            {"x": round(100 * power / decades, 2), "text": f"{10 ** (power - 3):g} s" if power > 2 else f"{10**power} ms"}
            for power in range(decades + 1)
        ],
    }
