"""A server to measure, made by tests/observe.bash, and what a download from it costs."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")


class Unavailable(Exception):
    """This machine has not got what a scenario needs; says what."""


@dataclass
class Way:
    """A way to run the server: the library's directives, None for without it; and the server's, for all hosts or not."""
    name: str
    library: tuple | None
    server: tuple
    server_alone: tuple = ()


class Server:
    """One server's directory. It is started anew for each way to run it."""

    def __init__(self):
        self.directory = Path(self.call("eval", 'server_create && echo "$server"').stdout.strip())
        self.files = self.directory / "files"

    def call(self, *words, stdout=subprocess.PIPE):
        script = 'set -euo pipefail; source "$0"; server=$1; "${@:2}"'
        directory = getattr(self, "directory", "")
        return subprocess.run(
            ["bash", "-c", script, PROJECT / "tests/observe.bash", directory, *words],
            stdin=subprocess.DEVNULL, stdout=stdout, text=True, check=True)

    def start(self, way):
        configuration = self.call("server_configuration", *way.server)
        (self.directory / "proftpd.conf").write_text("\n".join([configuration.stdout, *way.server_alone, ""]))
        (self.directory / "preload.conf").write_text(
            "\n".join(["TransferMMapLog none", *(way.library or [])]).format(files=self.files) + "\n")
        self.call("server_start", "plain" if way.library is None else "preloaded")

    def stop(self):
        self.call("server_stop")

    def remove(self):
        self.call("server_remove")

    def pid(self):
        return int((self.directory / "pid").read_text())

    def get(self, client, *arguments):
        """Download with one of the clients of tests/server.bash; what arrives is thrown away."""
        self.call(client, *arguments, stdout=subprocess.DEVNULL)

    def url(self, name):
        return self.call("ftp_url", name).stdout.strip()

    def session_seconds(self):
        """CPU time of the sessions that have ended, which the kernel adds to their master's account."""
        fields = Path(f"/proc/{self.pid()}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) / TICK

    @contextmanager
    def counting_calls(self):
        """Has the system calls of master and sessions counted; gives a function that says how many there were."""
        table = self.directory / "calls"
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", table, "-p", str(self.pid())],
                                  stderr=subprocess.PIPE, text=True)
        try:
            tracer.stderr.readline()  # "Process ... attached"
            yield lambda: int(table.read_text().splitlines()[-1].split()[3])  # of "total"
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()

    def await_end_of_sessions(self):
        children = Path(f"/proc/{self.pid()}/task/{self.pid()}/children")
        deadline = time.monotonic() + 30
        while children.read_text().strip():
            if time.monotonic() > deadline:
                raise RuntimeError("a session does not end")
            time.sleep(0.01)
