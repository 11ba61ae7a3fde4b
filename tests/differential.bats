#!/usr/bin/env bats
# Random sequences of calls, each done through the library and by the kernel, and compared: see differential/. This
# runs a few seeds, and libraries with an injected bug, which must be found. For longer runs: make fuzz.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell

setup() {
    project=$(realpath "$BATS_TEST_DIRNAME/..")
    differential=$project/build/differential
    export XFERMMAP_WAY=map
    # where new files are left to the kernel
    [[ $(stat -f -c %T "${TMPDIR:-/tmp}") != overlayfs ]] || skip 'TMPDIR is on overlayfs; set it to a directory on a disk'
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/xfermmap.XXXXXX")
}

teardown() {
    [[ ! ${scratch:-} ]] || rm -rf "$scratch"
}

@test "no difference between the library and the kernel" {
    run "$differential" --seeds 1-16 --steps 3000 --jobs 2 --scarce "$project/build/scarce.so" \
        "$project/build/libxfermmap.so"
    echo "$output"
    [[ $status -eq 0 ]]
    # the comparison only means something if the library served reads
    [[ $output =~ ([0-9]+)' MiB read from memory'.*' '([0-9]+)' mapped, '([0-9]+)' listed; '([0-9]+)' mappings refused' ]]
    [[ ${BASH_REMATCH[1]} -gt 10 && ${BASH_REMATCH[2]} -gt 100 && ${BASH_REMATCH[3]} -gt 0 && ${BASH_REMATCH[4]} -gt 10 ]]
}

@test "nor where the library chooses, window by window, whether to map" {
    XFERMMAP_WAY='' run "$differential" --seeds 17-24 --steps 3000 --jobs 2 "$project/build/libxfermmap.so"
    echo "$output"
    [[ $status -eq 0 && $output =~ ([0-9]+)' MiB read from memory' && ${BASH_REMATCH[1]} -gt 1 ]]
}

@test "nor does an assertion fail in a debug build, and a release has none" {
    run "$differential" --seeds 25-34 --steps 10000 --jobs 2 --scarce "$project/build/scarce.so" \
        "$project/build/debug/libxfermmap.so"
    echo "$output"
    [[ $status -eq 0 && $output =~ ' 0 differences' ]]
    nm -D "$project/build/debug/libxfermmap.so" | grep -q __assert_fail
    strip -o "$scratch/stripped.so" "$project/build/libxfermmap.so"
    run grep -aE '__assert_fail|shim/[a-z_]+\.[ch]|Assertion' "$scratch/stripped.so"
    [[ $status -eq 1 ]]
    run grep critical_is_entered < <(nm "$project/build/libxfermmap.so")
    [[ $status -eq 1 ]]
}

# finds FILE SCRIPT: the tester finds a difference when the sed SCRIPT has changed the library's shim/FILE.
finds() {
    cp -r "$project/shim" "$scratch/shim"
    sed -i -E "$2" "$scratch/shim/$1"
    run cmp -s "$project/shim/$1" "$scratch/shim/$1"
    [[ $status -eq 1 ]] # else the script no longer matches the source
    cc -std=gnu11 -D_GNU_SOURCE -DSYSCONFDIR='"/etc"' -fPIC -fvisibility=hidden -ftls-model=initial-exec -O1 \
        -c -o "$scratch/broken.o" "$scratch/shim/$1"
    find "$project/build" -maxdepth 1 -name '*.o' ! -name "${1%.c}.o" ! -name xfermmap.o ! -name 'tool_*' -exec \
        cc -shared -Wl,--version-script="$project/shim/libxfermmap.map" -o "$scratch/broken.so" "$scratch/broken.o" {} +
    run "$differential" --seeds 1-20 --steps 3000 --enough 1 --as-is "$scratch/broken.so"
    echo "$output"
    [[ $status -eq 1 && $output =~ 'seed '[0-9]+': after '[0-9]+' steps: ' ]]
}

@test "found: off by one at the end of a file" {
    finds reading.c 's/\? wanted : stream->size - offset\)/? wanted : stream->size - offset - 1)/'
}

@test "found: a descriptor that is served on after it was duplicated" {
    finds interpose.c '/^EXPORT int dup\(int fd\)/,/^}/ s/stream_hand_over\(fd, STREAM_DUP\);//'
}

@test "found: a descriptor that is remembered after its close" {
    finds interpose.c 's/^    stream_closing\(fd\);/    (void)fd;/'
}

@test "found: errno changed by a success" {
    finds stream.c '/^void stream_opened/,/^}/ s/errno = saved;/errno = ENOTTY;/'
}

@test "found: the tail of a page that was truncated" {
    finds reading.c "s/return last != '.0' \|\|.*/return true;/"
}
