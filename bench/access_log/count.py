#!/usr/bin/env python3
"""Counts a log as the module does, without Ansible around it: what ``bench/access_log/run.py`` measures.

bench/access_log/count.py FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / ".cache" / "collections")]

from ansible_collections.synapse.workers.plugins.module_utils._access_log import Classifier, Tally  # noqa: E402
from ansible_collections.synapse.workers.plugins.module_utils._access_summary import summary  # noqa: E402
from ansible_collections.synapse.workers.plugins.module_utils._log_formats import by_name  # noqa: E402
from ansible_collections.synapse.workers.plugins.module_utils._log_reading import count  # noqa: E402

tally = Tally(Classifier())
count(sys.argv[1], tally, by_name("auto"))
print(json.dumps(summary(tally)))
