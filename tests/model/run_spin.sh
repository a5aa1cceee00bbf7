#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# run_spin - checks roll_call.pml with spin.
#
#   run_spin.sh sound|broken -DNAME=VALUE...
#
# "sound": nothing may be found; "broken": something has to be. The last steps of
# what is found are printed. Exit status 77 (skipped) without spin or a compiler.
set -euo pipefail
model=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/roll_call.pml
expected=$1
shift
for program in spin gcc; do
    if ! command -v "$program" >/dev/null; then
        echo "skipped: there is no $program (Debian packages: spin, gcc)"
        exit 77
    fi
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
spin "$@" -a "$model"
# Generated code: its warnings are not ours.
gcc -w -O2 -DSAFETY -DCOLLAPSE -DVECTORSZ=1024 -o pan pan.c
./pan -m100000 | tee result | grep -E '^pan:|errors:|states, stored|elapsed' || true
if grep -q 'errors: 0' result && ! grep -Eq 'not completed|too small' result; then
    found=sound
else
    found=broken
    trail=(*.trail)
    [[ ! -e ${trail[0]} ]] || spin "$@" -t -p -k "${trail[0]}" "$model" | grep 'proc ' | grep -v '(goto)' | tail -n 40 || true
fi
echo "$*: expected $expected, found $found"
[[ $found == "$expected" ]]
