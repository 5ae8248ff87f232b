"""Writes for each task what came of it and what it cost, one line of JSON each, to the file that ``ACCOUNT`` names.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import json
import os
import resource
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: account
type: notification
short_description: Count results and CPU seconds of tasks
description:
  - For the bench of the roll-out. The file is named by the environment variable E(ACCOUNT).
"""


def cpu() -> float:
    """CPU seconds of this process and of all children that have ended, those of modules on this machine included."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """One line per task, written when the next one begins."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "account"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.path = os.environ.get("ACCOUNT", "")
        self.disabled = not self.path
        self.task: dict[str, Any] = {}
        self.began = 0.0

    def _close(self) -> None:
        now = cpu()
        if self.task:
            self.task["cpu"] = round(now - self.began, 4)
            with open(self.path, "a") as stream:
                stream.write(json.dumps(self.task) + "\n")
        self.began = now

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._close()
        self.task = {"name": "before the first task", "action": "", "results": 0, "skipped": 0}

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._close()
        self.task = {"name": task.get_name(), "action": task.action, "results": 0, "skipped": 0}

    def _count(self, result: Any) -> None:
        found = result._result.get("results") if result._task.loop is not None else None
        for one in found if isinstance(found, list) else [result._result]:
            self.task["skipped" if one.get("skipped") else "results"] += 1

    def v2_runner_on_ok(self, result: Any) -> None:
        self._count(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._count(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._count(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._close()
