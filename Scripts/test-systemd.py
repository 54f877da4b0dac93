#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Takes the demo through upgrades, failures and stops as a systemd service. Runs inside Scripts/systemd-box.

usage: test-systemd.py TABLEFLIP-DEMO [TEST...]     (tableflipctl stands beside it)
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

RUN = "/run/demo"
DEMO = RUN + "/tableflip-demo"
CTL = RUN + "/tableflipctl"
FAULTS = RUN + "/faults"


def systemctl(*words, timeout=PATIENCE, ok=True):
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=timeout)
    check(not ok or done.returncode == 0, "systemctl", *words, "->", done.returncode, done.stdout, done.stderr)
    return done


class Unit:
    """A service of one of the kinds, started; gone at the end."""

    number = 0

    def __init__(self, kind, *flags, service="", socket=None):
        Unit.number += 1
        self.kind, self.name = kind, f"demo{Unit.number}.service"
        is_file = kind.endswith(".service")
        self.socket = self.name.replace(".service", ".socket") if socket else None
        set_faults("")
        os.makedirs(RUN, exist_ok=True)
        words = [DEMO, "serve", "--listen", f"{HOST}:{PORT}", "--fault-file", FAULTS, "--drain-timeout", "8s", *flags]
        lines = {} if is_file else {
            "notify": "Type=notify\nExecReload=/bin/kill -HUP $MAINPID",
            "notify with tableflipctl": f"Type=notify\nExecReload={CTL} upgrade --control-socket {RUN}/control",
            "notify-reload": "Type=notify-reload",
            "pid-file": f"Type=simple\nPIDFile={RUN}/pid\nExecReload=/bin/kill -HUP $MAINPID",
        }
        lines = lines.get(kind)
        if self.waits and not is_file:
            words += ["--control-socket", RUN + "/control"]
        if kind == "pid-file":
            words += ["--pid-file", RUN + "/pid"]
        with open(f"/run/systemd/system/{self.name}", "w") as file:
            file.write(to_copy(kind, words) if is_file else f"[Service]\n{lines}\nExecStart={' '.join(words)}\n{service}\n")
        if self.socket:
            with open(f"/run/systemd/system/{self.socket}", "w") as file:
                file.write(f"[Unit]\nDefaultDependencies=no\n[Socket]\n{socket}\n")
        systemctl("daemon-reload")
        systemctl("start", self.socket or self.name)
        until("it to answer", self._answers)
        self.generation, self.before = 1, 0

    def _answers(self):
        try:
            return get("/")
        except OSError:
            return None

    @property
    def tells(self):
        """Whether it tells systemd of itself."""
        return self.kind not in ("pid-file", "hello-pidfile.service")

    @property
    def waits(self):
        """Whether its reload is a command that waits for the outcome."""
        return "tableflipctl" in self.kind or self.kind in ("hello.service", "hello-activated.service")

    def show(self, *names):
        text = systemctl("show", self.name, "-p", ",".join(names)).stdout
        values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return [values[name] for name in names]

    @property
    def main(self):
        return int(self.show("MainPID")[0])

    def reload(self):
        # At most two processes: while one drains, an upgrade is refused.
        until("the process before to leave", lambda: not os.path.exists(f"/proc/{self.before}"))
        return systemctl("reload", self.name, ok=False)

    def upgrade(self):
        """Reloads, and waits until systemd follows the process that answers."""
        old = self.main
        result = self.reload()
        check(result.returncode == 0, "reload:", result.returncode, result.stderr)
        if self.kind in ("notify-reload", "hello-reload.service") or self.waits:
            check(self.main != old, "reload has returned, and the main process is the old one")
        self.generation += 1

        def done():
            main, state, status = self.show("MainPID", "ActiveState", "StatusText")
            check(state in ("active", "reloading"), "the unit is", state)
            wanted = f"generation {self.generation} (PID {main}) serves"
            return state == "active" and int(main) != old and (not self.tells or status == wanted)

        until(f"generation {self.generation} to be in charge", done)
        self.before = old
        check(int(get("/")) == self.main, "the main process is", self.main, "and", get("/"), "answers")

    def journal(self, *words):
        done = subprocess.run(
            ["journalctl", "--no-pager", "-o", "json", "-u", self.name, *words], capture_output=True, text=True,
            timeout=PATIENCE)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return [line for line in lines if isinstance(line.get("MESSAGE"), str)]

    def said(self, pattern):
        return [line for line in self.journal() if re.search(pattern, line["MESSAGE"])]

    def stop(self, result="success"):
        """Stops it; nothing may be killed, and nothing may be left."""
        group = self.show("ControlGroup")[0]
        # A connection that waits in a socket unit's queue would start the service again.
        systemctl("stop", *([self.socket] if self.socket else []), self.name)
        state, actual = self.show("ActiveState", "Result")
        check((state, actual) == ("inactive", result), "after the stop the unit is", state, actual)
        bad = r"SIGKILL|Killing process|timed out|not our child|reception only permitted"
        words = [line["MESSAGE"] for line in self.said(bad) if line.get("SYSLOG_IDENTIFIER") == "systemd"]
        check(not words, "the journal says:", words)
        check(not os.path.exists("/sys/fs/cgroup" + group), "processes are left in", group)

    def remove(self):
        if self.socket:
            systemctl("stop", self.socket, ok=False)
            os.unlink(f"/run/systemd/system/{self.socket}")
        systemctl("kill", "--signal=KILL", self.name, ok=False)
        systemctl("stop", self.name, ok=False)
        os.unlink(f"/run/systemd/system/{self.name}")
        systemctl("reset-failed", self.name, ok=False)


def to_copy(name, words):
    """A unit of deploy/systemd, for the demo."""
    with open(os.path.join(os.path.dirname(__file__), "..", "deploy", "systemd", name)) as file:
        text = file.read()
    program, folder = "/srv/hello/current/hello", "/srv/hello/current"
    check(program in text, name, "names no program to replace")
    text = text.replace(program, " ".join(words)).replace(folder, RUN).replace("/run/hello/hello.pid", RUN + "/pid")
    text = text.replace("/run/hello", "/run/" + name).replace("RuntimeDirectory=hello", "RuntimeDirectory=" + name)
    return text.replace("User=hello", "User=nobody")


def thread_states(process):
    for thread in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{thread}/stat") as file:
            yield file.read().rsplit(")", 1)[1].split()[0]


def set_faults(words):
    os.makedirs(RUN, exist_ok=True)
    with open(FAULTS + ".new", "w") as file:
        file.write(words + "\n")
    os.rename(FAULTS + ".new", FAULTS)


# --- The tests. Each is called with the kinds that it is for.

def reload_under_load(kind):
    unit = Unit(kind)
    try:
        load = Load()
        for _ in range(20):
            unit.upgrade()
        answers = load.stop()
        if unit.tells:
            generations = {line["_PID"] for line in unit.said(r"\bserving\b")}
            check(len(generations) == 21, "lines of", len(generations), "generations are in the journal")
        unit.stop()
        return f"20 reloads, {answers} requests, 0 lost"
    finally:
        unit.remove()


def failing_successors(kind):
    unit = Unit(kind, "--upgrade-timeout", "1s")
    try:
        load = Load()
        unit.upgrade()
        main = unit.main

        def is_told(reason):
            result = unit.reload()
            check((result.returncode != 0) == unit.waits, "reload:", result.returncode, result.stderr)
            if unit.waits:
                check(unit.show("ReloadResult") == ["exit-code"], unit.show("ReloadResult"))
                # The command's own words are in the journal of the unit.
                check([line for line in unit.said(reason) if line.get("SYSLOG_IDENTIFIER") == "tableflipctl"], reason)
                return
            until(f"the journal to tell of {reason}", lambda: unit.said(f"upgrade failed: {reason}"))

        def fails(reason):
            is_told(reason)
            until("the failure in the status", lambda: not unit.tells or re.search(
                rf"generation 2 \(PID {main}\) serves; the last upgrade failed: {reason}", unit.show("StatusText")[0]))
            until("the unit to be active", lambda: unit.show("ActiveState") == ["active"])
            check(unit.main == main and int(get("/")) == main, "the old process does not answer")

        set_faults("--exit-before-ready 3")
        fails("successorExited")
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
    finally:
        unit.remove()


def stop_with_request_in_flight(kind):
    unit = Unit(kind)
    try:
        for _ in range(3):
            unit.upgrade()
        request = Request("/delay/2s")
        begin = time.monotonic()
        unit.stop()
        took = time.monotonic() - begin
        check(request.wait().isdigit(), "the request in flight:", request.result)
        check(took > 1, "the stop took", took, "s")
        return f"stopped after {took:.1f} s, when the request was answered"
    finally:
        unit.remove()


def stop_while_a_predecessor_drains(kind):
    unit = Unit(kind)
    try:
        request = Request("/delay/2s")
        unit.upgrade()
        later = Request("/delay/1s")
        unit.stop()
        check(request.wait().isdigit(), "the request of the process before:", request.result)
        check(later.wait().isdigit(), "the request in flight:", later.result)
        return "both processes finished what they had begun"
    finally:
        unit.remove()


def watchdog(kind):
    unit = Unit(kind, service="WatchdogSec=2s\nRestart=on-failure\nTimeoutAbortSec=1s")
    try:
        load = Load(2)
        deadline = time.monotonic() + 4
        count = 0
        while time.monotonic() < deadline:
            unit.upgrade()
            count += 1
        check(unit.show("NRestarts") == ["0"], "it was restarted")
        load.stop()
        main = unit.main
        os.kill(main, signal.SIGSTOP)
        until("the watchdog", lambda: unit.show("NRestarts") == ["1"])
        until("the next one", lambda: unit.show("ActiveState") == ["active"] and int(unit._answers() or main) != main)
        check(unit.said("Watchdog timeout"), "the journal knows of no watchdog")
        return f"{count} upgrades in 4 s under WatchdogSec=2s, and a restart when the pings ended"
    finally:
        unit.remove()


def rollback(kind):
    unit = Unit(kind, "--probation", "500ms")
    try:
        unit.upgrade()
        main, seen, over = unit.main, set(), threading.Event()

        def watch():
            while not over.is_set():
                seen.add(unit.main)

        watcher = threading.Thread(target=watch)
        watcher.start()
        set_faults("--crash-after-ready 200ms")
        unit.reload()
        until("the journal to tell", lambda: unit.said("upgrade failed|rolled back"))
        until("the unit to be active", lambda: unit.show("ActiveState") == ["active"])
        over.set()
        watcher.join()
        check(seen == {main}, "MainPID was", seen)
        check(int(get("/")) == main, "the old process does not answer")
        if unit.tells:
            status = unit.show("StatusText")[0]
            check(re.search(rf"generation 2 \(PID {main}\) serves; the last upgrade failed: successorKilled", status), status)
        unit.stop()
        return "a crash on probation: the main process never changed"
    finally:
        unit.remove()


def socket_activation(kind):
    unit = Unit(kind, socket=f"ListenStream={HOST}:{PORT}")
    try:
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
    finally:
        unit.remove()


class Waiting:
    """A request in the queue of a socket that nobody reads from yet."""

    def __init__(self):
        self.connection = http.client.HTTPConnection(HOST, PORT, timeout=PATIENCE)
        self.connection.request("GET", "/")

    def answer(self):
        body = self.connection.getresponse().read().decode().strip()
        self.connection.close()
        return body


def descriptor_store(kind):
    unit = Unit(
        kind, "--store-descriptors",
        service="FileDescriptorStoreMax=16\nRestart=on-failure\nRestartSec=500ms")
    try:
        def stored():
            return unit.show("NFileDescriptorStore") == ["1"]

        until("the listener to be in the store", stored)
        for _ in range(2):
            unit.upgrade()
        check(stored(), "the store has", unit.show("NFileDescriptorStore"))
        main = unit.main
        # Stopped, it accepts nothing: what comes now waits in the queue, and the queue outlives it.
        os.kill(main, signal.SIGSTOP)
        until("every thread to stop", lambda: set(thread_states(main)) == {"T"})
        waiting = [Waiting() for _ in range(50)]
        os.kill(main, signal.SIGKILL)
        answers = {request.answer() for request in waiting}
        check(unit.show("NRestarts") == ["1"] and len(answers) == 1 and answers != {str(main)}, answers, main)
        check(answers == {str(unit.main)}, answers, "answered, and the main process is", unit.main)
        unit.generation = 1
        unit.before = 0
        unit.upgrade()
        check(stored(), "the store has", unit.show("NFileDescriptorStore"))
        unit.stop()
        return "SIGKILL: 50 connections in the queue were answered by the restarted service"
    finally:
        unit.remove()


def units_to_copy(kind):
    is_activated = "activated" in kind
    unit = Unit(kind, socket=f"ListenStream={HOST}:{PORT}\nFileDescriptorName=web" if is_activated else None)
    try:
        load = Load()
        for _ in range(3):
            unit.upgrade()
        set_faults("--exit-before-ready 3")
        result = unit.reload()
        check((result.returncode != 0) == unit.waits, "reload:", result.returncode, result.stderr)
        until("the old process to serve on", lambda: unit.show("ActiveState") == ["active"])
        load.stop()
        request = Request("/delay/2s")
        unit.stop()
        check(request.wait().isdigit(), "the request in flight:", request.result)
        return "3 reloads, a failure, a stop with a request in flight"
    finally:
        unit.remove()


TESTS = {
    units_to_copy: ["hello.service", "hello-reload.service", "hello-pidfile.service", "hello-activated.service"],
    socket_activation: ["notify", "notify-reload"],
    descriptor_store: ["notify", "notify-reload"],
    reload_under_load: ["notify", "notify with tableflipctl", "notify-reload", "pid-file"],
    failing_successors: ["notify", "notify with tableflipctl", "notify-reload", "pid-file"],
    stop_with_request_in_flight: ["notify", "notify with tableflipctl", "notify-reload", "pid-file"],
    stop_while_a_predecessor_drains: ["notify", "notify-reload", "pid-file"],
    watchdog: ["notify", "notify-reload"],
    rollback: ["notify", "notify-reload", "pid-file"],
}


def main():
    version = int(re.search(r"systemd (\d+)", systemctl("--version").stdout)[1])
    wanted = sys.argv[2:]
    os.makedirs(RUN, exist_ok=True)
    # A copy of its own, which can be moved away.
    shutil.copy(sys.argv[1], DEMO)
    shutil.copy(os.path.join(os.path.dirname(sys.argv[1]), "tableflipctl"), CTL)
    failed = 0
    begin = time.monotonic()
    for test, kinds in TESTS.items():
        for kind in kinds:
            name = f"{test.__name__}, {kind}"
            if kind in ("notify-reload", "hello-reload.service") and version < 253 or wanted and not any(word in name for word in wanted):
                continue
            start = time.monotonic()
            try:
                result = test(kind)
                print(f"systemd {version}: {name}: {result} ({time.monotonic() - start:.1f} s)", flush=True)
            except Exception:
                failed += 1
                print(f"systemd {version}: {name}: FAILED", flush=True)
                traceback.print_exc(file=sys.stdout)
                log = subprocess.run(
                    ["journalctl", "--no-pager", "-n", "40", "-o", "short-precise"], capture_output=True, text=True)
                print(log.stdout, flush=True)
    print(f"systemd {version}: {'everything held' if not failed else f'{failed} failed'} in {time.monotonic() - begin:.0f} s")
    sys.exit(1 if failed else 0)


main()
