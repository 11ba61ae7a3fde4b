#!/usr/bin/env bats
# Files that shrink while they are sent, and a disk that fails: the client gets what a server without the library
# would have sent, and the server keeps running.
#
# The client reads nothing until the file is truncated. The sockets hold less than 8 MiB: so anything cut off beyond
# that was not read before.

bats_require_minimum_version 1.5.0
set -o pipefail

size=$((16 << 20))
ways=(plain opened listed)

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server_create 'UseSendfile off'
    random_bytes "$size" >"$server/original"
}

teardown() {
    disk_unmount
    server_remove
}

# Start the server in one of $ways to serve the file $2.
start() {
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1'
    [[ $1 != listed ]] || echo "TransferMMapFile $server/files/$2" >>"$server/preload.conf"
    if [[ $1 == plain ]]; then server_start plain; else server_start preloaded; fi
}

# Truncate to $1 bytes during a download, in each of $ways. Leaves what arrives then in $server/WAY.received and
# WAY.replies. Session and master must survive, and serve the new content.
truncate_under_download() {
    local way
    for way in "${ways[@]}"; do
        cp "$server/original" "$server/files/cut"
        is_in_memory || forget_pages "$server/files/cut" # a listed file is then mapped in huge pages, where supported
        start "$way" cut
        session_login
        session_download cut
        truncate -s "$1" "$server/files/cut"
        session_finish
        keep_received "$way"

        session_say NOOP
        [[ $reply == 200* ]]
        head -c 100000 "$server/original" >"$server/files/cut"
        session_download cut
        session_finish
        cmp "$server/files/cut" "$server/received"
        session_end
        ftp_get cut | cmp "$server/files/cut" -
        [[ $way == plain ]] || served
        [[ $way != listed || $(counter LISTED) -ge 1 ]]
        server_stop
    done
}

keep_received() {
    mv "$server/received" "$server/$1.received"
    mv "$server/replies" "$server/$1.replies"
    cat "$server/$1.replies"
}

# The comparison only means something if the library served reads.
served() {
    [[ $(counter BYTES) -gt 0 && $(counter MAPPED) -ge 1 ]]
}

all_ways_alike() {
    local way
    for way in "${ways[@]}"; do
        cmp "$server/plain.received" "$server/$way.received"
        cmp "$server/plain.replies" "$server/$way.replies"
    done
}

is_head_of_original() {
    cmp -n "$(stat -c %s "$1")" "$1" "$server/original"
}

# Truncated to $1 bytes, where each way of serving must end the download.
all_receive_up_to() {
    truncate_under_download "$1"
    all_ways_alike
    [[ $(stat -c %s "$server/plain.received") -eq $1 ]]
    is_head_of_original "$server/plain.received"
}

@test "truncated to a page boundary under a download" {
    needs_no_overlay
    all_receive_up_to $(((12 << 20) + 4096))
    [[ $(counter FAULTS) -eq 1 ]]
}

@test "truncated to the middle of a page under a download" {
    needs_no_overlay
    all_receive_up_to $(((12 << 20) + 4096 + 1234))
    [[ $(counter FAULTS) -eq 1 ]]
}

# No fault here: the mapping shows zeros up to the end of this page, which is the end of a read.
@test "truncated to the middle of the last page of a read" {
    all_receive_up_to $(((12 << 20) - 4096 + 1234))
}

# The server's and the client's sockets limit what is in flight.
@test "truncated under a download from the only window" {
    needs_no_overlay
    truncate -s 4M "$server/original"
    sed -i '1i SocketOptions sndbuf 65536' "$server/proftpd.conf"
    all_receive_up_to $(((3 << 20) + 4096 + 1234))
    [[ $(counter FAULTS) -eq 1 ]]
}

# Timing decides how much was sent already.
@test "truncated to nothing under a download" {
    truncate_under_download 0
    local way
    for way in "${ways[@]}"; do
        cmp "$server/plain.replies" "$server/$way.replies"
        is_head_of_original "$server/$way.received"
        [[ $(stat -c %s "$server/$way.received") -lt $size ]]
    done
}

@test "the log tells of truncation, once" {
    needs_no_overlay
    cp "$server/original" "$server/files/cut"
    start listed cut
    local length
    for length in 12000001 9000001; do
        session_login
        session_download cut
        truncate -s "$length" "$server/files/cut"
        session_finish
        session_end
    done
    [[ $(counter FAULTS) -ge 1 ]]
    ftp_get cut | cmp "$server/files/cut" -
    [[ $(grep -c 'libxfermmap: a file shrank' "$server/preload.log") -eq 1 ]]
}

# ---- a broken disk ----

download_broken() {
    local way
    for way in "${ways[@]}"; do
        broken_mount "$@"
        start "$way" disk/broken
        session_login
        session_download disk/broken
        session_finish
        keep_received "$way"

        session_say NOOP
        [[ $reply == 200* ]]
        cp "$server/original" "$server/files/sound"
        session_download sound
        session_finish
        cmp "$server/original" "$server/received"
        session_end
        [[ $way == plain ]] || served
        [[ $way != listed || $(logged 'disk/broken: could not be read in: Input/output error') -eq 1 ]]
        server_stop
        disk_unmount
    done
}

@test "a disk that fails in the middle of a file" {
    local good=$(((12 << 20) + 3 * 4096))
    download_broken $good 4096
    all_ways_alike
    is_head_of_original "$server/plain.received"
    [[ $(stat -c %s "$server/plain.received") -lt $size ]]
    [[ $(counter FAULTS) -eq 1 ]]
}

@test "a disk that fails at the start of a file" {
    download_broken 0 $((1 << 20))
    all_ways_alike
    [[ $(stat -c %s "$server/plain.received") -eq 0 ]]
}

# cat_broken plain|library: leaves the output and errors of cat in $server/WAY.received and .replies.
cat_broken() {
    local preloaded=()
    [[ $1 == plain ]] || preloaded=(LD_PRELOAD="$library" XFERMMAP_CONF="$server/preload.conf" XFERMMAP_PROCESS=cat)
    broken_mount "$2" 4096
    # through a pipe: between two files, cat uses copy_file_range
    env "${preloaded[@]}" cat "$server/files/disk/broken" 2>"$server/replies" | cat >"$server/received" || true
    keep_received "$1"
    disk_unmount
}

@test "a disk that fails at any page, of a window's first to the file's last" {
    local offset
    ways=(plain library)
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1'
    for offset in 0 4096 126976 131072 1044480 $(((4 << 20) - 4096)) $((4 << 20)) $(((4 << 20) + 4096)) \
        $(((8 << 20) - 4096)) $((8 << 20)) $((size - 4096)); do
        cat_broken plain "$offset"
        cat_broken library "$offset"
        all_ways_alike
        [[ $(stat -c %s "$server/library.received") -eq $offset ]]
        grep -q 'Input/output error' "$server/library.replies"
        # the kernel reads first, as much as cat asks for at once
        [[ $(counter MAPPED) -eq 1 && ($offset -le $((256 << 10)) || $(counter BYTES) -gt 0) ]]
        rm "$server/status"
    done
}
