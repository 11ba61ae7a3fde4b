#!/usr/bin/env bats
# File systems whose mappings equal read() only until something changes, and file systems left to the kernel.
# docs/compatibility.md has the table.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server_create 'UseSendfile off'
    files=$server/files
    cd "$server" || return
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1 MB'
    head -c 2000000 /dev/zero | tr '\0' o >original
}

teardown() {
    disk_unmount
    [[ ! -e $server/mounted ]] || xargs umount <"$server/mounted"
    cd /
    server_remove
}

# mounted DIRECTORY ARGUMENTS: mount(8), until the test ends.
mounted() {
    [[ $EUID -eq 0 ]] || skip 'only root may mount'
    mkdir -p "$1"
    mount "${@:2}" "$1" || skip "this kernel can't mount ${*:2}"
    echo "$1" >>"$server/mounted"
}

in_lower_layer() {
    local layers=$server/layers
    [[ ! -e $server/mounted ]] || umount "$files/disk"
    rm -rf "$layers"
    mkdir -p "$layers"/{lower,upper,work}
    cp "$server/original" "$layers/lower/broken"
    sleep 1.1
    mounted "$files/disk" -t overlay overlay -o "lowerdir=$layers/lower,upperdir=$layers/upper,workdir=$layers/work"
    echo "$files/disk" >"$server/mounted"
}

@test "overlayfs: a lower file that is written to is read on as by the kernel" {
    local act make=in_lower_layer
    for act in 'pass' 'w = os.open(name, os.O_RDWR); os.pwrite(w, b"new", 65536); os.pwrite(w, b"new", 0)' \
        'os.truncate(name, 65540)' 'open(name, "w").write("new")' 'os.chmod(name, 0o600)' 'os.unlink(name)'; do
        reads_the_same "$files/disk/broken" "$act"
        [[ $(counter BYTES) -ge 65536 ]]
    done
}

at_source() {
    cp "$server/original" "$server/source"
    sleep 1.1
}

@test "FUSE: a change at the source is seen when the kernel sees it" {
    needs_fuse
    local seconds make=at_source write='w = os.open("source", os.O_RDWR); os.pwrite(w, b"new", 65536); os.pwrite(w, b"new", 0)'
    at_source
    disk_mount "$server/source" 0 0 0
    for seconds in 0 1.5; do # attributes are cached for a second
        reads_the_same "$files/disk/broken" "$write; time.sleep($seconds)"
        [[ $(counter BYTES) -ge 65536 ]]
    done
}

# Count the requests for attributes, which the kernel may not cache, while the file is read.
questions() {
    : >"$server/faultfs.log"
    "$@" /usr/bin/python3 - "$files/disk/broken" "$server/source" <<'PYTHON'
import os, sys
fd, source = (os.open(name, os.O_RDONLY) for name in sys.argv[1:])
while (data := os.read(fd, 16384)):
    assert data == os.read(source, 16384)
PYTHON
    grep -c 'opcode: GETATTR' "$server/faultfs.log"
}

@test "FUSE: no more is asked than the kernel asks, wherever the reads end in zeros" {
    needs_fuse
    local expected asked zeros i
    cp original source
    disk_mount "$server/source" 0 0 0 -d -o attr_timeout=0
    for zeros in none every second; do
        case $zeros in
        every) truncate -s 0 source && truncate -s 2000000 source ;;
        second) for i in {0..60}; do printf x | dd of=source bs=1 seek=$((i * 32768 + 16383)) conv=notrunc status=none; done ;;
        esac
        expected=$(questions env)
        asked=$(questions env LD_PRELOAD="$library" XFERMMAP_CONF="$server/preload.conf" XFERMMAP_PROCESS=python3)
        echo "$zeros: the kernel asks $expected times, the library $asked"
        [[ $asked -le $((expected + 4)) && $(counter MAPPED) -ge 1 ]]
    done
}

@test "a file system that is left to the kernel is named in log, status and check" {
    mounted "$files/memory" -t tmpfs tmpfs
    truncate -s 9M "$files/memory/holes"
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1' "TransferMMapFile $files/memory/holes /sys/kernel/uevent_seqnum"
    server_start preloaded
    logged "$files/memory/holes: is on tmpfs at $files/memory, which is left to the kernel where a file has holes;"
    logged "/sys/kernel/uevent_seqnum: is on sysfs at /sys, which is left to the kernel; it is not kept in memory"
    ftp_get memory/holes | cmp "$files/memory/holes" -
    [[ $(counter FILESYSTEM) -eq 1 ]]
    status_is "  1  left to the kernel: unsupported file system \(the last: tmpfs at $files/memory\)"
    status_is "\"kernel_filesystem\":\"tmpfs at $files/memory\"" --json
    run -1 "$project/build/xfermmap" check -c "$server/preload.conf"
    [[ $output == *"uevent_seqnum: is on sysfs at /sys, which is left to the kernel"$'\n'* ]]
    run -1 "$project/build/xfermmap" check -c "$server/preload.conf" "$files/memory/holes"
    [[ $output == "$files/memory/holes: not from memory: is on tmpfs at $files/memory, which is left to the kernel where a file has holes" ]]
}
