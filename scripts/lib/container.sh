# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
#
# container - one container with systemd as its init: booting it, running commands in it, and leaving
# nothing behind.
#
# It is not registered with the machine's own systemd, which need not exist; it has a network namespace
# with nothing but a loopback interface.

container_pid=""  # of systemd-nspawn
container_init="" # of the init inside
container_name=""
container_groups=() # control groups of its own

container_remove_group() { # DIRECTORY
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
}

# Control groups for nspawn, so that several containers do not meet in ours. Those of a run that was
# killed are removed.
container_make_groups() {
    local number controllers path base stale
    while IFS=: read -r number controllers path; do
        case $number:$controllers in
        0:) base=$(findmnt -n -t cgroup2 -o TARGET | head -n 1) ;;
        *:name=systemd) base=/sys/fs/cgroup/systemd ;;
        *) continue ;;
        esac
        for stale in "$base${path%/}"/muster-test-*; do
            [[ ! -d $stale || -d /proc/${stale##*-} ]] || container_remove_group "$stale"
        done
        path=$base${path%/}/$container_name
        if [[ -n $base ]] && mkdir "$path" 2>/dev/null; then
            container_groups+=("$path")
        fi
    done </proc/self/cgroup
}

# Prints the children of a process.
container_children() { # PID
    grep -l "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status 2>/dev/null | cut -d / -f 3
}

# container_start TREE LOG: boots it and waits until it is up; fails if it does not come up.
container_start() {
    local tree=$1 log=$2 group child deadline=$((SECONDS + 30))
    container_name=muster-test-$$
    container_make_groups
    (
        for group in "${container_groups[@]}"; do
            echo "$BASHPID" >"$group/cgroup.procs"
        done
        # If we are killed, it ends, too.
        exec setpriv --pdeathsig TERM systemd-nspawn --quiet --register=no --keep-unit --boot \
            --console=pipe --private-network --machine="$container_name" -D "$tree" \
            </dev/null >"$log" 2>&1
    ) &
    container_pid=$!
    while ((SECONDS < deadline)) && kill -0 "$container_pid" 2>/dev/null; do
        # Its first child is there for a moment only; the init is the one that has a manager to ask.
        for child in $(container_children "$container_pid"); do
            container_init=$child
            case $(container_run systemctl is-system-running 2>/dev/null) in
            running | degraded) return 0 ;;
            esac
        done
        sleep 0.1
    done
    return 1
}

# The last thing that was said on its console, in one line.
container_reason() { # LOG
    local reason
    reason=$(tr -d '\033\r' <"$1" 2>/dev/null | grep -v '^[[:space:]]*$' | tail -n 1)
    printf '%s\n' "${reason:-it said nothing}"
}

container_run() { # COMMAND...
    nsenter --target "$container_init" --all env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        LANG=C.UTF-8 TERM="${TERM:-dumb}" "$@"
}

container_gone() { # SECONDS
    local deadline=$((SECONDS + $1))
    while kill -0 "$container_pid" 2>/dev/null; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# Ends it and removes what nspawn leaves; does nothing when there is none.
container_stop() {
    local group
    if [[ -n $container_pid ]]; then
        # TERM asks the init to power off; then its death takes all its processes with it.
        kill -s TERM "$container_pid" 2>/dev/null
        if ! container_gone 10; then
            [[ -z $container_init ]] || kill -s KILL "$container_init" 2>/dev/null
            container_gone 5 || kill -s KILL "$container_pid" 2>/dev/null
        fi
        wait "$container_pid" 2>/dev/null
        container_pid=""
        rmdir "/run/systemd/nspawn/propagate/$container_name" 2>/dev/null
    fi
    for group in "${container_groups[@]}"; do
        container_remove_group "$group"
    done
    container_groups=()
}
