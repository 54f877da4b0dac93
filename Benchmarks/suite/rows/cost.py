# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Row 6: the server with the library and without, while nothing is upgraded."""

import json

from ..load import loading
from ..numbers import Spread, short
from ..peers import Go, HAProxy, NginxReload, Ours, OursBare, blaming, serving
from ..processes import proportional_memory
from ..report import Plot, Result, Table, Verdict
from ..tools import BENCHMARKS, load_script

KINDS = [Ours, OursBare, Go, NginxReload, HAProxy]


def run(tools):
    result = Result("6", "Throughput and memory with the library and without")
    rounds, connections, pairs = (1, 200, 1) if tools.quick else (5, 2000, 8)
    rate_of = load_script(BENCHMARKS / "live-cost.py").Server.rate
    rates, idle, each = {}, {}, {}
    with serving(tools, *KINDS) as peers:
        for key, peer in peers.items():
            before = proportional_memory(peer.serving())
            with blaming(peer), loading(tools.demo, peer.port, "rest", connections) as load:
                load.wait("they rest", lambda report: report["resting"] == connections)
                at_rest = proportional_memory(peer.serving())
                load.stop()
            idle[key], each[key] = before / (1 << 20), (at_rest - before) / connections / 1024
        for number in range(rounds):
            for key in list(peers)[::1 if number % 2 == 0 else -1]:
                with blaming(peers[key]):
                    rates.setdefault(key, []).append(rate_of(peers[key], 32))
        names = {key: peer.name for key, peer in peers.items()}
    table = Table("wrk, keep-alive, 32 connections; memory is the proportional set size of all processes of the server.",
                  ["server", "requests per second", "MiB at rest", f"KiB for each of {connections:,} connections"])
    for key, name in names.items():
        table.rows.append([name, Spread.of(rates[key]), short(idle[key]), short(each[key])])
    result.tables.append(table)
    ratio = json.loads(tools.script("live-cost.py", tools.demo, "--pairs", str(pairs), "--json"))
    result.notes.append(f"With the library's handlers the server answers {ratio['ratio']:.3f} times as many requests as without "
                        f"({ratio['pairs']} pairs of a second each, 10th to 90th percentile {ratio['ratio_p10']:.2f} to "
                        f"{ratio['ratio_p90']:.2f}).")
    result.notes.append("The server without the library's handlers still uses the upgrader: that costs nothing per request, "
                        "and what it holds in memory is in both.")
    result.plots.append(Plot("throughput", "Requests per second, 32 connections", "requests per second",
                             bars={names[key]: bar(values) for key, values in rates.items()}))
    if not tools.quick:
        result.verdicts.append(Verdict(
            "throughput with the library, times that without", f"{ratio['ratio']:.2f}",
            "requests a second, in other rounds: " + ", ".join(f"{names[key]} {short(Spread.of(rates[key]).median)}" for key in rates),
            "1", "0.95", ratio["ratio"] >= 0.95))
    return result


def bar(values):
    spread = Spread.of(values)
    return spread.median, spread.low, spread.high
