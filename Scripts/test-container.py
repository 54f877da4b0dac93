#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""The image of deploy/container/Containerfile under a container engine: podman, with runc or crun.

usage: test-container.py TABLEFLIP-RUN TABLEFLIP-DEMO

The last stage of the file is imported with its own settings; in place of its base there are the libraries that the programs
need. What the engine keeps is in a directory that is removed, and the containers use a network that nobody else has. The
filter of system calls, the rights and the read-only root are the engine's own.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback

from containerfile import Image
from demo_client import PATIENCE, PORT, Load, Request, check, get, until


# Nothing of ours: where it cannot be started it is the machine that does not let anybody.
TRIAL = "/usr/bin/true"

# By itself an engine raises them, which not every machine lets it.
LIMITS = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]


class Engine:
    """podman, with a store of its own."""

    def __init__(self, folder, runtime):
        self.words = ["podman", "--runtime", runtime, "--cgroup-manager=cgroupfs", "--storage-driver=vfs",
                      f"--root={folder}/store-{runtime}", f"--runroot={folder}/run-{runtime}"]

    def __call__(self, *words, patience=60):
        done = subprocess.run([*self.words, *words], capture_output=True, text=True, timeout=patience)
        check(done.returncode == 0, f"podman {words[0]}:", done.stderr.strip())
        return done

    def load(self, image, archive):
        """With the settings of the image as they are written."""
        changes = [word for setting in image.settings for word in ("--change", setting)]
        self("import", *changes, archive, "service")

    def close(self):
        """No container is left, and nothing mounted."""
        self("rm", "--all", "--force", "--time", "0")
        self("rmi", "--all", "--force")

    def start(self, *words):
        """A container, by its id, whose root cannot be written."""
        return self("run", "--detach", "--network=host", "--read-only", *LIMITS, *words).stdout.strip()


def pack(image, folder):
    """What COPY brings into the image, and in place of its base what that needs, and the trial."""
    archive = folder + "/image.tar"
    libraries = {path for program in [*PROGRAMS.values(), TRIAL] for path in libraries_of(program)}
    with tarfile.open(archive, "w", dereference=True) as tar:
        for name in image.programs:
            tar.add(PROGRAMS[name], image.folder + name)
        for path in [*sorted(libraries), TRIAL, "/etc/passwd", "/etc/group"]:
            tar.add(path, path)
    return archive


def libraries_of(program):
    """What it is linked with, by the path that it is looked for."""
    return re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", program], capture_output=True, text=True).stdout)


class Container:
    def __init__(self, *words):
        self.id = ENGINE.start(*words)
        until("the service to answer", self.answers)

    def answers(self):
        try:
            return get("/")
        except OSError:
            check(self.state["Running"], "it ended:", self.log)
            return None

    @property
    def state(self):
        return json.loads(ENGINE("inspect", self.id).stdout)[0]["State"]

    @property
    def log(self):
        done = ENGINE("logs", self.id)
        return done.stdout + done.stderr

    def processes(self):
        """Of all that run in it: their states, by their command."""
        rows = [line.split(None, 1) for line in ENGINE("top", self.id, "state", "comm").stdout.splitlines()[1:]]
        return sorted((command, state) for state, command in rows)

    def upgrade(self):
        before, leaves = get("/"), self.log.count("the predecessor has left")
        ENGINE("kill", "--signal", "HUP", self.id)
        until("another process to answer", lambda: get("/") != before)
        until("the process before to leave", lambda: self.log.count("the predecessor has left") > leaves)

    def ends_with(self, status):
        until("its end", lambda: not self.state["Running"])
        found = self.state["ExitCode"]
        check(found == status, "it ended with", found, "and not", status, self.log)

    def remove(self):
        ENGINE("rm", "--force", "--time", "0", self.id)


# --- The tests.

def ten_upgrades(container):
    load = Load()
    for _ in range(10):
        container.upgrade()
    answers = load.stop()
    # Others see the end of a process before its parent reaps it.
    until("two processes, and no zombie", lambda: [(command, state == "Z") for command, state in container.processes()]
          == [("tableflip-demo", False), ("tableflip-run", False)])
    return f"ten times `podman kill -s HUP`: {answers} requests, 0 lost"


def stop(container):
    container.upgrade()
    begin = time.monotonic()
    request = Request("/delay/2s")
    ENGINE("stop", "--time", "40", container.id)
    took = time.monotonic() - begin
    check(request.wait().isdigit(), "the request in flight:", request.result)
    container.ends_with(0)
    check(1 < took < 20, "it took", took, "s")
    return f"`podman stop`: the request in flight was answered, and the container ended with status 0 after {took:.1f} s"


def kill(container):
    container.upgrade()
    runner = container.state["Pid"]

    def child():
        with open(f"/proc/{runner}/task/{runner}/children") as file:
            children = file.read().split()
        return len(children) == 1 and int(children[0])

    os.kill(until("one process", child), signal.SIGKILL)
    container.ends_with(128 + signal.SIGKILL)
    return "the end of the second generation by SIGKILL ends the container with status 137"


def process_1(container):
    before = get("/")
    ENGINE("kill", "--signal", "HUP", container.id)
    until("the refusal", lambda: "tableflip-run" in container.log)
    check(get("/") == before, "another process answers")
    ENGINE("stop", "--time", "40", container.id)
    container.ends_with(0)
    return "without tableflip-run an upgrade is refused with the cure, and the service goes on"


TESTS = {
    ten_upgrades: ["service"],
    stop: ["service"],
    kill: ["service"],
    process_1: ["--entrypoint", "tableflip-demo", "service", "serve", "--listen", f"0.0.0.0:{PORT}"],
}


def engine(image, folder):
    """The first runtime that can start a program here, as this system has its control groups; else why none can."""
    archive, reasons = pack(image, folder), []
    for runtime in ("runc", "crun"):
        candidate = Engine(folder, runtime)
        try:
            candidate.load(image, archive)
            candidate.start("--rm", "--entrypoint", TRIAL, "service")
            return candidate, reasons
        except (AssertionError, OSError) as error:
            reasons.append(f"{runtime}: {error}")
            candidate.close()
    return None, reasons


def main():
    # The loopback device of this network is down (netdevice(7), SIOCSIFFLAGS, IFF_UP).
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))
    failed, begin = 0, time.monotonic()
    for test, words in TESTS.items():
        with contextlib.ExitStack() as stack:
            try:
                container = Container(*words)
                stack.callback(container.remove)
                print(f"container: {test.__name__}: {test(container)}", flush=True)
            except Exception:
                failed += 1
                print(f"container: {test.__name__}: FAILED", flush=True)
                traceback.print_exc(file=sys.stdout)
    print(f"container: {'everything held' if not failed else f'{failed} failed'} in {time.monotonic() - begin:.0f} s")
    return 1 if failed else 0


if os.environ.get("TABLEFLIP_TEST_CONTAINER") != "inside":
    if os.getuid() != 0:
        print("test-container: skipped: a network of its own wants root")
        sys.exit(1 if os.environ.get("CI") == "true" else 0)
    if not shutil.which("podman"):
        print("test-container: skipped: no podman. To install: apt-get install --no-install-recommends podman runc crun")
        sys.exit(1 if os.environ.get("CI") == "true" else 0)
    os.environ["TABLEFLIP_TEST_CONTAINER"] = "inside"
    os.execvp("unshare", ["unshare", "--net", "--", sys.executable, *sys.argv])
PROGRAMS = {"tableflip-run": os.path.abspath(sys.argv[1]), "tableflip-demo": os.path.abspath(sys.argv[2])}
with tempfile.TemporaryDirectory(prefix="tableflip-container-") as FOLDER:
    ENGINE, REASONS = engine(Image(), FOLDER)
    if not ENGINE:
        # test-run.py makes its own of namespaces.
        print("test-container: skipped: no container can be started here.", *REASONS, sep="\n  ")
        sys.exit(1 if os.environ.get("CI") == "true" else 0)
    try:
        STATUS = main()
    finally:
        ENGINE.close()
sys.exit(STATUS)
