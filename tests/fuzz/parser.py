"""Synapse's own parser, for thousands of settings: one process, asked line by line. Runs in the environment of Synapse.

Reads lines of JSON, ``{"settings": folder, "server_name": name}``, and answers each with ``{"asked": processes that were parsed,
"refused": {process: reason}}``. What Synapse reads the same way each time (its own schemas, templates, the list of addresses nobody may
preview) is kept; nothing of a homeserver is.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import functools
import glob
import json
import os
import sys
from typing import Any

import jinja2
import jsonschema.validators
import synapse.config.cache
import synapse.config.oidc
import synapse.config.redis
import synapse.config.repository
import synapse.config.server
import yaml

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../roles/synapse/files"))
import validate_settings  # type: ignore[import-not-found]

# PyYAML in C, which reads the same.
yaml.safe_load = functools.partial(yaml.load, Loader=yaml.CSafeLoader)


class Compiled(jinja2.BytecodeCache):
    """Synapse's own templates, compiled once."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Any) -> None:
        """Jinja asks for a template's code."""
        if bucket.key in self.kept:
            bucket.bytecode_from_string(self.kept[bucket.key])

    def dump_bytecode(self, bucket: Any) -> None:
        """Jinja has compiled a template."""
        self.kept[bucket.key] = bucket.bytecode_to_string()


jinja2.Environment.__init__ = functools.partialmethod(jinja2.Environment.__init__, bytecode_cache=Compiled())  # type: ignore[method-assign,assignment]
# That Synapse's own schemas are schemas need not be said again each time.
jsonschema.validators.Draft202012Validator.check_schema = classmethod(lambda *_args, **_words: None)

_addresses = functools.cache(synapse.config.server.generate_ip_set)
synapse.config.server.generate_ip_set = lambda given, extra=None, config_path=None: _addresses(
    tuple(given) if given else None, tuple(extra) if extra else None, config_path
)
for module in (synapse.config.cache, synapse.config.oidc, synapse.config.redis, synapse.config.repository):
    module.check_requirements = functools.cache(module.check_requirements)


def main() -> None:
    for line in sys.stdin:
        wanted = json.loads(line)
        folder = wanted["settings"]
        shared = validate_settings.paths_of(folder)
        workers = sorted(path for path in glob.glob(f"{folder}/workers/*.yaml") if not path.endswith(".log.yaml"))
        refused = {}
        for path in ["", *workers]:
            reason = validate_settings.refusal([*shared, path] if path else shared, wanted["server_name"])
            if reason:
                refused[os.path.basename(path)[: -len(".yaml")] or "main"] = reason
        print(json.dumps({"asked": 1 + len(workers), "refused": refused}), flush=True)


if __name__ == "__main__":
    main()
