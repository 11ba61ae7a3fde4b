#!/usr/bin/env bats
# The library on other architectures, as far as qemu-user can show: compiled for them, and preloaded into a program that
# reads as a server does. The unit tests run in whole machines, by tests/machines. 32-bit systems have two kinds of
# off_t; either may be the default of a distribution's compiler.

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server=$(realpath "$(mktemp -d "${TMPDIR:-/tmp}/xfermmap.XXXXXX")")
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1'
    head -c 300000 /dev/urandom >"$server/tail"
}

teardown() {
    server_remove
}

# reads GNU-NAME EMULATOR START [FLAG...]: from START on the file is read four times, and mostly from memory, except for
# sendfile.
reads() {
    local gnu=$1 flags=("${@:4}") emulator tree=$server/tree
    read -ra emulator <<<"$2"
    needs_disk
    mkdir -p "$tree/include"
    cp -r "$project"/{Makefile,shim,docs,tests} "$tree"
    cp /usr/include/uthash.h "$tree/include"
    make -s -j2 -C "$tree" CC="$gnu-gcc" CPPFLAGS="-Iinclude ${flags[*]}" build/libxfermmap.so >/dev/null
    "$gnu-gcc" -D_GNU_SOURCE -Wall -Wextra -Werror "${flags[@]}" -o "$server/reader" "$BATS_TEST_DIRNAME/reader.c"
    XFERMMAP_CONF="$server/preload.conf" XFERMMAP_PROCESS='*' "${emulator[@]}" -L "/usr/$gnu" \
        -E LD_PRELOAD="$tree/build/libxfermmap.so" "$server/reader" "$server/file" "$3" >"$server/output"
    cat "$server"/{tail,tail,tail,tail} | cmp - "$server/output"
    echo "$(counter BYTES) bytes from memory"
    [[ $(counter BYTES) -ge 600000 && $(counter MAPPED) -eq 1 ]]
}

# qemu-user reports only the lower half of the host's address for a SIGBUS: with this base it equals the program's
# address.
arm='qemu-arm -B 0x100000000'

@test "arm64" {
    cp "$server/tail" "$server/file"
    reads aarch64-linux-gnu qemu-aarch64 0
}

@test "armhf, with a 32-bit off_t" {
    cp "$server/tail" "$server/file"
    reads arm-linux-gnueabihf "$arm" 0 -U_FILE_OFFSET_BITS -U_TIME_BITS
}

@test "armhf, with a 64-bit off_t, behind 2 GiB" {
    truncate -s 3G "$server/file" # beyond 4 GiB qemu-user maps another offset than the requested one
    cat "$server/tail" >>"$server/file"
    reads arm-linux-gnueabihf "$arm" $((3 << 30)) -D_FILE_OFFSET_BITS=64
}
