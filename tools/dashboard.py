"""The Grafana dashboard of the role ``prometheus``: one question a panel, each by process or by worker type.

Metrics are those of Synapse 1.163.2 (``synapse/http/request_metrics.py``, ``synapse/metrics``); a test asks a Prometheus that has
scraped real processes for every expression.
"""

from __future__ import annotations

import json
from typing import Any

OURS = 'instance="$instance"'

# title, what it says, unit, width of 24, [(expression, legend)]
Panel = tuple[str, str, str, int, list[tuple[str, str]]]

PANELS: dict[str, list[Panel]] = {
    "Who is near the limit": [
        (
            "How busy each process is",
            "A process can use one core and no more: from 80 % on, its requests wait for each other.",
            "percentunit",
            16,
            [(f"rate(process_cpu_seconds_total{{{OURS}}}[$__rate_interval])", "{{process}}")],
        ),
        (
            "What the main process does itself",
            "Its share of the CPU time of all processes: what workers do, it need not.",
            "percentunit",
            8,
            [
                (
                    f'sum(rate(process_cpu_seconds_total{{{OURS}, job="master"}}[$__rate_interval])) '
                    f"/ sum(rate(process_cpu_seconds_total{{{OURS}}}[$__rate_interval]))",
                    "main",
                )
            ],
        ),
        (
            "How busy each worker type is",
            "The mean of its workers. Another worker helps where all are busy.",
            "percentunit",
            16,
            [(f"avg by (job) (rate(process_cpu_seconds_total{{{OURS}}}[$__rate_interval]))", "{{job}}")],
        ),
        ("Processes that answer", "Of those that the plan names.", "short", 8, [(f"sum by (job) (up{{{OURS}}})", "{{job}}")]),
    ],
    "Requests": [
        (
            "Requests by worker type",
            "Answered per second.",
            "reqps",
            12,
            [(f"sum by (job) (rate(synapse_http_server_response_count_total{{{OURS}}}[$__rate_interval]))", "{{job}}")],
        ),
        (
            "Slowest twentieth, without long-polls",
            "95 of 100 requests were faster than this.",
            "s",
            12,
            [
                (
                    "histogram_quantile(0.95, sum by (le, job) (rate(synapse_http_server_response_time_seconds_bucket"
                    f'{{{OURS}, servlet!~".*Sync.*|EventStream.*", tag!~".*sync"}}[$__rate_interval])))',
                    "{{job}}",
                )
            ],
        ),
        (
            "Requests of synchrotrons, each",
            "They keep a user on one worker, so one may have more to do than another.",
            "reqps",
            12,
            [
                (
                    f'sum by (process) (rate(synapse_http_server_response_count_total{{{OURS}, job=~".*synchrotron"}}[$__rate_interval]))',
                    "{{process}}",
                )
            ],
        ),
        (
            "Requests under way",
            "Long-polls of synchrotrons are most of them.",
            "short",
            12,
            [(f"sum by (process) (synapse_http_server_in_flight_requests_count{{{OURS}}})", "{{process}}")],
        ),
    ],
    "Behind the scenes": [
        ("Memory", "Resident, by process.", "bytes", 12, [(f"process_resident_memory_bytes{{{OURS}}}", "{{process}}")]),
        (
            "Waiting for a database connection",
            "Mean wait. When it grows, PostgreSQL is slow or the pool of the process too small.",
            "s",
            12,
            [
                (
                    f"rate(synapse_storage_schedule_time_sum{{{OURS}}}[$__rate_interval]) "
                    f"/ rate(synapse_storage_schedule_time_count{{{OURS}}}[$__rate_interval])",
                    "{{process}}",
                )
            ],
        ),
        (
            "Events written",
            "By event persisters, or by main.",
            "ops",
            12,
            [(f"rate(synapse_storage_events_persisted_events_total{{{OURS}}}[$__rate_interval])", "{{process}}")],
        ),
        (
            "How far behind",
            "Sending to other servers, bridges and phones.",
            "ms",
            12,
            [(f"synapse_event_processing_lag{{{OURS}}}", "{{name}} in {{process}}")],
        ),
    ],
}


def dashboard(limit: float) -> str:
    """The dashboard, as Grafana imports it. ``limit``: share of a core from which on a process is near what it can do."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels: list[dict[str, Any]] = []
    y = 0
    for title, members in PANELS.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _place(0, y, 24, 1)})
        y, x = y + 1, 0
        for name, words, unit, width, queries in members:
            if x + width > 24:
                y, x = y + 8, 0
            panels.append(
                {
                    "type": "timeseries",
                    "title": name,
                    "description": words,
                    "datasource": source,
                    "gridPos": _place(x, y, width, 8),
                    "fieldConfig": {"defaults": _field(unit, limit), "overrides": []},
                    "options": {
                        "legend": {"displayMode": "table", "placement": "right", "calcs": ["mean", "max"], "showLegend": True},
                        "tooltip": {"mode": "multi", "sort": "desc"},
                    },
                    "targets": [
                        {"refId": chr(65 + number), "expr": expression, "legendFormat": legend, "datasource": source}
                        for number, (expression, legend) in enumerate(queries)
                    ],
                }
            )
            x += width
        y += 8
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    board = {
        "title": "Synapse workers",
        "uid": "synapse-workers",
        "tags": ["synapse", "matrix"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                {
                    "name": "instance",
                    "label": "homeserver",
                    "type": "query",
                    "datasource": source,
                    "query": {"query": "label_values(synapse_build_info, instance)", "refId": "instance"},
                    "refresh": 2,
                    "sort": 1,
                },
            ]
        },
        "annotations": {"list": []},
        "panels": panels,
    }
    return json.dumps(board, indent=2) + "\n"


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _field(unit: str, limit: float) -> dict[str, Any]:
    field: dict[str, Any] = {"unit": unit, "min": 0, "custom": {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never"}}
    if unit == "percentunit":
        field["max"] = 1
        field["thresholds"] = {"mode": "absolute", "steps": [{"color": "green", "value": None}, {"color": "red", "value": limit}]}
        field["custom"]["thresholdsStyle"] = {"mode": "line"}
    return field
