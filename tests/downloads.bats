#!/usr/bin/env bats
# Real clients download from the packaged server with the library. They get the file's bytes over every protocol, and
# strace shows whether the kernel was asked for them.

bats_require_minimum_version 1.5.0
set -o pipefail

# shellcheck source=tests/observe.bash
source "$BATS_TEST_DIRNAME/observe.bash"

teardown() {
    [[ ${BATS_TEST_COMPLETED:-} ]] || cat "$server/log" || true
    server_remove
}

# Start a server with a file "data" that is large enough to map. Arguments are lines of its configuration.
serve() {
    server_create "$@"
    random_bytes 20M >"$server/files/data"
    server_start preloaded traced
}

# Compare the standard input with a file of the server.
is_file() {
    cmp - "$server/files/$1"
}

@test "FTP" {
    serve 'UseSendfile off'
    ftp_get data | is_file data
    served_from_memory data
}

@test "FTP in ASCII" {
    needs_no_overlay
    serve
    { seq 1000000; seq 1000000 | sed 's/$/\r/'; printf 'no end of line'; } >"$server/files/text"

    ascii_get text >"$server/preloaded"
    served_from_memory text
    server_stop
    server_start plain
    ascii_get text | cmp - "$server/preloaded"
    sed -E 's/\r?$/\r/' "$server/files/text" | head -c -1 | cmp - "$server/preloaded"
}

# The bytes on the wire, before a client converts line ends.
ascii_get() {
    python3 - "$(<"$server/address")" "$(<"$server/ftp_port")" "$account" "$1" <<'SCRIPT'
import ftplib, shutil, sys
address, port, account, name = sys.argv[1:]
client = ftplib.FTP()
client.connect(address, int(port), timeout=60)
client.login(account, account)
client.voidcmd("TYPE A")
with client.transfercmd("RETR " + name) as connection:
    shutil.copyfileobj(connection.makefile("rb"), sys.stdout.buffer)
client.voidresp()
SCRIPT
}

@test "FTPS" {
    serve
    ftps_get data | is_file data
    served_from_memory data
}

@test "SFTP" {
    serve
    sftp_get data | is_file data
    served_from_memory data
}

@test "MODE Z" {
    serve 'DeflateEngine on'
    lftp_get data 'ftp:use-mode-z yes' | is_file data
    served_from_memory data
}

@test "a download that is taken up again" {
    serve 'UseSendfile off'
    ftp_get data --continue-at 7000001 | cmp - <(tail -c +7000002 "$server/files/data")
    served_from_memory data 1 # a download is recognized only by its second sequential read
}

@test "two downloads in one session" {
    serve 'UseSendfile off'
    needs_disk
    cp "$server/files/data" "$server/files/more"
    ftp_get data "$(ftp_url more)" "$(ftp_url data)" | cmp - <(cat "$server"/files/{data,more,data})
    served_from_memory data
    served_from_memory more
}

@test "32 clients at once" {
    serve 'UseSendfile off'
    local clients=()
    for _ in {1..32}; do
        ftp_get data | is_file data &
        clients+=($!)
    done
    for client in "${clients[@]}"; do
        wait "$client"
    done
    served_from_memory data
}

@test "a throttled download" {
    serve 'TransferRate RETR 20480'
    local start=${EPOCHREALTIME/[.,]/}
    ftp_get data | is_file data
    [ $((${EPOCHREALTIME/[.,]/} - start)) -gt 800000 ]
    served_from_memory data
}

@test "a file that was uploaded, and replaced by another upload" {
    serve 'UseSendfile off' 'AllowOverwrite on'
    needs_disk
    for _ in 1 2; do
        random_bytes 20M >"$server/upload"
        ftp_get upload --upload-file "$server/upload"
        ftp_get upload | cmp - "$server/upload"
    done
    served_from_memory upload
}

@test "a session confined by DefaultRoot" {
    [ "$EUID" -eq 0 ] || skip 'chroot takes root'
    serve 'UseSendfile off' 'DefaultRoot ~'
    ln -s data "$server/files/inside"
    ln -s /data "$server/files/absolute"
    cp "$server/files/data" "$server/secret"
    ln -s ../secret "$server/files/outside"

    ftp_get data | is_file data
    ftp_get inside | is_file data
    ftp_get absolute | is_file data
    run -78 ftp_get outside
    served_from_memory data
}

@test "5 GiB with holes, over the seams at 2 and 4 GiB and to the end" {
    serve 'UseSendfile off'
    needs_disk
    for gibibyte in 2 4 5; do
        dd if="$server/files/data" of="$server/files/holes" bs=1M seek=$((gibibyte * 1024 - 10)) \
            conv=notrunc status=none
    done
    local seam=$(((2 << 30) - (10 << 20)))
    ftp_get holes --range $seam-$((seam + (20 << 20) - 1)) | is_file data
    seam=$(((4 << 30) - (10 << 20)))
    ftp_get holes --continue-at $seam | cmp - <(tail -c +$((seam + 1)) "$server/files/holes")
    served_from_memory holes 2
}

@test "sendfile goes first" {
    serve 'UseSendfile on'
    ftp_get data | is_file data
    [ "$(kernel_calls 'sendfile.*' data)" -gt 0 ]
    [ "$(kernel_calls 'mmap2?' data)" -eq 0 ]
}

@test "small files are left to the kernel" {
    serve 'UseSendfile off'
    : >"$server/files/0"
    echo -n x >"$server/files/1"
    ftp_get 0 | is_file 0
    ftp_get 1 | is_file 1
    [ "$(kernel_calls 'p?readv?(64)?' 1)" -gt 0 ]
    [ "$(kernel_calls 'mmap2?' 1)" -eq 0 ]
    [ "$(kernel_calls 'mmap2?' 0)" -eq 0 ]
}
