"""The link to the client: loopback, or a pair of virtual interfaces with a rate limit."""

import os
import subprocess

from harness import Unavailable, must

LOOPBACK = "loopback"


class Loopback:
    address = None  # the server's default
    client = ()  # what the client is started with

    def remove(self):
        pass


class Link:
    """tbf limits the server's end; the client's is in another network namespace."""

    def __init__(self, rate):
        self.name = f"xfermmap-{os.getpid()}"
        near, far = f"xfs{os.getpid()}", f"xfc{os.getpid()}"
        network = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
        self.address = f"{network}.1"
        self.client = ("ip", "netns", "exec", self.name)
        if os.geteuid() != 0:
            raise Unavailable("a link takes root")
        try:
            must("ip", "netns", "add", self.name)
            must("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
            must("ip", "address", "add", f"{network}.1/24", "dev", near)
            must("ip", "link", "set", near, "up")
            must("ip", "-n", self.name, "address", "add", f"{network}.2/24", "dev", far)
            must("ip", "-n", self.name, "link", "set", far, "up")
            if rate != "no limit":
                bits = float(rate.split()[0]) * 1e9
                must("tc", "qdisc", "add", "dev", near, "root", "tbf", "rate", f"{bits:.0f}",
                    "burst", str(max(512 << 10, int(bits / 8 / 250))), "latency", "20ms")
        except Unavailable:
            self.remove()
            raise

    def remove(self):
        subprocess.run(["ip", "netns", "delete", self.name], check=False, stderr=subprocess.DEVNULL)


def connect(where):
    return Loopback() if where == LOOPBACK else Link(where)
