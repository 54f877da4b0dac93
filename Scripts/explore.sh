#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# Explores every interleaving of the two machines of the handshake, optimised, with up to FAULTS things going wrong
# (2 if not said: seconds; 3 takes half a minute and 1.5 GB), and prints what it visited. Fails if a rule is broken.
#
# usage: Scripts/explore.sh [FAULTS]
set -euo pipefail
cd "$(dirname "$0")/.."

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
core=Sources/TableflipCore
common=(-O -wmo -swift-version 6 -package-name explore -I "$place")
printf '%s\n' 'import HandshakeExplorer' 'exploreAndExit(CommandLine.arguments)' >"$place/main.swift"
swiftc "${common[@]}" -parse-as-library -emit-module -module-name TableflipCore -c -o "$place/core.o" \
    -emit-module-path "$place/TableflipCore.swiftmodule" \
    "$core"/Predecessor/*.swift "$core"/Successor/*.swift "$core"/UpgradeError*.swift "$core"/Probation.swift
swiftc "${common[@]}" -parse-as-library -emit-module -module-name HandshakeExplorer -c -o "$place/explorer.o" \
    -emit-module-path "$place/HandshakeExplorer.swiftmodule" Tests/HandshakeExplorer/*.swift
swiftc "${common[@]}" -module-name Explore -o "$place/explore" "$place/main.swift" "$place/core.o" "$place/explorer.o"
"$place/explore" "${1:-2}"
