#!/usr/bin/env python3
"""Measure the packaged server with and without the library, in turns: make bench.

    bench/measure.py [--runs N] [--quick] [SCENARIO ...]

Figures go to build/bench/results.tsv, from which bench/report.py makes the tables and the plot.
"""

import argparse
import os
import signal
import subprocess
import sys
import time

from harness import PROJECT, Server, Unavailable
from link import connect
from scenarios import MIB, READS, everything, write_file

OUTPUT = PROJECT / "build/bench"
RESULTS = OUTPUT / "results.tsv"


def measure_once(server, scenario, way):
    """The figures of one way: CPU seconds of the sessions, seconds for the clients, MiB of a session."""
    clients = [server.client(way, scenario.protocol, scenario.names()) for _ in range(scenario.clients)]
    try:
        server.start(way)
        scenario.before(server)
        for client in clients:
            await_line(client, "ready")
        start = time.monotonic()
        for client in clients:
            print("go", file=client.stdin, flush=True)
        for client in clients:
            await_line(client, "done")
        figures = {"time": time.monotonic() - start}
        if scenario.protocol != "sessions":
            figures["cpu"] = server.cpu_of_sessions()
            if os.geteuid() == 0:  # the server blocks access to it by prctl(PR_SET_DUMPABLE)
                figures["memory"] = server.memory_of_sessions()
        for client in clients:
            client.communicate()
        server.await_end_of_sessions()
        return {"cpu": server.cpu_of_ended_sessions()} | figures
    finally:
        for client in clients:
            client.stdin.close()
            client.wait()
        server.stop()


def await_line(client, line):
    if client.stdout.readline() != line + "\n":
        raise RuntimeError("a client failed")


def measure(scenario, runs, record):
    place = connect(scenario.place)
    server = Server(place)
    ways = [scenario.base, *scenario.ways]
    try:
        scenario.prepare(server)
        for run in range(runs + 1):  # the first warms up
            first = run % len(ways)  # the position in a round may help or hurt
            for way in ways[first:] + ways[:first]:
                print(f"\r{scenario.name}: {run}/{runs} {way.name:40.40}", end="", file=sys.stderr, flush=True)
                try:
                    figures = measure_once(server, scenario, way)
                except Unavailable as missing:
                    if not way.peer:
                        raise
                    print(f"\n{way.name}: {missing}", file=sys.stderr)
                    ways.remove(way)
                    continue
                for figure in scenario.figures if run > 0 else ():
                    if figure in figures:
                        record(scenario.name, way.name, figure, figures[figure])
    finally:
        scenario.after(server)
        server.remove()
        place.remove()
        print(file=sys.stderr)


def measure_reads(scenario, runs, record):
    """The microbenchmark: bench/perread.c."""
    file, conf = OUTPUT / "reads", OUTPUT / "perread.conf"
    write_file(file, 256 * MIB)
    conf.write_text("TransferMMapEngine on\nTransferMMapMinSize 1\nTransferMMapLog none\nTransferMMapStatusFile none\n")
    environment = os.environ | {"LD_PRELOAD": str(PROJECT / "build/libxfermmap.so"), "XFERMMAP_WAY": "map",
                                "XFERMMAP_CONF": str(conf), "XFERMMAP_PROCESS": "perread"}
    lines = subprocess.run([PROJECT / "build/perread", file, str(runs + 1)], env=environment, check=True,
                           stdout=subprocess.PIPE, text=True).stdout.splitlines()
    ways = len({line.split("\t")[0] for line in lines})
    for line in lines[ways:]:  # the first round warms up
        way, value = line.split("\t")
        record(scenario.name, way, "ns", float(value))
    file.unlink()


def measure_listed(script):
    """bench/login or bench/pressure, which record for themselves."""
    print(f"bench/{script}:", file=sys.stderr)
    subprocess.run([PROJECT / "bench" / script], env=os.environ | {"RESULTS": str(RESULTS), "XFERMMAP_WAY": ""}, check=True)


def forget(scenarios):
    """What was measured of these before; of all, if none is named."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines(True) if RESULTS.exists() and scenarios else []
    RESULTS.write_text("".join(line for line in lines if line.split("\t")[0] not in scenarios), encoding="utf-8")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave nothing behind
    parser = argparse.ArgumentParser(description="Measure the server with and without the library, in turns.")
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="some of the scenarios, 3 runs: in a few minutes")
    parser.add_argument("scenarios", nargs="*", help="all of whose name has one of these, if any is given")
    options = parser.parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    chosen = [s for s in everything()
              if (any(part in s.name for part in options.scenarios) if options.scenarios else s.quick or not options.quick)]
    forget({scenario.name for scenario in chosen} if options.scenarios else set())
    with open(RESULTS, "a", encoding="utf-8") as results:
        def record(*fields):
            print(*fields, sep="\t", file=results, flush=True)

        for scenario in chosen:
            try:
                (measure_reads if scenario is READS else measure)(scenario, 3 if options.quick else options.runs, record)
            except Unavailable as missing:
                print(f"{scenario.name}: not measured, {missing}", file=sys.stderr)
        if not options.quick and not options.scenarios:
            for script in ("login", "pressure"):
                measure_listed(script)


if __name__ == "__main__":
    main()
