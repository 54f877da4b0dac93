# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Row 4: what an upgrade each second adds to the latency of requests."""

import statistics

from ..load import under_upgrades
from ..numbers import Spread, short
from ..peers import Go, HAProxyIdleClose, Ours, OursSmall, serving
from ..report import Plot, Result, Table, Verdict

LOADS = {
    "keep-alive, 32 clients, 2 ms think time": ("keep", 32),
    "a new connection each, 8 clients, 2 ms think time": ("close", 8),
}
QUANTILES = {"p50": "p50", "p99": "p99", "p999": "p99.9", "max": "max"}


def run(tools):
    result = Result("4", "Latency that an upgrade each second adds")
    kinds = [OursSmall if tools.small else Ours, Go, HAProxyIdleClose]
    rounds, seconds = (1, 1.2) if tools.quick else (7, 1.6)
    bars = {}
    with serving(tools, *kinds) as peers:
        for load, (mode, clients) in LOADS.items():
            runs = {(key, upgrades): [] for key in peers for upgrades in (False, True)}
            for number in range(rounds):
                for key in list(peers)[::1 if number % 2 == 0 else -1]:
                    for upgrades in (False, True):
                        runs[key, upgrades].append(under_upgrades(
                            tools.demo, peers[key], mode, clients, ("--think", "2ms"), seconds,
                            every=1.0 if upgrades else None))
            added = tabulate(result, load, peers, runs, rounds)
            bars |= {f"{peers[key].name}, {mode}": (s.median, s.low, s.high) for key, s in added.items()}
            busy = runs["ours", True]
            in_time = all(run.upgrades and not run.unfinished for run in busy)
            result.require(in_time, f"{load}: upgrades were not in time: {busy}")
            if not tools.quick:
                others = {key: spread.median for key, spread in added.items() if key != "ours"}
                ours = added["ours"].median
                result.verdicts.append(Verdict(
                    f"added to p99.9, {load}, ms", f"{ours:+.2f}",
                    ", ".join(f"{peers[key].name} {value:+.2f}" for key, value in others.items()), "0",
                    met=ours <= min(others.values())))
    result.plots.append(Plot("latency", "Added to p99.9 by an upgrade each second", "ms", bars=bars))
    return result


def tabulate(result, load, peers, runs, rounds):
    """Each quantile: the median of the runs. Added: of each run with upgrades, beside the run before it without."""
    table = Table(f"{load.capitalize()}: milliseconds, {rounds} runs each way, in turns.",
                  ["server", "upgrades", *QUANTILES.values(), "added to p99.9", "lost"])
    added = {}
    for key, peer in peers.items():
        pairs = zip(runs[key, False], runs[key, True])
        added[key] = Spread.of([busy.report["latency"]["p999"] - still.report["latency"]["p999"] for still, busy in pairs])
        for upgrades in (False, True):
            reports = [run.report for run in runs[key, upgrades]]
            middle = [short(statistics.median(report["latency"][name] for report in reports)) for name in QUANTILES]
            table.rows.append([
                peer.name, sum(run.upgrades for run in runs[key, True]) if upgrades else "none", *middle,
                added[key] if upgrades else "",
                f"{sum(report['lost'] for report in reports):,} of {sum(report['requests'] for report in reports):,}"])
    result.tables.append(table)
    return added
