#!/usr/bin/env bats
# The runner of the tests: where their files are, and that nothing of a test outlives the run. Runs in a copy of the
# project that has other tests.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell

bats_require_minimum_version 1.5.0

setup() {
    copy=$(mktemp -d "${TMPDIR:-/tmp}/xfermmap.XXXXXX")
    mkdir "$copy/tests" "$copy/bin"
    cp "$BATS_TEST_DIRNAME"/{run,contain,place} "$copy/tests"
}

teardown() {
    [[ ! ${runner:-} ]] || kill "$runner" 2>/dev/null || true
    rm -rf "$copy"
}

# Add a test from the standard input, which knows its directory as $copy. It is not part of this run.
test_of_copy() {
    { printf '#!/usr/bin/env bats\n@test "of the copy" {\n'; cat; echo '}'; } >"$copy/tests/copy.bats"
}

run_copy() {
    # without the files that bats adds
    exec env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "HOME=$HOME" "TMPDIR=${TMPDIR:-/tmp}" "copy=$copy" "$@" "$copy/tests/run"
}

# The process whose number the test wrote into a file of the copy.
runs() {
    grep -qs '^State:.[^ZX]' "/proc/$(<"$copy/$1")/status"
}

await() {
    for _ in {1..1000}; do
        "$@" && return 0
        sleep 0.02
    done
    return 1
}

leaves_two_processes() {
    test_of_copy <<'TEST'
    setsid sleep 1000 </dev/null >/dev/null 2>&1 3>&- &
    echo $! >"$copy/first"
    (setsid sh -c 'echo $$ >"$copy/second"; exec sleep 1000' </dev/null >/dev/null 2>&1 3>&- &)
    echo "$TMPDIR" >"$copy/directory"
    touch "$TMPDIR/file"
    until [[ -s $copy/second ]]; do sleep 0.02; done
    [[ ! ${forever:-} ]] || while :; do sleep 0.1; done
TEST
}

nothing_is_left() {
    run ! runs first
    run ! runs second
    [[ -s $copy/directory && ! -e $(<"$copy/directory") ]]
}

@test "what a test leaves behind is ended and removed, and is a failure" {
    leaves_two_processes
    run -1 run_copy
    echo "$output"
    [[ $output == *'1 passed, 0 failed, 0 skipped'* ]]
    [[ $(grep -c 'process [0-9]*, sleep 1000, of test_of_the_copy' <<<"$output") -eq 2 && $output == *"$(<"$copy/directory")/file"* ]]
    nothing_is_left
}

@test "a run that is interrupted leaves nothing behind" {
    local signal
    for signal in INT TERM HUP; do
        leaves_two_processes
        rm -f "$copy"/{first,second,directory}
        (run_copy forever=yes) >"$copy/output" 2>&1 3>&- &
        runner=$!
        await test -s "$copy/second"
        runs first
        runs second
        kill "-$signal" "$runner"
        status=0
        wait "$runner" || status=$?
        [[ $status -eq $((128 + $(kill -l "$signal"))) ]]
        nothing_is_left
    done
}

@test "a test that never ends is stopped, and so is a run" {
    test_of_copy <<<'while :; do :; done'
    run -1 run_copy BATS_TEST_TIMEOUT=1
    [[ $output == *'not ok 1 of the copy # timeout after 1s'* && $output == *'0 passed, 1 failed, 0 skipped'* ]]

    run -142 "$copy/tests/contain" "$copy" 1 bash -c 'sleep 1000; :'
    [[ $output == *'stopped after 1 seconds'*'sleep 1000'* ]]
}

@test "the exit status and the signals of a command are what they are without the runner" {
    run -3 "$copy/tests/contain" "$copy" 60 sh -c 'exit 3'
    run -137 "$copy/tests/contain" "$copy" 60 sh -c 'kill -KILL $$'
    # of the signals that Python ignores, the command ignores neither SIGPIPE nor SIGXFSZ
    run -0 "$copy/tests/contain" "$copy" 60 sed -n 's/^SigIgn:[^0-9a-f]*/0x/p' /proc/self/status
    [[ $((output & (1 << 12 | 1 << 24))) -eq 0 ]]
}

# place_is DIRECTORY TYPE...: tests/place prints it if /tmp, /var/tmp and the project have these file system types.
place_is() {
    {
        echo '#!/bin/sh'
        # shellcheck disable=SC2016 # variables of the inner shell
        echo 'for last; do :; done; case $last in'
        printf '%s) echo %s ;;\n' /tmp "$2" /var/tmp "$3" "*" "$4"
        echo 'esac'
    } >"$copy/bin/stat"
    chmod +x "$copy/bin/stat"
    run -0 --separate-stderr env -u TMPDIR PATH="$copy/bin:$PATH" "$copy/tests/place"
    echo "$2 $3 $4: $output $stderr"
    [[ $output == "$1" ]]
}

@test "temporary files are where there is a disk, or it is said that there is none" {
    chmod 755 "$copy"
    place_is /tmp ext2/ext3 ext2/ext3 ext2/ext3
    place_is /var/tmp tmpfs xfs ext2/ext3
    place_is "$copy/build" tmpfs tmpfs btrfs
    [[ ! $stderr ]]
    place_is /tmp overlayfs overlayfs overlayfs
    [[ $stderr == '/tmp is on overlayfs: '*' set TMPDIR to '* ]]

    run -0 --separate-stderr env TMPDIR="$copy" PATH="$copy/bin:$PATH" "$copy/tests/place"
    [[ $output == "$copy" && $stderr == "$copy is on overlayfs: "* ]]
    run -1 --separate-stderr env TMPDIR="$copy/none" "$copy/tests/place"
    [[ $stderr == "TMPDIR=$copy/none is not a directory"* ]]
    if [[ $EUID -eq 0 ]]; then
        chmod 700 "$copy" # inaccessible to the servers' user
        place_is /tmp overlayfs overlayfs ext2/ext3
    fi
}
