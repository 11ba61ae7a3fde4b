#!/usr/bin/env python3
"""Measure the packaged server with and without the library, in turns: make bench.

    bench/measure.py [--runs N] [--quick] [SCENARIO ...]

Results go to build/bench/results.tsv, from which bench/report.py makes docs/benchmarks.md.
"""

import argparse
import os
import subprocess
import sys
import time
from contextlib import contextmanager

from harness import PROJECT, Server, Unavailable
from scenarios import MIB, READS, everything, write_file

OUTPUT = PROJECT / "build/bench"
RESULTS = OUTPUT / "results.tsv"


@contextmanager
def started(server, scenario, way):
    server.start(way)
    try:
        scenario.before(server)
        yield
    finally:
        server.stop()


def measure_once(server, scenario, way):
    with started(server, scenario, way):
        start = time.monotonic()
        scenario.fetch(server)
        wall = time.monotonic() - start
        server.await_end_of_sessions()
        return {"cpu": server.session_seconds(), "wall": wall}


def count_calls(server, scenario, way):
    """System calls of the server and its sessions per MiB."""
    with started(server, scenario, way):
        with server.counting_calls() as count:
            scenario.fetch(server)
            server.await_end_of_sessions()
        return count() / (scenario.times * scenario.size / MIB)


def measure(scenario, runs, record):
    everywhere = os.sched_getaffinity(0)
    if scenario.one_core:  # to wake each other across cores costs more than what is measured
        os.sched_setaffinity(0, {max(everywhere)})
    server = Server()
    try:
        scenario.prepare(server)
        for run in range(runs + 1):  # the first warms up
            first = run % len(scenario.ways)  # who may have it better, or worse
            for way in scenario.ways[first:] + scenario.ways[:first]:
                print(f"\r{scenario.name}: {run}/{runs} {way.name:40.40}", end="", file=sys.stderr, flush=True)
                for figure, value in measure_once(server, scenario, way).items():
                    if run > 0:
                        record(scenario.name, way.name, figure, value)
        for way in scenario.ways if "calls" in scenario.figures else []:
            record(scenario.name, way.name, "calls", count_calls(server, scenario, way))
    finally:
        scenario.after(server)
        server.remove()
        os.sched_setaffinity(0, everywhere)
        print(file=sys.stderr)


def measure_reads(scenario, runs, record):
    """The microbenchmark: bench/perread.c."""
    file, conf = OUTPUT / "reads", OUTPUT / "perread.conf"
    write_file(file, scenario.size)
    conf.write_text("TransferMMapEngine on\nTransferMMapMinSize 1\nTransferMMapLog none\nTransferMMapStatusFile none\n")
    environment = os.environ | {"LD_PRELOAD": str(PROJECT / "build/libxfermmap.so"),
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
    subprocess.run([PROJECT / "bench" / script], env=os.environ | {"RESULTS": str(RESULTS)}, check=True)


def forget(scenarios):
    """What was measured of these before; of all, if none is named."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines(True) if RESULTS.exists() and scenarios else []
    RESULTS.write_text("".join(line for line in lines if line.split("\t")[0] not in scenarios), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="Measure the server with and without the library, in turns.")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="some of the scenarios, 3 runs: under two minutes")
    parser.add_argument("scenarios", nargs="*", help="all, if none is named")
    options = parser.parse_args()
    runs = 3 if options.quick else options.runs
    OUTPUT.mkdir(parents=True, exist_ok=True)
    chosen = [s for s in everything() if (s.name in options.scenarios if options.scenarios else
                                          s.quick or not options.quick)]
    forget(set(options.scenarios))
    with open(RESULTS, "a", encoding="utf-8") as results:
        def record(*fields):
            print(*fields, sep="\t", file=results, flush=True)

        for scenario in chosen:
            try:
                (measure_reads if scenario is READS else measure)(scenario, runs * scenario.rounds, record)
            except Unavailable as missing:
                print(f"{scenario.name}: left out: {missing}", file=sys.stderr)
    for script in ("login", "pressure"):
        if script in options.scenarios or not (options.scenarios or options.quick):
            measure_listed(script)


if __name__ == "__main__":
    main()
