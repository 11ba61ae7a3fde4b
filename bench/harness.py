"""A server to measure, made by tests/observe.bash, and what a session of it costs."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
ACCOUNT = "visitor"


class Unavailable(Exception):
    """This machine lacks something that a scenario needs; the message names it."""


def must(*command):
    """Return a command's output. If it is missing or fails, the scenario can't be measured."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"{' '.join(command)}: {getattr(error, 'stderr', None) or error}".strip()) from error


@dataclass(frozen=True)
class Way:
    """A way to run the server: the library's directives, None for without it; and the server's, for all hosts or not.
    With a peer it is another server, of the same distribution."""
    name: str
    library: tuple | None = None
    server: tuple = ("UseSendfile off",)
    server_alone: tuple = ()
    forced: str = ""  # XFERMMAP_WAY
    peer: type | None = None


def children(pid):
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:  # it has exited
        return []


class Server:
    """One server's directory. It is started anew for each way to run it."""

    def __init__(self, place):
        self.place = place
        self.directory = Path(self.call("eval", 'server_create && echo "$server"').stdout.strip())
        self.files = self.directory / "files"
        if place.address:
            (self.directory / "address").write_text(place.address + "\n")

    def call(self, *words, forced=""):
        script = 'set -euo pipefail; source "$0"; server=$1; "${@:2}"'
        directory = getattr(self, "directory", "")
        return subprocess.run(
            ["bash", "-c", script, PROJECT / "tests/observe.bash", directory, *words], env=os.environ | {"XFERMMAP_WAY": forced},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)

    def start(self, way):
        self.peer = way.peer and way.peer(self.directory, self.files)
        if self.peer:
            self.await_peer()
            return
        configuration = self.call("server_configuration", *way.server)
        (self.directory / "proftpd.conf").write_text("\n".join([*way.server_alone, configuration.stdout, ""]))
        (self.directory / "preload.conf").write_text(
            "\n".join(["TransferMMapLog none", f"TransferMMapStatusFile {self.directory}/status", *(way.library or [])])
            .format(files=self.files) + "\n")
        self.call("server_start", "plain" if way.library is None else "preloaded", forced=way.forced)

    def await_peer(self):
        try:
            self.call("server_await", "server_is_up")
        except subprocess.CalledProcessError as error:
            self.peer.stop()
            raise Unavailable(f"it does not start: {(self.directory / 'log').read_text()}") from error

    def stop(self):
        if self.peer:
            self.peer.stop()
        else:
            self.call("server_stop")

    def remove(self):
        self.call("server_remove")

    def pid(self):
        return self.peer.process.pid if self.peer else int((self.directory / "pid").read_text())

    def client(self, way, protocol, names):
        """Start a client: bench/client.py. It waits for a line of input, and a line of its output reports progress."""
        if protocol == "sftp":
            self.call("eval", 'ssh-keygen -e -f "$server/key.pem" >"$server/authorized_keys"')
        port = (self.directory / f"{'s' * (protocol == 'sftp')}ftp_port").read_text().strip()
        return subprocess.Popen(
            [*self.place.client, sys.executable, PROJECT / "bench/client.py", protocol,
             (self.directory / "address").read_text().strip(), port, way.peer.account if way.peer else ACCOUNT,
             self.directory / "key.pem", *names],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def sessions(self):
        """All processes below the master; a session of a peer may be several."""
        found = children(self.pid())
        for pid in found:
            found += children(pid)
        return found

    def cpu_of_sessions(self):
        """Seconds that the sessions have run, in nanoseconds: proc(5), "schedstat"."""
        return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in self.sessions()) / 1e9

    def cpu_of_ended_sessions(self):
        """The same of those that have ended, which the kernel adds to their master's account, in steps of 10 ms."""
        fields = Path(f"/proc/{self.pid()}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def memory_of_sessions(self):
        """Private memory of the sessions, MiB: proc(5), "smaps_rollup"."""
        total = 0
        for pid in self.sessions():
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
        return total / 1024

    def await_end_of_sessions(self):
        deadline = time.monotonic() + 30
        while self.sessions():
            if time.monotonic() > deadline:
                raise RuntimeError("a session does not end")
            time.sleep(0.01)
