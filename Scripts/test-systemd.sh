#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# Runs the demo as a service of a real systemd, the installed one and 254, in Scripts/systemd-box.
#
# Usage: Scripts/test-systemd.sh TABLEFLIP-DEMO [TEST...]     (a word of a test's name chooses it)
#
# tableflipctl stands beside the demo.
#
# Needs root, systemd, dbus, util-linux and python3, and for 254 a Debian mirror. Without them it says so and exits with 0;
# with CI=true, with 1.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=$(readlink -f "${1:?the path of the built tableflip-demo}")
shift
skip() {
    echo "test-systemd: skipped: $*"
    [ "${CI:-}" != true ] || exit 1
    exit 0
}
python=/usr/bin/python3 # what the box sees
[ -x $python ] || skip "$python is missing: apt-get install python3"
newer=$(Scripts/fetch-systemd .build/systemd 2>.build/systemd.log) || { tail -3 .build/systemd.log; skip "systemd 254 cannot be had"; }
for usr in "" "$newer"; do
    status=0
    Scripts/systemd-box ${usr:+--usr "$usr"} --keep "$PWD" -- $python "$PWD/Scripts/test-systemd.py" "$demo" "$@" || status=$?
    [ $status != 77 ] || skip "see above"
    [ $status = 0 ] || exit $status
done
