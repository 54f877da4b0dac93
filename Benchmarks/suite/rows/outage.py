# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Row 5: the new process is killed as soon as it is in charge."""

import contextlib
import dataclasses
import os
import signal
import socket
import statistics
import threading
import time

from ..load import loading
from ..numbers import Spread, short
from ..peers import Go, HAProxy, NginxReload, NginxUSR2, OursOnProbation, blaming
from ..processes import Failure, wait_until
from ..report import Plot, Result, Table, Verdict

BOUND = 2.0  # seconds that an answer is waited for


class NginxKept(NginxUSR2):
    """The operator has not told the old master to quit yet: its workers still serve."""

    name, key = "nginx, USR2, old program kept", "nginx-kept"
    dismisses = False


class NginxQuit(NginxUSR2):
    name, key = "nginx, USR2, QUIT", "nginx-quit"


KINDS = [OursOnProbation, Go, NginxReload, NginxKept, NginxQuit, HAProxy]


@dataclasses.dataclass
class Outage:
    milliseconds: float  # from the kill to the first whole answer of a request made after it; infinite if none came
    failed: int
    requests: int
    usual: float  # what such a request takes when nothing happens


class Probe(threading.Thread):
    """Asks again and again, each time on a new connection."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.stopped = threading.Event()
        self.answers = []  # (begun, ended), of those that were answered

    def run(self):
        while not self.stopped.is_set():
            begun = time.monotonic()
            try:
                with socket.create_connection(("127.0.0.1", self.port), BOUND) as connection:
                    connection.settimeout(BOUND)
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    answer = b""
                    while data := connection.recv(4096):
                        answer += data
                if answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\n"):
                    self.answers.append((begun, time.monotonic()))
            except OSError:
                time.sleep(0.0005)  # refused: not in a busy loop

    def stop(self):
        self.stopped.set()
        self.join(2 * BOUND + 1)


def measure(tools, kind):
    peer = kind(tools, tools.new_folder(kind.key))
    probe = Probe(peer.port)
    try:
        with blaming(peer), loading(tools.demo, peer.port, "close", 8, "--think", "2ms") as load:
            load.wait("it begins", lambda report: report["requests"] > 100)
            probe.start()
            wait_until("it answers", lambda: len(probe.answers) >= 20)  # what is usual
            upgrade = peer.upgrade(dismisses=getattr(kind, "dismisses", True))
            killed = time.monotonic()
            for pid in upgrade.new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(Failure):
                wait_for_answer(probe, killed, peer.patience)
            time.sleep(0.2)  # for what fails later
            probe.stop()
            report = load.stop()
        first = min((ended for begun, ended in probe.answers if begun >= killed), default=None)
        peer.require(first, "nobody serves after the new process was killed")
        usual = [ended - begun for begun, ended in probe.answers if ended < upgrade.began]
        return Outage((first - killed) * 1e3 if first else float("inf"), report["lost"], report["requests"],
                      statistics.median(usual) * 1e3)
    finally:
        probe.stopped.set()
        peer.end()


def wait_for_answer(probe, killed, patience):
    deadline = killed + patience
    while time.monotonic() < deadline and not any(begun >= killed for begun, _ in probe.answers[-50:]):
        time.sleep(0.005)


def run(tools):
    result = Result("5", "The new process is killed right after it was ready")
    rounds = 1 if tools.quick else 4
    outages = {kind.key: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in KINDS:
            outages[kind.key].append(measure(tools, kind))
    names = {kind.key: kind.name for kind in KINDS}
    table = Table(f"SIGKILL to everything that is new. *Outage*: until a request made after that has its whole answer. "
                  f"What takes more than {BOUND:g} s lasts until somebody starts the service again.",
                  ["server", "outage, ms", "a request at other times, ms", "failed requests, each time"])
    for key, name in names.items():
        table.rows.append([name, in_words(outages[key]), Spread.of([outage.usual for outage in outages[key]]),
                           Spread.of([outage.failed for outage in outages[key]])])
    result.tables.append(table)
    result.notes.append("8 clients, a new connection for each request, 2 ms between them. Of ours and of Go's the old process "
                        "has nothing left to say after commit; probation is what keeps it.")
    result.notes.append("nginx replaces a dead worker of the same program; with USR2 the old program serves beside the new one "
                        "until the operator tells it to quit, and nobody decides for him. HAProxy's master ends everything "
                        "when a worker is killed.")
    result.plots.append(Plot("outage", "Outage when the new process is killed", f"ms ({BOUND:g} s at most)", bars={
        names[key]: bar([min(outage.milliseconds, BOUND * 1e3) for outage in values])
        for key, values in outages.items()}, logarithmic=True))
    if not tools.quick:
        ours = Spread.of([outage.milliseconds for outage in outages["probation"]])
        failed = Spread.of([outage.failed for outage in outages["probation"]])
        usual = statistics.median(outage.usual for outage in outages["probation"])
        result.verdicts.append(Verdict(
            "outage when the new process is killed, ms (failed requests)", f"{short(ours.median)} ({short(failed.median)})",
            ", ".join(f"{names[key]} {in_words(values).split(' (')[0]} ({short(statistics.median(o.failed for o in values))})"
                      for key, values in outages.items() if key != "probation"),
            f"{short(usual)}, a request", "5 ms", ours.median < 5))
    return result


def in_words(outages):
    values = [outage.milliseconds for outage in outages]
    if max(values) == float("inf"):
        return f"> {BOUND * 1e3:,.0f}"
    return str(Spread.of(values))


def bar(values):
    spread = Spread.of(values)
    return spread.median, spread.low, spread.high
