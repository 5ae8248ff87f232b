"""What Prometheus is told: everyone, with labels that tell all processes apart."""

from __future__ import annotations

from typing import Any

from ansible_collections.synapse.workers.plugins.plugin_utils._prometheus import prometheus_rules, prometheus_targets
from hypothesis import given

from .plans import good_plan, lists_of_rows


def test_a_process_has_the_labels_of_synapse_s_own_dashboard() -> None:
    found = prometheus_targets(good_plan({"type": "synchrotron", "host": "app2"}, prometheus_host="app1"))
    assert found == [
        {
            "targets": ["127.0.0.1:21000"],
            "labels": {"instance": "example.org", "job": "master", "index": "1", "process": "main", "host": "app1"},
        },
        {
            "targets": ["10.0.0.2:21100"],
            "labels": {
                "instance": "example.org",
                "job": "synchrotron",
                "index": "app2-1",
                "process": "synchrotron-app2-1",
                "host": "app2",
            },
        },
    ]


@given(lists_of_rows())
def test_no_two_processes_look_alike_or_share_an_address(rows: list[dict[str, Any]]) -> None:
    plan = good_plan(*rows, prometheus_host="app1")
    found = prometheus_targets(plan)
    assert len({tuple(entry["targets"]) for entry in found}) == len(found) == len(plan["workers"]) + 1
    assert len({tuple(entry["labels"][name] for name in ("instance", "job", "index")) for entry in found}) == len(found)


def test_nobody_is_asked_who_has_no_metrics() -> None:
    assert prometheus_targets(good_plan({"type": "synchrotron"}, metrics=False)) == []


def test_every_alert_says_what_to_do() -> None:
    (group,) = prometheus_rules(good_plan({"type": "synchrotron"}))["groups"]
    for rule in group["rules"]:
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert "instance='example.org'" in rule["expr"]
