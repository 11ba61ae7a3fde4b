"""Downloads of all kinds for some time, while the files that are downloaded change.

    soak.py SERVER SECONDS

SERVER is the directory of a running server, see server.bash. Each byte of a file is known from the
file's generation and its offset: a file is replaced by another generation, truncated, or grows. So
each complete download can be checked against the versions that existed while it ran. Prints what
was done; fails if any download was wrong, or any session failed.
"""

import concurrent.futures
import ftplib
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

POOL = 24 << 20  # bytes, of which each generation is a piece
SIZES = {"listed": 6 << 20, "listed-small": 90_000, "large": 7 << 20, "middle": 900_000, "small": 9_000}
CLIENTS = 4
TIMEOUT = 60  # seconds; nothing takes as long


class File:
    """A served file, with its generations and lengths over time."""

    def __init__(self, path, size):
        self.path = path
        self.size = size
        self.lock = threading.Lock()
        self.history = []  # (from when, start of the generation in the pool, length)
        self.replace()

    def note(self, start, length):
        """Note a change before and after it is made: in between, both versions are right."""
        self.history.append((time.monotonic(), start, length))

    def replace(self):
        start = random.randrange(POOL - self.size)
        length = random.randint(self.size * 3 // 4, self.size)
        new = self.path + ".new"
        with open(new, "wb") as file:
            file.write(pool[start : start + length])
        with self.lock:
            self.note(start, length)
            os.rename(new, self.path)
            self.note(start, length)

    def resize(self):
        with self.lock:
            _, start, length = self.history[-1]
            new = random.randint(self.size // 2, self.size)
            self.note(start, new)
            if new < length:
                os.truncate(self.path, new)
            else:
                with open(self.path, "ab") as file:
                    file.write(pool[start + length : start + new])
            self.note(start, new)

    def was(self, data, place, began, ended, in_order):
        """True if the file had `data` from `place` on at some time in between.

        in_order: it was read from front to back. With concurrent requests, one may report the end
        of the file, and another have data beyond it.
        """
        with self.lock:
            history = list(self.history)
        lengths = {}  # of each generation that was there
        for index, (since, start, length) in enumerate(history):
            until = history[index + 1][0] if index + 1 < len(history) else ended
            if since <= ended and until >= began:
                lengths.setdefault(start, []).append(length)
        # the length of a generation before the first change in between
        for start, known in lengths.items():
            least, most = min(known), max(known)
            if not max(least - place, 0) <= len(data) <= max(most - place, 0):
                continue
            sure = len(data) if in_order else max(least - place, 0)
            if data[:sure] == pool[start + place : start + place + sure]:
                return True
        return False


class Soak:
    def __init__(self, server, seconds):
        self.server = server
        self.address = self.read("address")
        self.ports = {"ftp": int(self.read("ftp_port")), "sftp": int(self.read("sftp_port"))}
        self.until = time.monotonic() + seconds
        self.files = [File(f"{server}/files/{name}", size) for name, size in SIZES.items()]
        self.counts = dict.fromkeys(
            ("sessions", "downloads", "bytes", "aborts", "dropped", "changes", "hangups", "wrong", "failed"), 0
        )
        self.counting = threading.Lock()

    def read(self, name):
        with open(f"{self.server}/{name}", encoding="ascii") as file:
            return file.read().strip()

    def count(self, what, amount=1):
        with self.counting:
            self.counts[what] += amount

    def going(self):
        return time.monotonic() < self.until

    def check(self, file, data, place, began, in_order=True):
        self.count("downloads")
        self.count("bytes", len(data))
        if not file.was(data, place, began, time.monotonic(), in_order):
            self.count("wrong")
            print(f"wrong: {file.path} from {place} on, {len(data)} bytes; it was {file.history[-6:]}")

    # ---- FTP ----

    def connect(self, secure):
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            ftp = ftplib.FTP_TLS(context=context, timeout=TIMEOUT)
        else:
            ftp = ftplib.FTP(timeout=TIMEOUT)
        ftp.connect(self.address, self.ports["ftp"])
        ftp.login("visitor", "visitor")
        if secure:
            ftp.prot_p()
        ftp.voidcmd("TYPE I")
        self.count("sessions")
        return ftp

    def ftp_whole(self, ftp, file):
        place = random.choice((0, 0, random.randrange(file.size // 2)))
        data = bytearray()
        began = time.monotonic()
        ftp.retrbinary(f"RETR {os.path.basename(file.path)}", data.extend, 65536, place or None)
        self.check(file, bytes(data), place, began)

    def ftp_abort(self, ftp, file):
        """Abort a download: by ABOR, or by closing the data connection."""
        data = ftp.transfercmd(f"RETR {os.path.basename(file.path)}")
        data.recv(random.randrange(1, 100_000))
        if random.random() < 0.5:
            ftp.putline("ABOR")
        data.close()
        self.count("aborts")
        while True:  # 426 and 226, or 226 alone where all was sent before
            reply = ftp.getmultiline()
            if reply.startswith("226") or reply.startswith("225"):
                break
            if reply.startswith("426"):
                break
        ftp.putcmd("NOOP")  # and any remaining reply
        while not ftp.getmultiline().startswith("200"):
            pass

    def ftp_session(self, secure):
        ftp = self.connect(secure)
        for _ in range(random.randint(1, 4)):
            file = random.choice(self.files)
            kind = random.random()
            if kind < 0.75:
                self.ftp_whole(ftp, file)
            elif kind < 0.9:
                try:
                    self.ftp_abort(ftp, file)
                except EOFError:
                    # mod_tls drops some sessions then, also without the library: "unexpected OpenSSL error"
                    if not secure:
                        raise
                    self.count("dropped")
                    return
            else:  # the client closed without QUIT
                data = ftp.transfercmd(f"RETR {os.path.basename(file.path)}")
                data.recv(1000)
                for each in (data, ftp.sock):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    each.close()
                self.count("aborts")
                return
        ftp.quit()

    # ---- SFTP ----

    def sftp_session(self):
        file = random.choice(self.files)
        killed = random.random() < 0.2
        with tempfile.TemporaryDirectory(dir=self.server) as directory:
            copy = f"{directory}/copy"
            began = time.monotonic()
            command = ["sftp", "-q", "-F", "none", "-i", f"{self.server}/key.pem"]
            command += ["-P", str(self.ports["sftp"]), "-o", "UserKnownHostsFile=/dev/null"]
            command += ["-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]
            command += [f"visitor@{self.address}:{os.path.basename(file.path)}", copy]
            client = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self.count("sessions")
            try:
                status = client.wait(random.uniform(0.1, 0.5) if killed else TIMEOUT)
            except subprocess.TimeoutExpired:
                client.kill()
                client.wait()
                self.count("aborts")
                return
            if status == 0:
                with open(copy, "rb") as got:
                    self.check(file, got.read(), 0, began, in_order=False)
            else:
                self.count("failed")

    # ---- the clients ----

    def client(self):
        while self.going():
            kind = random.random()
            try:
                if kind < 0.4:
                    self.ftp_session(secure=False)
                elif kind < 0.75:
                    self.ftp_session(secure=True)
                else:
                    self.sftp_session()
            except (OSError, EOFError, ftplib.Error) as error:
                self.count("failed")
                print(f"failed: {error!r}")

    def change(self):
        master = int(self.read("pid"))
        hang_up = time.monotonic() + 2
        while self.going():
            file = random.choice(self.files)
            if random.random() < 0.5:
                file.replace()
            else:
                file.resize()
            self.count("changes")
            if time.monotonic() > hang_up:
                os.kill(master, signal.SIGHUP)
                self.count("hangups")
                hang_up = time.monotonic() + 2
            time.sleep(random.uniform(0.01, 0.15))

    def run(self):
        with concurrent.futures.ThreadPoolExecutor(CLIENTS + 1) as threads:
            running = [threads.submit(work) for work in [self.client] * CLIENTS + [self.change]]
        print(", ".join(f"{amount:,} {what}" for what, amount in self.counts.items()))
        for each in running:
            each.result()  # raises the exception that ended it
        return self.counts["wrong"] == self.counts["failed"] == 0


pool = random.randbytes(POOL)

if __name__ == "__main__":
    sys.exit(0 if Soak(sys.argv[1], float(sys.argv[2])).run() else 1)
