#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# Ships a release that is there already: moves the link to it, upgrades the service, and moves the link back by itself
# when the service has not come to run it.
#
#     DIRECTORY/releases/1.4/hello    each release in a directory of its own
#     DIRECTORY/releases/1.5/hello
#     DIRECTORY/current -> releases/1.4
#
# The service is started as DIRECTORY/current/hello, so that an upgrade finds what the link leads to by then; its control
# socket is the one of TABLEFLIP_CONTROL_SOCKET, or of --control-socket among the options.
#
# usage: release-flip.sh DIRECTORY RELEASE [OPTION OF tableflipctl upgrade]...
#
# The exit status is that of tableflipctl upgrade (docs/tableflipctl.md), or 64 for wrong usage, 75 when another one
# of these is at work in DIRECTORY, and 1 when nothing can be made there. With 8 it is not known which release serves, or
# none does: then the link stays where it is, and so it does when this script or the command is interrupted (128 and the
# signal), for the upgrade goes on.
set -euo pipefail

# A reader that has gone ends neither this nor the command, which inherits that.
trap '' PIPE
# Whether anybody reads it or not, the status is the same.
say() { printf 'release-flip: %s\n' "$*" >&2 || true; }
usage() {
    say "usage: release-flip.sh DIRECTORY RELEASE [OPTION OF tableflipctl upgrade]..."
    exit 64
}
[ $# -ge 2 ] || usage
directory=$1
release=$2
shift 2
for option in "$@"; do
    # With these tableflipctl ends with 0, and has upgraded nothing.
    case $option in
        -h | -help* | --help* | --version | --generate-completion-script* | --experimental-dump-help) usage ;;
    esac
done
ctl=${TABLEFLIPCTL:-tableflipctl}
link=$directory/current
case $release in
    "" | . | .. | */*)
        say "\"$release\" is no name of a release: give the name of a directory in $directory/releases"
        exit 64
        ;;
esac
# Before anything is moved.
if ! command -v "$ctl" > /dev/null; then
    say "there is no $ctl: put it into PATH, or name it by TABLEFLIPCTL"
    exit 64
fi

if ! [ -d "$directory/releases/$release" ]; then
    say "there is no $directory/releases/$release: put the release there first"
    exit 64
fi
if ! [ -L "$link" ]; then
    say "$link is no symbolic link: make it one to the release that runs, and start the service by a path through it"
    exit 64
fi

lock=$directory/.release-flip
if ! error=$(mkdir "$lock" 2>&1); then
    if [ -d "$lock" ]; then
        say "another one is at work: wait for it. If it was killed, remove $lock"
        exit 75
    fi
    say "$error"
    exit 1
fi
# Whether it goes or not, the status is the same.
trap 'rmdir "$lock" || true' EXIT

# A link is replaced by rename(2): at no time is it missing. GNU and BSD call "do not follow the link" differently.
# One that is left over, because this was killed between the two, is replaced, and not followed into the release.
flip() {
    ln -sfn "$1" "$lock.link" || return 1
    if ! error=$(mv -Tf "$lock.link" "$link" 2>&1); then
        if mv -fh "$lock.link" "$link" 2> /dev/null; then return; fi
        say "$error"
        rm -f "$lock.link" 2> /dev/null
        return 1
    fi
}

before=$(readlink "$link")
flip "releases/$release" || exit 1
status=0
"$ctl" upgrade "$@" || status=$?
if [ "$status" -eq 8 ] || [ "$status" -ge 128 ]; then
    say "it is not known what serves (status $status): $link stays at $release. See: $ctl status"
elif [ "$status" -ne 0 ]; then
    if flip "$before"; then
        say "$link leads to $before again (status $status)"
    else
        say "$link stays at $release: it could not be moved back (status $status). Make it lead to $before"
    fi
fi
exit "$status"
