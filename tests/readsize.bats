#!/usr/bin/env bats
# TransferMMapReadSize: the transfer buffer that the server is led to choose, and whom that does not concern.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server_create 'UseSendfile off'
    head -c 3000000 /dev/urandom >"$server/files/data"
}

teardown() {
    server_remove
}

# A server whose calls are recorded, both of files and of sockets; smaller files than listed are the kernel's to read.
start_traced() {
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1 GB' "$@"
    server_start preloaded traced
}

# The largest and the most frequent count that the file was asked for.
read_sizes() {
    sed -nE "s|^[0-9]+ +read\([0-9]+<$server/files/data>, .*, ([0-9]+)\) += [1-9].*|\1|p" "$server/trace" | sort -u
}

@test "downloads are read in pieces of the size that is asked for" {
    local size
    for size in 64 256 1024; do
        start_traced "TransferMMapReadSize $size KB"
        ftp_get data | cmp "$server/files/data" -
        ftps_get data | cmp "$server/files/data" -
        server_stop
        read_sizes
        [[ $(read_sizes) -eq $((size * 1024)) ]]
    done
}

@test "with off the server chooses itself, and a size smaller than its own changes nothing" {
    local without
    server_start plain traced
    ftp_get data | cmp "$server/files/data" -
    server_stop
    without=$(read_sizes)
    [[ $without -gt 4096 ]] # else 4 KB is none that is smaller
    directives 'TransferMMapEngine off'
    server_start preloaded traced
    ftp_get data | cmp "$server/files/data" -
    server_stop
    [[ $(read_sizes) -eq $without ]]
    for size in off '4 KB'; do
        start_traced "TransferMMapReadSize $size"
        ftp_get data | cmp "$server/files/data" -
        server_stop
        [[ $(read_sizes) -eq $without ]]
    done
}

@test "SIGHUP puts another size in force" {
    start_traced 'TransferMMapReadSize 64 KB'
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1 GB' 'TransferMMapReadSize 512 KB'
    reload
    ftp_get data | cmp "$server/files/data" -
    server_stop
    [[ $(read_sizes) -eq 524288 ]]
}

# Of a socket: what is set is what the server sets without the library, and what is told is what the kernel said.
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

# The size that an upload is read from the socket in.
upload_calls() {
    sed -nE "s|^[0-9]+ +read\([0-9]+<(TCP\|socket).*, ([0-9]+)\) += [0-9]{3,}$|\2|p" "$server/trace" | sort -n | tail -n 1
}
