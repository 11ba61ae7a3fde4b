"""What is measured: each scenario is a file, a client, and the ways to serve it that are compared."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness import Unavailable, Way

MIB = 1 << 20

OFF, ON = ("UseSendfile off",), ("UseSendfile on",)
LIBRARY = ("TransferMMapEngine on",)

# What people would do instead, or beside: only the larger buffer; and the library's, with the reads left to the kernel.
SNDBUF = Way("SocketOptions sndbuf 262144", None, OFF, ("SocketOptions sndbuf 262144",))
UNMAPPED = Way("TransferMMapMinSize 1000 GB", LIBRARY + ("TransferMMapMinSize 1000 GB",), OFF)


def again(server):
    """Without the library once more: what differs there is the machine's doing."""
    return Way("without, again", None, server)


def ways(server, *others, listed=False):
    """Without the library and with it, and others."""
    library = LIBRARY + (("TransferMMapFile {files}/data*",) if listed else ())
    return [Way("without", None, server), Way("with", library, server), *others]


def buffers():
    """Without the library, and with it and transfer buffers of several sizes."""
    return [Way("without", None, OFF)] + [
        Way(f"TransferMMapReadSize {size}", LIBRARY + (f"TransferMMapReadSize {size}",), OFF)
        for size in ("off", "64 KB", "128 KB", "256 KB", "512 KB", "1 MB")]


@dataclass
class Scenario:
    name: str
    text: str
    ways: list
    figures: dict  # "cpu" or "wall" -> at most this share of what it is without; None: no promise
    get: tuple = ("ftp_get", "data")
    size: int = 256 * MIB
    copies: int = 1  # of the file, all fetched in 25 sessions
    clients: int = 1
    times: int = 1  # one after the other: the clock of the CPU time has steps of 10 ms
    rounds: int = 1  # of as many runs as were asked for: where little differs, more are needed
    one_core: bool = True
    quick: bool = True
    text_file: bool = False
    as_written: bool = False  # in the page cache; else as the first round, not counted, reads it from the disk

    def prepare(self, server):
        write_file(server.files / "data", self.size, self.text_file)
        if not self.as_written:
            server.call("forget_pages", server.files / "data")
        for copy in range(1, self.copies + 1 if self.copies > 1 else 1):
            shutil.copy(server.files / "data", server.files / f"data{copy}")

    def before(self, server):
        """Before each download."""

    def after(self, server):
        """Before the server's directory goes."""

    def fetch(self, server):
        for _ in range(self.times):
            self.fetch_once(server)

    def fetch_once(self, server):
        if self.clients > 1:
            fetch_many(server, self.clients)
        elif self.copies > 1:
            server.get("ftp_get", f"data[1-{self.copies}]", "-o", "/dev/null", "-Z", "--parallel-max", "25")
        else:
            server.get(*self.get)


def write_file(path, size, text=False):
    with open(path, "wb") as file:
        for start in range(0, size, MIB):
            length = min(MIB, size - start)
            file.write((b"A line of a text file, of 64 bytes, as they are in a log or a list\n" * (length // 64 + 1))[:length]
                       if text else os.urandom(length))
    path.chmod(0o644)


def fetch_many(server, clients):
    url = server.url("data")
    running = [subprocess.Popen(["curl", "-q", "-sS", "--noproxy", "*", "-o", "/dev/null", url])
               for _ in range(clients)]
    if any([client.wait() for client in running]):
        raise RuntimeError("a client failed")


def must(*command):
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"{command[0]}: {getattr(error, 'stderr', None) or error}".strip()) from error


class Fuse(Scenario):
    """A file system whose every request takes 5 ms: NFS, or an object store, far away."""

    def prepare(self, server):
        if not os.access("/dev/fuse", os.W_OK):
            raise Unavailable("/dev/fuse is missing")
        write_file(server.directory / "source", self.size)

    def before(self, server):
        server.call("disk_unmount")
        server.call("disk_mount", server.directory / "source", "0", "0", "5")

    def after(self, server):
        server.call("disk_unmount")


class Throttled(Scenario):
    """A disk that does 500 requests a second, with Linux's own read-ahead of 128 KiB: a loop device."""

    reads_per_second = 500
    group = Path("/sys/fs/cgroup/blkio/xfermmap-bench")

    def prepare(self, server):
        if os.geteuid() != 0 or not self.group.parent.is_dir():
            raise Unavailable("it takes root and the blkio controller of cgroup v1")
        image, disk = server.directory / "image", server.files / "disk"
        with open(image, "wb") as file:
            file.truncate(1024 * MIB)
        must("mkfs.ext4", "-q", "-F", str(image))
        self.device = must("losetup", "--find", "--show", "--direct-io=off", str(image))
        disk.mkdir()
        must("mount", self.device, str(disk))
        write_file(disk / "broken", self.size)
        must("blockdev", "--setra", "256", self.device)
        self.group.mkdir(exist_ok=True)
        number = os.stat(self.device).st_rdev
        (self.group / "blkio.throttle.read_iops_device").write_text(
            f"{os.major(number)}:{os.minor(number)} {self.reads_per_second}")

    def before(self, server):
        server.call("forget_pages", server.files / "disk/broken")
        (self.group / "cgroup.procs").write_text(str(server.pid()))

    def after(self, server):
        if hasattr(self, "device"):
            subprocess.run(["umount", server.files / "disk"], check=False)
            subprocess.run(["losetup", "-d", self.device], check=False)
        if self.group.is_dir():
            self.group.rmdir()


# By bench/perread.c, which takes its turns by itself.
READS = Scenario("reads", "single reads", [], {}, rounds=3)


def everything():
    small = [Scenario(f"small {size >> 10} KiB{' listed' * listed}",
                      f"{size >> 10} KiB, {'listed' if listed else 'not listed'}, 500 in 25 sessions",
                      ways(OFF, again(OFF), listed=listed), {"cpu": 1.00 if listed else 1.01}, size=size, copies=500,
                      rounds=3 if size < MIB else 1, quick=False)
             for listed in (False, True) for size in (4 << 10, MIB)]
    return [
        READS,
        Scenario("plain", "plain, UseSendfile off, 256 MiB warm",
                 ways(OFF, SNDBUF, UNMAPPED),
                 {"cpu": 0.90, "calls": None}),
        Scenario("plain listed", "plain, 256 MiB warm, listed", ways(OFF, listed=True), {"cpu": None}, quick=False),
        Scenario("plain written", "plain, 256 MiB as another program wrote it", ways(OFF, UNMAPPED), {"cpu": None},
                 as_written=True, quick=False),
        Scenario("ftps", "FTPS, 256 MiB warm", ways(OFF, SNDBUF, UNMAPPED), {"cpu": 0.82, "calls": None},
                 get=("ftps_get", "data")),
        Scenario("sftp", "SFTP, 128 MiB warm", ways(OFF, UNMAPPED), {"cpu": 1.00}, get=("sftp_get", "data"),
                 size=128 * MIB, rounds=3, quick=False),
        Scenario("mode z", "MODE Z, 32 MiB warm", ways(OFF, UNMAPPED), {"cpu": 1.00},
                 get=("lftp_get", "data", "ftp:use-mode-z yes"), size=32 * MIB, quick=False),
        Scenario("ascii", "ASCII, 64 MiB warm", ways(OFF, UNMAPPED), {"cpu": 1.00},
                 get=("ftp_get", "data", "--use-ascii"), size=64 * MIB, quick=False, text_file=True),
        Scenario("buffer plain", "plain, 256 MiB warm", buffers(), {"cpu": None}, quick=False),
        Scenario("buffer ftps", "FTPS, 256 MiB warm", buffers(), {"cpu": None}, get=("ftps_get", "data"), quick=False),
        Scenario("sendfile", "UseSendfile on, 1 GiB warm, 8 times", ways(ON, again(ON)),
                 {"cpu": 1.01, "wall": 1.01, "calls": None}, size=1024 * MIB, times=8, quick=False),
        *small,
        Throttled("disk off", "cold 256 MiB, disk of 500 requests a second, UseSendfile off", ways(OFF),
                  {"wall": 0.25}, one_core=False, get=("ftp_get", "disk/broken")),
        Throttled("disk on", "cold 256 MiB, disk of 500 requests a second, UseSendfile on", ways(ON),
                  {"wall": 0.25}, one_core=False, get=("ftp_get", "disk/broken")),
        Fuse("fuse off", "cold 256 MiB, FUSE at 5 ms a request, UseSendfile off", ways(OFF), {"wall": 0.25},
             one_core=False, get=("ftp_get", "disk/broken")),
        Fuse("fuse on", "cold 256 MiB, FUSE at 5 ms a request, UseSendfile on", ways(ON), {"wall": 0.25},
             one_core=False, get=("ftp_get", "disk/broken")),
        Scenario("rate", "8 MiB at TransferRate RETR 2048", ways(OFF + ("TransferRate RETR 2048",)), {"wall": 1.05},
                 size=8 * MIB, quick=False),
        Scenario("64 clients", "64 clients, plain, 16 MiB warm", ways(OFF), {"wall": 1.00}, size=16 * MIB,
                 clients=64, one_core=False, quick=False),
    ]
