# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
#
# build - configuring and building into a directory; quick when nothing is to do.

# build_tree DIRECTORY TYPE TARGET... [-- CMAKE-OPTION...]
# TYPE is Release, Debug or Sanitize; without a target everything is built.
# shellcheck disable=SC2154 # root: set by the script that sources this file
build_tree() {
    local dir=$1 type=$2
    shift 2
    local -a targets=()
    while (($#)) && [[ $1 != -- ]]; do
        targets+=("$1")
        shift
    done
    (($# == 0)) || shift
    local -a options=("-DCMAKE_BUILD_TYPE=$type" "$@")
    # Configuring is needed once, and again when other options are asked for.
    local wanted="${options[*]}"
    if [[ ! -f $dir/CMakeCache.txt || $(cat "$dir/.configured" 2>/dev/null) != "$wanted" ]]; then
        local -a generator=()
        [[ -f $dir/CMakeCache.txt ]] || ! command -v ninja >/dev/null || generator=(-G Ninja)
        cmake -S "$root" -B "$dir" "${generator[@]}" "${options[@]}" >&2 || return 1
        printf '%s' "$wanted" >"$dir/.configured"
    fi
    local -a quiet=()
    if [[ -f $dir/build.ninja ]]; then
        quiet=(-- --quiet)
        [[ -f $dir/bin/musterd ]] || quiet=()
    fi
    if ((${#targets[@]})); then
        cmake --build "$dir" --parallel "$(nproc)" --target "${targets[@]}" "${quiet[@]}" >&2
    else
        cmake --build "$dir" --parallel "$(nproc)" "${quiet[@]}" >&2
    fi
}
