#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""What an upgrade costs, from SIGHUP to the PID file that names the successor.

Three servers that do the same are upgraded in turns: ours, one in Go with Cloudflare's tableflip, and the floor, which is
C and makes the system calls that a hand-over takes and no others. See README.md beside this file.
"""

import argparse
import ctypes
import json
import os
import pathlib
import random
import resource
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
COUNTS = [0, 1000, 9000, 19000]
BALLASTS = [64 << 20, 1 << 30, 4 << 30]
# What a process opens beside what it carries, as the library reserves it.
SPARE = 600
PATIENCE = 30.0  # seconds; nothing here takes one

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_CHILD_SUBREAPER = 36
IN_MOVED_TO = 0x80


class Failure(Exception):
    pass


def median(values):
    return statistics.median(values)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))]


class Line:
    """Generations of one server, each started by the one before."""

    def __init__(self, program, folder, carried=0, ballast=0, flags=()):
        self.folder = folder
        folder.mkdir()
        self.pid_file = folder / "pid"
        self.watch = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.watch < 0 or libc.inotify_add_watch(self.watch, os.fsencode(folder), IN_MOVED_TO) < 0:
            raise Failure("inotify: " + os.strerror(ctypes.get_errno()))
        self.lines, theirs = os.pipe()
        arguments = [str(program), "--pid-file", str(self.pid_file), "--carry", str(carried), "--ballast", str(ballast),
                     *flags]
        self.pid = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 1)])
        os.close(theirs)
        try:
            self.await_named(0)
            self.await_line()
        except BaseException:
            self.end()
            raise

    def await_named(self, old):
        """Until the PID file names another process than `old`; which one, and when."""
        deadline = time.monotonic() + PATIENCE
        while True:
            if not select.select([self.watch], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Failure(f"{self.folder.name}: no successor in the PID file")
            now = time.perf_counter_ns()
            os.read(self.watch, 65536)
            text = self.pid_file.read_text() if self.pid_file.exists() else ""
            if text.strip() and int(text) != old:
                return int(text), now

    def await_line(self):
        """Until the generation that serves says that it is alone."""
        if not select.select([self.lines], [], [], PATIENCE)[0]:
            raise Failure(f"{self.folder.name}: the predecessor of {self.pid} does not leave")
        line = os.read(self.lines, 64)
        if line != b"%d\n" % self.pid:
            raise Failure(f"{self.folder.name}: {line!r} instead of {self.pid}")

    def upgrade(self):
        """One upgrade; in milliseconds."""
        old = self.pid
        begin = time.perf_counter_ns()
        os.kill(old, signal.SIGHUP)
        self.pid, end = self.await_named(old)
        self.await_line()
        self.gone = (time.perf_counter_ns() - begin) / 1e6
        os.waitpid(old, 0)
        return (end - begin) / 1e6

    def end(self):
        pids = {self.pid}
        if self.pid_file.exists() and self.pid_file.read_text().strip():
            pids.add(int(self.pid_file.read_text()))
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        os.close(self.lines)
        os.close(self.watch)


def allow_descriptors(wanted):
    """Raises the limit as far as may be; how far that is. Servers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        return wanted
    except (ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard


def descriptors_needed(side, count):
    """Go's exec moves what stands in the way of another number above all others first: up to all of them."""
    return (2 * count if side == "go" else count) + SPARE


def bare_start(program):
    """From posix_spawn to the end of a process that returns at the start of main; in milliseconds."""
    begin = time.perf_counter_ns()
    pid = os.posix_spawn(str(program), [str(program), "--exit"], os.environ)
    _, status = os.waitpid(pid, 0)
    end = time.perf_counter_ns()
    if status != 0:
        raise Failure(f"{program} --exit: {status}")
    return (end - begin) / 1e6


def build(output):
    """Each program by the name of its side."""
    def run(*command, **options):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
        if done.returncode != 0:
            raise Failure(" ".join(map(str, command)) + "\n" + done.stdout)
        return done.stdout

    programs = {}
    programs["floor"] = output / "floor"
    run("cc", "-O2", "-Wall", "-Werror", "-o", programs["floor"], HERE / "HandoverCost/floor/floor.c")
    swift = ["swift", "build", "--package-path", HERE, "-c", "release", "--static-swift-stdlib"]
    run(*swift, "--product", "handover-server")
    programs["ours"] = pathlib.Path(run(*swift, "--show-bin-path").strip()) / "handover-server"
    # Debian's Go packages are sources below this path, without modules.
    gopath = os.environ.get("TABLEFLIP_GOPATH", "/usr/share/gocode")
    if shutil.which("go") and pathlib.Path(gopath, "src/github.com/cloudflare/tableflip").is_dir():
        programs["go"] = output / "go"
        run("go", "build", "-o", programs["go"], HERE / "HandoverCost/go-server/main.go",
            env=os.environ | {"GO111MODULE": "off", "GOPATH": gopath, "GOFLAGS": ""})
    else:
        print("Go is left out: apt-get install golang-go golang-github-cloudflare-tableflip-dev", file=sys.stderr)
        if os.environ.get("CI") == "true":
            raise Failure("Go and its tableflip are missing")
    return programs


def measure_counts(programs, folder, pairs, rounds):
    """Interleaved: every round upgrades every server once, so that a slow moment of the machine meets all alike."""
    starts = {side: [] for side in programs}
    times = {(side, count): [] for side, count in pairs if side in programs}
    lines = {}
    try:
        for side, count in times:
            lines[side, count] = Line(programs[side], folder / f"{side}-{count}", carried=count)
        for number in range(rounds + 1):
            for side in programs:
                starts[side] += [bare_start(programs[side]) for _ in range(3)]
            for pair, line in lines.items():
                took = line.upgrade()
                if number > 0:  # the first is the one with the cold caches
                    times[pair].append(took)
    finally:
        for line in lines.values():
            line.end()
    return starts, times


def measure_ballast(programs, folder, sizes, rounds):
    """One server at a time, for they are large."""
    times = {}
    for size in sizes:
        for side in [side for side in programs if side != "floor"]:
            line = Line(programs[side], folder / f"{side}-ballast-{size}", ballast=size)
            try:
                times[side, size] = [line.upgrade() for _ in range(rounds + 1)][1:]
            finally:
                line.end()
    return times


class Clients:
    """At a control socket: some that watch, and go from process to process, and some that come anew before each upgrade and
    say nothing."""
    WATCH = b"TF\x42\0" + bytes(4) + (2).to_bytes(4, "little") + b"\1\0"

    def __init__(self, path, watching, silent):
        self.path, self.silent = path, silent
        self.quiet = []
        self.watching = [self.connect() for _ in range(watching)]
        for client in self.watching:
            client.sendall(self.WATCH)
            if not select.select([client], [], [], PATIENCE)[0]:
                raise Failure("a client is not answered")

    def connect(self):
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        return client

    def come(self):
        self.quiet = [self.connect() for _ in range(self.silent)]

    def go(self):
        for client in self.quiet:
            client.close()
        for client in self.watching:
            if not client.recv(1 << 20):
                raise Failure("a client that watches was cut")

    def end(self):
        for client in self.watching + self.quiet:
            client.close()


# Who waits at the control socket: how many watch, how many say nothing; None: there is none.
CONTROL = {"no control socket": None, "nobody": (0, 0), "60 watch": (60, 0), "100 say nothing": (0, 100)}


def measure_control(program, folder, rounds):
    """Interleaved, as above, and each is as often behind each other: what one has left to do, the next may feel."""
    names = list(CONTROL)
    times = {name: {"upgraded": [], "gone": []} for name in CONTROL}
    lines, clients = {}, {}
    try:
        for number, (name, counts) in enumerate(CONTROL.items()):
            place = folder / f"control-{number}"
            path = str(folder / f"control-{number}.socket")
            lines[name] = Line(program, place, flags=[] if counts is None else ["--control", path])
            clients[name] = Clients(path, *(counts or (0, 0)))
        for number in range(rounds + 1):
            for name in random.sample(names, len(names)):
                clients[name].come()
                took = lines[name].upgrade()
                clients[name].go()
                if number > 0:
                    times[name]["upgraded"].append(took)
                    times[name]["gone"].append(lines[name].gone)
    finally:
        for one in [*clients.values(), *lines.values()]:
            one.end()
    return times


def print_control(times):
    print("Milliseconds: median (10th to 90th percentile).\n")
    print("| at the control socket | until the PID file names the new process | ratio | until the old one has gone | ratio |")
    print("|---|---|---|---|---|")
    base = {what: median(values) for what, values in times["no control socket"].items()}
    for name, both in times.items():
        print(f"| {name} | " + " | ".join(f"{cell(both[what])} | {median(both[what]) / base[what]:.2f}" for what in both)
              + " |")


def summary(values):
    return {"median": round(median(values), 3), "p10": round(percentile(values, 0.1), 3),
            "p90": round(percentile(values, 0.9), 3), "samples": len(values)}


def cell(values):
    return f"{median(values):.2f} ({percentile(values, 0.1):.2f}–{percentile(values, 0.9):.2f})"


def size_in_words(size):
    return f"{size >> 30} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"


def own_parts(starts, times):
    """What each upgrade took beyond the bare start of its program."""
    return {(side, count): [value - median(starts[side]) for value in values] for (side, count), values in times.items()}


def times_as_long(times, side, other, count):
    """How many times the one's median is the other's."""
    if (side, count) not in times or (other, count) not in times:
        return "–"
    return f"{median(times[side, count]) / median(times[other, count]):.1f}"


NAMES = {"floor": "floor", "ours": "swift-tableflip", "go": "Go tableflip"}


def print_tables(programs, starts, times, ballast):
    sides = list(programs)
    print("Milliseconds: median (10th to 90th percentile).\n")
    print("| carried | " + " | ".join(NAMES[side] for side in sides) + " | Go, times ours |")
    print("|---|" + "---|" * (len(sides) + 1))
    print("| bare start | " + " | ".join(cell(starts[side]) for side in sides) + " | |")
    counts = sorted({count for _, count in times})
    for count in counts:
        cells = [cell(times[side, count]) if (side, count) in times else "–" for side in sides]
        print(f"| {count:,} | " + " | ".join(cells) + f" | {times_as_long(times, 'go', 'ours', count)} |")
    own = own_parts(starts, times)
    print("\n| own part | " + " | ".join(NAMES[side] for side in sides) + " | ours, times the floor's | ours, times Go's |")
    print("|---|" + "---|" * (len(sides) + 2))
    for count in counts:
        cells = [cell(own[side, count]) if (side, count) in own else "–" for side in sides]
        print(f"| {count:,} | " + " | ".join(cells) + f" | {times_as_long(own, 'ours', 'floor', count)}"
              f" | {times_as_long(own, 'ours', 'go', count)} |")
    if not ballast:
        return
    print("\n| resident memory | " + " | ".join(NAMES[side] for side in sides if side != "floor") + " |")
    print("|---|" + "---|" * (len(sides) - 1))
    for size in sorted({size for _, size in ballast}):
        print(f"| {size_in_words(size)} | "
              + " | ".join(cell(ballast[side, size]) for side in sides if side != "floor") + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="upgrades of each server (%(default)s)")
    parser.add_argument("--ballast-rounds", type=int, default=10, help="the same for large processes (%(default)s)")
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)), help="how many files are carried (%(default)s)")
    parser.add_argument("--no-ballast", action="store_true", help="leave the large processes out")
    parser.add_argument("--quick", action="store_true",
                        help="few rounds, 64 MiB at most: that every upgrade happens, not how long it takes")
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--control", action="store_true", help="only what a control socket and its clients cost")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = arguments.ballast_rounds = 2
    sizes = [] if arguments.no_ballast else BALLASTS[:1] if arguments.quick else BALLASTS

    counts = [int(count) for count in arguments.counts.split(",")]
    limit = allow_descriptors(2 * max(counts) + SPARE)
    pairs = [(side, count) for count in counts for side in NAMES if descriptors_needed(side, count) <= limit]
    if len(pairs) < len(counts) * len(NAMES):
        print(f"the limit on open files is {limit} (ulimit -Hn): what needs more is left out", file=sys.stderr)
    # The generations are our children's children: this makes them ours to wait for.
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    output = HERE / ".build" / "handover-cost"
    output.mkdir(parents=True, exist_ok=True)
    programs = build(output)
    if arguments.build_only:
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if arguments.control:
            times = measure_control(programs["ours"], folder, arguments.rounds)
            if arguments.json:
                print(json.dumps({"unit": "ms", "control": {
                    name: {what: summary(values) for what, values in both.items()} for name, both in times.items()}}))
            else:
                print_control(times)
            return
        starts, times = measure_counts(programs, folder, pairs, arguments.rounds)
        ballast = measure_ballast(programs, folder, sizes, arguments.ballast_rounds)
    if arguments.json:
        print(json.dumps({
            "unit": "ms",
            "bareStart": {side: summary(values) for side, values in starts.items()},
            "carried": [{"side": side, "count": count, **summary(values)} for (side, count), values in times.items()],
            "ownPart": [{"side": side, "count": count, **summary(values)}
                        for (side, count), values in own_parts(starts, times).items()],
            "ballast": [{"side": side, "bytes": size, **summary(values)} for (side, size), values in ballast.items()],
        }))
    else:
        print_tables(programs, starts, times, ballast)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"handover-cost: {failure}")
