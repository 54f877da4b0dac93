#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# The successor dies on its probation, by SIGKILL, 100 ms and more after it has answered somebody, under 32 clients, again and
# again. Fails if a connection was refused, if more requests were lost than clients had under way in the killed process,
# or if the old process took too long to serve again (with --judge: 5 ms in the middle, 50 ms at most).
#
# Usage: Scripts/rollback-load.py PATH-OF-THE-BUILT-tableflip-demo [--times N=100] [--judge]
import argparse
import os
import signal
import sys
import time

from soak import loaded

CLIENTS = 32


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("demo", help="the path of the built tableflip-demo")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--judge", action="store_true", help="for a release build on a machine that is not busy")
    options = parser.parse_args()
    back = []
    with loaded(options.demo, "20s", [("close", CLIENTS, [])]) as (server, (load,)):
        for _ in range(options.times):
            old, mark = server.current, server.mark
            os.kill(old, signal.SIGHUP)
            _, line = server.event(old, ("probation",), mark)
            server.event(line["peer"], ("serving",), mark)
            # A busy machine takes its time until it answers somebody.
            load.lines.wait(f"an answer of {line['peer']}", lambda report, peer=line["peer"]: peer in report["servers"],
                            max(0, len(load.lines.all) - 1))
            # This is what is measured: a death in the midst of serving.
            time.sleep(0.1)
            load.excused += CLIENTS
            begin = time.monotonic()
            os.kill(line["peer"], signal.SIGKILL)
            at, outcome = server.outcome(old, mark)
            if outcome["phase"] != "rolledBack":
                sys.exit(f"rollback-load: {outcome}")
            back.append((at - begin) * 1e3)
            server.settle(old, outcome, mark)
        report = load.stop()
    back.sort()
    median, worst = back[len(back) // 2], back[-1]
    print(f"rollback-load: {len(back)} deaths in probation under {CLIENTS} clients: {report['requests']} requests, "
          f"0 refused, {report['lost']} lost in killed processes; from the death until the old process has said that it "
          f"serves: median {median:.1f} ms, worst {worst:.1f} ms")
    if options.judge and (median > 5 or worst > 50):
        sys.exit("rollback-load: too slow")


if __name__ == "__main__":
    main()
