#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Runs a program under a filter of system calls that refuses one of them, as a sandbox may. Linux only.

usage: forbid.py CLONE_PARENT|PR_SET_CHILD_SUBREAPER|PIDFD_OPEN PROGRAM [ARGUMENT...]

Without CLONE_PARENT (clone(2)) a service has to start its successors by way of a process in between. Without
PR_SET_CHILD_SUBREAPER (prctl(2)) nobody adopts its orphans but process 1, as on other systems than Linux. Without
PIDFD_OPEN (pidfd_open(2)) no descriptor stands for a process, as before Linux 5.3.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

# linux/prctl.h, linux/seccomp.h, linux/bpf_common.h, linux/audit.h, sched.h
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, JUMP_IF_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, FIRST_ARGUMENT = 0, 16  # in struct seccomp_data; the lower half, on a machine that is little-endian
CLONE, PRCTL = {"x86_64": (56, 157), "aarch64": (220, 167)}[platform.machine()]
PIDFD_OPEN = 434  # the same on both
# The call, what to look for in its first argument, and what the program is told.
CALL, JUMP, VALUE, REFUSAL = {
    "CLONE_PARENT": (CLONE, JUMP_IF_SET, 0x8000, errno.EPERM),
    "PR_SET_CHILD_SUBREAPER": (PRCTL, JUMP_IF_EQUAL, 36, errno.ENOSYS),
    "PIDFD_OPEN": (PIDFD_OPEN, JUMP_IF_AT_LEAST, 0, errno.ENOSYS),  # whatever the argument is
}[sys.argv[1]]


def step(code, value, yes=0, no=0):
    return struct.pack("HBBI", code, yes, no, value)


program = b"".join([
    step(LOAD_WORD, NUMBER),
    step(JUMP_IF_EQUAL, CALL, 0, 3),
    step(LOAD_WORD, FIRST_ARGUMENT),
    step(JUMP, VALUE, 0, 1),
    step(RETURN, SECCOMP_RET_ERRNO | REFUSAL),
    step(RETURN, SECCOMP_RET_ALLOW),
])


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


libc = ctypes.CDLL(None, use_errno=True)
for words in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
              (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Filter(len(program) // 8, program)), 0, 0)):
    if libc.prctl(*words) != 0:
        sys.exit(f"forbid: prctl: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[2], sys.argv[2:])
