#!/usr/bin/env bats
# The library for other architectures than this machine's: compiled for them, and at work there, as far as qemu-user can
# show. The unit tests of each room run there by tests/matrix, which has libraries of other architectures to install.

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server=$(realpath "$(mktemp -d "${TMPDIR:-/tmp}/xfermmap.XXXXXX")")
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1'
    head -c 300000 /dev/urandom >"$server/tail"
}

teardown() {
    server_remove
}

# compile GNU [FLAG...]: the library, and the reader with these flags.
compile() {
    mkdir -p "$server/include"
    cp -r "$project"/{Makefile,shim,docs,tests} "$server"
    cp /usr/include/uthash.h "$server/include"
    make -s -C "$server" CC="$1-gcc" CPPFLAGS=-Iinclude build/libxfermmap.so
    "$1-gcc" -D_GNU_SOURCE -Wall -Wextra -Werror "${@:2}" -o "$server/reader" "$BATS_TEST_DIRNAME/reader.c"
}

# reads QEMU GNU START: from there on the file is the tail, four times, and most of it, but for sendfile, was read from memory.
reads() {
    XFERMMAP_CONF="$server/preload.conf" XFERMMAP_PROCESS='*' \
        "qemu-$1" -L "/usr/$2" -E LD_PRELOAD="$server/build/libxfermmap.so" "$server/reader" "$server/file" "$3" >"$server/output"
    cat "$server"/{tail,tail,tail,tail} | cmp - "$server/output"
    echo "$(counter BYTES) bytes from memory"
    [[ $(counter BYTES) -ge 600000 && $(counter MAPPED) -eq 1 ]]
}

@test "arm64" {
    compile aarch64-linux-gnu
    cp "$server/tail" "$server/file"
    reads aarch64 aarch64-linux-gnu 0
}

@test "armhf, with a 32-bit off_t" {
    compile arm-linux-gnueabihf
    cp "$server/tail" "$server/file"
    reads arm arm-linux-gnueabihf 0
}

@test "armhf, with a 64-bit off_t, behind 2 GiB" {
    compile arm-linux-gnueabihf -D_FILE_OFFSET_BITS=64
    truncate -s 3G "$server/file" # behind 4 GiB qemu-user maps another place than it is told
    cat "$server/tail" >>"$server/file"
    reads arm arm-linux-gnueabihf $((3 << 30))
}
