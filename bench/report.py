#!/usr/bin/env python3
"""From the figures in build/bench/results.tsv to the table and the plot in docs/: bench/report.py."""

import os
import platform
import re
import subprocess
from collections import defaultdict
from pathlib import Path
from statistics import median

from harness import PROJECT
from scenarios import everything

RESULTS = PROJECT / "build/bench/results.tsv"
PAGE, PLOT = PROJECT / "docs/benchmarks.md", PROJECT / "docs/benchmarks.svg"
BEGIN, END = "<!-- figures, by bench/report.py -->\n", "<!-- end of figures -->\n"

# scenario, figure, theirs, ours, text, at most
OTHERS = [
    ("reads", "ns", "pread", "windows", "one 16 KiB read from windows mapped for it, mapping included, of pread", None),
    ("reads", "ns", "memcpy", "windows", "one 16 KiB read from windows mapped for it, of a bare memcpy", None),
    ("reads", "ns", "plain call", "unserved", "a read of a descriptor that is not served, of the plain call", 1.03),
    ("pressure", "wall", "without", "with", "a listed file of 32 MiB under memory pressure", 0.20),
    ("pressure", "wall", "without", "vmtouch", "the same file pinned by vmtouch", None),
    ("login", "wall", "plain", "0", "login, none listed", None),
    ("login", "wall", "0", "100", "login, 100 listed, of none listed", None),
    ("login", "wall", "0", "1000", "login, 1,000 listed, of none listed", None),
    ("login", "wall", "0", "10000", "login, 10,000 listed, of none listed", 1.05),
]

GNUPLOT = """
set terminal svg size 1200,{height} font "sans,12"
set output "{output}"
set label "with the library, of what it is without: 1 is the same, less is better" at screen 0.98, screen 0.98 right
set lmargin at screen 0.6
set tmargin 3
set logscale x 2
set xrange [0.1:4]
set xtics (0.125, 0.25, 0.5, 1, 2, 4)
set yrange [{count}-0.3:-0.7]
set grid xtics
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2
unset key
plot "{data}" using 2:0:3:4:ytic(1) with xerrorbars pt 7 lw 2
"""


def read_results():
    results = defaultdict(list)
    for line in RESULTS.read_text(encoding="utf-8").splitlines():
        scenario, way, figure, value = line.split("\t")
        results[scenario, way, figure].append(float(value))
    return results


def ratio(ours, theirs):
    """Of each turn, for the machine is faster in one hour than in the next: the median, the least and the most."""
    shares = [mine / (other or 0.001) for mine, other in zip(ours, theirs, strict=True)]
    return median(shares), min(shares), max(shares)


def show(values, unit):
    scale, name = {"ns": (1, "ns"), "cpu": (1000, "ms"), "wall": (1000, "ms"), "calls": (1, "")}[unit]
    if len(values) == 1:
        return f"{values[0] * scale:,.0f} {name}".strip()
    return f"{median(values) * scale:,.0f} {name} ({min(values) * scale:,.0f} to {max(values) * scale:,.0f})"


def machine():
    """What the figures were taken on."""
    processors = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.*)$", processors, re.M)
    server = subprocess.run(["bash", "-c", 'source "$0"; "$proftpd" --version', PROJECT / "tests/server.bash"],
                            check=True, capture_output=True, text=True).stdout.strip()
    return ", ".join([server, platform.freedesktop_os_release()["PRETTY_NAME"],
                      "Linux " + re.match(r"[0-9.]*", platform.release())[0],
                      "a virtual machine" if "hypervisor" in processors else "a machine",
                      f"{os.cpu_count()} processors ({model[1] if model else platform.machine()})."])


def rows_of(results):
    for scenario, figure, theirs, ours, text, promised in OTHERS:
        if (scenario, ours, figure) in results:
            yield text, figure, results[scenario, theirs, figure], results[scenario, ours, figure], promised
    for scenario in everything():
        for figure, promised in scenario.figures.items():
            for way in scenario.ways[1:]:
                theirs, ours = (results.get((scenario.name, name, figure)) for name in ("without", way.name))
                if ours and theirs:
                    text = scenario.text if way.name == "with" else f"{scenario.text}: {way.name}"
                    yield text, figure, theirs, ours, promised if way.name == "with" else None


def main():
    results = read_results()
    table = ["| | without | with | ratio | at most | runs |", "| --- | --- | --- | --- | --- | --- |"]
    points = []
    for text, figure, theirs, ours, promised in rows_of(results):
        share, least, most = ratio(ours, theirs)
        label = {"ns": text, "cpu": f"CPU, {text}", "wall": f"time, {text}", "calls": f"system calls per MiB, {text}"}[figure]
        missed = promised is not None and share > promised
        table.append(f"| {label} | {show(theirs, figure)} | {show(ours, figure)} | **{share:.2f}** | "
                     f"{'' if promised is None else f'{promised:.2f}'}{', missed' if missed else ''} | {len(ours)} |")
        if figure != "calls":
            points.append(f'"{label}" {share:.3f} {least:.3f} {most:.3f}')
    data = RESULTS.with_name("plot.dat")
    data.write_text("\n".join(points) + "\n", encoding="utf-8")
    # beside the data, for the plot names it by the path that it is given
    subprocess.run(["gnuplot"], check=True, text=True, cwd=data.parent, input=GNUPLOT.format(
        output=PLOT, data=data.name, count=len(points), height=120 + 28 * len(points)))
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    PAGE.write_text(head + BEGIN + "\n![ratios](benchmarks.svg)\n\n" + machine() + "\n\n" + "\n".join(table) + "\n\n" + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
