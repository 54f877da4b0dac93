# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Row 3: how long the old process lives once the new one is in charge, with connections at rest."""

import dataclasses
import time

from ..load import loading
from ..numbers import Spread, short
from ..peers import Go, HAProxy, HAProxyIdleClose, NginxReload, NginxUSR2, Ours, blaming, serving
from ..processes import await_end
from ..report import Plot, Result, Table, Verdict
from ..tools import BENCHMARKS, load_script

KINDS = [Ours, Go, NginxReload, NginxUSR2, HAProxy, HAProxyIdleClose]
BOUND = 3.0  # seconds that are waited for an old process


@dataclasses.dataclass
class Life:
    milliseconds: float  # infinite where the bound has passed
    whole: float  # the same from the trigger
    kept: int  # connections that go on
    lost: int


def measure(tools, peer, count):
    with blaming(peer), loading(tools.demo, peer.port, "rest", max(1, count)) as load:
        if count:
            load.wait(f"{count} at rest", lambda report: report["resting"] + report["lost"] >= count)
        else:
            load.stop()
        upgrade = peer.upgrade()
        end = await_end(upgrade.old, BOUND)
        # Long enough for the client to have seen which connections were closed: it is not about that race here.
        time.sleep(0.1)
        report = load.stop() if count else {"lost": 0, "connections": 0}
        await_end(upgrade.old, 5)
    millis = [(end - at) * 1e3 if end else float("inf") for at in (upgrade.ready, upgrade.began)]
    life = Life(*millis, 2 * count - report["connections"] - report["lost"], report["lost"])
    peer.require(life.lost == 0 and life.kept == count, f"{count} at rest: {life.kept} kept, {life.lost} lost")
    return life


def measure_all(tools, kinds, counts, rounds):
    """Lives by key and count; the servers take turns."""
    lives = {}
    with serving(tools, *kinds) as peers:
        for count in counts:
            for _ in range(rounds):
                for key, peer in peers.items():
                    lives.setdefault((key, count), []).append(measure(tools, peer, count))
        return {key: peer.name for key, peer in peers.items()}, lives


def floor(count):
    """Milliseconds to pass so many connections from hand to hand, and nothing else."""
    if count == 0:
        return 0.0
    return load_script(BENCHMARKS.parent / "Scripts/live-load.py").floor(count)


def in_words(values):
    if max(values) == float("inf"):
        return f"> {BOUND * 1e3:,.0f}"
    return str(Spread.of(values))


def run(tools):
    result = Result("3", "How long the old process lives")
    counts, rounds = ([0, 500], 1) if tools.quick else ([0, 1000, 9000], 3)
    names, lives = tools.once("lives", lambda: measure_all(tools, KINDS, counts, rounds))
    table = Table("Milliseconds from the new process in charge to the end of the old one. *Kept*: connections of all "
                  "that go on, with the next request answered on them.",
                  ["server", *(f"{count:,} at rest" for count in counts), f"kept of {counts[-1]:,}", "requests lost"])
    table.rows.append(["floor: their descriptors passed on", *(short(floor(count)) for count in counts), "", ""])
    for key, name in names.items():
        last = lives[key, counts[-1]]
        table.rows.append([
            name, *(in_words([life.milliseconds for life in lives[key, count]]) for count in counts),
            f"{min(life.kept for life in last):,}", f"{sum(life.lost for life in last):,}"])
    result.tables.append(table)
    result.notes.append("nginx waits 100 ms after it has started new workers before it tells the old ones to leave. "
                        "HAProxy with idle-close-on-response waits until each client has asked once more; without, its old "
                        "worker has left before the master says that it is ready.")
    title = f"Life of the old process, {counts[-1]:,} connections at rest"
    result.plots.append(Plot("life", title, f"ms ({BOUND:g} s at most)", bars={
        name: bar([min(life.milliseconds, BOUND * 1e3) for life in lives[key, counts[-1]]])
        for key, name in names.items()}))
    if not tools.quick:
        judge(result, names, lives, counts)
    return result


def bar(values):
    spread = Spread.of(values)
    return spread.median, spread.low, spread.high


def judge(result, names, lives, counts):
    for count in counts:
        ours = Spread.of([life.milliseconds for life in lives["ours", count]])
        others = {name: [life.milliseconds for life in lives[key, count]] for key, name in names.items() if key != "ours"}
        result.verdicts.append(Verdict(
            f"life of the old process, {count:,} at rest, ms", short(ours.median),
            ", ".join(f"{name} {in_words(values).split(' (')[0]}" for name, values in others.items()),
            short(floor(count)), "250 ms, and every connection kept" if count == counts[-1] else "250 ms",
            ours.median < 250 and all(life.kept == count for life in lives["ours", count])))
