# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Row 2: requests that were sent whole and not answered whole."""

from ..load import under_upgrades
from ..peers import Go, HAProxy, HAProxyIdleClose, NginxReload, NginxUSR2, Ours, serving
from ..processes import await_end
from ..report import Plot, Result, Table, Verdict

KINDS = [Ours, Go, NginxReload, NginxUSR2, HAProxy, HAProxyIdleClose]
LOADS = {
    "a new connection each": ("close",),
    "keep-alive, back to back": ("keep",),
    "keep-alive, 2 ms think time": ("keep", "--think", "2ms"),
}


def run(tools):
    result = Result("2", "Lost requests")
    clients_of = [8] if tools.quick else [32, 200]
    rounds, seconds = (1, 0.8) if tools.quick else (2, 1.6)
    table = Table("An upgrade each 200 ms, or as soon as the one before has ended.",
                  ["load", "clients", "server", "requests", "upgrades", "lost", "per million", "per upgrade",
                   "connections", "closed at rest"])
    worst = {kind.key: 0.0 for kind in KINDS}
    lost = {kind.key: 0 for kind in KINDS}
    requests = {kind.key: 0 for kind in KINDS}
    with serving(tools, *KINDS) as peers:
        for load, (mode, *words) in LOADS.items():
            for clients in clients_of:
                runs = {key: [] for key in peers}
                for number in range(rounds):
                    for key in list(peers)[::1 if number % 2 == 0 else -1]:
                        runs[key].append(measure(tools, peers[key], mode, clients, words, seconds))
                for key, peer in peers.items():
                    sums = {name: sum(run.report[name] for run in runs[key])
                            for name in ("requests", "lost", "connections", "idleClosed")}
                    upgrades = sum(run.upgrades for run in runs[key])
                    unfinished = sum(run.unfinished for run in runs[key])
                    each = sums["lost"] / max(1, upgrades)
                    worst[key] = max(worst[key], each)
                    lost[key] += sums["lost"]
                    requests[key] += sums["requests"]
                    table.rows.append([
                        load, clients, peer.name, f"{sums['requests']:,}",
                        f"{upgrades} ({unfinished} not in time)" if unfinished else upgrades, f"{sums['lost']:,}",
                        f"{1e6 * sums['lost'] / max(1, sums['requests']):,.0f}", f"{each:,.1f}",
                        f"{sums['connections']:,}", f"{sums['idleClosed']:,}"])
                    if key == "ours":
                        judge_ours(result, load, sums, upgrades, unfinished, mode, clients * rounds)
        names = {key: peer.name for key, peer in peers.items()}
    result.tables.append(table)
    result.plots.append(Plot("lost", "Lost requests per upgrade, worst load", "requests lost per upgrade",
                             bars={names[key]: (value, value, value) for key, value in worst.items()}))
    result.verdicts.append(Verdict(
        "lost requests, all loads together", f"{lost['ours']} of {requests['ours']:,}",
        ", ".join(f"{names[key].replace(', reload', '')} {lost[key]:,} of {requests[key]:,}" for key in names if key != "ours"),
        "0", "0", lost["ours"] == 0))
    return result


def measure(tools, peer, mode, clients, words, seconds):
    run = under_upgrades(tools.demo, peer, mode, clients, words, seconds, every=0.2)
    # What is left of it must not disturb the next.
    await_end(peer.leftovers(), 3)
    return run


def judge_ours(result, load, sums, upgrades, unfinished, mode, connections):
    result.require(upgrades > 0 and unfinished == 0, f"{load}: {upgrades} upgrades, {unfinished} not in time")
    result.require(sums["idleClosed"] == 0, f"{load}: {sums['idleClosed']} connections were closed at rest")
    wanted = sums["requests"] if mode == "close" else connections
    result.require(sums["connections"] == wanted, f"{load}: {sums['connections']} connections, not {wanted}")
