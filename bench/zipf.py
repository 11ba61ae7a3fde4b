#!/usr/bin/env python3
"""Clients of a mirror, for bench/hot: a tree of files, downloads by a Zipf law, and what an oracle would keep.

    zipf.py tree DIRECTORY FILES MEAN             make files of lognormal sizes, 4 KiB to 512 MiB, of MEAN KiB on average
    zipf.py oracle DIRECTORY SEED MIB             print the paths of the most popular files that fit into so much
    zipf.py clients DIRECTORY S SEED DRAW COUNT URL    download COUNT files by four clients; print the seconds of each
    zipf.py crawl DIRECTORY                       read the whole tree over and over

SEED chooses which files are popular. DRAW chooses which of them are downloaded: the measured downloads must not repeat
those that were counted before.
"""

import concurrent.futures
import ftplib
import itertools
import math
import os
import random
import sys
import time
import urllib.parse

CLIENTS = 4


def make_tree(directory, files, mean):
    draw = random.Random(1)
    spread = 1.5
    for number in range(int(files)):
        size = int(draw.lognormvariate(math.log(int(mean) * 1024) - spread**2 / 2, spread))
        with open(os.path.join(directory, f"{number:05}"), "wb") as file:
            file.write(os.urandom(min(max(size, 4 << 10), 512 << 20)))


def ranked(directory, seed):
    names = sorted(os.listdir(directory))
    random.Random(f"popularity {seed}").shuffle(names)
    return names


def oracle(directory, seed, mebibytes):
    left = int(mebibytes) << 20
    for name in ranked(directory, seed):
        path = os.path.join(directory, name)
        size = (os.path.getsize(path) + 4095) // 4096 * 4096
        if size <= left:
            left -= size
            print(path)


def run_client(url, names):
    times = []
    with ftplib.FTP() as ftp:
        ftp.connect(url.hostname, url.port, timeout=600)
        ftp.login(url.username, url.password)
        for name in names:
            since = time.monotonic()
            ftp.retrbinary(f"RETR {name}", lambda data: None, 1 << 20)
            times.append(time.monotonic() - since)
    return times


def run_clients(directory, s, seed, draw, count, url):
    names = ranked(directory, seed)
    weights = list(itertools.accumulate((rank + 1) ** -float(s) for rank in range(len(names))))
    chosen = random.Random(f"downloads {seed} {draw}").choices(names, cum_weights=weights, k=int(count))
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as threads:
        url = urllib.parse.urlsplit(url)
        for times in threads.map(lambda first: run_client(url, chosen[first::CLIENTS]), range(CLIENTS)):
            for seconds in times:
                print(f"{seconds:.6f}")


def crawl(directory):
    while True:
        for name in sorted(os.listdir(directory)):
            with open(os.path.join(directory, name), "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


COMMANDS = {"tree": make_tree, "oracle": oracle, "clients": run_clients, "crawl": crawl}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
