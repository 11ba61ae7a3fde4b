#!/usr/bin/env bats
# The library on other architectures, as far as qemu-user can show: compiled for them, preloaded into a program that
# reads as a server does, and module by module. 32-bit systems have two kinds of off_t; either may be the default of a
# distribution's compiler.

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server=$(realpath "$(mktemp -d "${TMPDIR:-/tmp}/xfermmap.XXXXXX")")
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1'
    head -c 300000 /dev/urandom >"$server/tail"
}

teardown() {
    server_remove
}

arm64() {
    kind=arm64 architecture=arm64 gnu=aarch64-linux-gnu flags=()
    emulator=(qemu-aarch64)
}

# qemu-user reports only the lower half of the host's address for a SIGBUS: with this base it equals the program's
# address.
armhf() {
    kind=armhf$1 architecture=armhf gnu=arm-linux-gnueabihf flags=("${@:2}")
    emulator=(qemu-arm -B 0x100000000)
}

armhf_with_32_bits() {
    armhf 32 -U_FILE_OFFSET_BITS -U_TIME_BITS
}

armhf_with_64_bits() {
    armhf 64 -D_FILE_OFFSET_BITS=64
}

# compile TARGET...: in the copy of the project that all tests of a kind share. Leaves its path in $tree.
compile() {
    tree=$BATS_FILE_TMPDIR/$kind
    foreign=$project/build/foreign/$architecture/usr
    if [[ ! -e $tree ]]; then
        mkdir -p "$tree/include"
        cp -r "$project"/{Makefile,shim,docs,tests} "$tree"
        cp /usr/include/uthash.h "$tree/include"
    fi
    make -s -j2 -C "$tree" CC="$gnu-gcc" CPPFLAGS="-Iinclude -isystem $foreign/include ${flags[*]}" \
        LDFLAGS="-L$foreign/lib/$gnu" "$@" >/dev/null
}

# reads START: from START on the file is read four times, and mostly from memory, except for sendfile.
reads() {
    needs_disk
    compile build/libxfermmap.so
    "$gnu-gcc" -D_GNU_SOURCE -Wall -Wextra -Werror "${flags[@]}" -o "$server/reader" "$BATS_TEST_DIRNAME/reader.c"
    XFERMMAP_CONF="$server/preload.conf" XFERMMAP_PROCESS='*' "${emulator[@]}" -L "/usr/$gnu" \
        -E LD_PRELOAD="$tree/build/libxfermmap.so" "$server/reader" "$server/file" "$1" >"$server/output"
    cat "$server"/{tail,tail,tail,tail} | cmp - "$server/output"
    echo "$(counter BYTES) bytes from memory"
    [[ $(counter BYTES) -ge 600000 && $(counter MAPPED) -eq 1 ]]
}

# Leave out the program with many threads, which needs its sanitizer. Some others mostly wait, and one takes half of
# the remaining time.
rooms_pass() {
    local source programs=() apart=() running=() program passed=0 left_out=0 broken=0
    [[ -e $project/build/foreign/$architecture/usr ]] || skip "apt found no cmocka for $architecture"
    for source in "$project"/tests/unit/test_*.c; do
        program=build/unit/plain/$(basename "$source" .c)
        case ${program##*/} in
            test_threads) ;;
            test_keeper | test_watchdog | test_stream) apart+=("$program") ;;
            *) programs+=("$program") ;;
        esac
    done
    # Compile all of it before the first runs: a later failure would not stop it.
    compile "${apart[@]}" "${programs[@]}"
    for program in "${apart[@]}"; do
        run_in_turn "$program" 3>&- &
        running+=($!)
    done
    run_in_turn "${programs[@]}"
    wait "${running[@]}" # not for bats' own timer
    for program in "${apart[@]}" "${programs[@]}"; do
        is_complete "$tree/$program" || broken=$((broken + 1))
    done
    echo "# $kind: $passed unit tests passed, $left_out were left out, $broken programs failed" >&3
    [[ $broken -eq 0 ]]
}

run_in_turn() {
    local program status
    for program; do
        program=$tree/$program
        status=0
        UNDER_QEMU_USER=1 CMOCKA_MESSAGE_OUTPUT=TAP timeout --foreground 600 "${emulator[@]}" -L "/usr/$gnu" \
            -E LD_LIBRARY_PATH="$foreign/lib/$gnu" "$program" >"$program.tap" 2>"$program.errors" || status=$?
        echo "exit status $status" >>"$program.tap"
    done
}

# Each test that the program $1 planned has a result, and none failed. Some versions of cmocka report a skipped test
# as "not ok", others as "ok".
is_complete() {
    local planned good skipped
    planned=$(sed -nE 's/^1\.\.([0-9]+)$/\1/p' "$1.tap")
    skipped=$(grep -cE '^(not )?ok [0-9].*# SKIP' "$1.tap" || true)
    good=$(grep -E '^ok [0-9]' "$1.tap" | grep -cv '# SKIP' || true)
    passed=$((passed + good)) left_out=$((left_out + skipped))
    if [[ $planned -gt 0 && $((good + skipped)) -eq $planned ]] && grep -qx 'exit status 0' "$1.tap"; then
        return 0
    fi
    echo "== $1"
    grep -vE '^ok |# SKIP' "$1.tap"
    cat "$1.errors"
    return 1
}

@test "arm64" {
    arm64
    cp "$server/tail" "$server/file"
    reads 0
}

@test "arm64: the unit tests" {
    arm64
    rooms_pass
}

@test "armhf, with a 32-bit off_t" {
    armhf_with_32_bits
    cp "$server/tail" "$server/file"
    reads 0
}

@test "armhf, with a 32-bit off_t: the unit tests" {
    armhf_with_32_bits
    rooms_pass
}

@test "armhf, with a 64-bit off_t, behind 2 GiB" {
    armhf_with_64_bits
    truncate -s 3G "$server/file" # beyond 4 GiB qemu-user maps another offset than the requested one
    cat "$server/tail" >>"$server/file"
    reads $((3 << 30))
}

@test "armhf, with a 64-bit off_t: the unit tests" {
    armhf_with_64_bits
    rooms_pass
}
