# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""What rows hand back, and how it is written down: Markdown, JSON and SVG."""

import dataclasses
import json
import os
import platform
import subprocess


@dataclasses.dataclass
class Table:
    title: str
    head: list
    rows: list = dataclasses.field(default_factory=list)

    def markdown(self):
        lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in [self.head, *self.rows]]
        lines.insert(1, "|" + "---|" * len(self.head))
        return (f"{self.title}\n\n" if self.title else "") + "\n".join(lines) + "\n"


@dataclasses.dataclass
class Plot:
    """Lines through points `(x, y, low, high)`, one for each server; or a bar for each server: `(y, low, high)`."""
    name: str
    title: str
    y: str
    x: str = ""
    lines: dict = dataclasses.field(default_factory=dict)
    bars: dict = dataclasses.field(default_factory=dict)
    logarithmic: bool = False


@dataclasses.dataclass
class Verdict:
    """A line of the summary: ours, beside the best peer, above the floor."""
    what: str
    ours: str
    peers: str
    floor: str = "–"
    target: str = "ahead of each peer"
    met: bool = True


@dataclasses.dataclass
class Result:
    number: str
    title: str
    tables: list = dataclasses.field(default_factory=list)
    plots: list = dataclasses.field(default_factory=list)
    verdicts: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    # What must be so however slow the machine is; --quick fails on it.
    broken: list = dataclasses.field(default_factory=list)

    def require(self, condition, words):
        if not condition:
            self.broken.append(f"row {self.number}: {words}")


def machine():
    def first_line(*command):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return (done.stdout.strip().splitlines() or ["?"])[0]

    return ", ".join([
        f"{os.cpu_count()} cores", f"Linux {platform.release().split('-')[0]}",
        first_line("swift", "--version").split("(")[0].strip(), first_line("go", "version").split()[2],
        first_line("nginx", "-v").split("version: ")[-1], "HAProxy " + first_line("haproxy", "-v").split()[2].split("-")[0],
        "gunicorn " + first_line("gunicorn", "--version").split()[-1].rstrip(")"),
    ])


def summary(results):
    table = Table("", ["row", "what", "swift-tableflip", "peers", "floor", "target", "met"])
    for result in results:
        for verdict in result.verdicts:
            table.rows.append([result.number, verdict.what, verdict.ours, verdict.peers, verdict.floor, verdict.target,
                               "yes" if verdict.met else "**no**"])
    return table.markdown()


def markdown(results, words, plotted):
    parts = [f"# Side by side\n\n{words}\n", "Each cell is a median (10th to 90th percentile).\n", summary(results)]
    for result in results:
        parts.append(f"## {result.number}. {result.title}\n")
        parts += [table.markdown() for table in result.tables]
        parts += [f"- {note}" for note in result.notes] + [""] * bool(result.notes)
        parts += [f"![{plot.title}]({plot.name}.svg)\n" for plot in result.plots if plotted]
    return "\n".join(parts)


def write(folder, results, words, plotted=True):
    folder.mkdir(exist_ok=True)
    (folder / "report.md").write_text(markdown(results, words, plotted))
    (folder / "summary.md").write_text(summary(results) + f"\n{words}\n")
    (folder / "results.json").write_text(json.dumps([dataclasses.asdict(result) for result in results], indent=1))
    if plotted:
        from . import plots
        for result in results:
            for plot in result.plots:
                plots.draw(plot, folder / f"{plot.name}.svg")
