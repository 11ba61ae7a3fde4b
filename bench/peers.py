"""Other FTP servers of the same distribution: to compare with."""

import subprocess

from harness import PROJECT, Unavailable

ROOT = PROJECT / "build/peers/usr"


class Peer:
    account = "visitor"

    def __init__(self, directory, files):
        if not self.program.exists():
            raise Unavailable(f"{self.program.name} is not packaged here")
        address, port = ((directory / name).read_text().strip() for name in ("address", "ftp_port"))
        with open(directory / "log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(self.command(directory, files, address, port),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self):
        self.process.terminate()
        self.process.wait()


class PureFtpd(Peer):
    program = ROOT / "sbin/pure-ftpd"

    def command(self, directory, files, address, port):
        users, database, pem = directory / "users", directory / "users.pdb", directory / "pure-ftpd.pem"
        users.unlink(missing_ok=True)
        subprocess.run([ROOT / "bin/pure-pw", "useradd", self.account, "-f", users, "-u", "nobody", "-g", "nogroup",
                        "-d", files, "-m", "-F", database],
                       input=f"{self.account}\n" * 2, text=True, check=True, stdout=subprocess.DEVNULL)
        pem.write_text("".join((directory / name).read_text() for name in ("key.pem", "certificate.pem")))
        return [self.program, "-S", f"{address},{port}", "-l", f"puredb:{database}", "-g", directory / "pure-ftpd.pid",
                "-E", "-u", "1", "-H", "-Y", "1", "-2", pem]


class Vsftpd(Peer):
    program = ROOT / "sbin/vsftpd"
    account = "anonymous"
    options = ()

    def command(self, directory, files, address, port):
        empty, configuration = directory / "empty", directory / "vsftpd.conf"
        empty.mkdir(exist_ok=True)
        configuration.write_text("\n".join([
            "listen=YES", f"listen_address={address}", f"listen_port={port}", "background=NO", "seccomp_sandbox=NO",
            "anonymous_enable=YES", "local_enable=NO", "no_anon_password=YES", "ftp_username=daemon",
            f"anon_root={files}", f"secure_chroot_dir={empty}", "ssl_enable=YES", "allow_anon_ssl=YES",
            f"rsa_cert_file={directory}/certificate.pem", f"rsa_private_key_file={directory}/key.pem",
            "require_ssl_reuse=NO", "ssl_ciphers=HIGH", *self.options, ""]))
        return [self.program, configuration]


class VsftpdReading(Vsftpd):
    options = ("use_sendfile=NO",)
