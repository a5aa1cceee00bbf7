# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
#
# lint - the checks that read the sources instead of running them.
# shellcheck disable=SC2154 # root, release: set by the script that sources this file

# Every file of the tree; what git ignores is left out, also where there is no git.
all_files() {
    if git -C "$root" rev-parse --git-dir >/dev/null 2>&1; then
        git -C "$root" ls-files --cached --others --exclude-standard
    else
        (cd "$root" && find . \( -path ./.git -o -path './build*' -o -name __pycache__ \) -prune \
            -o -type f -print | cut -c 3-)
    fi
}

# Those whose path has one of these patterns; * stands for slashes, too.
sources() { # PATTERN...
    local file pattern
    while IFS= read -r file; do
        for pattern in "$@"; do
            # shellcheck disable=SC2053 # it is a pattern
            [[ -f $root/$file && $file == $pattern ]] && printf '%s\n' "$file"
        done
    done < <(all_files | sort -u)
    return 0
}

shell_scripts() {
    local file
    for file in $(sources 'scripts/*' '.ci/*'); do
        case $file in
        *.sh) echo "$file" ;;
        *) [[ $(head -n 1 "$root/$file") == '#!'*bash* ]] && echo "$file" ;;
        esac
    done
    return 0
}

lint_format() { sources '*.c' '*.h' | xargs clang-format --dry-run -Werror; }

# varFuncNullUB: where we build, NULL is a pointer.
lint_cppcheck() {
    sources '*.c' | xargs cppcheck -q -j "$(nproc)" --enable=warning,performance,portability \
        --inline-suppr --suppress=missingIncludeSystem --suppress=varFuncNullUB \
        --error-exitcode=1 --std=c11 \
        --library=scripts/lib/cppcheck.cfg -D_GNU_SOURCE -I . -I "$release/include/generated"
}

# One line for each finding; clang-tidy -p build FILE shows how it came to it.
lint_tidy() {
    local report status
    report=$(mktemp)
    # gcc's own warning flags are in the compilation database; clang does not know them all.
    run-clang-tidy -quiet -j "$(nproc)" -p "$release" -extra-arg=-Wno-unknown-warning-option \
        "^$root/(common|master|worker|tests)/" >"$report" 2>&1
    status=$?
    sed 's/\x1b\[[0-9;]*m//g' "$report" | grep -E '(error|warning): ' | sort -u ||
        ((status == 0)) || tail "$report"
    rm -f "$report"
    return "$status"
}

lint_man() {
    local page output status=0
    for page in $(sources 'scripts/man/*'); do
        output=$(groff -man -Tutf8 -ww -z "$page" 2>&1)
        [[ -z $output ]] || { printf '%s: %s\n' "$page" "$output"; status=1; }
    done
    return "$status"
}

lint_compose() {
    /usr/bin/python3 -c 'import sys, yaml; yaml.safe_load(open(sys.argv[1]))["services"]' docker-compose.yml
}

lint_all() {
    pushd "$root" >/dev/null || return
    check "clang-format" lint_format
    check "shellcheck" lint_shell
    check "pyflakes" lint_python
    check "man pages (groff)" lint_man
    check "docker-compose.yml" lint_compose
    check "cppcheck" lint_cppcheck
    check "clang-tidy" lint_tidy
    popd >/dev/null || return
}

lint_shell() { shell_scripts | xargs shellcheck -x; }

lint_python() { sources '*.py' | xargs pyflakes3; }
