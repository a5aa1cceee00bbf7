# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
#
# packages - which Debian packages each command needs, and installing what is missing.

# shellcheck disable=SC2034 # used by the scripts that source this file
PACKAGES_RUN=(
    build-essential cmake ninja-build pkg-config
    libevent-dev libmicrohttpd-dev libconfuse-dev libjansson-dev libsystemd-dev
)
# shellcheck disable=SC2034
PACKAGES_TEST=(
    "${PACKAGES_RUN[@]}"
    libcmocka-dev python3 python3-pytest python3-pytest-xdist python3-yaml curl
    clang-format clang-tidy cppcheck shellcheck pyflakes3 groff-base spin
    systemd prometheus
    mmdebstrap systemd-container util-linux
)
# shellcheck disable=SC2034
PACKAGES_BENCH=("${PACKAGES_RUN[@]}" libcmocka-dev python3 nginx-light haproxy)

# Prints those of its arguments that are not installed.
packages_missing() {
    local installed package
    installed=" $(dpkg-query -W -f='${db:Status-Status}:${Package} ' "$@" 2>/dev/null || true)"
    for package in "$@"; do
        [[ $installed == *" installed:$package "* ]] || printf '%s\n' "$package"
    done
}

# Installs those of its arguments that are missing; a no-op when nothing is.
packages_install() {
    local -a missing as_root=()
    if ! command -v dpkg-query >/dev/null; then
        echo "note: this is not Debian, so packages are not checked; Debian calls what is needed: $*" >&2
        return 0
    fi
    mapfile -t missing < <(packages_missing "$@")
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "error: these packages are missing, and there is neither root nor sudo to install them;" >&2
            echo "as root: apt-get install ${missing[*]}" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    echo "installing: ${missing[*]}" >&2
    "${as_root[@]}" apt-get update -qq >&2 || echo "note: apt-get update failed; trying with the lists that are there" >&2
    # Tests and benchmarks want the programs, not their services: an existing
    # policy is left alone.
    local policy=/usr/sbin/policy-rc.d ours=""
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
        ours=yes
    fi
    local status=0
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 || status=$?
    [[ -z $ours ]] || "${as_root[@]}" rm -f "$policy"
    ((status == 0)) || echo "error: apt-get could not install: ${missing[*]}" >&2
    return "$status"
}
