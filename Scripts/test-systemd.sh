#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# Runs the demo as a service of a real systemd, the installed one and 254, in Scripts/systemd-box: two boxes of each at the
# same time, which know nothing of each other.
#
# Usage: Scripts/test-systemd.sh TABLEFLIP-DEMO [TEST...]     (a word of a test's name chooses it)
#
# tableflipctl and tableflip-probe stand beside the demo.
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
[ "$(id -u)" = 0 ] || skip "namespaces and mounts want root"
mkdir -p .build
newer=$(Scripts/fetch-systemd .build/systemd 2>.build/systemd.log) || { tail -3 .build/systemd.log; skip "systemd 254 cannot be had"; }

parts=2 jobs=() logs=()
end() {
    # A box that is told to end does so when what runs in it has ended.
    for job in "${jobs[@]}"; do
        # shellcheck disable=SC2046
        kill "$job" $(cat "/proc/$job/task/$job/children" 2>/dev/null) 2>/dev/null || true
    done
    wait
    rm -f "${logs[@]}"
}
trap end EXIT
for usr in "" "$newer"; do
    for part in $(seq $parts); do
        log=$(mktemp)
        Scripts/systemd-box ${usr:+--usr "$usr"} --keep "$PWD" -- \
            $python "$PWD/Scripts/test-systemd.py" --part "$part/$parts" "$demo" "$@" >"$log" 2>&1 &
        jobs+=($!) logs+=("$log")
    done
done
worst=0
for index in "${!jobs[@]}"; do
    status=0
    wait "${jobs[index]}" || status=$?
    cat "${logs[index]}"
    [ $status -le $worst ] || worst=$status
done
jobs=()
[ $worst != 77 ] || skip "see above"
exit $worst
