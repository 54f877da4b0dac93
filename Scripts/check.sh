#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# What a change must pass beside the tests, and that takes seconds: format, shell syntax, no Foundation below the demo.
# Call it after `swift build`.
set -euo pipefail
cd "$(dirname "$0")/.."

swift format lint --strict --recursive Package.swift Sources Tests Benchmarks/Package.swift Benchmarks/HandoverCost Benchmarks/Latency \
    Benchmarks/Micro/Package.swift Benchmarks/Micro/Benchmarks
echo "check: format"
for script in Scripts/*.sh Scripts/systemd-box Scripts/fetch-systemd deploy/*.sh .ci/run; do bash -n "$script"; done
for script in Scripts/*.py Benchmarks/*.py Benchmarks/suite/*.py Benchmarks/suite/rows/*.py; do python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$script"; done
echo "check: shell"
if command -v musl-gcc >/dev/null; then
    # The kernel's headers are where the other C library has its own.
    for file in Sources/CTableflip/*.c; do
        musl-gcc -Wall -Wextra -Werror -fsyntax-only -ISources/CTableflip/include \
            -idirafter /usr/include -idirafter "/usr/include/$(uname -m)-linux-gnu" "$file"
    done
    echo "check: musl"
else
    echo "skipped: the C files with musl; apt-get install musl-tools"
fi
Scripts/check-no-foundation.sh "$(swift build --show-bin-path)/tableflip-probe"
