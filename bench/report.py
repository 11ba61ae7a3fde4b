#!/usr/bin/env python3
"""From the figures in build/bench/results.tsv to tables and a plot: bench/report.py [--publish].

They are printed, and written to build/bench/; with --publish into docs/ as well.
"""

import os
import platform
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from harness import PROJECT
from scenarios import everything

OUTPUT = PROJECT / "build/bench"
RESULTS = OUTPUT / "results.tsv"
PAGE, PLOT = PROJECT / "docs/benchmarks.md", PROJECT / "docs/benchmarks.svg"
BEGIN, END = "<!-- figures, by bench/report.py -->\n", "<!-- end of figures -->\n"

FIGURES = {"cpu": ("CPU time of the sessions", 1000, "ms"), "time": ("Time for the client", 1000, "ms"),
           "memory": ("Memory of a session", 1, "MiB")}

PLAIN, FTPS = "plain, 128 MiB; 2.5 Gbit/s", "FTPS, 128 MiB; 2.5 Gbit/s"

# scenario, figure, theirs, ours, text, at most
OTHERS = [
    (PLAIN, "cpu", "sndbuf 256 KB", "with", "plain: the library, of SocketOptions sndbuf 262144", 1.00),
    (FTPS, "cpu", "sndbuf 256 KB", "with", "FTPS: the library, of SocketOptions sndbuf 262144", 1.00),
    (PLAIN, "cpu", "with, all reads by the kernel", "with", "plain: the way that it chooses, of all reads by the kernel", 1.02),
    (FTPS, "cpu", "with, all reads by the kernel", "with", "FTPS: the way that it chooses, of all reads by the kernel", 1.02),
    ("single reads; 2.5 Gbit/s", "ns", "pread", "windows", "a read of 16 KiB from windows mapped for it, of pread", None),
    ("single reads; 2.5 Gbit/s", "ns", "plain call", "unserved", "a read of a descriptor that is not served, of the plain call", 1.03),
    ("pressure", "wall", "without", "with", "a listed file of 32 MiB under memory pressure", 0.20),
    ("pressure", "wall", "without", "vmtouch", "the same file pinned by vmtouch", None),
    ("login", "wall", "plain", "0", "login, none listed", None),
    ("login", "wall", "plain", "10000", "login, 10,000 listed", 1.02),
    ("login", "wall", "0", "hot", "login with TransferMMapHot, of login without", 1.01),
]

GNUPLOT = """
set terminal svg size 1000,{height} font "sans,12"
set output "{output}"
set label "with the library, of what it is without (grey: without, again); less is better" at screen 0.98, screen 0.98 right
set lmargin at screen 0.5
set tmargin 3
set logscale x 2
set xrange [0.1:4]
set xtics (0.125, 0.25, 0.5, 1, 2, 4)
set yrange [{count}-0.3:-0.7]
set grid xtics
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2
unset key
plot "{data}" using 5:($0+0.2):6:7 with xerrorbars pt 6 lc rgb "#999999", \\
     "" using 2:0:3:4:ytic(1) with xerrorbars pt 7 lw 2 lc rgb "#1f5fa8"
"""


def read_results():
    results = defaultdict(list)
    for line in RESULTS.read_text(encoding="utf-8").splitlines():
        scenario, way, figure, value = line.split("\t")
        results[scenario, way, figure].append(float(value))
    return results


def ratio(ours, theirs):
    """Of each turn, as the machine's speed varies by the hour: the median, the least and the most."""
    shares = [mine / (other or 0.001) for mine, other in zip(ours, theirs, strict=True)]
    return median(shares), min(shares), max(shares)


def machine():
    """The machine of the measurements."""
    processors = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.*)$", processors, re.M)
    server = subprocess.run(["bash", "-c", 'source "$0"; "$proftpd" --version', PROJECT / "tests/server.bash"],
                            check=True, capture_output=True, text=True).stdout.strip()
    return ", ".join([server, platform.freedesktop_os_release()["PRETTY_NAME"],
                      "Linux " + re.match(r"[0-9.]*", platform.release())[0],
                      "a virtual machine" if "hypervisor" in processors else "a machine",
                      f"{os.cpu_count()} processors ({model[1] if model else platform.machine()})."])


def cell(ours, theirs, promised=None):
    share, least, most = ratio(ours, theirs)
    missed = f", {promised:.2f} missed" if promised is not None and share > promised else ""
    return f"**{share:.2f}** ({least:.2f} to {most:.2f}{missed})"


def table_of(results, figure, scenarios):
    """Rows are scenarios, columns ways; nothing if none of them was measured."""
    scenarios = [s for s in scenarios if figure in s.figures and (s.name, s.base.name, figure) in results]
    ways = list(dict.fromkeys(way.name for s in scenarios for way in s.ways if (s.name, way.name, figure) in results))
    if not scenarios:
        return
    title, scale, unit = FIGURES[figure]
    yield from [f"{title}, {scenarios[0].table}:", "", f"| | {scenarios[0].base.name} | {' | '.join(ways)} | runs |", "| --- |" + " --- |" * (len(ways) + 2)]
    for scenario in scenarios:
        theirs = results[scenario.name, scenario.base.name, figure]
        promised = dict(zip(scenario.figures, scenario.promised)).get(figure)
        cells = [f"{median(theirs) * scale:,.1f} {unit}"]
        for way in ways:
            ours = results.get((scenario.name, way, figure))
            cells.append(cell(ours, theirs, promised if way == "with" else None) if ours else "")
        yield f"| {scenario.name} | {' | '.join(cells)} | {len(theirs)} |"
    yield ""


def tables(results):
    scenarios = everything()
    for table in dict.fromkeys(scenario.table for scenario in scenarios):
        for figure in FIGURES:
            yield from table_of(results, figure, [s for s in scenarios if s.table == table])
    rows = [f"| {text} | {cell(results[scenario, ours, figure], results[scenario, theirs, figure], promised)} |"
            for scenario, figure, theirs, ours, text, promised in OTHERS if {(scenario, way, figure) for way in (ours, theirs)} <= results.keys()]
    if rows:
        yield from ["| others | ratio |", "| --- | --- |", *rows, ""]


def plot(results, output):
    """The library with its defaults, and the noise."""
    points = []
    for scenario in everything():
        for figure in scenario.figures[:1]:
            theirs, ours, again = (results.get((scenario.name, way, figure)) for way in ("without", "with", "without, again"))
            if theirs and ours and again and figure != "memory":
                numbers = " ".join(f"{number:.3f}" for number in (*ratio(ours, theirs), *ratio(again, theirs)))
                points.append(f'"{scenario.name}: {figure.replace("cpu", "CPU")}" {numbers}')
    data = OUTPUT / "plot.dat"
    data.write_text("\n".join(points) + "\n", encoding="utf-8")
    # beside the data, for the plot names it by the path that it is given
    subprocess.run(["gnuplot"], check=True, text=True, cwd=OUTPUT, input=GNUPLOT.format(
        output=output, data=data.name, count=len(points), height=120 + 28 * len(points)))


def main():
    results = read_results()
    text = "\n".join([machine(), "", *tables(results)])
    print(text)
    (OUTPUT / "report.md").write_text(text, encoding="utf-8")
    plot(results, OUTPUT / "benchmarks.svg")
    if sys.argv[1:] == ["--publish"]:
        plot(results, PLOT)
        head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        PAGE.write_text(head + BEGIN + "\n![ratios](benchmarks.svg)\n\n" + text + "\n" + END + rest.split(END)[1], encoding="utf-8")
    print(f"Written to {OUTPUT.relative_to(PROJECT)}/report.md and benchmarks.svg.")


if __name__ == "__main__":
    main()
