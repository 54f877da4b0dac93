# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""The processes of the demo, a server and its load clients, for the scripts that upgrade it under load."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time

PATIENCE = 60


class Lines:
    """The lines of JSON that a process and its successors write."""

    def __init__(self, stream):
        self.all = []
        self.has_ended = False
        self.condition = threading.Condition()
        threading.Thread(target=self.read, args=(stream,), daemon=True).start()

    def read(self, stream):
        for line in stream:
            with self.condition:
                self.all.append((time.monotonic(), json.loads(line)))
                self.condition.notify_all()
        with self.condition:
            self.has_ended = True
            self.condition.notify_all()

    def wait(self, what, matches, start=0):
        """The time and the first line from number `start` on that matches."""
        deadline = time.monotonic() + PATIENCE
        with self.condition:
            while True:
                for at, line in self.all[start:]:
                    if matches(line):
                        return at, line
                start = len(self.all)
                if self.has_ended or not self.condition.wait(deadline - time.monotonic()):
                    raise RuntimeError(f"{what}: did not happen")


class Server:
    """All generations of `tableflip-demo serve`."""

    def __init__(self, demo, folder, *flags):
        self.errors = open(os.path.join(folder, "errors"), "w")
        self.pid_file = os.path.join(folder, "pid")
        self.process = subprocess.Popen(
            [demo, "serve", "--listen", "127.0.0.1:0", "--pid-file", self.pid_file, "--drain-timeout", "20s",
             "--pause-timeout", "10s", "--json-events", *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.lines = Lines(self.process.stdout)
        _, listening = self.lines.wait("the first server listens", lambda line: line["phase"] == "listening")
        self.port = listening["port"]
        self.lines.wait("the first server owns the service", lambda line: line["phase"] == "owner")

    @property
    def current(self):
        """The process in charge, as an operator would find it."""
        with open(self.pid_file) as file:
            return int(file.read())

    def end(self):
        """Whatever is left. Those that were seen to leave are not signalled: their numbers may be others' by now."""
        events = [line for _, line in self.lines.all]
        left = {line["peer"] for line in events if line["phase"] in ("predecessorLeft", "rolledBack", "failed")}
        for pid in {line["pid"] for line in events} - left:
            if not self.lines.has_ended:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.errors.close()


class Load:
    """The clients of `tableflip-demo load`."""

    def __init__(self, demo, port, mode, clients, *arguments):
        self.mode, self.clients = mode, clients
        self.process = subprocess.Popen(
            [demo, "load", "--target", f"127.0.0.1:{port}", "--mode", mode, "--clients", str(clients), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = Lines(self.process.stdout)

    def finish(self):
        """What it has counted when it has finished what it had begun."""
        self.process.stdin.close()
        _, report = self.lines.wait("the load's last word", lambda line: line["isFinal"])
        self.process.wait(PATIENCE)
        return report

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
