"""The scenarios: each has files, a client, its link, and the ways to serve that are compared."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness import Unavailable, Way, must
from link import LOOPBACK
from peers import PureFtpd, Vsftpd, VsftpdReading

MIB = 1 << 20
LINKS = ("1 Gbit/s", "2.5 Gbit/s", "10 Gbit/s", "no limit")
USUAL = LINKS[1]

ON = ("TransferMMapEngine on",)
SENDFILE = ("UseSendfile on",)

# All are compared with the first. The second repeats it: what differs there is noise.
WITHOUT, AGAIN = Way("without"), Way("without, again")
WITH = Way("with", ON)
LISTED = Way("listed", ON + ("TransferMMapFile {files}/data*",))
HOT = Way("hot", ON + ("TransferMMapHot 64 MB",))
READ = Way("with, all reads by the kernel", ON + ("TransferMMapMinSize 1000 GB",))
MAPPED = Way("with, all windows mapped", ON, forced="map")
SNDBUF = [Way(f"sndbuf {size >> 10} KB", server_alone=(f"SocketOptions sndbuf {size}",)) for size in (256 << 10, MIB)]
BUFFERS = [Way(f"ReadSize {size}", ON + (f"TransferMMapReadSize {size}",))
           for size in ("off", "64 KB", "128 KB", "256 KB", "512 KB", "1 MB")]
PEERS = [Way("proftpd, sendfile", server=SENDFILE), Way("vsftpd", peer=Vsftpd), Way("vsftpd, no sendfile", peer=VsftpdReading),
         Way("pure-ftpd", peer=PureFtpd)]


def with_server(way, *server):
    return Way(way.name, way.library, server)


@dataclass
class Scenario:
    text: str
    ways: list  # beside WITHOUT
    place: str = USUAL
    protocol: str = "ftp"
    size: int = 128 * MIB
    times: int = 1  # downloads; of as many files, if they are many
    clients: int = 1
    figures: tuple = ("cpu", "time")
    promised: tuple = ()  # for each figure, of what it is without; None: nothing
    quick: bool = False
    table: str = "the library"  # of the report
    text_file: bool = False
    base: Way = WITHOUT

    @property
    def name(self):
        return f"{self.text}; {self.place}"

    def names(self):
        return [f"data{number}" for number in range(self.times)] if self.times > 10 else ["data0"] * self.times

    def prepare(self, server):
        write_file(server.files / "data0", self.size, self.text_file)
        for name in self.names()[1:]:
            if not (server.files / name).exists():
                shutil.copy(server.files / "data0", server.files / name)

    def before(self, server):
        """Before each round of a way."""

    def after(self, server):
        """Before the server's directory goes."""


def write_file(path, size, text=False):
    line = b"A line of a text file, of 64 bytes, as they are in a log or a list\n"
    with open(path, "wb") as file:
        for start in range(0, size, MIB):
            length = min(MIB, size - start)
            file.write((line * (length // 64 + 1))[:length] if text else os.urandom(length))
    path.chmod(0o644)


class Fuse(Scenario):
    """A file system whose every request takes 5 ms: NFS, or an object store, far away."""

    def names(self):
        return ["disk/broken"]

    def prepare(self, server):
        if not os.access("/dev/fuse", os.W_OK):
            raise Unavailable("/dev/fuse is missing")
        write_file(server.directory / "source", self.size)

    def before(self, server):
        server.call("disk_unmount")
        server.call("disk_mount", server.directory / "source", "0", "0", "5")

    def after(self, server):
        server.call("disk_unmount")


class SlowDisk(Scenario):
    """A disk that does 500 requests a second, with Linux's own read-ahead of 128 KiB: a loop device."""

    reads_per_second = 500
    group = Path("/sys/fs/cgroup/blkio/xfermmap-bench")

    def names(self):
        return ["disk/data"]

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
        write_file(disk / "data", self.size)
        must("blockdev", "--setra", "256", self.device)
        self.group.mkdir(exist_ok=True)
        number = os.stat(self.device).st_rdev
        (self.group / "blkio.throttle.read_iops_device").write_text(
            f"{os.major(number)}:{os.minor(number)} {self.reads_per_second}")

    def before(self, server):
        server.call("forget_pages", server.files / "disk/data")
        (self.group / "cgroup.procs").write_text(str(server.pid()))

    def after(self, server):
        if hasattr(self, "device"):
            subprocess.run(["umount", server.files / "disk"], check=False)
            subprocess.run(["losetup", "-d", self.device], check=False)
        if self.group.is_dir():
            self.group.rmdir()


# By bench/perread.c, which takes turns by itself.
READS = Scenario("single reads", [], figures=("ns",))


def small(size, count, protocol="ftp"):
    text = f"{count} files of {size >> 10} KiB, " + ("in one session" if protocol == "ftp" else "20 a session")
    return Scenario(text, [AGAIN, WITH, LISTED], size=size, times=count, protocol=protocol,
                    promised=(0.85 if size == MIB else 1.01,), figures=("cpu",))


def everything():
    few = [AGAIN, WITH, READ, SNDBUF[0]]
    whole = [AGAIN, WITH, LISTED, READ, MAPPED, *SNDBUF]
    deflated = [with_server(way, "UseSendfile off", "DeflateEngine on") for way in (WITHOUT, AGAIN, WITH, READ)]
    sent = [with_server(way, *SENDFILE) for way in (WITHOUT, AGAIN, WITH)]
    cold = {"figures": ("time",), "promised": (0.25,), "place": LOOPBACK}
    return [
        READS,
        *(Scenario("plain, 128 MiB", [*whole, Way("sendfile", server=SENDFILE)] if place == USUAL else few, place=place,
                   promised=(promised, None), figures=("cpu", "time", "memory"), quick=place in (USUAL, LOOPBACK))
          for place, promised in zip((*LINKS, LOOPBACK), (None, 0.50, None, 0.35, 1.00), strict=True)),
        Scenario("FTPS, 128 MiB", whole, protocol="ftps", promised=(0.78, None), quick=True),
        Scenario("FTPS, 128 MiB", few, place=LOOPBACK, protocol="ftps"),
        Scenario("SFTP, 64 MiB", [AGAIN, WITH, READ], protocol="sftp", size=64 * MIB, promised=(1.00, None)),
        Scenario("MODE Z, 32 MiB", deflated[1:], base=deflated[0], protocol="mode-z", size=32 * MIB, promised=(0.80, None)),
        Scenario("ASCII, 64 MiB", [AGAIN, WITH, READ], protocol="ascii", size=64 * MIB, promised=(0.80, None),
                 text_file=True),
        Scenario("sendfile, 128 MiB, 8 times", sent[1:], times=8, base=sent[0],
                 promised=(1.02, None)),
        small(4 << 10, 2000), small(64 << 10, 1000), small(MIB, 100),
        small(4 << 10, 400, "sessions"), small(64 << 10, 200, "sessions"), small(MIB, 100, "sessions"),
        *(Scenario(f"{times} files of 4 KiB, {text}: TransferMMapHot", [Way("off, again", ON), HOT], base=Way("off", ON), size=4 << 10,
                   times=times, protocol=protocol, figures=("cpu",), table="TransferMMapHot")
          for text, protocol, times in (("in one session", "ftp", 2000), ("20 a session", "sessions", 400))),
        Scenario("plain, 128 MiB: buffers", BUFFERS, figures=("cpu",), table="buffers"),
        Scenario("plain, 128 MiB: buffers", BUFFERS, place=LOOPBACK, figures=("cpu",), table="buffers"),
        Scenario("2000 files of 4 KiB: buffers", BUFFERS, size=4 << 10, times=2000, figures=("cpu",), table="buffers"),
        *(Scenario(f"peers: {protocol.upper()}, {text}", [WITH, *PEERS], protocol=protocol, size=size, times=times,
                   figures=("cpu", "time", "memory"), table="other servers")
          for protocol in ("ftp", "ftps")
          for text, size, times in (("256 MiB", 256 * MIB, 1), ("100 files of 1 MiB", MIB, 100), ("400 files of 4 KiB", 4 << 10, 400))),
        Scenario("20 clients, plain, 16 MiB", [AGAIN, WITH], size=16 * MIB, clients=20, place="no limit", figures=("time",),
                 promised=(1.00,)),
        SlowDisk("cold 128 MiB, disk of 500 requests a second", [AGAIN, WITH, *PEERS], **cold),
        SlowDisk("the same by sendfile", sent[1:], base=sent[0], **cold),
        Fuse("cold 128 MiB, FUSE at 5 ms a request", [AGAIN, WITH], **cold),
        Fuse("the same by sendfile, FUSE", sent[1:], base=sent[0], **cold),
    ]
