# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Row 7: upgrades per second, each from the trigger to the end of the old process."""

import time

from ..numbers import Spread, short
from ..peers import Go, Gunicorn, HAProxy, NginxReload, NginxUSR2, Ours, OursSmall, Starter, serving
from ..processes import PATIENCE, Failure, await_end
from ..report import Plot, Result, Table, Verdict


def repeat(upgrade, seconds):
    """How long each took, one after the other."""
    taken, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.monotonic()
        upgrade()
        taken.append(time.monotonic() - begin)
    return taken


def whole(peer):
    if await_end(peer.upgrade().old, PATIENCE) is None:
        raise Failure(f"{peer.name}: the old process does not leave")


def run(tools):
    result = Result("7", "Upgrades per second, sustained")
    seconds = 0.5 if tools.quick else 2.5
    kinds = [OursSmall if tools.small else Ours, Go, NginxReload, NginxUSR2, HAProxy, Gunicorn, Starter]
    taken, names = {}, {}

    def measure(key, name, upgrade):
        try:
            taken[key] = repeat(upgrade, seconds)
            names[key] = name
        except (Failure, tools.handover.Failure) as failure:
            # Go's successor may refuse when its parent has ended a moment ago.
            if key in ("ours", "plain ours", "plain floor"):
                raise
            result.notes.append(f"Not sustained: {failure}.")

    with serving(tools, *kinds) as peers:
        for key, peer in peers.items():
            measure(key, peer.name, lambda peer=peer: whole(peer))
    plain = {"floor": "floor (C), no HTTP", "ours": "swift-tableflip, no HTTP", "go": "Go tableflip, no HTTP"}
    for side, program in tools.handover_programs.items():
        line = tools.handover.Line(program, tools.new_folder(f"rate-{side}"))
        try:
            measure(f"plain {side}", plain[side], line.upgrade)
        finally:
            line.end()
    table = Table("Nothing else happens meanwhile. The servers without HTTP are those of row 1.",
                  ["server", "upgrades per second", "milliseconds each"])
    rates = {key: len(values) / sum(values) for key, values in taken.items()}
    for key, name in names.items():
        table.rows.append([name, short(rates[key]), Spread.of([value * 1e3 for value in taken[key]])])
    result.tables.append(table)
    result.notes.append("nginx waits 100 ms in each reload, gunicorn up to a second before its new master takes the old one's "
                        "place, Server::Starter a second to see whether the new worker lives.")
    result.plots.append(Plot("rate", "Upgrades per second", "upgrades per second",
                             bars={name: (rates[key],) * 3 for key, name in names.items()}))
    if not tools.quick:
        for prefix, words in ("", "upgrades per second, HTTP servers"), ("plain ", "upgrades per second, no HTTP"):
            others = {key: rate for key, rate in rates.items()
                      if key.startswith("plain ") == bool(prefix) and key not in (prefix + "ours", "plain floor")}
            result.verdicts.append(Verdict(
                words, short(rates[prefix + "ours"]),
                ", ".join(f"{names[key].replace(', no HTTP', '')} {short(rate)}" for key, rate in others.items()),
                short(rates["plain floor"]), met=rates[prefix + "ours"] >= max(others.values(), default=0)))
    return result
