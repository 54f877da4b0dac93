#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# Upgrades `tableflip-demo serve` by SIGHUP under loads that keep their connections, prints what was counted, and fails if
# a request was lost, a connection was closed by the server, or an old process stayed too long. Everything is on the
# loopback interface and ends by itself.
#
# The times that are judged are those of a release build; nothing may be lost or closed in any.
#
# Usage: Scripts/live-load.py PATH-OF-THE-BUILT-tableflip-demo [--quick]
#   --quick  fewer connections and less time, and no times are judged: for machines that others use as well.
import argparse
import contextlib
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import time

import demo_process
from demo_process import PATIENCE

failures = []


def judge(is_good, complaint):
    if not is_good:
        failures.append(complaint)
        print(f"  FAILED: {complaint}")


class Upgrade:
    """What became of one SIGHUP, in milliseconds from it on."""

    def __init__(self, committed, gone):
        self.committed, self.gone = committed, gone

    @property
    def drain(self):
        return self.gone - self.committed


class Server(demo_process.Server):
    def upgrade(self):
        old, start = self.current, len(self.lines.all)
        end = os.pidfd_open(old)
        try:
            begin = time.monotonic()
            os.kill(old, signal.SIGHUP)
            committed, outcome = self.lines.wait(
                "the outcome of an upgrade",
                lambda line: line["pid"] == old and line["phase"] in ("committed", "failed", "rolledBack", "refused"), start)
            if outcome["phase"] != "committed":
                raise RuntimeError(f"the upgrade: {outcome}")
            if not select.select([end], [], [], PATIENCE)[0]:
                raise RuntimeError(f"{old} does not leave")
            gone = time.monotonic()
            self.lines.wait(
                "the end of the old process",
                lambda line: line["pid"] == outcome["peer"] and line["phase"] == "predecessorLeft", start)
        finally:
            os.close(end)
        if old == self.process.pid:
            self.process.wait(PATIENCE)
        return Upgrade(*((at - begin) * 1e3 for at in (committed, gone)))

    def stop(self):
        start = len(self.lines.all)
        os.kill(self.current, signal.SIGTERM)
        self.lines.wait("the last server stops", lambda line: line["phase"] == "stopping", start)


class Load(demo_process.Load):
    def progress(self, matches):
        self.lines.wait(f"the load {self.mode}", matches, max(0, len(self.lines.all) - 1))

    def window(self, name):
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()

    def stop(self):
        """Its last report, judged."""
        report = self.finish()
        if report["lost"]:
            judge(False, f"{self.mode}: lost {report['lost']}: {report['failures']}")
        judge(report["idleClosed"] == 0 and report["saidClose"] == 0,
              f"{self.mode}: {report['idleClosed']} connections were closed at rest, {report['saidClose']} by an answer")
        wanted = report["requests"] if self.mode == "close" else self.clients
        judge(report["connections"] == wanted, f"{self.mode}: {report['connections']} connections, not {wanted}")
        return report


@contextlib.contextmanager
def serving(demo):
    with tempfile.TemporaryDirectory() as folder:
        server = Server(demo, folder)
        try:
            yield server
            server.stop()
        except Exception:
            server.errors.flush()
            with open(os.path.join(folder, "errors")) as file:
                sys.stderr.write(file.read()[-2000:])
            raise
        finally:
            server.end()


@contextlib.contextmanager
def loading(server, demo, mode, clients, *arguments):
    load = Load(demo, server.port, mode, clients, *arguments)
    try:
        yield load
    finally:
        load.end()


def middle_and_most(values):
    values = sorted(values)
    return f"{values[len(values) // 2]:7.1f} / {values[-1]:7.1f}"


def row(name, report, upgrades):
    latency = report["latency"]
    print(f"{name:34} {report['requests']:9} {report['lost']:5} {report['connections']:7} {report['idleClosed']:5}"
          f"  {latency['p99']:7.1f} {latency['p999']:7.1f} {latency['max']:7.1f}"
          f"   {middle_and_most([u.committed for u in upgrades])}   {middle_and_most([u.drain for u in upgrades])}")
    sys.stdout.flush()


def under_load(demo, name, upgrades, mode, clients, *arguments):
    """An upgrade every 200 ms, or as soon as the last one has ended."""
    with serving(demo) as server, loading(server, demo, mode, clients, *arguments) as load:
        load.progress(lambda line: line["requests"] >= 2 * clients)
        done, begin = [], time.monotonic()
        for number in range(upgrades):
            time.sleep(max(0, begin + 0.2 * number - time.monotonic()))
            done.append(server.upgrade())
        reached = load.lines.all[-1][1]["requests"]
        load.progress(lambda line: line["requests"] > reached)
        report = load.stop()
        row(name, report, done)
        generations = len({line["pid"] for _, line in server.lines.all})
        judge(generations == upgrades + 1, f"{name}: {generations} generations")
        return done


def floor(count):
    """Milliseconds to pass so many connections from hand to hand, 253 a message, and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as connection:
            left, right = socket.socketpair()
            with left, right:
                took = 0
                while count > 0:
                    batch = min(count, 253)
                    begin = time.monotonic()
                    socket.send_fds(left, [b"x"], [connection.fileno()] * batch)
                    _, received, _, _ = socket.recv_fds(right, 1, batch)
                    took += time.monotonic() - begin
                    for descriptor in received:
                        os.close(descriptor)
                    count -= batch
                return took * 1e3


def at_rest(demo, count, judges_times):
    with serving(demo) as server, loading(server, demo, "rest", count) as load:
        load.progress(lambda line: line["resting"] == count)
        upgrades = [server.upgrade() for _ in range(3)]
        report = load.stop()
        row(f"{count} at rest", report, upgrades)
        judge(report["latestServers"] == {str(server.current): count},
              f"at rest: answered by {report['latestServers']}, not all by {server.current}")
        least = floor(count)
        for number, upgrade in enumerate(upgrades, 1):
            print(f"  upgrade {number}: {upgrade.gone:.1f} ms in all, {upgrade.drain:.1f} ms from commit to the end of the "
                  f"old process, {upgrade.drain * 1e3 / count:.1f} us for each connection; their descriptors alone take "
                  f"{least:.1f} ms")
            if judges_times:
                judge(upgrade.drain < 1000, f"at rest: the old process stayed for {upgrade.drain:.0f} ms")


def beside(demo, count, seconds, judges_times):
    """What 64 clients that never rest notice of others that move."""
    with serving(demo) as server, loading(server, demo, "rest", count) as resting:
        resting.progress(lambda line: line["resting"] == count)
        with loading(server, demo, "keep", 64) as busy:
            busy.progress(lambda line: line["requests"] >= 1000)
            busy.window("still")
            time.sleep(seconds)
            upgrades = []
            for _ in range(5):
                busy.window("moving")
                upgrades.append(server.upgrade())
                busy.window("between")
                time.sleep(0.2)
            report = busy.stop()
        rest = resting.stop()
        row(f"{count} at rest, beside:", rest, upgrades)
        row("64 that never rest", report, upgrades)
        still, moving = report["windows"]["still"], report["windows"]["moving"]
        for name, window in ("without an upgrade", still), ("while they move", moving):
            print(f"  {name}: {window['count']} requests, p99 {window['p99']:.1f} ms, p99.9 {window['p999']:.1f} ms, "
                  f"slowest {window['max']:.1f} ms")
        if judges_times:
            judge(moving["p999"] <= 4 * still["p999"], f"p99.9 is {moving['p999'] / still['p999']:.1f} times what it was")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("demo", help="the path of the built tableflip-demo")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    demo, quick = options.demo, options.quick

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2_000 if quick else 10_000
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            sys.exit(f"live-load: needs {wanted} descriptors, the hard limit is {hard} (ulimit -Hn)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

    print(f"{'load':34} {'requests':>9} {'lost':>5} {'connec.':>7} {'idle':>5}  {'p99':>7} {'p99.9':>7} {'slowest':>7}"
          f"   {'commit: med / max':>17}   {'drain: med / max':>17}   (ms)")
    upgrades = 18
    for clients in 32, 200:
        under_load(demo, f"keep, {clients}", upgrades, "keep", clients)
        under_load(demo, f"keep, {clients}, 2 ms think time", upgrades, "keep", clients, "--think", "2ms")
    under_load(demo, "pipelined, 32", upgrades, "pipeline", 32)
    under_load(demo, "chunked, 32", upgrades, "chunked", 32)
    under_load(demo, "1 MiB both ways, 8", upgrades, "upload", 8)
    under_load(demo, "a connection each, 32", upgrades, "close", 32)
    at_rest(demo, 1_000 if quick else 9_000, judges_times=not quick)
    beside(demo, 500 if quick else 5_000, 1 if quick else 5, judges_times=not quick)
    if failures:
        sys.exit(f"live-load: {len(failures)} failed")
    print("live-load: nothing lost, nothing closed")


if __name__ == "__main__":
    main()
