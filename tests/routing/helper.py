"""The helper with which requests wait, as a process of its own that gets its socket as from systemd."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "roles/nginx/files/hold.py"
# On a machine that is busy with other tests.
PATIENCE = 30.0


class Helper:
    """hold.py, with the socket that systemd would hand over."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hold.sock"
        self.closed = folder / "closed"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(4096)
        self.start()

    def start(self) -> None:
        # The shell's own number is that of the helper, which takes its place.
        words = 'exec 3<&"$0"; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
        number = str(self.listener.fileno())
        command = ["bash", "-c", words, number, sys.executable, "-IS", str(SCRIPT), "--closed", str(self.closed)]
        self.process = subprocess.Popen(command, pass_fds=[self.listener.fileno()], stderr=subprocess.PIPE)

    def stop(self) -> str:
        """What it had to say."""
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=PATIENCE)
        return err.decode()

    def close(self) -> None:
        """The end of it and of its socket."""
        self.process.kill()
        self.process.communicate()
        self.listener.close()
