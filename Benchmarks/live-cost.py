#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""What live connections cost a server while nothing is upgraded.

Two servers of the demo run at once, one with the library's handlers and one without, and wrk (Debian: wrk) asks them in
turn, a second each, so that both see the same machine. The ratio of each pair is what counts.

usage: Benchmarks/live-cost.py PATH-OF-THE-BUILT-tableflip-demo [--pairs 30] [--connections 32] [--json]
"""
import argparse
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


class Server:
    def __init__(self, demo, *flags):
        self.process = subprocess.Popen(
            [demo, "serve", "--listen", "127.0.0.1:0", "--json-events", *flags],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            event = json.loads(line)
            if event["phase"] == "listening":
                self.port = event["port"]
                return
        sys.exit("live-cost: the server did not start")

    def rate(self, connections, seconds=1):
        out = subprocess.run(
            ["wrk", "--timeout", "10s", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{self.port}/"],
            capture_output=True, text=True, timeout=seconds + 20, check=True).stdout
        if "Socket errors" in out or "Non-2xx" in out:
            sys.exit("live-cost: requests failed:\n" + out)
        return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def main():
    options = arguments()
    if not shutil.which("wrk"):
        sys.exit("live-cost: wrk is missing (Debian: apt-get install wrk)")
    servers = []
    try:
        servers = [Server(options.demo), Server(options.demo, "--bare")]
        for server in servers:
            server.rate(options.connections)  # warm
        pairs = []
        for number in range(options.pairs):
            order = servers if number % 2 == 0 else servers[::-1]
            rates = {id(server): server.rate(options.connections) for server in order}
            pairs.append((rates[id(servers[0])], rates[id(servers[1])]))
    finally:
        for server in servers:
            server.stop()
    ratios = sorted(live / bare for live, bare in pairs)
    result = {
        "pairs": len(pairs), "connections": options.connections,
        "live_per_second": round(statistics.median(live for live, _ in pairs)),
        "bare_per_second": round(statistics.median(bare for _, bare in pairs)),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_p10": round(ratios[len(ratios) // 10], 3), "ratio_p90": round(ratios[len(ratios) * 9 // 10], 3),
    }
    if options.json:
        print(json.dumps(result))
    else:
        print("| requests per second, live | without | ratio | p10 to p90 |\n|---|---|---|---|")
        print("| {live_per_second} | {bare_per_second} | {ratio} | {ratio_p10} to {ratio_p90} |".format(**result))


if __name__ == "__main__":
    main()
