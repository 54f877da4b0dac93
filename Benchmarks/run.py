#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Side by side with the best: one command for every row of README.md beside this file.

Writes results/report.md, results/summary.md, results/results.json and a plot for each picture. Linux; as root or not.
All servers run on ports of the loopback that the kernel picks, in folders of their own, and are ended by their ids.
(Debian's own Python, for it is what finds Debian's matplotlib.)
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

from suite import report, tools as suite_tools  # noqa: E402
from suite.processes import Failure, PeerFailure, adopt_orphans, allow_descriptors  # noqa: E402
from suite.rows import cost, growth, latency, lifetime, lost, micro, outage, rate, trigger  # noqa: E402

ROWS = {"1": trigger, "2": lost, "3": lifetime, "4": latency, "5": outage, "6": cost, "7": rate, "8": growth,
        "micro": micro}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help="which (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="that everything runs and nothing of ours is lost; no times")
    parser.add_argument("--install", action="store_true", help="install what is missing, by apt-get (also with CI=true)")
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "results", help="where to (%(default)s)")
    options = parser.parse_args()
    names = options.rows.split(",")
    if unknown := set(names) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")

    suite_tools.install(options.install or os.environ.get("CI") == "true")
    adopt_orphans()
    descriptors = allow_descriptors()
    if descriptors < 20_000 and not options.quick:
        raise Failure(f"needs 20,000 open files, the hard limit is {descriptors} (ulimit -Hn)")

    results, begin = [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tools = suite_tools.Tools(folder, min(descriptors, 20_000), options.quick)
        tools.build()
        say(f"built, after {time.monotonic() - begin:.0f} s")
        begin = time.monotonic()
        for name in names:
            began = time.monotonic()
            try:
                result = measure(ROWS[name], tools)
            except Exception as failure:  # the others are worth having all the same
                words = str(failure) if isinstance(failure, Failure) else traceback.format_exc()
                result = report.Result(name, "(failed)", notes=[words], broken=[f"row {name}: {words}"])
            say(f"row {name} took {time.monotonic() - began:.0f} s")
            print("\n".join([f"## {result.number}. {result.title}\n", *(table.markdown() for table in result.tables),
                             *(f"- {note}" for note in result.notes), ""]), flush=True)
            results.append(result)
    command = "Benchmarks/run.py" + " --quick" * options.quick
    words = f"Measured by `{command}`: {report.machine()}. Compare ratios, not milliseconds."
    report.write(options.output, results, words)
    if not options.quick:
        print(report.summary(results))
    broken = tools.complaints + [words for result in results for words in result.broken]
    if broken:
        raise Failure("\n".join(broken))
    say(f"everything ran and nothing of ours was lost, in {time.monotonic() - begin:.0f} s: {options.output}")


def measure(row, tools):
    """Twice more at most, where it is another's server that does not run; the result says so."""
    failures = []
    while True:
        try:
            result = row.run(tools)
            result.notes += [f"Measured once more: {words.splitlines()[0]}." for words in failures]
            return result
        except PeerFailure as failure:
            say(f"once more: {failure}")
            failures.append(str(failure))
            if len(failures) > 2:
                raise


def say(words):
    print(f"run.py: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"run.py: {failure}")
