"""What Prometheus has to know of a homeserver: whom to ask, and what to wake somebody for.

The labels are those that Synapse's own dashboard expects: ``instance`` is the homeserver, ``job`` the kind of process and
``index`` which one of them (Synapse 1.163.2, ``docs/metrics-howto.md``; the dashboard is ``contrib/grafana/synapse.json``).

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from typing import Any

from ..module_utils._endpoints import MAIN
from ._status import NEAR_THE_LIMIT

# What Synapse's documentation calls the job of the main process.
MAIN_JOB = "master"


def prometheus_targets(topology: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry per process for Prometheus' ``file_sd_configs``.

    Returns:
        A list of ``targets`` (a list of one ``address:port``) and ``labels``: ``instance``, ``job``, ``index``, and ``process`` (its
        name, as in systemd and in nginx's log) and ``host``. Processes without a metrics listener are left out.
    """
    entries = []
    for process in [topology[MAIN], *topology["workers"]]:
        if not process["metrics"]:
            continue
        entries.append(
            {
                "targets": [_address(process["metrics"])],
                "labels": {
                    "instance": topology["server_name"],
                    "job": MAIN_JOB if process["name"] == MAIN else _row_name(process),
                    "index": "1" if process["name"] == MAIN else process["name"].partition("-")[2],
                    "process": process["name"],
                    "host": process["host"],
                },
            }
        )
    return entries


def prometheus_rules(topology: dict[str, Any]) -> dict[str, Any]:
    """Alert rules of a homeserver, as Prometheus' ``rule_files`` have them.

    Every rule says what to do. The thresholds are those of the playbook ``status``.
    """
    ours = f"instance='{topology['server_name']}'"
    lag, last = f"synapse_event_processing_lag{{{ours}}}", f"synapse_event_processing_last_ts{{{ours}}}"
    # How many there are now, asked when the alert fires.
    count = (
        f"""{{{{ with printf "count(up{{{ours}, job='%s'}})" $labels.job | query }}}}{{{{ . | first | value }}}}{{{{ end }}}}"""
    )
    return {
        "groups": [
            {
                "name": f"synapse-workers {topology['server_name']}",
                "rules": [
                    _rule(
                        "SynapseProcessDown",
                        f"up{{{ours}}} == 0",
                        "1m",
                        "critical",
                        "{{ $labels.process }} on {{ $labels.host }} does not answer",
                        f"journalctl -u on that host says why: {topology['service']}.service is main, "
                        f"{topology['service']}-worker@NAME.service a worker. synapse.workers.roll_out starts what does not run.",
                    ),
                    _rule(
                        "SynapseProcessRestarts",
                        f"changes(process_start_time_seconds{{{ours}}}[30m]) > 3",
                        "0m",
                        "warning",
                        "{{ $labels.process }} on {{ $labels.host }} was started {{ $value }} times in half an hour",
                        "Its journal says why it ends.",
                    ),
                    _rule(
                        "SynapseMainNearItsLimit",
                        f"rate(process_cpu_seconds_total{{{ours}, job='{MAIN_JOB}'}}[1h]) > {NEAR_THE_LIMIT}",
                        "15m",
                        "warning",
                        "The main process kept {{ $value | humanizePercentage }} of a core busy for an hour",
                        "It can use one core and no more. synapse.workers.analyse_access_log says which workers would relieve it.",
                    ),
                    _rule(
                        "SynapseWorkersNearTheirLimit",
                        f"avg by (instance, job) (rate(process_cpu_seconds_total{{{ours}, job!='{MAIN_JOB}'}}[1h])) > {NEAR_THE_LIMIT}",
                        "15m",
                        "warning",
                        "{{ $labels.job }} workers kept {{ $value | humanizePercentage }} of a core busy each, for an hour",
                        "Raise count in the row of synapse_workers, where the type may have several, and run synapse.workers.roll_out; "
                        f"there are {count} of them now.",
                    ),
                    _rule(
                        "SynapseProcessingLags",
                        # Where nothing happens, the last lag stands for ever.
                        f"{lag} > 60000 and on (process, name) time() * 1000 - {last} < 600000",
                        "5m",
                        "warning",
                        "{{ $labels.name }} in {{ $labels.process }} is {{ $value | humanize }} ms behind",
                        "What other servers, bridges or phones are told comes late. More of these workers, or a faster database, help.",
                    ),
                ],
            }
        ]
    }


def _rule(name: str, expression: str, lasts: str, severity: str, summary: str, what_to_do: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": lasts,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": what_to_do},
    }


def _address(listen: dict[str, Any]) -> str:
    address = f"[{listen['address']}]" if ":" in listen["address"] else listen["address"]
    return f"{address}:{listen['port']}"


def _row_name(process: dict[str, Any]) -> str:
    """The type, or the name that the row gives its workers."""
    return str(process["name"].partition("-")[0])
