# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Row 8: how each cost grows."""

import json
import os
import time

from ..numbers import Line, Spread, short
from ..peers import Go, NginxReload, Ours
from ..report import Plot, Result, Table, Verdict
from . import lifetime, trigger

MIB = 1 << 20


def carried(tools):
    counts = "0,500,1000" if tools.quick else "0,2000,4000,6000,9000"
    report = json.loads(tools.script("handover-cost.py", "--json", "--no-ballast", "--counts", counts,
                                     "--rounds", "2" if tools.quick else "8"))
    return {(row["side"], row["count"]): row["median"] for row in report["carried"]}


def connections(tools):
    counts, rounds = ([0, 250, 500], 1) if tools.quick else ([0, 2000, 4000, 6000, 9000], 2)
    _, lives = lifetime.measure_all(tools, [Ours, Go, NginxReload], counts, rounds)
    return ({(key, count): Spread.of([life.whole for life in values]).median for (key, count), values in lives.items()}
            | {("floor", count): Spread.of([lifetime.floor(count) for _ in range(3)]).median for count in counts})


def state(tools):
    """Of what is handed over at the last moment; no peer does that. The floor: written to a memfd and read back."""
    sizes = [0, 4 * MIB] if tools.quick else [0, 16 * MIB, 64 * MIB, 128 * MIB, 256 * MIB]
    rounds = 2 if tools.quick else 5
    times = {}
    for size in sizes:
        line = StateLine.start(tools, size)
        try:
            taken = [line.upgrade() for _ in range(rounds + 1)][1:]
            times["ours", size] = Spread.of(taken).median
        finally:
            line.end()
        times["floor", size] = Spread.of([through_memory(size) for _ in range(rounds)]).median
    return times


class StateLine:
    """Generations of our server of row 1 that hand over so much."""

    @staticmethod
    def start(tools, size):
        folder = tools.new_folder(f"state-{size}")
        # A line passes no words of ours on: the program that it starts does.
        program = folder.parent / f"{folder.name}.sh"
        program.write_text(f"#!/bin/sh\nexec {tools.handover_programs['ours']} \"$@\" --state {size}\n")
        program.chmod(0o755)
        return tools.handover.Line(program, folder)


def through_memory(size):
    content = memoryview(bytearray(b"x") * size)
    begin = time.perf_counter()
    descriptor = os.memfd_create("floor")
    offset = 0
    while offset < size:
        offset += os.pwrite(descriptor, content[offset:], offset)
    copy = bytearray(size)
    offset = 0
    while offset < size:
        offset += os.preadv(descriptor, [memoryview(copy)[offset:]], offset)
    os.close(descriptor)
    return (time.perf_counter() - begin) * 1e3


def run(tools):
    result = Result("8", "How each cost grows")
    table = Table("Least squares through medians: what each more costs, what remains at none, and how well the line fits.",
                  ["by", "server", "each", "at none, ms", "R²"])
    memory = {pair: spread.median for pair, spread in tools.once("memory", lambda: trigger.measure_memory(tools)).items()}
    for what, unit, scale, times in [
        ("descriptors", "µs", 1e3, carried(tools)),
        ("connections at rest, until the old process is gone", "µs", 1e3, connections(tools)),
        ("resident memory, MiB", "µs", 1e3 * MIB, memory),
        ("final state, MiB", "µs", 1e3 * MIB, state(tools)),
    ]:
        slopes = {}
        for side in sorted({side for side, _ in times}, key=list(NAMES).index):
            points = sorted((size, took) for (other, size), took in times.items() if other == side and took < float("inf"))
            line = Line.through(points)
            slopes[side] = line.slope * scale
            # A cost that does not grow fits no line, and need not.
            table.rows.append([what, NAMES[side], f"{short(slopes[side])} {unit}", short(line.base), f"{line.fit:.2f}"])
        result.plots.append(plot(what, times))
        if not tools.quick:
            others = {side: value for side, value in slopes.items() if side not in ("ours", "floor")}
            result.verdicts.append(Verdict(
                f"each more: {what}, {unit}", short(slopes["ours"]),
                ", ".join(f"{NAMES[side]} {short(value)}" for side, value in others.items()) or "none does it",
                short(slopes["floor"]) if "floor" in slopes else "0",
                met=all(slopes["ours"] <= max(value, NOISE[unit]) for value in others.values())))
    result.tables.append(table)
    result.notes.append("Connections of Go's and nginx's are closed at rest, not moved.")
    return result


NAMES = trigger.NAMES | {"nginx-hup": "nginx, reload (HUP)"}
# Slopes below this are none: 4 GiB would cost half a millisecond.
NOISE = {"µs": 0.1}


def plot(what, times):
    word = what.split()[0]
    scale = MIB if "MiB" in what else 1
    return Plot(f"growth-{word}", f"By {what}", "ms", what, {
        NAMES[side]: sorted((size / scale, took, took, took) for (other, size), took in times.items()
                            if other == side and took < float("inf"))
        for side in sorted({side for side, _ in times}, key=list(NAMES).index)}, logarithmic=word == "resident")
