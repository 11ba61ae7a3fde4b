#!/usr/bin/env python3
"""Download files in one session, and discard them: bench/client.py PROTOCOL ADDRESS PORT ACCOUNT KEY NAME ...

Prints "ready", and starts at a line of input. Prints "done" while the session is still open, and ends it with its own
input. PROTOCOL: ftp, ftps, mode-z, ascii, sftp; "sessions" is ftp, but by sessions of 20 files each.
"""

import ftplib
import socket
import ssl
import subprocess
import sys

PIECE = bytearray(1 << 20)
FILES_A_SESSION, SESSIONS = 20, 10  # "sessions"


def log_in(protocol, address, port, account):
    if protocol == "ftps":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        ftp = ftplib.FTP_TLS(context=context, timeout=60)
    else:
        ftp = ftplib.FTP(timeout=60)
    ftp.connect(address, port)
    ftp.login(account, account)
    if protocol == "ftps":
        ftp.prot_p()
    ftp.voidcmd("TYPE A" if protocol == "ascii" else "TYPE I")
    if protocol == "mode-z":
        ftp.voidcmd("MODE Z")
    return ftp


def download(ftp, name):
    with ftp.transfercmd("RETR " + name) as data:
        if isinstance(data, ssl.SSLSocket):
            while data.recv_into(PIECE):
                pass
        else:  # the kernel discards it: tcp(7)
            while data.recv_into(PIECE, len(PIECE), socket.MSG_TRUNC):
                pass
    ftp.voidresp()


def end_with_input():
    print("done", flush=True)
    sys.stdin.read()


def download_by_sftp(address, port, account, key, names):
    batch = key + ".batch"
    with open(batch, "w", encoding="utf-8") as file:
        file.write("".join(f"@get {name} /dev/null\n" for name in names) + "@!echo done; cat\n")
    subprocess.run(["sftp", "-q", "-F", "none", "-i", key, "-P", port, "-o", "UserKnownHostsFile=/dev/null",
                    "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-b", batch, f"{account}@{address}"],
                   check=True, stderr=subprocess.DEVNULL)


def download_in_sessions(log_in_once, names):
    """Sessions that end together: the server's master sleeps for 0.4 s after each end that it sees."""
    for first in range(0, len(names), SESSIONS * FILES_A_SESSION):
        shares = [names[start:start + FILES_A_SESSION] for start in range(first, len(names), FILES_A_SESSION)][:SESSIONS]
        sessions = [(log_in_once(), share) for share in shares]
        for ftp, share in sessions:
            for name in share:
                download(ftp, name)
        for ftp, _ in sessions:
            ftp.quit()


def main():
    protocol, address, port, account, key, *names = sys.argv[1:]
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    if protocol == "sftp":
        download_by_sftp(address, port, account, key, names)
    elif protocol == "sessions":
        download_in_sessions(lambda: log_in(protocol, address, int(port), account), names)
        end_with_input()
    else:
        ftp = log_in(protocol, address, int(port), account)
        for name in names:
            download(ftp, name)
        end_with_input()
        ftp.quit()


if __name__ == "__main__":
    main()
