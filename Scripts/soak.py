#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# Upgrades `tableflip-demo serve` again and again under mixed load, with random faults from a seed that is printed, and
# looks at the process in charge after each round: descriptors, threads, memory, children, files. Fails if a request was
# refused, if one was lost outside of a process that was killed, if somebody is left behind, or if something grows.
# Everything is on the loopback interface and ends by itself. Linux only: it reads proc(5).
#
# Usage: Scripts/soak.py PATH-OF-THE-BUILT-tableflip-demo [--seed N] [--rounds N] [--seconds N] [--faults PERCENT]
import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time

import demo_process
from demo_process import PATIENCE

LOADS = [("close", 8, []), ("keep", 8, ["--think", "2ms"]), ("chunked", 4, ["--think", "5ms"])]


def until(what, condition):
    """For what no line tells of."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: did not happen")
        time.sleep(0.005)


def is_there(pid):
    """Runs. Whether it is also reaped is for its parent: the census looks at the children of the process in charge."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Server(demo_process.Server):
    def __init__(self, demo, folder, probation):
        self.folder, self.fault_file = folder, os.path.join(folder, "faults")
        self.set_fault("")
        super().__init__(demo, folder, "--upgrade-timeout", "3s", "--probation", probation, "--fault-file", self.fault_file)

    @property
    def mark(self):
        return len(self.lines.all)

    def set_fault(self, flags):
        with open(self.fault_file + ".new", "w") as file:
            file.write(flags + "\n")
        os.rename(self.fault_file + ".new", self.fault_file)

    def event(self, pid, phases, mark):
        return self.lines.wait(f"{'/'.join(phases)} of {pid}",
                               lambda line: line["pid"] == pid and line["phase"] in phases, mark)

    def outcome(self, pid, mark):
        return self.event(pid, ("committed", "failed", "rolledBack"), mark)

    def settle(self, old, outcome, mark):
        """Until one process is left."""
        peer = outcome["peer"]
        if outcome["phase"] == "committed":
            self.event(peer, ("predecessorLeft",), mark)
        gone = old if outcome["phase"] == "committed" else peer
        if gone == self.process.pid:
            self.process.wait(PATIENCE)
        until(f"the end of {gone}", lambda: not is_there(gone))


class Load(demo_process.Load):
    def __init__(self, demo, port, mode, clients, arguments):
        super().__init__(demo, port, mode, clients, "--duration", "86400s", *arguments)
        self.excused = 0
        self.lines.wait(f"requests of {mode}", lambda line: line["requests"] >= clients)

    @property
    def report(self):
        return self.lines.all[-1][1]

    def judge(self):
        report = self.report
        refused = [reason for reason in report["failures"] if "refused" in reason]
        if refused or report["lost"] > self.excused:
            raise RuntimeError(f"{self.mode}: {report['lost']} lost, of which at most {self.excused} in processes that "
                               f"were killed: {report['failures']}")

    def stop(self):
        self.finish()
        self.judge()
        return self.report


@contextlib.contextmanager
def loaded(demo, probation, loads):
    with tempfile.TemporaryDirectory() as folder:
        server, running = Server(demo, folder, probation), []
        try:
            for mode, clients, arguments in loads:
                running.append(Load(demo, server.port, mode, clients, arguments))
            yield server, running
        except Exception:
            with open(os.path.join(folder, "errors")) as file:
                sys.stderr.write(file.read()[-3000:])
            sys.stderr.write("".join(f"{line}\n" for _, line in server.lines.all[-12:]))
            raise
        finally:
            for load in running:
                load.end()
            server.end()


class Census:
    """What must not grow. Sockets are counted by themselves: connections come and go."""

    def __init__(self, pid):
        self.descriptors, self.sockets = 0, 0
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                is_socket = os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
                self.sockets += is_socket
                self.descriptors += not is_socket
        self.threads = len(os.listdir(f"/proc/{pid}/task"))
        with open(f"/proc/{pid}/smaps_rollup") as file:
            self.memory = next(int(line.split()[1]) for line in file if line.startswith("Rss:"))
        self.children = []
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/{pid}/task/{task}/children") as file:
                    self.children += file.read().split()

    @classmethod
    def at_rest(cls, pid):
        """As soon as it has no children: one that has ended is reaped a moment later."""
        deadline = time.monotonic() + 5
        census = cls(pid)
        while census.children and time.monotonic() < deadline:
            time.sleep(0.005)
            census = cls(pid)
        return census

    def __str__(self):
        return f"{self.descriptors} descriptors and {self.sockets} sockets, {self.threads} threads, {self.memory} kB"

    def judge(self, first, folder):
        if self.children:
            raise RuntimeError(f"children are left: {self.children}")
        # A listener, a channel that has not been closed yet, and a connection for each client, and the one it had before.
        most = 4 + 2 * sum(clients for _, clients, _ in LOADS)
        if self.descriptors > first.descriptors + 2 or self.sockets > most or self.threads > first.threads + 6:
            raise RuntimeError(f"it has grown: {self}, at first {first}")
        if self.memory > first.memory * 1.5 + 16_384:
            raise RuntimeError(f"it has grown: {self}, at first {first}")
        files = sorted(os.listdir(folder))
        if files != ["errors", "faults", "pid"]:
            raise RuntimeError(f"files are left: {files}")


# What is done to a successor on probation comes before the end of that, however busy the machine is.
LONG = "--successor-probation 60s"
# What can go wrong: flags for the successor, what is done to whom, and whether a process ends that has accepted.
def kill(server, old, mark):
    _, line = server.event(old, ("probation",), mark)
    server.event(line["peer"], ("serving",), mark)
    os.kill(line["peer"], signal.SIGKILL)


def freeze(server, old, mark):
    _, line = server.event(old, ("probation",), mark)
    os.kill(line["peer"], signal.SIGSTOP)


def nap(server, old, mark):
    server.event(old, ("spawned",), mark)
    os.kill(old, signal.SIGSTOP)
    time.sleep(0.2)
    os.kill(old, signal.SIGCONT)


def hand_back(server, old, mark):
    _, line = server.event(old, ("probation",), mark)
    server.event(line["peer"], ("serving",), mark)
    os.kill(line["peer"], signal.SIGTERM)


def again(server, old, mark):
    server.event(old, ("requested",), mark)
    os.kill(old, signal.SIGHUP)
    server.event(old, ("refused",), mark)


FAULTS = {
    "exits before ready": ("--exit-before-ready 3", None, False),
    "hangs before ready": ("--init-delay 3600s", None, False),
    "crashes in probation": (f"--crash-after-ready 50ms {LONG}", None, True),
    "killed in probation": (LONG, kill, True),
    "frozen in probation": (LONG, freeze, True),
    "hands back": (LONG, hand_back, False),
    "old one frozen for a while": ("--successor-probation 2s", nap, False),
    "asked twice": ("--successor-probation 2s", again, False),
}
SUCCEED = {"old one frozen for a while", "asked twice"}


def run(demo, chance, rounds, seconds, generator):
    counts, outcomes, first = {}, {}, None
    begin = time.monotonic()
    with loaded(demo, "200ms", LOADS) as (server, loads):
        done = 0
        while done < rounds and time.monotonic() - begin < seconds:
            name = generator.choice(sorted(FAULTS)) if generator.random() * 100 < chance else ""
            flags, deed, kills = FAULTS.get(name, ("", None, False))
            old, mark = server.current, server.mark
            server.set_fault(flags)
            os.kill(old, signal.SIGHUP)
            if kills:
                for load in loads:
                    load.excused += load.clients
            if deed:
                deed(server, old, mark)
            _, outcome = server.outcome(old, mark)
            server.settle(old, outcome, mark)
            if name in SUCCEED | {""} and outcome["phase"] != "committed":
                raise RuntimeError(f"round {done}, {name or 'no fault'}: {outcome}")
            if name not in SUCCEED | {""} and outcome["phase"] == "committed":
                raise RuntimeError(f"round {done}, {name}: it was not noticed: {outcome}")
            wanted = outcome["peer"] if outcome["phase"] == "committed" else old
            if server.current != wanted:
                raise RuntimeError(f"round {done}, {name or 'no fault'}: the PID file names {server.current}, not {wanted}")
            for load in loads:
                load.judge()
            census = Census.at_rest(wanted)
            done += 1
            if first is None and done >= 5:
                first = census
            census.judge(first or census, server.folder)
            counts[name or "none"] = counts.get(name or "none", 0) + 1
            outcomes[outcome["phase"]] = outcomes.get(outcome["phase"], 0) + 1
        reports = [(load, load.stop()) for load in loads]
        took = time.monotonic() - begin
        print(f"{done} rounds in {took:.0f} s: " + ", ".join(f"{count} {what}" for what, count in sorted(outcomes.items())))
        print("  faults: " + ", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
        for load, report in reports:
            print(f"  {load.mode}, {load.clients} clients: {report['requests']} requests, {report['lost']} lost, at most "
                  f"{load.excused} of them in processes that were killed; 0 refused")
        print(f"  after 5 rounds: {first}; at the end: {census}; no children, no files left")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("demo", help="the path of the built tableflip-demo")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--rounds", type=int, default=1 << 60)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--faults", type=float, default=50, help="per cent of the rounds that have one")
    options = parser.parse_args()
    print(f"soak: --seed {options.seed}")
    sys.stdout.flush()
    run(options.demo, options.faults, options.rounds, options.seconds, random.Random(options.seed))


if __name__ == "__main__":
    main()
