# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
#
# count - adding up what passed and what failed, over suites of different kinds.
#
# Nothing is counted as passed unless it ran and said so: a suite that could not
# run, or ran nothing, is one failure.

count_passed=0
count_failed=0
count_skipped=0
count_failures=() # what failed, for the summary

count_pass() { count_passed=$((count_passed + 1)); }

count_fail() {
    count_failed=$((count_failed + 1))
    count_failures+=("$1")
}

heading() { printf '\n== %s\n' "$1"; }

# check NAME COMMAND...: one check; its output is shown when it fails.
check() {
    local name=$1 output started=$SECONDS
    shift
    if output=$("$@" 2>&1); then
        printf 'ok    %s (%d s)\n' "$name" $((SECONDS - started))
        count_pass
    else
        printf 'FAIL  %s\n%s\n' "$name" "$output"
        count_fail "$name"
    fi
}

# count_junit NAME FILE STATUS: adds the cases of a JUnit file that a runner wrote.
# shellcheck disable=SC2154 # root: set by the script that sources this file
count_junit() {
    local name=$1 file=$2 status=$3 passed failed skipped
    if ! read -r passed failed skipped < <(/usr/bin/python3 "$root/scripts/lib/junit_count.py" "$file"); then
        printf 'FAIL  %s: it left no result (exit status %d)\n' "$name" "$status"
        count_fail "$name: no result"
        return
    fi
    count_passed=$((count_passed + passed))
    count_failed=$((count_failed + failed))
    count_skipped=$((count_skipped + skipped))
    ((failed == 0)) || count_failures+=("$name: $failed failed")
    if ((passed + failed == 0)); then
        count_fail "$name: it ran no test"
    elif ((status != 0 && failed == 0)); then
        count_fail "$name: exit status $status"
    fi
}

# count_last_line NAME FILE STATUS: adds what the last line of a script's output says, in the form
# of count_summary.
count_last_line() {
    local name=$1 file=$2 status=$3 line
    line=$(tail -n 1 "$file" 2>/dev/null)
    if [[ ! $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
        count_fail "$name: it left no result (exit status $status)"
        return
    fi
    local failed=${BASH_REMATCH[2]}
    count_passed=$((count_passed + BASH_REMATCH[1]))
    count_failed=$((count_failed + failed))
    count_skipped=$((count_skipped + ${BASH_REMATCH[4]:-0}))
    if ((failed)); then
        count_failures+=("$name: $failed failed")
    elif ((status)); then
        count_fail "$name: exit status $status"
    fi
}

# The last line, in the form that people and programs look for; fails if anything did.
count_summary() {
    local failure
    printf '\n'
    for failure in "${count_failures[@]}"; do
        printf 'failed: %s\n' "$failure"
    done
    if ((count_passed == 0 && count_failed == 0)); then
        count_failed=1
        echo "failed: nothing ran"
    fi
    if ((count_skipped)); then
        printf '%d passed, %d failed, %d skipped\n' "$count_passed" "$count_failed" "$count_skipped"
    else
        printf '%d passed, %d failed\n' "$count_passed" "$count_failed"
    fi
    ((count_failed == 0))
}
