# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Processes: started in groups of their own, waited for with a deadline, ended by the ids that we know."""

import contextlib
import ctypes
import os
import pathlib
import resource
import select
import signal
import socket
import subprocess
import time

PATIENCE = 20.0  # seconds; nothing here takes as long
TICK = 0.0005  # how often, in seconds, what cannot be waited for is looked at
PR_SET_CHILD_SUBREAPER = 36


class Failure(Exception):
    """Something did not run. What a peer does badly is no failure but a result."""


class PeerFailure(Failure):
    """Another's server did not run. That says nothing about ours: the row is measured again."""


def adopt_orphans():
    """Generations are our children's children: this makes them ours to wait for."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def allow_descriptors():
    """As many as the hard limit has. Servers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def wait_until(what, condition, patience=PATIENCE):
    """What `condition` returns, once it is true."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {patience:g} s")
        time.sleep(TICK)


def await_end(pids, patience):
    """When the last of these processes had ended (time.monotonic()), or None if not within that time."""
    deadline = time.monotonic() + patience
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                if not select.select([handle], [], [], max(0, deadline - time.monotonic()))[0]:
                    return None
            finally:
                os.close(handle)
    return time.monotonic()


def children(pid):
    with contextlib.suppress(OSError):
        return {int(word) for word in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return set()


def alive(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    return False


def proportional_memory(pids):
    """Bytes, shared pages divided among those who share them (proc(5), smaps_rollup)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


_probes = []


def free_port():
    """For servers that cannot be asked which port the kernel picked. They bind with SO_REUSEADDR, which they may beside a
    socket that has it as well and does not listen; and while that is there, the kernel picks the port for nobody else."""
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    _probes.append(probe)
    return probe.getsockname()[1]


class Group:
    """A program and all that comes from it, which stays in its process group."""

    def __init__(self, command, folder, stdout=None, environment=None):
        with open(folder / "errors", "ab") as errors:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=stdout or errors, stderr=errors,
                env=os.environ | (environment or {}), cwd=folder, start_new_session=True)
        self.errors = folder / "errors"

    @property
    def pid(self):
        return self.process.pid

    def last_words(self):
        return self.errors.read_text(errors="replace")[-1500:]

    def end(self):
        end_group(self.pid)
        self.process.wait(PATIENCE)


def end_group(group):
    """Its number is not used again while we have not waited for its last member: orphans of it are ours."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-group, os.WNOHANG)[0] == 0:
                time.sleep(TICK)
