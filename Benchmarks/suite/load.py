# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""The load: our demo's client, which counts every request and never makes one again."""

import contextlib
import dataclasses
import json
import subprocess
import threading
import time

from .peers import blaming
from .processes import PATIENCE, Failure


class Load:
    """A running client. Reports arrive ten times a second, the last one when it is stopped."""

    def __init__(self, demo, port, mode, clients, *words):
        self.process = subprocess.Popen(
            [demo, "load", "--target", f"127.0.0.1:{port}", "--mode", mode, "--clients", str(clients), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.report = {"requests": 0, "resting": 0, "lost": 0, "isFinal": False}
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed, contextlib.suppress(ValueError):
                self.report = json.loads(line)
                self.changed.notify_all()

    def wait(self, what, condition, patience=PATIENCE):
        with self.changed:
            if not self.changed.wait_for(lambda: condition(self.report), patience):
                raise Failure(f"the load: {what}: not within {patience:g} s: {self.report}")
            return self.report

    def stop(self, patience=40.0):
        """Its last word. A server that answers no more is given up by the client after 30 s."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        return self.wait("its last word", lambda report: report["isFinal"], patience)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.process.stdout.close()


@contextlib.contextmanager
def loading(demo, port, mode, clients, *words):
    load = Load(demo, port, mode, clients, *words)
    try:
        yield load
    finally:
        load.end()


@dataclasses.dataclass
class Run:
    """A load on a server, with upgrades or without."""
    report: dict
    upgrades: int
    unfinished: int  # triggers after which no new process was in charge in time


def under_upgrades(demo, peer, mode, clients, words, seconds, every=None):
    """An upgrade each `every` seconds, or as soon as the one before has ended; none if not said."""
    with loading(demo, peer.port, mode, clients, *words) as load:
        with blaming(peer):
            load.wait("it begins", lambda report: report["requests"] >= min(clients, 32))
        begin = time.monotonic()
        next_upgrade, upgrades, unfinished = begin + (every or 0) / 2, 0, 0
        while (now := time.monotonic()) < begin + seconds or every and upgrades + unfinished == 0:
            if every and now >= next_upgrade:
                next_upgrade = max(next_upgrade + every, now)
                try:
                    peer.upgrade(patience=peer.patience)
                    upgrades += 1
                except Failure:
                    unfinished += 1
                continue
            # The rhythm is what is measured.
            end = begin + seconds
            time.sleep(max(0, min(next_upgrade if every else end, end) - time.monotonic()))
        with blaming(peer):
            report = load.stop()
        peer.require(report["lost"] == 0, f"{mode}, {clients} clients: {report['lost']} lost: {report.get('failures')}")
        return Run(report, upgrades, unfinished)
