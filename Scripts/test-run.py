#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""tableflip-run as process 1 of a container, and as any other process.

usage: test-run.py TABLEFLIP-RUN TABLEFLIP-DEMO [TEST...]

Runs in namespaces of its own, so it needs root, and touches nothing outside them. A container is made here of the same:
with a root of its own, in which deploy/container/Containerfile says what is where, what is started, and as whom.
"""

import contextlib
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import traceback

from containerfile import Image
from demo_client import HOST, PATIENCE, PORT, Load, Request, check, get, until

RESIDENT_LIMIT = 8 << 20


def text(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


NAMESPACES = ["unshare", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child", "--"]


def in_namespaces(folder, flags):
    """As `docker run` does: process 1 of a root of its own, and with its user's rights. `folder` is a volume."""
    root = folder + "/root"
    script = ["set -e", "mount --make-rprivate /", f"mkdir {root}", f"mount -t tmpfs -o mode=755 image {root}", f"cd {root}"]
    script += [f"mkdir -p usr opt etc proc dev tmp .{folder}", "chmod 1777 tmp"]
    script += [f"[ ! -L /{name} ] || cp -P /{name} ." for name in ("bin", "sbin", "lib", "lib64")]
    for shared in ("/usr", "/opt"):  # of the machine: the base, and Swift's libraries where they are not linked in
        script += [f"mount --bind {shared} .{shared}", f"mount -o remount,bind,ro .{shared}"]
    script += ["cp /etc/passwd /etc/group /etc/ld.so.cache etc/", "mount -t proc proc proc"]
    script += ["touch dev/null", "mount --bind /dev/null dev/null", f"mount --bind {folder} .{folder}"]
    script += [f"mount -t tmpfs -o mode=755 programs .{IMAGE.folder}"]
    for program in IMAGE.programs:
        script += [f"touch .{IMAGE.folder}{program}", f"mount --bind {PROGRAMS[program]} .{IMAGE.folder}{program}"]
    drop = ["setpriv", f"--reuid={IMAGE.user.pw_uid}", f"--regid={IMAGE.user.pw_gid}", "--clear-groups", "--inh-caps=-all",
            "--bounding-set=-all", "--no-new-privs"]
    words = ["chroot", ".", *drop, "--", *IMAGE.start, *flags]
    script += ["exec " + " ".join(f"'{word}'" for word in words)]
    return [*NAMESPACES, "sh", "-c", "\n".join(script)]


class Container:
    """A runner and its service. `is_init`: in a container of the Containerfile's."""

    def __init__(self, *flags, is_init=True, environment=None):
        self.folder = tempfile.mkdtemp(prefix="tableflip-run-")
        os.chmod(self.folder, 0o755)
        self.faults = self.folder + "/faults"
        self.errors = self.folder + "/errors"
        self.set_faults("")
        flags = ["--fault-file", self.faults, "--drain-timeout", "8s", "--pause-timeout", "10s", *flags]
        words = (in_namespaces(self.folder, flags) if is_init
                 else [RUNNER, "--", DEMO, "serve", "--listen", f"{HOST}:{PORT}", *flags])
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                words, stderr=errors, stdin=subprocess.DEVNULL, start_new_session=True,
                env=dict(os.environ, **(environment or {})))
        until("the service to answer", self.answers)
        self.runner = self._child(self.process.pid) if is_init else self.process.pid
        self.generation = 1

    def set_faults(self, words):
        with open(self.faults + ".new", "w") as file:
            file.write(words + "\n")
        os.rename(self.faults + ".new", self.faults)

    def answers(self):
        try:
            return get("/")
        except OSError:
            check(self.process.poll() is None, "it ended:", self.process.returncode, text(self.errors))
            return None

    @staticmethod
    def _child(process):
        return int(text(f"/proc/{process}/task/{process}/children").split()[0])

    def processes(self):
        """Of its namespace, or of its session's: id and state."""
        found = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            stat = text(f"/proc/{name}/stat")
            if stat and self._descends(int(name)):
                found[int(name)] = stat.rsplit(")", 1)[1].split()[0]
        return found

    def _descends(self, process):
        while process > 1:
            if process == self.runner:
                return True
            stat = text(f"/proc/{process}/stat")
            if not stat:
                return False
            process = int(stat.rsplit(")", 1)[1].split()[1])
        return False

    def settle(self, count):
        """Until so many are left, and no zombie: others see the end of a process before its parent reaps it."""
        def look():
            states = self.processes()
            return states if len(states) == count and "Z" not in states.values() else None
        return until(f"{count} processes, and no zombie", look)

    @property
    def resident(self):
        return int(re.search(r"VmRSS:\s+(\d+) kB", text(f"/proc/{self.runner}/status"))[1]) * 1024

    def signal(self, number):
        os.kill(self.runner, number)

    def upgrade(self):
        before = get("/")
        leaves = text(self.errors).count("the predecessor has left")
        self.signal(signal.SIGHUP)
        until("another process to answer", lambda: get("/") != before)
        until("the process before to leave", lambda: text(self.errors).count("the predecessor has left") > leaves)
        self.generation += 1

    def wait(self, status):
        check(self.process.wait(PATIENCE) == status, "the runner ended with", self.process.returncode, "and not", status)

    def remove(self):
        if self.process.poll() is None:
            # Each was started by us, and its parent, which is one of them, has not reaped it yet.
            for process in [*self.processes(), self.process.pid]:
                os.kill(process, signal.SIGKILL)
            self.process.wait(PATIENCE)
        shutil.rmtree(self.folder)


class Fake:
    """A runner as process 1, of a program in Python that may `tell` it something, and `say` a line to the test."""

    BEGINNING = """
import os, signal, socket, sys, time

def tell(words):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(words.encode(), os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def on(number, action):
    signal.signal(number, lambda number, frame: action())

def start(begin):
    '''Another process, as soon as it has begun.'''
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        begin()
        os.write(writing, b".")
        while True: time.sleep(0.05)  # pause(2) would sleep over a signal that came just before it
    os.read(reading, 1)
    return process

def orphan(action):
    '''Another process, which the runner adopts.'''
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        process = os.fork()
        if process == 0:
            action()
        else:
            os.write(writing, str(process).encode())
        os._exit(0)
    os.waitpid(between, 0)
    return int(os.read(reading, 16))

def wait():
    say("waits")
    while True: time.sleep(0.05)
"""

    def __init__(self, script, *flags, before=()):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [*NAMESPACES, *before, RUNNER, *flags, "--", sys.executable, "-c", self.BEGINNING + script],
            stdout=subprocess.PIPE, stderr=self.errors)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The namespace ends with it, and all that is in there.
        self.process.kill()
        self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.errors.close()

    @property
    def runner(self):
        return Container._child(self.process.pid)

    @property
    def program(self):
        """The first process."""
        return Container._child(self.runner)

    def signal(self, number):
        os.kill(self.runner, number)

    def line(self):
        """What is said next; nothing, where nobody is left to say something."""
        line = b""
        while not line.endswith(b"\n"):
            check(select.select([self.process.stdout], [], [], PATIENCE)[0], "nothing is said", self.said())
            byte = os.read(self.process.stdout.fileno(), 1)
            if not byte:
                break
            line += byte
        return line.decode().strip()

    def lines(self, *expected):
        for line in expected:
            found = self.line()
            check(found == line, "said was", repr(found), "and not", repr(line), self.said())

    def ends(self, status):
        check(self.line() == "", "something else is said")
        found = self.process.wait(PATIENCE)
        check(found == status, "the runner ended with", found, "and not", status, self.said())

    def said(self):
        """By the runner."""
        self.errors.seek(0)
        return self.errors.read()


# --- The tests.

def twenty_upgrades(is_init):
    container = Container(is_init=is_init)
    try:
        begin = container.resident
        load = Load()
        for _ in range(20):
            container.upgrade()
        answers = load.stop()
        container.settle(2)
        check(container.process.poll() is None, "the runner has ended")
        if is_init:
            command, user = (text(f"/proc/{container.runner}/{name}") for name in ("cmdline", "status"))
            check(command.split("\0")[:len(IMAGE.start)] == IMAGE.start, "process 1 is", command)
            check(f"Uid:\t{IMAGE.user.pw_uid}\t" in user and "CapEff:\t0000000000000000" in user, user)
        resident = container.resident
        check(resident < RESIDENT_LIMIT, "resident:", resident)
        container.signal(IMAGE.stop_signal)
        container.wait(0)
        return f"{answers} requests, 0 lost; {resident >> 10} kB resident, {begin >> 10} kB at the start"
    finally:
        container.remove()


def stop_with_request_in_flight(is_init):
    container = Container(is_init=is_init)
    try:
        container.upgrade()
        begin = time.monotonic()
        request = Request("/delay/2s")
        container.signal(IMAGE.stop_signal)
        container.wait(0)
        took = time.monotonic() - begin
        check(request.wait().isdigit(), "the request in flight:", request.result)
        check(1 < took < 8, "it took", took, "s")
        return f"{IMAGE.stop_signal.name}: the request was answered, and the runner ended with status 0 after {took:.1f} s"
    finally:
        container.remove()


def second_stop(is_init):
    """It means now to the process in charge, of whatever generation, and is the first one to the process before it."""
    container = Container("--drain-timeout", "30s", is_init=is_init)
    try:
        before = get("/")
        drains = Request("/delay/4s")
        container.signal(signal.SIGHUP)
        until("another process to answer", lambda: get("/") != before)
        # Until the process before knows that it has been replaced, it is the one in charge.
        until("the commit", lambda: re.search(r"\bupgraded\b", text(container.errors)))
        cut = Request("/delay/18s")
        begin = time.monotonic()
        for stops in (1, 2):
            container.signal(signal.SIGTERM)
            until("a stop", lambda: len(re.findall("generation=2 .* stop by signal", text(container.errors))) >= stops)
        container.wait(0)
        took = time.monotonic() - begin
        check(took < 15, "it took", took, "s")
        check(drains.wait() == before, "the request to the process before:", drains.result)
        check(not (cut.wait() or "").isdigit(), "the other request was answered:", cut.result)
        return f"it cuts what the process in charge does, and lets the one before finish: {took:.1f} s"
    finally:
        container.remove()


def crash(is_init):
    container = Container(is_init=is_init)
    try:
        container.upgrade()
        main, = set(container.settle(2)) - {container.runner}
        os.kill(main, signal.SIGKILL)
        container.wait(128 + signal.SIGKILL)
        return "the end of the second generation by SIGKILL ends the runner with status 137"
    finally:
        container.remove()


def failing_successor(is_init):
    container = Container(is_init=is_init)
    try:
        container.upgrade()
        main = get("/")
        container.set_faults("--exit-before-ready 3")
        # How it ended is known only where the runner has reaped it in time.
        for count in range(1, 6):
            container.signal(signal.SIGHUP)
            until("the failure", lambda: text(container.errors).count("upgrade failed: successorExited") == count)
            if is_known := "exited with status 3" in text(container.errors):
                break
        check(is_known, "the status that the successor ended with is not known")
        check(get("/") == main, "the old process does not answer")
        container.settle(2)
        container.set_faults("")
        container.upgrade()
        container.signal(signal.SIGINT)
        container.wait(0)
        return "the old process serves, nothing is left of the successor, and then an upgrade works"
    finally:
        container.remove()


def orphans_are_reaped(is_init):
    script = "for i in 1 2 3 4 5; do (sh -c 'sleep 0.1 & exit 0'); done; exec sleep 0.5"
    words = NAMESPACES if is_init else []
    done = subprocess.run([*words, RUNNER, "--", "sh", "-c", script + "; exit 9"], timeout=PATIENCE)
    check(done.returncode == 0, "status", done.returncode)
    # It waits for what the program left behind, as long as it was told to, and no longer.
    begin = time.monotonic()
    done = subprocess.run(
        [*words, RUNNER, "--wait", "1", "--", "sh", "-c", "sleep 60 & exit 4"], timeout=PATIENCE, capture_output=True,
        text=True)
    took = time.monotonic() - begin
    check(done.returncode == 4 and 1 <= took < 10, "status", done.returncode, "after", took, "s")
    check("is killed" in done.stderr, done.stderr)
    # Its output ends with the last of them: one in a group of its own, and one in a session of its own and its child.
    begin = time.monotonic()
    script = "set -m; sleep 60 & set +m; setsid sh -c 'sleep 60; true' & exit 4"
    done = subprocess.run([*words, RUNNER, "--wait", "1", "--", "sh", "-c", script], timeout=PATIENCE, capture_output=True)
    took = time.monotonic() - begin
    check(done.returncode == 4 and 1 <= took < 10, "status", done.returncode, "after", took, "s")
    return "orphans are reaped; what does not end is killed after --wait"


def unknown_end(_):
    """The process in charge is the child of another one, which reaps it too late for the runner to ask how it ended."""
    script = """
import os, signal, socket
main = os.fork()
if main == 0:
    while True: signal.pause()

def reap(number, frame):
    if os.waitid(os.P_PID, main, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        os.waitpid(main, 0)
        os._exit(0)

signal.signal(signal.SIGTERM, reap)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
    manager.sendto(b"MAINPID=%d" % main, os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
print("named", flush=True)
while True: signal.pause()
"""
    process = subprocess.Popen([RUNNER, "--", sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        # The first one ends the process in charge. As soon as the runner knows that, they go to whoever is left.
        until("the end", lambda: process.poll() is not None or process.send_signal(signal.SIGTERM))
        check(process.returncode == 1, "status", process.returncode)
        return "an end that nobody knows is no success"
    finally:
        process.kill()
        process.wait(PATIENCE)


SUCCESSION = """
def second():
    on(signal.SIGQUIT, lambda: say("second", int(signal.SIGQUIT)))
    on(signal.SIGTERM, lambda: (say("second", int(signal.SIGTERM)), os._exit(5)))

def replaced(*words):
    for word in [*words, f"MAINPID={new}"]: tell(word)

new = start(second)
"""


def stop_at_the_change(_):
    """One that has been replaced does nothing about a stop."""
    second_stops = f"second {int(signal.SIGTERM)}"
    # It says that it has been replaced a moment after the stop. It hears of no second one, which would mean now.
    # What is sent to all that are left comes after what the runner sends them of its own accord.
    script = "on(signal.SIGWINCH, lambda: os._exit(0)); on(signal.SIGTERM, lambda: (say('first'), replaced())); wait()"
    with Fake(SUCCESSION + script) as fake:
        fake.lines("waits")
        runner = fake.runner
        os.kill(runner, signal.SIGTERM)
        fake.lines("first", second_stops)
        with contextlib.suppress(ProcessLookupError):
            until("the end", lambda: fake.process.poll() is not None or os.kill(runner, signal.SIGWINCH))
        fake.ends(5)
    # It said so a moment before.
    script = "on(signal.SIGUSR1, lambda: (replaced(), say('first'))); wait()"
    with Fake(SUCCESSION + "on(signal.SIGTERM, lambda: say('stopped'));" + script) as fake:
        fake.lines("waits")
        runner = fake.runner
        os.kill(runner, signal.SIGSTOP)
        os.kill(fake.program, signal.SIGUSR1)
        fake.lines("first")
        os.kill(runner, signal.SIGTERM)
        os.kill(runner, signal.SIGCONT)
        fake.lines(second_stops)
    # The program has another meaning for the signal: an upgrade.
    with Fake(SUCCESSION + "on(signal.SIGQUIT, lambda: (replaced('RELOADING=1'), say('first'))); wait()") as fake:
        fake.lines("waits")
        fake.signal(signal.SIGQUIT)
        fake.lines("first")
        fake.signal(signal.SIGTERM)
        fake.lines(second_stops)
    return "it goes to the new process, and to the old one once at most"


def stop_of_what_is_left(_):
    """The process in charge passes no signal on, as a shell does not that has not used exec."""
    script = """
def far():
    os.setsid()
    on(signal.SIGTERM, lambda: say("far drains"))
    on(signal.SIGINT, lambda: (say("far is over"), os._exit(0)))

start(lambda: on(signal.SIGTERM, lambda: os._exit(0)))
start(far)
on(signal.SIGTERM, lambda: (say("program"), os._exit(3)))
wait()
"""
    with Fake(script) as fake:
        fake.lines("waits")
        fake.signal(signal.SIGTERM)
        fake.lines("program", "far drains")
        fake.signal(signal.SIGINT)
        fake.lines("far is over")
        fake.ends(3)
    return "it is told once, in whatever group or session, and hears what comes later"


def named_after_its_end(_):
    orphan = """
second = orphan(lambda: os._exit(9))
while os.path.exists(f"/proc/{second}"): time.sleep(0.01)
"""
    with Fake(orphan + 'tell(f"MAINPID={second}")') as fake:
        fake.ends(9)
    # The id has become another process's.
    again = """
def third():
    on(signal.SIGTERM, lambda: os._exit(5))
    tell(f"MAINPID={os.getpid()}")
    wait()

with open("/proc/sys/kernel/ns_last_pid", "w") as last: last.write(str(second - 2))
assert orphan(third) == second
while True: signal.pause()
"""
    with Fake(orphan + again, "--wait", "0") as fake:
        fake.lines("waits")
        fake.signal(signal.SIGTERM)
        fake.ends(5)
    return "its status is the runner's, but not where its id is another process's"


def dropped_user(_):
    # The process in charge has dropped its user, and has been reaped when the next one says that it is in charge.
    script = """
first = os.getpid()

def second():
    os.setuid(65534)
    while os.path.exists(f"/proc/{first}"): time.sleep(0.01)
    on(signal.SIGTERM, lambda: os._exit(5))
    tell(f"MAINPID={os.getpid()}")
    wait()

orphan(second)
os.setuid(65534)
os._exit(3)
"""
    with Fake(script) as fake:
        fake.lines("waits")
        fake.signal(signal.SIGTERM)
        fake.ends(5)
    # Another user's, which may not send it signals either.
    script = """
def second():
    os.setuid(65534)
    for _ in range(2): tell(f"MAINPID={os.getpid()}")

start(second)
on(signal.SIGTERM, lambda: os._exit(4))
wait()
"""
    with Fake(script) as fake:
        fake.lines("waits")
        fake.signal(signal.SIGTERM)
        fake.ends(4)
        check(fake.said().count("is not heard") == 1, fake.said())
    return "a process that has been reaped is known by its user; another user's is not heard, which is said once"


def signals_reach_the_program(_):
    numbers = [signal.SIGHUP, signal.SIGALRM, signal.SIGRTMIN, signal.SIGRTMAX]
    for number in numbers:
        words = [RUNNER, "--", "sh", "-c", "echo started; exec sleep 60"]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            process.send_signal(number)
            check(process.wait(PATIENCE) == 128 + number, "signal", int(number), "ended the runner with", process.returncode)
    return f"{len(numbers)} signals reach the program, the first and the last real-time signal among them"


def notifications(is_init):
    """What the service says reaches the runner's own manager, but for what the runner itself deals with."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = f"tableflip-test-{os.getpid()}-{is_init}"
    manager.bind("\0" + name)
    manager.settimeout(PATIENCE)
    container = Container(is_init=is_init, environment={"NOTIFY_SOCKET": "@" + name})
    try:
        container.upgrade()
        container.signal(signal.SIGTERM)
        lines = []
        while "STOPPING=1" not in lines:
            lines += manager.recv(4096).decode().splitlines()
        names = [line.split("=")[0] for line in lines]
        check("MAINPID" not in names and "BARRIER" not in names, lines)
        # Of the first process when it serves and when it is replaced; the second one may say it again.
        check(lines.count("READY=1") >= 2 and "RELOADING=1" in lines, lines)
        check(any("STATUS=generation 2" in line for line in lines), lines)
        container.wait(0)
        return f"{len(lines)} lines passed on"
    finally:
        container.remove()
        manager.close()


def nothing_is_stored(_):
    """What the runner's own manager stored would come back to the runner."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"tableflip-test-{os.getpid()}-store"
        manager.bind("\0" + name)
        manager.settimeout(PATIENCE)
        script = """
def leave(words, *descriptors):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
        socket.send_fds(manager, [words.encode()], descriptors)

reading, writing = os.pipe()
leave("FDSTORE=1\\nFDNAME=web\\nFDPOLL=0", reading)
leave("FDSTOREREMOVE=1\\nFDNAME=web")
leave("READY=1\\nFDSTORE=1\\nFDNAME=web", reading)
leave("BARRIER=1", writing)
os.close(writing)
os.read(reading, 1)
tell("STATUS=the runner has read all of it")
say("passed")
"""
        with Fake(script, before=["env", f"NOTIFY_SOCKET=@{name}"]) as fake:
            fake.lines("passed")
            heard = []
            while not heard or not heard[-1][0].startswith(b"STATUS="):
                words, descriptors, _, _ = socket.recv_fds(manager, 4096, 8)
                for descriptor in descriptors:
                    os.close(descriptor)
                heard.append((words, len(descriptors)))
            check(heard == [(b"READY=1", 0), (b"STATUS=the runner has read all of it", 0)], heard)
            fake.ends(0)
    return "no descriptor passes, and no word of one; a barrier is answered"


def strangers_are_not_heard(_):
    """The kernel has no id for a sender outside the runner's namespace, and the socket's name is there for all to read."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, tempfile.TemporaryFile("w+") as errors:
        manager.bind(f"\0tableflip-test-{os.getpid()}-stranger")
        manager.setblocking(False)
        script = "trap 'exit 7' TERM; sleep 60 & echo $NOTIFY_SOCKET $!; while :; do wait; done"
        process = subprocess.Popen(
            [*NAMESPACES, RUNNER, "--wait", "1", "--", "sh", "-c", script], stdout=subprocess.PIPE, stderr=errors, text=True,
            env=dict(os.environ, NOTIFY_SOCKET="@" + manager.getsockname()[1:].decode()))
        try:
            name, other = process.stdout.readline().split()
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
                for _ in range(3):
                    stranger.sendto(f"MAINPID={other}\nSTATUS=mine".encode(), name.replace("@", "\0", 1))

            def said():
                errors.seek(0)
                return errors.read()

            until("a word about the stranger", lambda: "outside this PID namespace" in said())
            os.kill(Container._child(process.pid), signal.SIGTERM)
            check(process.wait(PATIENCE) == 7, "the signal reached another process: status", process.returncode, said())
            check(said().count("outside this PID namespace") == 1, said())
            try:
                check(False, "the manager was told", manager.recv(4096))
            except BlockingIOError:
                return "who is outside its namespace names no process, and tells its manager nothing"
        finally:
            process.kill()
            process.wait(PATIENCE)


def a_flood_delays_nothing(_):
    """What strangers send keeps no signal from the program, however much of it there is."""
    limit = "/proc/sys/net/unix/max_dgram_qlen"  # of this network
    usual = text(limit)
    with open(limit, "w") as file:
        file.write("40000")
    process = subprocess.Popen(
        [RUNNER, "--", "sh", "-c", "trap 'echo heard; exit 7' TERM; echo $NOTIFY_SOCKET; while :; do sleep 0.1; done"],
        stdout=subprocess.PIPE, text=True)
    try:
        name = process.stdout.readline().strip().replace("@", "\0", 1)
        process.send_signal(signal.SIGSTOP)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, 32, 1 << 26)  # SO_SNDBUFFORCE
            stranger.settimeout(PATIENCE)

            def unread():
                return struct.unpack("i", fcntl.ioctl(stranger, termios.TIOCOUTQ, bytes(4)))[0]

            for _ in range(30_000):  # to read them takes longer than what is measured here
                stranger.sendto(b"STATUS=mine", name)
            whole = unread()
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)
            check(process.stdout.readline() == "heard\n", "the program did not hear of it")
            left = unread() / whole
            check(left > 0, "the program heard of it when everything had been read")
        check(process.wait(PATIENCE) == 7, "status", process.returncode)
        return f"the program heard of SIGTERM when {left:.0%} of 30000 notifications were unread"
    finally:
        process.kill()
        process.wait(PATIENCE)
        with open(limit, "w") as file:
            file.write(usual)


def mistakes(_):
    cases = {
        (): 64, ("--nonsense",): 64, ("program",): 64, ("--",): 64, ("--wait", "soon", "--", "true"): 64,
        ("--", "no-such-program"): 127, ("--", "/etc/passwd"): 126, ("--", "true"): 0, ("--", "sh", "-c", "exit 7"): 7,
        ("--", "sh", "-c", "kill -KILL $$"): 137,
    }
    for words, status in cases.items():
        done = subprocess.run([RUNNER, *words], capture_output=True, text=True, timeout=PATIENCE)
        check(done.returncode == status, words, "ended with", done.returncode, "and not", status)
        check(status not in (64, 126, 127) or done.stderr.startswith("tableflip-run: "), words, "said", done.stderr)
    return f"{len(cases)} command lines, each with its status"


def no_orphans(_):
    """As on every system but Linux."""
    forbid = [sys.executable, os.path.join(os.path.dirname(__file__), "forbid.py"), "PR_SET_CHILD_SUBREAPER"]
    done = subprocess.run([*forbid, RUNNER, "--", "echo", "started"], capture_output=True, text=True, timeout=PATIENCE)
    check(done.returncode == 71 and "needs Linux" in done.stderr, "it ended with", done.returncode, done.stderr)
    check(done.stdout == "", "the program was started")
    return "where orphans cannot be adopted it starts nothing, and says why"


def no_process_descriptors(_):
    """As before Linux 5.3. Whoever else reaped the program would keep its status."""
    forbid = [sys.executable, os.path.join(os.path.dirname(__file__), "forbid.py"), "PIDFD_OPEN"]
    for _ in range(50):
        done = subprocess.run([*forbid, RUNNER, "--", "true"], capture_output=True, text=True, timeout=PATIENCE)
        check(done.returncode == 0, "it ended with", done.returncode, done.stderr)
    # Of one that it waits for: a thread that waits would be first.
    done = subprocess.run([*forbid, RUNNER, "--", "sh", "-c", "sleep 0.1; exit 7"], timeout=PATIENCE)
    check(done.returncode == 7, "it ended with", done.returncode)
    return "the status of the program is the runner's"


def arguments_stay(_):
    words = [b"", b"a b", b"\xff\xfe", b"\xc3\xa4"]
    show = "import os, sys; sys.stdout.buffer.write(b'|'.join(map(os.fsencode, sys.argv[1:])))"
    done = subprocess.run([RUNNER, "--", sys.executable, "-c", show, *words], capture_output=True, timeout=PATIENCE)
    check(done.stdout == b"|".join(words), "they arrived as", done.stdout, done.stderr)
    return "arguments arrive byte for byte"


TESTS = {
    mistakes: [False],
    no_orphans: [False],
    no_process_descriptors: [False],
    arguments_stay: [False],
    twenty_upgrades: [True, False],
    stop_with_request_in_flight: [True, False],
    second_stop: [True, False],
    crash: [True, False],
    failing_successor: [True, False],
    orphans_are_reaped: [True, False],
    unknown_end: [False],
    signals_reach_the_program: [False],
    dropped_user: [True],
    named_after_its_end: [True],
    stop_at_the_change: [True],
    stop_of_what_is_left: [True],
    notifications: [True, False],
    nothing_is_stored: [True],
    strangers_are_not_heard: [True],
    a_flood_delays_nothing: [False],
}


def main():
    # The loopback device of this network is down (netdevice(7), SIOCSIFFLAGS, IFF_UP).
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))
    failed, begin = 0, time.monotonic()
    for test, ways in TESTS.items():
        for is_init in ways:
            name = f"tableflip-run{' as PID 1' if is_init else ''}: {test.__name__}"
            if WANTED and not any(word in name for word in WANTED):
                continue
            try:
                print(f"{name}: {test(is_init)}", flush=True)
            except Exception:
                failed += 1
                print(f"{name}: FAILED", flush=True)
                traceback.print_exc(file=sys.stdout)
    print(f"tableflip-run: {'everything held' if not failed else f'{failed} failed'} in {time.monotonic() - begin:.0f} s")
    sys.exit(1 if failed else 0)


if os.environ.get("TABLEFLIP_TEST_RUN") != "inside":
    if os.getuid() != 0:
        print("test-run: skipped: namespaces want root")
        sys.exit(1 if os.environ.get("CI") == "true" else 0)
    os.environ["TABLEFLIP_TEST_RUN"] = "inside"
    os.execvp("unshare", ["unshare", "--net", "--", sys.executable, *sys.argv])
RUNNER, DEMO, WANTED = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3:]
PROGRAMS = {"tableflip-run": RUNNER, "tableflip-demo": DEMO}
IMAGE = Image()
main()
