#!/bin/bash
# The first process of a guest: makes the surroundings, runs the command, writes down how it ended, and switches off.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mkdir -p /run/tmp /run/work
mount -t hostfs none /run/work -o "$WORK"
(
    # First the variables of whoever asked, then what is different in here.
    . /run/work/environment
    export PATH=$PROGRAMS/usr/sbin:$PROGRAMS/sbin:$PATH:/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/run/tmp HOME=/run/tmp
    module() {
        for name; do
            file=$(find "$PROGRAMS/usr/lib/uml/modules" -name "$name.ko")
            [ -z "$file" ] || (exec -a insmod "$PROGRAMS/bin/kmod" "$file") || return
        done
    }
    ip link set lo up
    eval "set -- $(cat /run/work/command)"
    if . "$1"; then
        cd "$(cat /run/work/directory)"
        echo "--- guest: running"
        "${@:2}" 2>&1
        echo $? >/run/work/code
        echo "--- guest: ended"
    else
        echo "--- guest: $1 failed"
    fi
)
echo o >/proc/sysrq-trigger
sleep 60
