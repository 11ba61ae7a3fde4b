#!/usr/bin/env bats
# TransferMMapReadAhead: the library requests reads from the disk ahead of a download, for read() and sendfile()
# alike.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
}

teardown() {
    server_end
}

server_end() {
    disk_unmount
    server_remove
}

# $1 is a line of the server's configuration, the others are directives. Serves data, and the same file as
# disk/broken, on a file system with nothing in the page cache yet.
start_traced() {
    needs_fuse
    server_create "$1"
    random_bytes 24M >"$server/files/data"
    disk_mount "$server/files/data" 0 0 0
    directives 'TransferMMapEngine on' "${@:2}"
    server_start preloaded traced
}

# Count the read-ahead requests, and find the farthest offset requested.
asks() {
    kernel_calls fadvise64 disk/broken
}

farthest() {
    sed -nE "s|^[0-9]+ +fadvise64\([0-9]+<$server/files/disk/broken>, ([0-9]+), ([0-9]+), POSIX_FADV_WILLNEED\) = 0|\1 \2|p" \
        "$server/trace" | awk '{ end = $1 + $2 > end ? $1 + $2 : end } END { print end + 0 }'
}

@test "a cold file is asked for ahead of a download, up to its end" {
    local way get
    for way in 'UseSendfile off' 'UseSendfile on'; do
        for get in ftp_get sftp_get; do
            start_traced "$way"
            "$get" disk/broken | cmp "$server/files/data" -
            server_stop
            [[ $(asks) -gt 20 ]]
            [[ $(farthest) -eq $((24 << 20)) ]]
            server_end
        done
    done
}

@test "a file in the page cache is sent by sendfile in as few calls as without the library" {
    needs_no_overlay
    local calls
    server_create 'UseSendfile on'
    random_bytes 64M >"$server/files/data"
    directives 'TransferMMapEngine on'
    server_start plain traced
    ftp_get data | cmp "$server/files/data" -
    server_stop
    calls=$(kernel_calls 'sendfile(64)?' data)
    server_start preloaded traced
    ftp_get data | cmp "$server/files/data" -
    server_stop
    [[ $(kernel_calls 'sendfile(64)?' data) -le $calls ]]
    [[ $(kernel_calls fadvise64 data) -eq 0 ]]
}

# A look makes the kernel read the page.
@test "of a cold file that sendfile sends, the page cache is looked at twice for each 8 MiB" {
    start_traced 'UseSendfile on'
    ftp_get disk/broken | cmp "$server/files/data" -
    server_stop
    [[ $(kernel_calls preadv2 disk/broken) -le 7 ]]
    [[ $(asks) -gt 20 ]]
}

@test "on FUSE the kernel leaves reading ahead of sendfile to the library, and only there" {
    local way served
    for way in 'UseSendfile off' 'UseSendfile on'; do
        for served in data disk/broken; do
            start_traced "$way"
            ftp_get "$served" | cmp "$server/files/data" -
            server_stop
            [[ $(grep -c "<$server/files/$served>, 0, 0, POSIX_FADV_RANDOM) = 0" "$server/trace") -eq \
                $([[ $way$served == 'UseSendfile ondisk/broken' ]] && echo 1 || echo 0) ]]
            server_end
        done
    done
}

@test "of a file in the page cache little is asked" {
    needs_no_overlay
    local way
    for way in 'UseSendfile off' 'UseSendfile on'; do
        start_traced "$way"
        cat "$server/files/data" >"$server/read"
        ftp_get data | cmp "$server/files/data" -
        server_stop
        [[ $(kernel_calls fadvise64 data) -eq 0 ]]
        [[ $(kernel_calls preadv2 data) -le 5 ]] # residency checks: one for each 8 MiB
        server_end
    done
}

@test "an aborted download wastes no more than the read-ahead" {
    local way
    for way in 'UseSendfile off' 'UseSendfile on'; do
        start_traced "$way" 'TransferMMapReadAhead 2 MB'
        session_login
        session_download disk/broken
        head -c 4M <&"$data" >"$server/received"
        exec {data}<&-
        session_reply
        session_end
        server_stop
        # no more was sent than what was read and fits into the sockets: 8 MiB at most
        [[ $(farthest) -gt 0 && $(farthest) -le $((14 << 20)) ]]
        server_end
    done
}

@test "with off nothing is asked" {
    start_traced 'UseSendfile off' 'TransferMMapReadAhead off'
    ftp_get disk/broken | cmp "$server/files/data" -
    server_stop
    [[ $(asks) -eq 0 ]]
}

@test "what sendfile sends from the middle on is right, and counted once" {
    start_traced 'UseSendfile on'
    ftp_get disk/broken -C 5000001 | cmp <(tail -c +5000002 "$server/files/data") -
    ftp_get disk/broken | cmp "$server/files/data" -
    server_stop
    [[ $(kernel_calls 'sendfile(64)?' disk/broken) -gt 2 ]]
    [[ $(kernel_calls 'p?read(v|64)?' disk/broken) -eq 0 ]]
}
