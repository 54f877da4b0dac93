#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Takes the demo through upgrades, failures and stops as a systemd service. Runs inside Scripts/systemd-box.

usage: test-systemd.py [--part I/N] TABLEFLIP-DEMO [TEST...]     (tableflipctl and tableflip-probe stand beside it)

The units are those of deploy/systemd, as they are. What they start, /srv/hello/current/hello, is the demo here.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

from demo_client import HOST, PATIENCE, PORT, Load, Request, check, get, until

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = "/srv/hello/current"
# Where a service sees it: the units have a /tmp of their own.
FILTER = "/srv/hello/forbid.py"
HELLO = PROGRAMS + "/hello"
DEMO = PROGRAMS + "/tableflip-demo"
FAULTS = PROGRAMS + "/faults"
RELOAD = PROGRAMS + "/reload"
UNITS = "/run/systemd/system"


def systemctl(*words, timeout=PATIENCE, ok=True):
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=timeout)
    check(not ok or done.returncode == 0, "systemctl", *words, "->", done.returncode, done.stdout, done.stderr)
    return done


def write(path, text, mode=0o644):
    """Whole, or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w") as file:
        file.write(text)
    os.chmod(path + ".new", mode)
    os.rename(path + ".new", path)


def set_faults(words):
    write(FAULTS, words + "\n")


class Kind:
    """One way to run a service, from a unit of deploy/systemd."""

    def __init__(self, unit, dropin="", flags="", through="", tells=True, waits=True, version=252):
        self.unit, self.dropin, self.flags, self.through = unit, dropin, flags, through
        # Whether systemd hears what the service says of itself; whether its reload ends with the upgrade; and whether it
        # fails with it.
        self.tells, self.waits, self.version = tells, waits, version
        self.fails = waits and version == 252
        self.is_activated = "activated" in unit


# What is listened on is found by the name that the socket unit gives it, whatever its address.
ACTIVATED = "--listen 0.0.0.0:1 --listen-name web"
KINDS = {
    "notify": Kind("hello.service"),
    "notify-reload": Kind("hello-reload.service", version=253),
    "simple": Kind("hello-pidfile.service", tells=False, waits=False),
    "activated": Kind("hello-activated.service", flags=ACTIVATED),
    "activated, notify-reload": Kind(
        "hello-activated.service", "Type=notify-reload\nExecReload=", f"--listen [::]:{PORT}", version=253),
    # As the guide has it for those without a control socket on an older systemd.
    "notify with kill": Kind("hello.service", "ExecReload=\nExecReload=/bin/kill -HUP $MAINPID", waits=False),
    # systemd reads the PID file when a reload's command has ended: here at the earliest moment that there is.
    "simple that notifies": Kind("hello-pidfile.service", f"NotifyAccess=main\nExecReload=\nExecReload={RELOAD}"),
    # Where CLONE_PARENT is refused, successors are adopted by systemd.
    "notify, adopted": Kind("hello.service", through=f"{sys.executable} {FILTER} CLONE_PARENT "),
    "notify-reload, adopted": Kind(
        "hello-reload.service", through=f"{sys.executable} {FILTER} CLONE_PARENT ", version=253),
}


class Unit:
    """A service of one of the kinds, started; gone at the end."""

    number = 0

    def __init__(self, kind, *flags, service=""):
        Unit.number += 1
        self.kind = KINDS[kind]
        self.name = f"hello{Unit.number}.service"
        self.socket = self.name.replace(".service", ".socket") if self.kind.is_activated else None
        set_faults("")
        # A second in which a thread of a busy machine stands still is no failed upgrade here.
        words = [DEMO, "serve", "--listen", f"{HOST}:{PORT}", "--fault-file", FAULTS, "--drain-timeout", "8s",
                 "--pause-timeout", "10s"]
        words += [*self.kind.flags.split(), *flags]
        write(HELLO, f"#!/bin/sh\nexec {self.kind.through}{' '.join(words)} \"$@\"\n", 0o755)
        self.files = [f"{UNITS}/{self.name}"]
        shutil.copy(f"{HERE}/../deploy/systemd/{self.kind.unit}", self.files[0])
        if self.socket:
            self.files.append(f"{UNITS}/{self.socket}")
            shutil.copy(f"{HERE}/../deploy/systemd/{self.kind.unit.replace('.service', '.socket')}", self.files[1])
        self.files.append(f"{UNITS}/{self.name}.d/test.conf")
        write(self.files[-1], f"[Service]\n{self.kind.dropin}\n{service}\n")
        self.generation = 1

    def answers(self):
        try:
            return get("/")
        except OSError:
            return None

    def show(self, *names):
        text = systemctl("show", self.name, "-p", ",".join(names)).stdout
        values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return [values[name] for name in names]

    @property
    def main(self):
        return int(self.show("MainPID")[0])

    def reload(self):
        return systemctl("reload", self.name, ok=False)

    def upgrade(self, is_first=False):
        """Reloads, and waits until systemd follows the process that answers. `is_first`: of a new row."""
        self.generation = 2 if is_first else self.generation + 1
        if is_first:
            until("the first process to be in charge", self.is_in_charge)
        old = self.main
        result = self.reload()
        check(result.returncode == 0, "reload:", result.returncode, result.stderr)
        if self.kind.waits:
            check(self.main != old, "reload has returned, and the main process is the old one")

        def done():
            main, state, status = self.show("MainPID", "ActiveState", "StatusText")
            check(state in ("active", "reloading"), "the unit is", state)
            wanted = f"generation {self.generation} (PID {main}) serves"
            return state == "active" and int(main) != old and (not self.kind.tells or status == wanted) and int(main)

        main = until(f"generation {self.generation} to be in charge", done)
        answers = int(get("/"))
        check(answers == main, "the main process is", main, "and", answers, "answers")
        return main

    def is_in_charge(self):
        """Of a first process: it answers a moment before it owns the service, and is not upgraded then."""
        main, state, status = self.show("MainPID", "ActiveState", "StatusText")
        if self.kind.tells:
            return state == "active" and status == f"generation 1 (PID {main}) serves"
        try:
            with open("/run/hello/hello.pid") as file:
                return file.read().strip() == main
        except FileNotFoundError:
            return False

    def is_active_as(self, main):
        until("the unit to be active", lambda: self.show("ActiveState") == ["active"])
        check(self.main == main and int(get("/")) == main, "the old process does not answer")

    def journal(self, *words):
        # What has been said is in it then.
        subprocess.run(["journalctl", "--sync"], check=True, capture_output=True, timeout=PATIENCE)
        done = subprocess.run(
            ["journalctl", "--no-pager", "-o", "json", "-u", self.name, *words], capture_output=True, text=True,
            timeout=PATIENCE)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return [line for line in lines if isinstance(line.get("MESSAGE"), str)]

    def said(self, pattern):
        return [line for line in self.journal() if re.search(pattern, line["MESSAGE"])]

    def unfollow_strangers(self):
        """Without notifications systemd reads the PID file at the end of a reload. If it finds the new process there, it
        follows one that is not its child, and a stop kills that at once: the guide says so. The next reload ends it."""
        for _ in range(0 if self.kind.tells else 10):
            lines = [re.search(r"Supervising process (\d+) which", line["MESSAGE"]) for line in self.said("not our child")]
            if not lines or int(lines[-1][1]) != self.main:
                return
            self.upgrade()

    def stop(self):
        """Stops it; nothing may be killed, and nothing may be left."""
        self.unfollow_strangers()
        group = self.show("ControlGroup")[0]
        # A connection that waits in a socket unit's queue would start the service again.
        systemctl("stop", *([self.socket] if self.socket else []), self.name)
        state, result = self.show("ActiveState", "Result")
        check((state, result) == ("inactive", "success"), "after the stop the unit is", state, result)
        bad = r"SIGKILL|Killing process|timed out|not our child"
        if not self.kind.tells:
            # See unfollow_strangers.
            bad = r"Killing process \d+ \((?!n/a)|timed out"
        words = [line["MESSAGE"] for line in self.said(bad)
                 if line.get("SYSLOG_IDENTIFIER") == "systemd" and "notification message" not in line["MESSAGE"]]
        check(not words, "the journal says:", words)
        check(not os.path.exists("/sys/fs/cgroup" + group), "processes are left in", group)

    def remove(self):
        if self.socket:
            systemctl("stop", self.socket, ok=False)
        systemctl("kill", "--signal=KILL", self.name, ok=False)
        systemctl("stop", self.name, ok=False)
        for file in self.files:
            os.unlink(file)
        systemctl("reset-failed", self.name, ok=False)

    def __enter__(self):
        try:
            systemctl("daemon-reload")
            systemctl("start", self.socket or self.name)
            until("it to answer", self.answers)
            until("it to be in charge", self.is_in_charge)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()


class Waiting:
    """A request in the queue of a socket that nobody reads from yet."""

    def __init__(self):
        self.connection = http.client.HTTPConnection(HOST, PORT, timeout=PATIENCE)
        self.connection.request("GET", "/")

    def answer(self):
        body = self.connection.getresponse().read().decode().strip()
        self.connection.close()
        return body


class Watch:
    """Looks at what systemd takes for the main process, and at what it is told, for as long as it lasts."""

    def __init__(self, unit):
        self.unit, self.seen, self.over, self.error = unit, set(), threading.Event(), None
        # Then every notification is a line in the journal.
        systemctl("log-level", "debug")
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self):
        try:
            while not self.over.wait(0.01):
                self.seen.add(self.unit.main)
        except Exception as error:
            self.error = error

    def end(self):
        self.over.set()
        self.thread.join(PATIENCE)
        systemctl("log-level", "info")
        check(not self.error, "it has not looked to the end:", repr(self.error))
        return self.seen, [line["MESSAGE"] for line in self.unit.said("notification message from PID")]


def freeze(process):
    """Stopped, it accepts nothing: what comes now waits in the queue."""
    os.kill(process, signal.SIGSTOP)

    def states():
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/stat") as file:
                yield file.read().rsplit(")", 1)[1].split()[0]

    until("every thread to stop", lambda: set(states()) == {"T"})


# --- The tests. Each is called with the kinds that it is for.

def reload_under_load(kind):
    with Unit(kind) as unit:
        load, count = Load(), 20 if kind in TYPES else 5
        for _ in range(count):
            unit.upgrade()
        answers = load.stop()
        # Each with its own process id.
        generations = {line["_PID"] for line in unit.said(r"\bserving\b")}
        check(len(generations) == count + 1, "lines of", len(generations), "generations are in the journal")
        unit.unfollow_strangers()
        begin = time.monotonic()
        request = Request("/delay/2s")
        unit.stop()
        took = time.monotonic() - begin
        check(request.wait().isdigit(), "the request in flight:", request.result)
        check(took > 1, "the stop took", took, "s")
        return f"{count} reloads, {answers} requests, 0 lost; stopped after {took:.1f} s, when the request was answered"


def failing_successors(kind):
    with Unit(kind, "--upgrade-timeout", "5s") as unit:
        load = Load()
        main = unit.upgrade()

        def fails(reason):
            before = len(unit.said(f"upgrade failed: {reason}"))
            result = unit.reload()
            check((result.returncode != 0) == unit.kind.fails, "reload:", result.returncode, result.stderr)
            if unit.kind.fails:
                check(unit.show("ReloadResult") == ["exit-code"], unit.show("ReloadResult"))
                # The command's own words are in the journal of the unit.
                check([line for line in unit.said(reason) if line.get("SYSLOG_IDENTIFIER") == "tableflipctl"], reason)
            else:
                until(f"the journal to tell of {reason}", lambda: len(unit.said(f"upgrade failed: {reason}")) > before)
            until("the failure in the status", lambda: not unit.kind.tells or re.search(
                rf"generation 2 \(PID {main}\) serves; the last upgrade failed: {reason}", unit.show("StatusText")[0]))
            unit.is_active_as(main)

        set_faults("--exit-before-ready 3")
        # systemd, its parent, has to reap it within a tenth of a second: else nobody knows how it ended.
        for _ in range(5):
            fails("successorExited")
            if unit.said("exited with status 3"):
                break
        check(unit.said("exited with status 3"), "the status that the successor ended with is not known")
        set_faults("--init-delay 60s")
        fails("successorTimedOut")
        set_faults("")
        os.rename(DEMO, DEMO + ".away")
        try:
            fails("executableMissing")
        finally:
            os.rename(DEMO + ".away", DEMO)
        unit.upgrade()
        load.stop()
        unit.stop()
        return "a successor that exits, hangs, is missing: the old process serves, and then an upgrade works"


def stop_while_a_predecessor_drains(kind):
    with Unit(kind) as unit:
        # Whoever of them ends first.
        for of_old, of_new in (("2s", "1s"), ("1s", "2s")):
            systemctl("start", unit.socket or unit.name)
            until("it to answer", unit.answers)
            unit.upgrade(is_first=True)
            unit.unfollow_strangers()
            request = Request("/delay/" + of_old)
            main = unit.main
            if unit.kind.tells:
                unit.upgrade()
            else:  # systemd learns of it when the old one has gone, and by no reload that might find its PID file before
                systemctl("kill", "--kill-whom=main", "--signal=HUP", unit.name)
                until("the new process to answer", lambda: int(get("/")) != main)
            later = Request("/delay/" + of_new)
            unit.stop()
            check(request.wait().isdigit(), "the request of the process before:", request.result)
            check(later.wait().isdigit(), "the request in flight:", later.result)
        check(not unit.said("the successor has died"), "a stop was taken for a death")
        return "both processes finished what they had begun, whichever ended first"


def reload_after_reload(kind):
    """While the process before has yet to leave."""
    with Unit(kind) as unit:
        for _ in range(5):
            unit.upgrade()
        if not unit.kind.tells:
            unit.stop()
            return "5 reloads, one right after the other"
        # It outlasts the upgrade, the second in which the next one waits, and a look at the status.
        request = Request("/delay/7s")
        main = unit.upgrade()
        result = unit.reload()
        check((result.returncode != 0) == unit.kind.fails, "reload:", result.returncode, result.stderr)
        until("the refusal in the status", lambda: re.search(
            r"serves; the last upgrade was refused: predecessorAlive", unit.show("StatusText")[0]))
        unit.is_active_as(main)
        check(request.wait().isdigit(), "the request in flight:", request.result)
        unit.stop()
    with Unit(kind, "--overlap-waits") as unit:
        request = Request("/delay/2s")
        unit.upgrade()
        unit.upgrade()
        check(request.wait().isdigit(), "the request in flight:", request.result)
        unit.stop()
        return "5 reloads, one right after the other; one that comes too early is refused in words, or waits"


def reload_that_reads_the_pid_file(kind):
    """Before the old process has said its last: systemd does not hear it then, and the new one must end the reload."""
    write(RELOAD, """#!/bin/sh
kill -HUP "$MAINPID"
while read -r process </run/hello/hello.pid && [ "$process" = "$MAINPID" ]; do :; done
""", 0o755)
    with Unit(kind) as unit:
        slowest, count = 0, 40
        for _ in range(count):
            begin = time.monotonic()
            unit.upgrade()
            slowest = max(slowest, time.monotonic() - begin)
        check(unit.show("NRestarts") == ["0"], "it was restarted")
        pattern = r"message from PID (\d+), but reception only permitted for main PID (\d+)"
        unheard = [re.search(pattern, line["MESSAGE"]).groups() for line in unit.said(pattern)]
        # Process ids ascend in a box.
        early = [process for process, main in unheard if int(process) > int(main)]
        check(not early, "new processes spoke before they were the main one:", early)
        missed = len({process for process, _ in unheard})
        return f"{count} reloads, in {missed} of them the old process was not heard; the slowest took {slowest:.1f} s"


def watchdog(kind):
    more = "NotifyAccess=main" if not KINDS[kind].tells else ""
    with Unit(kind, service=f"WatchdogSec=2s\nRestart=on-failure\nTimeoutAbortSec=1s\n{more}") as unit:
        load = Load(2)
        begin = next_upgrade = time.monotonic()
        while time.monotonic() < begin + 4:
            unit.upgrade()
            next_upgrade += 0.2
            time.sleep(max(0, next_upgrade - time.monotonic()))  # the rate is what is asked for
        count = unit.generation - 1
        check(unit.show("NRestarts") == ["0"], "it was restarted")
        load.stop()

        def is_restarted(times, main):
            until("the watchdog", lambda: unit.show("NRestarts") == [str(times)])
            until("the next one", lambda: unit.show("ActiveState") == ["active"] and int(unit.answers() or main) != main)
            check(len(unit.said("Watchdog timeout")) == times, "the journal does not know of the watchdog")

        # Not before it has been looked at.
        set_faults("--unwell-after-ready 3s")
        main = unit.upgrade()
        set_faults("")
        is_restarted(1, main)
        main = unit.upgrade(is_first=True)
        os.kill(main, signal.SIGSTOP)
        is_restarted(2, main)
        return f"{count} upgrades in 4 s under WatchdogSec=2s; a restart when it said that it was unwell, and when it hung"


def rollback(kind):
    # The crash must come long before the end of the probation, and long after the first request.
    with Unit(kind, "--probation", "4s") as unit:
        unit.upgrade()
        load = Load()
        main = unit.main
        watch = Watch(unit)
        set_faults("--crash-after-ready 1s")
        result = unit.reload()
        check((result.returncode != 0) == unit.kind.fails, "reload:", result.returncode, result.stderr)
        until("the journal to tell", lambda: unit.said("rolled back"))
        unit.is_active_as(main)
        seen, told = watch.end()
        answers = load.stop(deaths=1)
        check(seen == {main}, "MainPID was", seen)
        check(not [line for line in told if re.search(rf"MAINPID=(?!{main}\b)", line)], "systemd was told:", told)
        check(not unit.kind.tells or [line for line in told if "READY=1" in line], "systemd was not told:", told)
        check(load.servers > {main}, "the failed successor has answered nothing")
        if unit.kind.tells:
            status = unit.show("StatusText")[0]
            # A manager that is slow to reap it leaves unknown how it ended.
            wanted = rf"generation 2 \(PID {main}\) serves; the last upgrade failed: successor(Killed|Exited)"
            check(re.search(wanted, status), status)
        set_faults("")
        unit.upgrade()
        unit.stop()
        return (f"a crash on probation, {answers} requests: {len(load.excused)} lost, in the killed process; "
                "it was never the main one")


def stop_in_probation(kind):
    """Of the service; and of the successor alone."""
    with Unit(kind, "--probation", "60s") as unit:
        load = Load()
        main = unit.main

        def begin():
            # Which may wait for the end of the probation.
            reload = threading.Thread(target=unit.reload)
            reload.start()
            return reload, until("a successor to serve", lambda: int(get("/")) != main and int(get("/")))

        reload, successor = begin()
        stays = Load()
        in_flight = Request("/delay/1s")
        until("requests on connections that stay", lambda: stays.answers > 50)
        os.kill(successor, signal.SIGTERM)
        until("the old process to serve", lambda: int(get("/")) == main)
        check(int(in_flight.wait()) == successor, "the request in flight:", in_flight.result)
        reload.join(PATIENCE)
        answers = load.stop() + stays.stop()
        unit.is_active_as(main)
        until("the successor to leave", lambda: not os.path.exists(f"/proc/{successor}"))

        old = Request("/delay/2s")
        reload, successor = begin()
        new = Request("/delay/2s")
        unit.stop()
        check(int(old.wait()) == main, "the request of the old process:", old.result)
        check(int(new.wait()) == successor, "the request of the new process:", new.result)
        reload.join(PATIENCE)
        return f"the successor alone: {answers} requests, 0 lost; the service: both processes finished what they had begun"


def death_of_the_new_process(kind):
    """When it owns the service, and the old one, which cannot take it back any more, still drains."""
    with Unit(kind) as unit:
        main = unit.main
        old = Request("/delay/6s")  # it must outlast the upgrade
        reload = threading.Thread(target=unit.reload)
        reload.start()
        new = until("the new process", lambda: int(get("/")) != main and int(get("/")))
        reload.join(PATIENCE)
        # Before that its death is a rollback: the old one takes the service back.
        until("the old process to be replaced", lambda: unit.said(r"\bupgraded\b"))
        os.kill(new, signal.SIGKILL)
        check(int(old.wait()) == main, "the request of the old process:", old.result)
        check(unit.said("the successor has died, and nobody serves"), "the old process has not said so")
        until("a restart", lambda: unit.show("NRestarts") == ["1"] and unit.show("ActiveState") == ["active"])
        third = until("an answer", lambda: int(unit.answers() or main) not in (main, new) and int(get("/")))
        until("it to be the main process", lambda: unit.main == third)
        unit.upgrade(is_first=True)
        return "the old one finished what it had begun, and the service was started again"


def socket_activation(kind):
    with Unit(kind) as unit:
        first = unit.main
        check(unit.show("TriggeredBy") == [unit.socket], "nothing triggers it")
        load = Load()
        for _ in range(5):
            unit.upgrade()
        load.stop()
        # The socket is systemd's: it was there before the service, and outlives it. Nobody ever bound another one.
        with open(f"/proc/{unit.main}/environ") as file:
            names = {word.split("=")[0] for word in file.read().split("\0")}
        check("NOTIFY_SOCKET" in names and not [n for n in names if n.startswith("LISTEN_")], sorted(names))
        systemctl("stop", unit.name)
        waiting = Waiting()
        until("the service to be started by a connection", lambda: unit.show("ActiveState") == ["active"])
        check(waiting.answer().isdigit() and unit.main != first, "the connection was not answered")
        unit.stop()
        return "started by a connection, 5 upgrades, 0 lost, started again by a connection"


def descriptor_store(kind):
    unit = Unit(
        kind, "--store-descriptors",
        service="NotifyAccess=main\nFileDescriptorStoreMax=16\nRestart=on-failure\nRestartSec=500ms")
    with unit:
        # The control socket, where there is one, is a listener as well.
        count = 2 if unit.kind.fails else 1

        def stores():
            until("the listeners to be in the store", lambda: unit.show("NFileDescriptorStore") == [str(count)])

        stores()
        for _ in range(2):
            unit.upgrade()
        stores()
        main = unit.main
        freeze(main)
        waiting = [Waiting() for _ in range(50)]
        # And the queue outlives it.
        os.kill(main, signal.SIGKILL)
        answers = {request.answer() for request in waiting}
        check(unit.show("NRestarts") == ["1"] and len(answers) == 1 and answers != {str(main)}, answers, main)
        check(answers == {str(unit.main)}, answers, "answered, and the main process is", unit.main)
        unit.upgrade(is_first=True)
        stores()
        unit.stop()
        return "SIGKILL: 50 connections in the queue were answered by the restarted service"


def stored_state(kind):
    """Of the program that has states. Names that a new version does not ask for leave the store."""
    unit = Unit(kind)
    name, probe = unit.name, PROGRAMS + "/tableflip-probe"

    def configure(*words):
        write(unit.files[-1], f"[Service]\nExecStart=\nExecStart={probe} --store --drain-timeout 8000 {' '.join(words)}\n"
              "FileDescriptorStoreMax=16\n")
        systemctl("daemon-reload")

    def stores(count):
        until(f"{count} in the store", lambda: unit.show("NFileDescriptorStore") == [str(count)])

    def last(pattern):
        """What the main process says."""
        return until(pattern, lambda: unit.said(rf"^{unit.main} 1 {pattern}"))[-1]["MESSAGE"].split(" ", 2)[2]

    def crash():
        old = unit.main

        def is_another():
            # At one look: the old process may end between two, and then there is none for a while.
            main, state, now = unit.show("MainPID", "ActiveState", "SubState")
            return (state, now) == ("active", "running") and int(main) not in (0, old)

        os.kill(old, signal.SIGKILL)
        until("another process", is_another)

    def listener(port):
        """Its inode number, by which the socket is known again."""
        with open("/proc/net/tcp") as lines:
            rows = [line.split() for line in list(lines)[1:]]
        found = [row[9] for row in rows if int(row[1].split(":")[1], 16) == port and row[3] == "0A"]
        return found[0] if found else None

    address, other = f"tcp://{HOST}:{PORT}", f"tcp://{HOST}:{PORT + 1}"
    configure("--listen", address, "--state")
    with unit:
        check(last("state left") == "state left", "there is a state at the start")
        stores(2)
        socket = listener(PORT)
        for number in (1, 2):
            old = unit.main
            systemctl("kill", "--kill-whom=main", "--signal=HUP", name)
            until("the next generation", lambda: unit.main not in (0, old) and not os.path.exists(f"/proc/{old}"))
            # Then it stores. Until then what the one before has left is there.
            until("it to be alone", lambda: len(unit.said("the predecessor has left")) == number)
        stores(2)
        crash()
        check(last("state left") == "state left 1,2,3", last("state left"))
        stores(2)
        # A version without the state, and then one with another listener.
        configure("--listen", address)
        crash()
        stores(1)
        check(listener(PORT) == socket, "a new listener was bound")
        configure("--listen", other)
        crash()
        until("another listener", lambda: listener(PORT + 1))
        until("the old one to go", lambda: not listener(PORT))
        stores(1)
        socket = listener(PORT + 1)
        crash()
        until("it to serve", lambda: unit.said(f"^{unit.main} 1 serving"))
        check(listener(PORT + 1) == socket, "a new listener was bound")
        return "after a crash the state of the third generation; what is not asked for any more has left the store"


NOTIFY = ["notify", "notify-reload"]
TYPES = ["notify", "notify-reload", "simple", "activated"]
TESTS = {
    reload_under_load: [*TYPES, "notify with kill", "notify, adopted", "notify-reload, adopted"],
    failing_successors: [*TYPES, "notify with kill", "notify, adopted"],
    reload_that_reads_the_pid_file: ["simple that notifies"],
    watchdog: TYPES,
    stop_in_probation: [*TYPES, "notify, adopted"],
    rollback: [*TYPES, "notify, adopted"],
    reload_after_reload: TYPES,
    stop_while_a_predecessor_drains: [*TYPES, "notify, adopted"],
    descriptor_store: TYPES,
    death_of_the_new_process: TYPES,
    socket_activation: ["activated", "activated, notify-reload"],
    stored_state: NOTIFY,
}


def add_user(name):
    """The one that the units name. The box has a copy of the machine's users."""
    with open("/etc/passwd") as file:
        if any(line.startswith(name + ":") for line in file):
            return
    for path, line in (("/etc/passwd", f"{name}:x:990:990::/nonexistent:/usr/sbin/nologin\n"), ("/etc/group", f"{name}:x:990:\n")):
        with open(path, "a") as file:
            file.write(line)


def main():
    arguments = sys.argv[1:]
    part, parts = 1, 1
    if arguments[0] == "--part":
        part, parts = map(int, arguments[1].split("/"))
        arguments = arguments[2:]
    demo, wanted = arguments[0], arguments[1:]
    version = int(re.search(r"systemd (\d+)", systemctl("--version").stdout)[1])
    os.makedirs(PROGRAMS, exist_ok=True)
    add_user("hello")
    # Copies of its own, which can be moved away.
    for name in ("tableflip-demo", "tableflipctl", "tableflip-probe"):
        shutil.copy(os.path.join(os.path.dirname(demo), name), PROGRAMS)
    shutil.copy(f"{HERE}/forbid.py", FILTER)
    cases = [(test, kind) for test, kinds in TESTS.items() for kind in kinds if KINDS[kind].version <= version]
    cases = [(test, kind) for test, kind in cases
             if not wanted or any(word in f"{test.__name__}, {kind}" for word in wanted)]
    failed, begin = 0, time.monotonic()
    for test, kind in cases[part - 1::parts]:
        name = f"systemd {version}: {test.__name__}, {kind}"
        start = time.monotonic()
        try:
            print(f"{name}: {test(kind)} ({time.monotonic() - start:.1f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"{name}: FAILED", flush=True)
            traceback.print_exc(file=sys.stdout)
            log = subprocess.run(
                ["journalctl", "--no-pager", "-n", "40", "-o", "short-precise"], capture_output=True, text=True)
            print(log.stdout, flush=True)
    print(f"systemd {version}: {'everything held' if not failed else f'{failed} failed'} in {time.monotonic() - begin:.0f} s")
    sys.exit(1 if failed else 0)


main()
