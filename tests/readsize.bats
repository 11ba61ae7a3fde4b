#!/usr/bin/env bats
# TransferMMapReadSize: the transfer buffer that the server chooses under it, and what it must not affect.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server_create 'UseSendfile off'
    random_bytes 12000000 >"$server/files/data"
}

teardown() {
    server_remove
}

# Start a server with its calls on files and sockets traced; files below the minimum size are left to the kernel.
start_traced() {
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1 GB' "$@"
    server_start preloaded traced
}

# The read sizes for the file, in ascending order.
read_sizes() {
    sed -nE "s|^[0-9]+ +p?readv?(64)?\([0-9]+<$server/files/${1:-data}>, .*, ([0-9]+)\) += [1-9].*|\2|p" "$server/trace" | sort -un
}

largest_read() {
    read_sizes "$@" | tail -n 1
}

# The server's read size without the library.
its_own_size() {
    server_start plain traced
    ftp_get data | cmp "$server/files/data" -
    server_stop
    read_sizes
}

@test "downloads are read in pieces of the size that is asked for" {
    local size
    for size in 64 256 1024; do
        start_traced "TransferMMapReadSize $size KB"
        ftp_get data | cmp "$server/files/data" -
        ftps_get data | cmp "$server/files/data" -
        server_stop
        read_sizes
        [[ $(largest_read) -eq $((size * 1024)) ]]
    done
}

@test "with off the server chooses itself" {
    local without
    without=$(its_own_size)
    directives 'TransferMMapEngine off'
    server_start preloaded traced
    ftp_get data | cmp "$server/files/data" -
    server_stop
    [[ $(read_sizes) -eq $without ]]
    start_traced 'TransferMMapReadSize off'
    ftp_get data | cmp "$server/files/data" -
    server_stop
    [[ $(read_sizes) -eq $without ]]
}

# Larger reads would not help the client: it waits for the rate limit in each case.
@test "a throttled download is read in pieces no larger than the server's own, from memory and by the kernel" {
    local own size
    own=$(its_own_size)
    random_bytes 60000 >"$server/files/small"
    sed -i 's/UseSendfile off/&\nTransferRate RETR 400/' "$server/proftpd.conf"
    start_traced # data is read by the kernel
    ftp_get data -r 0-299999 | cmp -n 300000 "$server/files/data" -
    ftp_get small | cmp "$server/files/small" -
    ftps_get small | cmp "$server/files/small" -
    server_stop
    [[ $(largest_read) -gt 0 && $(largest_read) -le $own ]]
    [[ $(largest_read small) -gt 0 && $(largest_read small) -le $own ]]
    export XFERMMAP_WAY=read # its reads must be visible
    start_traced 'TransferMMapMinSize 1'
    ftp_get data -r 0-299999 | cmp -n 300000 "$server/files/data" -
    server_stop
    [[ $(largest_read) -gt 0 && $(largest_read) -le $own ]]
}

# Download ranges, FIRST-LAST, in one session.
ftp_ranges() {
    python3 - "$(<"$server/address")" "$(<"$server/ftp_port")" "$account" "$@" <<'PYTHON'
import ftplib, sys
address, port, account, *ranges = sys.argv[1:]
with ftplib.FTP(timeout=30) as ftp:
    ftp.connect(address, int(port))
    ftp.login(account, account)
    ftp.voidcmd('TYPE I')
    for ends in ranges:
        ftp.sendcmd('RANG ' + ends.replace('-', ' '))
        ftp.retrbinary('RETR data', sys.stdout.buffer.write)
PYTHON
}

# right FIRST LENGTH...: the data from each of the first bytes on, of each of the lengths; FIRST is a list.
right() {
    local first length ranges=()
    : >"$server/ranges"
    for length in "${@:2}"; do
        for first in $1; do
            ranges+=("$first-$((first + length - 1))")
            head -c $((first + length)) "$server/files/data" | tail -c "$length" >>"$server/ranges"
        done
    done
    ftp_ranges "${ranges[@]}" | cmp - "$server/ranges"
}

# See CAVEATS in libxfermmap(8); the file has 12,000,000 bytes.
@test "the ranges (RANG) that the pages call right are, and the others are the server's bug" {
    local own directive size
    own=$(its_own_size)
    server_start plain
    right '0 12345' 1 $((own - 1)) "$own" $((own * 3)) $((own * 100))
    run ! right 0 $((own + 1))
    server_stop
    for directive in '' 'TransferMMapReadSize 64 KB'; do
        size=$((256 << 10))
        [[ -z $directive ]] || size=$((64 << 10))
        directives 'TransferMMapEngine on' 'TransferMMapMinSize 1' "$directive"
        server_start preloaded
        right '0 12345' 1 "$own" $((size - 1)) "$size" $((size * 3)) $((size * 20))
        run ! right 0 $((size + 1))
        server_stop
    done
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1' 'TransferMMapReadSize off'
    server_start preloaded
    right 0 $((own * 100))
    server_stop
    sed -i 's/UseSendfile off/UseSendfile on/' "$server/proftpd.conf"
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1'
    server_start preloaded
    right 12345 4321098
}

@test "where the buffer's size has no effect, log and status say so" {
    directives 'TransferMMapEngine on'
    server_start preloaded
    ftp_get data | cmp "$server/files/data" -
    grep -q "the server's transfer buffer: 256 KB" "$server/preload.log"
    status_is '^Transfer buffer: 256.0 KiB'
    server_stop
    sed -i 's/UseIPv6 off/&\nSocketOptions sndbuf 300000/' "$server/proftpd.conf"
    server_start preloaded
    ftp_get data | cmp "$server/files/data" -
    ftp_get data | cmp "$server/files/data" -
    grep -q 'no effect: SocketOptions sndbuf' "$server/preload.log"
    status_is ' [12]  transfers whose buffer SocketOptions'
    server_stop
    sed -i '/SocketOptions/d' "$server/proftpd.conf"
    rm "$server/preload.log"
    in_namespace_without_protocols server_start preloaded
    grep -q 'no effect: the server has not asked' "$server/preload.log"
    # shellcheck disable=SC2016 # variables of the inner shell
    run -0 unshare --mount sh -c 'mount --bind /dev/null /etc/protocols && "$@"' - \
        "$project/build/xfermmap" check -c "$server/preload.conf"
    [[ $output =~ 'does not know tcp'.*'netbase' ]]
    run -0 "$project/build/xfermmap" check -c "$server/preload.conf"
    [[ ! $output =~ netbase ]]
}

# Run with an empty /etc/protocols.
in_namespace_without_protocols() {
    needs_namespaces
    local launcher="$server/launcher"
    printf '#!/bin/sh\nmount --bind /dev/null /etc/protocols && exec "$@"\n' >"$launcher"
    chmod +x "$launcher"
    printf '#!/bin/sh\nexec unshare --mount %s %s "$@"\n' "$launcher" "$proftpd" >"$server/proftpd"
    chmod +x "$server/proftpd"
    proftpd=$server/proftpd "$@"
}

@test "SIGHUP puts another size in force" {
    start_traced 'TransferMMapReadSize 64 KB'
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1 GB' 'TransferMMapReadSize 512 KB'
    reload
    ftp_get data | cmp "$server/files/data" -
    server_stop
    [[ $(largest_read) -eq 524288 ]]
}

# For sockets, the server sets the same sizes as without the library, and sees the kernel's answers.
@test "no real socket is told another size, and uploads are as they were" {
    local with without
    start_traced 'TransferMMapReadSize 256 KB'
    ftp_get upload -T "$server/files/data"
    cmp "$server/files/upload" "$server/files/data"
    ftp_get data | cmp "$server/files/data" -
    server_stop
    with=$(upload_calls)
    run ! grep -E 'setsockopt\(.*SO_(SND|RCV)BUF' "$server/trace"
    [[ $(grep -cE 'getsockopt\(.*SO_SNDBUF' "$server/trace") -eq 1 ]]

    rm "$server/files/upload"
    directives 'TransferMMapEngine off'
    server_start preloaded traced
    ftp_get upload -T "$server/files/data"
    server_stop
    without=$(upload_calls)
    [[ $with -eq $without && $with -gt 0 ]]
}

# The size of an upload's reads from the socket.
upload_calls() {
    sed -nE "s|^[0-9]+ +read\([0-9]+<(TCP\|socket).*, ([0-9]+)\) += [0-9]{3,}$|\2|p" "$server/trace" | sort -n | tail -n 1
}
