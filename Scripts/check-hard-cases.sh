#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# docs/hard-cases.md names the tests of each hard case. This checks that it has every case, that every test it names is
# there, and that each required case has a test with real processes, and no gap. It does not run them. The tests that
# docs/from-tableflip.md names must be there as well.
set -euo pipefail
cd "$(dirname "$0")/.."
document=docs/hard-cases.md
required=(0 {1..39})

failed=0
problem() {
    echo "check-hard-cases: $*" >&2
    failed=1
}
# check_test WHERE PATH SOUGHT NAME: whether a document names a test that is there, and not one that is commented out.
check_test() {
    if [ ! -f "$2" ]; then
        problem "$1 names $2, which does not exist"
        return 1
    fi
    if [ -z "$(grep -F -- "$3" "$2" | grep -vE '^[[:space:]]*(//|#)' || true)" ]; then
        problem "$1 names \`$4\`, which is not in $2"
        return 1
    fi
}
[ -f "$document" ] || { echo "check-hard-cases: $document is not there" >&2; exit 1; }

# What is said of bad input counts as case 0.
# What the rows say, separated by tabs: line, case, then "gap" (not yet), "later", "broken" and why, or "test", file and
# name. In the third column a word in backticks that ends in .swift is a file below Tests, one that ends in .py a script, and
# those after it are its tests.
claims=$(awk '
    function say(what) { print NR "\t" number "\t" what }
    /^\|[ \t]*([0-9]+|bad input)[ \t]*\|/ {
        columns = split($0, column, "|")
        number = column[2] + 0
        if (columns != 5) { say("broken\thas not three columns"); next }
        cell = column[4]
        sub(/^[ \t]+/, "", cell)
        if (cell ~ /^not yet: ./) { say("gap"); next }
        isLater = cell ~ /^later/
        if (isLater) say("later")
        parts = split(cell, part, "`")
        if (parts > 0 && parts % 2 == 0) { say("broken\thas a backtick without its other one"); next }
        file = ""
        tests = -1
        for (i = 2; i < parts; i += 2) {
            if (part[i] ~ /\.(swift|py)$/) {
                if (tests == 0) say("broken\tnames no test of " file)
                file = part[i]
                tests = 0
            } else if (file == "" || part[i] == "") {
                say("broken\tnames a test without its file")
            } else {
                say("test\t" file "\t" part[i])
                tests++
            }
        }
        if (tests == 0) say("broken\tnames no test of " file)
        if (tests < 0 && !isLater) say("broken\tsays neither a test nor \"not yet: \" and what is missing")
    }
' "$document")

rows=() covered=() gaps=() cases=0 later=0
checked=
while IFS=$'\t' read -r line number kind first second; do
    [ -n "$line" ] || continue
    [ -n "${rows[number]:-}" ] || cases=$((cases + 1))
    rows[number]=1
    where="$document:$line: case $number"
    case $kind in
    gap) gaps[number]="$where" ;;
    later) later=$((later + 1)) ;;
    broken) problem "$where $first" ;;
    test)
        checked+="$first: $second"$'\n'
        path="Tests/$first" sought="func \`$second\`("
        case $first in Scripts/*.py) path="$first" sought="def $second(" ;; esac
        check_test "$where" "$path" "$sought" "$second" || continue
        case $first in LiveTests/* | ProcessTests/* | Scripts/*) covered[number]=1 ;; esac
        ;;
    esac
done <<<"$claims"

for number in "${required[@]}"; do
    if [ -z "${rows[number]:-}" ]; then
        problem "case $number has no row in $document"
    elif [ -z "${covered[number]:-}" ]; then
        problem "case $number has no test with real processes"
    elif [ -n "${gaps[number]:-}" ]; then
        problem "${gaps[number]} has a part without a test"
    fi
done

# There, what follows a file behind a colon or a comma are its tests.
names=docs/from-tableflip.md
compared=0
while IFS=$'\t' read -r line file name; do
    compared=$((compared + 1))
    check_test "$names:$line" "Tests/$file" "func \`$name\`(" "$name" || true
done < <(awk '
    /^\| `/ {
        parts = split($0, part, "`")
        file = ""
        for (i = 2; i < parts; i += 2) {
            if (part[i] ~ /\.swift$/) file = part[i]
            else if (file != "" && part[i - 1] ~ /^[:,] $/) print NR "\t" file "\t" part[i]
            else file = ""
        }
    }
' "$names")
[ "$compared" -ge 60 ] || problem "$names names $compared tests: it is not read rightly any more"

tests=$(printf '%s' "$checked" | sort -u | awk 'END { print NR }')
echo "check-hard-cases: $((cases - 1)) cases ($((${#required[@]} - 1)) required) and bad input, $tests tests, $later rows that are for later; $compared names of from-tableflip"
exit "$failed"
