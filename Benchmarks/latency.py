#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""What one upgrade a second adds to the latency of requests, beside Go's tableflip with net/http.

The two servers (Latency/swift-server, Latency/main.go) answer each request with their process id and do nothing else;
both are linked statically, without a dynamic linker. They run at once. A run is a load on one of them, with an upgrade each
second or without; the four take turns, so that all see the same machine, and the median of the runs counts. Requests that
were lost are counted too: the client never tries again.

usage: Benchmarks/latency.py PATH-OF-THE-BUILT-tableflip-demo [--runs 7] [--seconds 4] [--quick] [--demo-server] [--only WORD]
The demo makes the load; with --demo-server it is a third server too.
Needs Go and its tableflip (Debian: golang-go golang-github-cloudflare-tableflip-dev).
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
LOADS = {
    "keep-alive, 32 clients, 2 ms think time": ["--mode", "keep", "--clients", "32", "--think", "2ms"],
    "new connection per request, 8 clients, 2 ms think time": ["--mode", "close", "--clients", "8", "--think", "2ms"],
}


class Server:
    """A server in a folder of its own; its successors are found by the PID file."""

    def __init__(self, name, folder, command, port_of):
        self.name = name
        self.pid_file = pathlib.Path(folder, name + ".pid")
        self.process = subprocess.Popen(
            [*command, "--pid-file", str(self.pid_file)], stdout=subprocess.PIPE, text=True,
            stderr=open(pathlib.Path(folder, name + ".log"), "w"))
        for line in self.process.stdout:
            self.port = port_of(line)
            if self.port:
                break
        else:
            sys.exit(f"latency: {name} did not start")
        # A full pipe would hold the server up.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def current(self):
        return int(self.pid_file.read_text())

    def stop(self):
        for process in {self.current(), self.process.pid}:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass


def build_ours():
    package = ["swift", "build", "--package-path", HERE / "Latency", "-c", "release", "--static-swift-stdlib"]
    subprocess.run([*package, "--product", "latency-server"], check=True, stdout=sys.stderr)
    path = subprocess.run([*package, "--show-bin-path"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return pathlib.Path(path, "latency-server")


def port_of_demo(line):
    event = json.loads(line)
    return event.get("port") if event["phase"] == "listening" else None


def port_of_line(line):
    return int(line.rsplit(":", 1)[1])


def load(demo, server, words, seconds, upgrades):
    client = subprocess.Popen(
        [demo, "load", "--target", f"127.0.0.1:{server.port}", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True)
    refused = 0
    end = time.monotonic() + seconds
    # The length of the load and its rhythm are what is measured.
    next_upgrade = time.monotonic() + 0.5
    while (now := time.monotonic()) < end:
        if upgrades and now >= next_upgrade:
            before = server.current()
            os.kill(before, signal.SIGHUP)
            next_upgrade += 1
            limit = time.monotonic() + 5
            while server.current() == before and time.monotonic() < limit:
                time.sleep(0.005)
            refused += server.current() == before
        time.sleep(max(0, min(next_upgrade if upgrades else end, end) - time.monotonic()))
    out, _ = client.communicate(timeout=60)
    report = json.loads(out.strip().splitlines()[-1])
    return report, refused


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--demo-server", action="store_true")
    parser.add_argument("--only", default="", metavar="WORD", help="only loads whose name has this word in it")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.seconds = 1, 2
    gopath = os.environ.get("TABLEFLIP_GOPATH", "/usr/share/gocode")
    if not shutil.which("go") or not pathlib.Path(gopath, "src/github.com/cloudflare/tableflip").is_dir():
        print("latency: apt-get install golang-go golang-github-cloudflare-tableflip-dev", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") == "true" else 0)
    ours = build_ours()
    with tempfile.TemporaryDirectory() as folder:
        go = pathlib.Path(folder, "go-server")
        subprocess.run(["go", "build", "-o", go, HERE / "Latency/main.go"], check=True,
                       env=os.environ | {"GO111MODULE": "off", "GOPATH": gopath, "GOFLAGS": ""})
        servers = []
        try:
            servers.append(Server("ours", folder, [str(ours)], port_of_line))
            servers.append(Server("Go", folder, [str(go)], port_of_line))
            if options.demo_server:
                words = [options.demo, "serve", "--listen", "127.0.0.1:0", "--json-events"]
                servers.append(Server("demo", folder, words, port_of_demo))
            print("| load | server | upgrades | p50 | p99 | p99.9 | max | added to p99.9 | lost of requests | not upgraded |")
            print("|---|---|---|---|---|---|---|---|---|---|")
            for name, words in LOADS.items():
                if options.only in name:
                    measure(options, servers, name, words)
        finally:
            for server in servers:
                server.stop()


def measure(options, servers, name, words):
    runs = {(server.name, upgrades): [] for server in servers for upgrades in (False, True)}
    for number in range(options.runs):
        for server in servers if number % 2 == 0 else servers[::-1]:
            for upgrades in (False, True):
                runs[server.name, upgrades].append(load(options.demo, server, words, options.seconds, upgrades))
    for server in servers:
        still = statistics.median(report["latency"]["p999"] for report, _ in runs[server.name, False])
        for upgrades in (False, True):
            reports = [report for report, _ in runs[server.name, upgrades]]
            middle = {key: statistics.median(r["latency"][key] for r in reports) for key in ("p50", "p99", "p999", "max")}
            added = f"{middle['p999'] - still:+.2f}" if upgrades else ""
            lost, requests = sum(r["lost"] for r in reports), sum(r["requests"] for r in reports)
            refused = sum(refused for _, refused in runs[server.name, upgrades]) if upgrades else ""
            print(f"| {name} | {server.name} | {'one a second' if upgrades else 'none'} | {middle['p50']:.2f} | "
                  f"{middle['p99']:.2f} | {middle['p999']:.2f} | {middle['max']:.2f} | {added} | {lost} of {requests} | "
                  f"{refused} |")


if __name__ == "__main__":
    main()
