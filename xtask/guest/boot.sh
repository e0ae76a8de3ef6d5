#!/bin/bash
# boot.sh PROGRAMS SURROUNDINGS PROGRAM ARGUMENT…
# Boots a guest from the unpacked packages in PROGRAMS, makes SURROUNDINGS in it, runs PROGRAM there, and ends as it did.
set -e
programs=$1 here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export -p >"$work/environment"
pwd >"$work/directory"
printf '%q ' "${@:2}" >"$work/command"
# What it prints before the command runs is about the kernel, and only of interest when it does not come up.
timeout --kill-after=10 "${GUEST_SECONDS:-1800}" "$programs/usr/bin/linux.uml" mem="${GUEST_MEMORY:-768M}" \
    root=/dev/root rootfstype=hostfs rootflags=/ ro init="$here/init.sh" PROGRAMS="$programs" WORK="$work" \
    con=null con0=fd:0,fd:1 quiet </dev/null 2>"$work/kernel" |
    { tee "$work/console" | sed -un 's/\r$//; /^--- guest: running/,/^--- guest: ended/p'; } || true
[ -s "$work/code" ] || { echo "the guest did not come to its end:"; tail -n 50 "$work/console" "$work/kernel"; exit 70; } >&2
exit "$(cat "$work/code")"
