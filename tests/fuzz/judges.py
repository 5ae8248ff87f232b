"""Who says whether files are right: Synapse's parser, and nginx.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SYNAPSE = ROOT / ".venv-synapse/bin/python"
SECRETS = ("worker_replication_secret", "macaroon_secret_key", "form_secret", "registration_shared_secret", "redis_password")
# What stands for the homeserver.yaml of an operator whose base settings are not ours.
THEIRS = """\
server_name: {name!r}
report_stats: false
signing_key_path: {secrets}/signing.key
macaroon_secret_key_path: {secrets}/macaroon_secret_key
database: {{name: psycopg2, args: {{host: 10.9.9.9}}}}
redis: {{enabled: true, host: 10.9.9.9}}
"""


class Judges:
    """Both, with a folder to lay files out in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = folder / "secrets"
        self.secrets.mkdir(parents=True)
        for name in SECRETS:
            (self.secrets / name).write_text("secret")
        key = subprocess.run([SYNAPSE, "-m", "synapse._scripts.generate_signing_key"], capture_output=True, text=True, check=True)
        (self.secrets / "signing.key").write_text(key.stdout)
        self._certificate()
        command = [SYNAPSE, Path(__file__).with_name("parser.py")]
        self._parser = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._said: dict[str, dict[str, Any]] = {}
        self.parsed = 0
        """Processes that Synapse's parser was asked about."""
        self.distinct = 0
        """Configurations of nginx that ``nginx -t`` was asked about."""

    def close(self) -> None:
        """End the parser."""
        with self._parser as parser:
            assert parser.stdin
            parser.stdin.close()

    def _certificate(self) -> None:
        command: list[str | Path] = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=a",
        ]
        command += ["-keyout", self.folder / "a.key", "-out", self.folder / "a.pem"]
        subprocess.run(command, capture_output=True, check=True)

    def synapse(self, plan: dict[str, Any], files: dict[str, str]) -> dict[str, str]:
        """Process → why Synapse refuses to start it with these files of a host."""
        settings = plan["settings"]
        config_dir, secrets_dir = settings["config_dir"], settings["secrets_dir"]
        texts = {path[len(config_dir) + 1 :]: text.replace(f"{secrets_dir}/", f"{self.secrets}/") for path, text in files.items()
                 if path.startswith(f"{config_dir}/") and path.endswith(".yaml")}  # fmt: skip
        if not settings["base_settings_managed"] or "homeserver.yaml" not in texts:
            texts.setdefault("homeserver.yaml", THEIRS.format(name=plan["server_name"], secrets=self.secrets))
        said = self._known(texts)
        if said is None:
            home = self.folder / "settings"
            self._lay(home, texts)
            assert self._parser.stdin
            assert self._parser.stdout
            print(json.dumps({"settings": str(home), "server_name": plan["server_name"]}), file=self._parser.stdin, flush=True)
            said = self._said[self._digest(texts)] = json.loads(self._parser.stdout.readline())
            self.parsed += said["asked"]
        return dict(said["refused"])

    def nginx(self, plan: dict[str, Any], files: dict[str, str]) -> str:
        """Why nginx refuses these files of a host, or ''."""
        etc, root = "/etc/nginx/", self.folder / "nginx"
        texts = {path[len(etc) :]: text for path, text in files.items() if path.startswith(etc)}
        if not texts:
            return ""
        said = self._known(texts)
        if said is None:
            self._lay(root, {name: self._here(text, plan, root) for name, text in texts.items()})
            snippet = f"{root}/snippets/{plan['service']}.conf"
            own = "" if (root / "sites-enabled").exists() else f"server {{ listen unix:{root}/own.sock; include {snippet}; }}"
            (root / "nginx.conf").write_text(
                f"pid {root}/pid; error_log {root}/error.log;\nevents {{}}\n"
                f"http {{ include {root}/conf.d/*.conf; include {root}/sites-enabled/*; {own} }}\n"
            )
            program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
            assert program, "nginx is not installed; dev/test installs it"
            command: list[str | Path] = [program, "-t", "-c", root / "nginx.conf", "-e", root / "error.log"]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            said = self._said[self._digest(texts)] = {"refused": ended.stderr if ended.returncode else ""}
            self.distinct += 1
        return str(said["refused"])

    def _here(self, text: str, plan: dict[str, Any], root: Path) -> str:
        """As if ``root`` were the folder of nginx: it opens its logs and its ports even when it only tests."""
        settings = plan["settings"]
        for path, here in (
            (settings["nginx_access_log"], f"{root}/access.log"),
            (settings["tls_certificate_path"], f"{self.folder}/a.pem"),
            (settings["tls_certificate_key_path"], f"{self.folder}/a.key"),
        ):
            if path:
                text = re.sub(rf"(?<= ){re.escape(path)}(?=[ ;])", here, text)
        text = text.replace("/etc/nginx/", f"{root}/")
        # Each place to listen at is a socket file here: any port may be in use on this machine.
        return re.sub(r"(?m)^(\s*listen )(\S+?)(?=[ ;])", lambda found: f"{found[1]}unix:{root}/{re.sub('[^0-9.]', '_', found[2])}.sock"
                      if re.fullmatch(r"(?:\[::\]:|127\.0\.0\.1:)?[0-9]{1,5}", found[2]) else found[0], text)  # fmt: skip

    def _lay(self, root: Path, texts: dict[str, str]) -> None:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for name, text in texts.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def _known(self, texts: dict[str, str]) -> dict[str, Any] | None:
        return self._said.get(self._digest(texts))

    @staticmethod
    def _digest(texts: dict[str, str]) -> str:
        return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()
