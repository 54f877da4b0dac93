#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# Explores every interleaving of the two machines of the handshake, optimised, with up to FAULTS things going wrong
# (2 if not said: seconds; 3 takes half a minute and 2 GB), and prints what it visited. Fails if a rule is broken.
#
# usage: Scripts/explore.sh [FAULTS]
set -euo pipefail
cd "$(dirname "$0")/.."

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
echo 'exploreAndExit(CommandLine.arguments)' >"$place/main.swift"
core=Sources/TableflipCore
swiftc -O -wmo -swift-version 6 -D SINGLE_MODULE -package-name explore -module-name Explore -o "$place/explore" \
    "$core"/Predecessor/*.swift "$core"/Successor/*.swift "$core"/UpgradeError*.swift "$core"/Probation.swift \
    Tests/HandshakeExplorer/*.swift "$place/main.swift"
"$place/explore" "${1:-2}"
