# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Row 1: from the trigger until the new process is in charge, which is when the PID file names it."""

import json
import os
import signal
import subprocess
import time

from ..numbers import Spread, short
from ..peers import Gunicorn, NginxUSR2, blaming
from ..processes import children, wait_until
from ..report import Plot, Result, Table, Verdict

NAMES = {"floor": "floor (C)", "ours": "swift-tableflip", "go": "Go tableflip", "nginx": "nginx, USR2",
         "gunicorn": "gunicorn, USR2"}


class NginxHolding(NginxUSR2):
    """A master that holds memory, and keeps its place: the new one is sent away again after each upgrade."""

    ballast = 0

    def start(self):
        # nginx hands LD_PRELOAD to nobody: what is new holds nothing, as with the others.
        self.environment = {"LD_PRELOAD": str(self.tools.preload), "BALLAST": str(self.ballast)} if self.ballast else None
        super().start()

    def successors(self, before):
        master = self.master()
        return {master} if master and master not in before else None

    def give_back(self, new):
        os.kill(new, signal.SIGTERM)
        wait_until("it gives back", lambda: self.old_master() is None and self.master() != new)


class GunicornHolding(Gunicorn):
    def successors(self, before):
        master = self.named(self.second)
        return {master} if master else None

    def give_back(self, new):
        # It writes the file before it takes signals, and starts workers after.
        wait_until("it has workers", lambda: children(new))
        os.kill(new, signal.SIGTERM)
        # The old one takes no USR2 before it has waited for the new.
        wait_until("it gives back", lambda: not os.path.exists(f"/proc/{new}"))
        self.second.unlink(missing_ok=True)


def measure_carried(tools):
    words = ["--quick", "--counts", "0,1000"] if tools.quick else ["--rounds", "15", "--counts", "0,100,1000,9000,19000"]
    report = json.loads(tools.script("handover-cost.py", "--json", "--no-ballast", *words))
    starts = {side: Spread.read(summary) for side, summary in report["bareStart"].items()}
    return starts, {(row["side"], row["count"]): Spread.read(row) for row in report["carried"]}


def measure_memory(tools):
    """By side and bytes; without memory too, so that one sees what it adds."""
    sizes = [0, 64 << 20] if tools.quick else [0, 64 << 20, 1 << 30, 4 << 30]
    rounds = 2 if tools.quick else 5
    sides = {side: program for side, program in tools.handover_programs.items() if side != "floor"}
    times = {}
    for size in sizes:
        folder = tools.new_folder(f"memory-{size}")
        folder.mkdir()
        measured = tools.handover.measure_ballast(sides, folder, [size], rounds)
        times |= {(side, size): Spread.of(values) for (side, _), values in measured.items()}
        for side, kind in ("nginx", NginxHolding), ("gunicorn", GunicornHolding):
            holding = type(kind.__name__, (kind,), {"ballast": size})
            peer = holding(tools, tools.new_folder(f"{side}-{size}"))
            try:
                taken = []
                for _ in range(rounds + 1):
                    upgrade = peer.upgrade(dismisses=False)
                    taken.append(upgrade.milliseconds)
                    with blaming(peer):
                        peer.give_back(next(iter(upgrade.new)))
                times[side, size] = Spread.of(taken[1:])
            finally:
                peer.end()
    return times


def bare_start(*command):
    def once():
        begin = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - begin) * 1e3

    return Spread.of([once() for _ in range(10)])


def run(tools):
    result = Result("1", "From the trigger to the new process in charge")
    starts, carried = tools.once("carried", lambda: measure_carried(tools))
    memory = tools.once("memory", lambda: measure_memory(tools))
    counts = sorted({count for _, count in carried})

    table = Table("Milliseconds, by the number of carried descriptors.",
                  ["carried", *(NAMES[side] for side in starts), "own part, times the floor's", "Go's own part, times ours"])
    table.rows.append(["bare start", *starts.values(), "", ""])
    own = {pair: spread.median - starts[pair[0]].median for pair, spread in carried.items()}
    for count in counts:
        floor, ours, go = (own.get((side, count)) for side in ("floor", "ours", "go"))
        table.rows.append([
            f"{count:,}", *(carried.get((side, count), "–") for side in starts),
            f"{ours / floor:.1f}" if floor else "", f"{go / ours:.1f}" if go and ours else ""])
    result.tables.append(table)

    sizes = sorted({size for _, size in memory})
    sides = [side for side in NAMES if any((side, size) in memory for size in sizes)]
    table = Table("Milliseconds, by the memory that the old process holds.", ["resident", *(NAMES[side] for side in sides)])
    table.rows.append(["bare start", *(starts.get(side) or bare_start(side, "-v" if side == "nginx" else "--version")
                                       for side in sides)])
    for size in sizes:
        table.rows.append([in_words(size), *(memory.get((side, size), "–") for side in sides)])
    result.tables.append(table)
    result.notes.append("nginx and gunicorn fork, which copies the page tables of what they hold; a bare start of "
                        "gunicorn is Python and its modules. nginx holds memory by a library that is loaded before it.")
    if ("go", counts[-1]) not in carried:
        result.notes.append("Go needs twice the numbers of what it carries: the limit on open files leaves no room at "
                            f"{counts[-1]:,}.")

    result.plots = [
        Plot("carried", "Trigger to new process in charge", "ms", "descriptors carried",
             {NAMES[side]: [(count, *points(carried[side, count])) for count in counts if (side, count) in carried]
              for side in starts}),
        Plot("memory", "The same, by what the old process holds", "ms", "MiB resident",
             {NAMES[side]: [(size >> 20, *points(memory[side, size])) for size in sizes if (side, size) in memory]
              for side in sides}, logarithmic=True),
    ]
    if not tools.quick:
        judge(result, counts, own, carried, memory, sides)
    return result


def points(spread):
    return spread.median, spread.low, spread.high


def in_words(size):
    return f"{size >> 30} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"


def judge(result, counts, own, carried, memory, sides):
    for count in counts:
        ours, floor, go = own["ours", count], own["floor", count], own.get(("go", count))
        result.verdicts.append(Verdict(
            f"trigger to in charge, {count:,} carried: own part, ms (whole)",
            f"{short(ours)} ({short(carried['ours', count].median)})",
            f"Go {short(go)} ({short(carried['go', count].median)})" if go else "Go cannot",
            f"{short(floor)} ({short(carried['floor', count].median)})",
            "1.5 times the floor, Go's is 4 times ours" if count == 9000 else "1.5 times the floor, below Go",
            ours <= 1.5 * floor and (go is None or go >= (4 if count == 9000 else 1) * ours)))
    size = max(size for _, size in memory)
    others = {NAMES[side]: memory[side, size].median for side in sides if side != "ours" and (side, size) in memory}
    ours = memory["ours", size].median
    result.verdicts.append(Verdict(
        f"trigger to in charge, {in_words(size)} resident, ms", short(ours),
        ", ".join(f"{name} {short(value)}" for name, value in others.items()), met=ours <= min(others.values())))
