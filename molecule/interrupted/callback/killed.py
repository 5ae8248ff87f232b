"""Ends a run of Ansible as ``kill -9`` does, at a chosen task; or writes down the tasks of a run that is left alone.

Only for tests. By the environment:

``KILLED_RECORD``  a file: a line of JSON for each task that came to an end
``KILLED_TASK``    name of a task, and after ``#`` which one of that name (1 unless said)
``KILLED_AFTER``   seconds after the task has begun on its first host; nothing of it has happened before
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: killed
type: aggregate
short_description: ends a run at a chosen task
description: For tests only.
"""


def die() -> None:
    """This process and its forks; whoever starts such a run gives it a process group of its own."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "killed"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, display=None):
        super().__init__(display)
        self._seen = Counter()
        self._record = os.environ.get("KILLED_RECORD", "")
        name, _, number = os.environ.get("KILLED_TASK", "").partition("#")
        self._point = (name, int(number or 1))
        self._seconds = float(os.environ.get("KILLED_AFTER", "0"))
        self._began = 0.0
        self._now = ""

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._now = task.name
        self._seen[self._now] += 1

    def v2_runner_on_start(self, host, task):
        self._began = time.monotonic()
        if (self._now, self._seen[self._now]) != self._point:
            return
        if not self._seconds:
            die()
        threading.Timer(self._seconds, die).start()

    def v2_runner_on_ok(self, result):
        if self._record:
            entry = {
                "task": f"{self._now}#{self._seen[self._now]}",
                "module": result._task.action,
                "changed": result.is_changed(),
                "seconds": round(time.monotonic() - self._began, 1),
            }
            with open(self._record, "a") as stream:
                stream.write(json.dumps(entry) + "\n")
