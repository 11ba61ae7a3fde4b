#!/usr/bin/env bats
# The list: which files TransferMMapFile names, how it follows changes, and how it reports mistakes.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server_create 'UseSendfile off'
    files=$server/files
    make_file big 9000001
    make_file small 5000
}

teardown() {
    [[ ! ${BATS_TEST_COMPLETED:-} && -e $server/preload.log ]] && cat "$server/preload.log"
    end_started
    disk_unmount
    server_remove
}

list() {
    directives 'TransferMMapEngine on' "${@/#/TransferMMapFile $files/}"
}

# Start a server that lists these files.
serve() {
    list "$@"
    server_start preloaded
}

# ---- how listed files are read ----

@test "a large listed file is mapped by the keeper as a whole, and by a session in windows" {
    list big
    server_start preloaded traced
    is_downloaded big
    server_stop

    served_from_memory big
    [[ $(mappings_by_process big) =~ ^1\ [3-9]$ ]] # the keeper's, and at least three windows of 4 MiB
    [[ $(listed_and_bytes) == '1 9000001 0' ]]
}

# How often each process of the traced server mapped a file, in ascending order.
mappings_by_process() {
    grep -F "<$files/$1>" "$server/trace" | grep -oE '^[0-9]+ +mmap' | sort | uniq -c | awk '{ print $1 }' | sort -n | paste -sd ' '
}

@test "a small listed file is the kernel's to read, from memory" {
    make_file unlisted 5000
    list small
    server_start preloaded traced
    is_downloaded small
    is_downloaded unlisted
    server_stop
    [[ $(mappings_by_process small) == 1 ]] # the keeper's
    [[ $(mappings_by_process unlisted) == '' ]]
    [[ $(kernel_calls 'p?readv?(64)?' small) -gt 0 && $(kernel_calls 'p?readv?(64)?' unlisted) -gt 0 ]]
    [[ $(listed_and_bytes) == '1 0 0' ]]
}

@test "opens of listed files are counted, of any size" {
    make_file unlisted 5000
    serve big small
    is_downloaded big
    is_downloaded small
    is_downloaded small
    is_downloaded unlisted
    [[ $(listed_and_bytes) == '3 9000001 0' && $(counter MAPPED) -eq 1 ]]
    run -0 "$project/build/xfermmap" status -f "$server/status"
    grep -qE " 1 +8\.6 MiB +0 B +$files/big$" <<<"$output"
    grep -qE " 2 +0 B +0 B +$files/small$" <<<"$output"
}

# ---- what is listed ----

@test "the log says what is in force, from the start on, and what is in memory" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big $files/small"
    server_start preloaded
    logged 'preload.conf is in force: TransferMMapEngine on, '
    logged 'listed files: 2 in memory \(8.6 MiB\) after [0-9.]+ s, .* MiB locked; 0 not in memory'
}

@test "a wildcard lists what it matches" {
    mkdir "$files/one" "$files/two"
    make_file one/a.iso 6000
    make_file two/b.iso 6000
    make_file two/c.txt 6000
    serve '*/?.iso'
    is_shown one/a.iso
    is_shown two/b.iso
    is_not_shown two/c.txt
    is_downloaded one/a.iso
    is_downloaded two/b.iso
    is_downloaded two/c.txt
    [[ $(counter LISTED) -eq 2 ]]
}

@test "a directory lists all regular files below it, and no link is followed there" {
    mkdir -p "$files/tree/deep/er" "$server/elsewhere"
    make_file tree/a 6000
    make_file tree/deep/er/b 6000
    : >"$files/tree/empty"
    mkfifo "$files/tree/pipe"
    head -c 6000 /dev/urandom >"$server/elsewhere/c"
    ln -s "$server/elsewhere" "$files/tree/directory"
    ln -s "$server/elsewhere/c" "$files/tree/link"
    ln -s tree "$files/current" # not followed, except as the argument itself
    serve current
    [[ $(logged 'listed files: 2 in memory .*; 0 not in memory') -eq 1 ]]
    is_shown current/a
    is_shown current/deep/er/b
    is_downloaded tree/a
    is_downloaded tree/deep/er/b
    is_downloaded tree/link
    [[ $(counter LISTED) -eq 2 ]]
}

@test "a file that is listed several times is kept once" {
    ln "$files/big" "$files/again"
    ln -s big "$files/link"
    serve big '*' link again
    [[ $(logged 'listed files: 2 in memory \(8.6 MiB\)') -eq 1 ]] # with small
    is_downloaded again
    [[ $(counter LISTED) -eq 1 ]]
}

@test "a listed file that can't be kept is logged, and the others are kept" {
    mkfifo "$files/pipe"
    : >"$files/empty"
    directives 'TransferMMapEngine on' \
        "TransferMMapFile $files/absent /dev/null $files/pipe $files/big/x" \
        "TransferMMapFile $files/empty $files/absent* $files/big"
    server_start preloaded
    logged "$files/absent: No such file"
    logged '/dev/null: is not a regular file'
    logged "$files/pipe: is not a regular file"
    logged "$files/big/x: Not a directory"
    logged "$files/absent\*: No such file"
    run ! logged empty
    [[ $(logged 'listed files: 1 in memory .*; 5 not in memory') -eq 1 ]]
    is_downloaded big
    is_downloaded empty
    [[ $(listed_and_bytes) == '1 9000001 0' ]]
}

@test "what does not fit into TransferMMapMaxMemory is named, in the order of the list" {
    needs_insight
    make_file other 3000000
    list small big other
    echo 'TransferMMapMaxMemory 4MB' >>"$server/preload.conf"
    server_start preloaded
    [[ $(logged "$files/big: no room for it in TransferMMapMaxMemory") -eq 1 ]]
    [[ $(logged 'no room') -eq 1 ]]
    [[ $(logged 'listed files: 2 in memory \(2.9 MiB\) .*; 1 not in memory') -eq 1 ]]
    server_await has_one_keeper
    [[ $(kept) -eq $(($(in_pages 5000) + $(in_pages 3000000))) ]]
    is_downloaded big
    is_downloaded small
    [[ $(counter MAPPED) -eq 1 ]] # as without the list
}

# How much of the file $2 process $1 maps in huge pages, KiB.
in_huge_pages() {
    awk -v path="$files/$2" '/^[0-9a-f]+-/ { ours = $6 == path } ours && /^FilePmdMapped:/ { sum += $2 } END { print sum + 0 }' \
        "/proc/$1/smaps"
}

# True if the kernel reads a file of this file system in huge pages after madvise() and a touch.
kernel_reads_huge_pages() {
    forget_pages "$files/$1"
    python3 - "$files/$1" <<'PYTHON'
import mmap, sys
with open(sys.argv[1], 'rb') as file:
    memory = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
    memory.madvise(mmap.MADV_HUGEPAGE)
    memory[0], memory[-1]
    smaps = open('/proc/self/smaps').read().split(sys.argv[1])[1]
    sys.exit(int(smaps.split('FilePmdMapped:')[1].split()[0]) == 0)
PYTHON
}

@test "a file that is read in from the disk lies in huge pages, and is the same" {
    needs_insight
    needs_disk
    make_file image $((8 << 20))
    make_file other $((8 << 20))
    kernel_reads_huge_pages other || skip 'here, the kernel reads files in by small pages only'
    forget_pages "$files/image"
    serve image
    server_await has_one_keeper
    [[ $(in_huge_pages "$(keeper)" image) -eq 8192 ]]
    is_downloaded image
}

# ---- changes ----

@test "a file that is replaced or rewritten in place is served as it is now" {
    serve big small
    is_downloaded big
    is_downloaded small
    [[ $(counter LISTED) -eq 2 && $(counter CHANGED) -eq 0 ]]
    local name size
    for name in big small; do
        make_file new "$(stat -c %s "$files/$name")"
        touch -r "$files/$name" "$files/new"
        mv "$files/new" "$files/$name"
        is_downloaded "$name"
        for size in "$(stat -c %s "$files/$name")" 4097 9500000 0; do
            touch -r "$files/$name" "$server/times"
            make_file "$name" "$size"
            touch -r "$server/times" "$files/$name" # some tools do that: only the ctime shows the change
            is_downloaded "$name"
        done
    done
}

# CHANGED counts opens of listed files that changed since the keeper last checked them.
@test "a change is counted until the keeper has seen it" {
    serve big
    make_file big 9000005
    is_downloaded big
    [[ $(counter CHANGED) -le 1 ]]
    server_await is_served_as_listed big
    [[ $(($(counter LISTED) + $(counter CHANGED))) -ge 2 ]]
}

is_served_as_listed() {
    local listed
    listed=$(counter LISTED)
    is_downloaded "$1"
    [[ $(counter LISTED) -eq $((listed + 1)) ]]
}

# sees CONDITION...: it becomes true without a reload.
sees() {
    local since=${EPOCHREALTIME/[.,]/}
    server_await "$@"
    echo "$*: after $(((${EPOCHREALTIME/[.,]/} - since) / 1000)) ms"
    [[ $(count_verdicts) -eq 1 ]]
}

# As Samba and nfsd do for their clients. An open by a second process requests the lease back.
@test "a listed file that another process has a lease on is kept once that is given back" {
    needs_insight
    python3 - "$files/big" "$server/leased" >>"$server/log" 2>&1 3>&- <<'PYTHON' &
import fcntl, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
file = open(sys.argv[1], 'r+')
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
open(sys.argv[2], 'w')
signal.sigtimedwait([signal.SIGIO], 60)
PYTHON
    started+=($!)
    server_await test -e "$server/leased"
    serve big
    wait "${started[0]}"
    sees is_kept big
    [[ $(logged "$files/big: another process holds a lease on it .*tries again") -eq 1 ]]
}

@test "all kinds of changes are in the status within seconds, without a reload" {
    mkdir "$files/directory" "$files/v1" "$files/v2"
    make_file v1.iso 10000
    make_file v2.iso 20000
    cp "$files/v1.iso" "$files/v1/data"
    cp "$files/v2.iso" "$files/v2/data"
    ln -s v1.iso "$files/latest"
    ln -s v1 "$files/current"
    make_file directory/first 6000
    make_file a.img 6000
    serve latest current/data directory '*.img' big small absent
    is_shown latest '9\.8 KiB'
    is_shown current/data '9\.8 KiB'
    [[ $(logged 'listed files: 6 in memory .*; 1 not in memory') -eq 1 ]]

    ln -sfn v2.iso "$files/latest"
    sees is_shown latest '19\.5 KiB'
    ln -sfn v2 "$files/current"
    sees is_shown current/data '19\.5 KiB'
    make_file b.img 7000
    sees is_shown b.img
    make_file directory/second 7000
    sees is_shown directory/second
    make_file absent 8000
    sees is_shown absent
    make_file new 3000000
    mv "$files/new" "$files/big"
    sees is_shown big '2\.9 MiB'
    make_file small 300000 # in place
    sees is_shown small '293\.0 KiB'
    rm "$files/a.img"
    sees is_not_shown a.img
    is_not_shown a.img
    rm -r "$files/directory"
    sees is_not_shown directory/first

    local name
    for name in latest current/data b.img absent big small; do
        is_downloaded "$name"
    done
    [[ $(counter LISTED) -eq 6 && $(counter CHANGED) -eq 0 ]]
    [[ $(logged 'listed files have changed: 6 in memory') -ge 1 ]]
}

@test "what has changed is locked as it is now, and what was there before is let go of" {
    needs_insight
    serve big small
    make_file new 6000000
    mv "$files/new" "$files/big"
    make_file small 20000 # in place
    server_await is_shown big '5\.7 MiB'
    server_await is_shown small '19\.5 KiB'
    server_await has_one_keeper
    [[ $(kept) -eq $(($(in_pages 6000000) + $(in_pages 20000))) ]]
    run ! grep -F '(deleted)' <(grep -F "$files" "/proc/$(keeper)/maps")
}

# As a backup does: only the link count and the ctime change.
@test "hard links to 2,000 listed files make no work, and no line in the log" {
    needs_insight
    mkdir "$files/many"
    head -c 200000 /dev/urandom | split -b 100 -d -a 4 - "$files/many/"
    list 'many/*'
    setsid strace -f --seccomp-bpf -o "$server/trace" -e trace=mlock,newfstatat,stat,statx \
        env "LD_PRELOAD=$library" "XFERMMAP_CONF=$server/preload.conf" "$proftpd" -n -c "$server/proftpd.conf" \
        </dev/null >>"$server/log" 2>&1 3>&- &
    echo $! >"$server/group"
    server_await server_is_up
    server_await listed_are_in
    server_await has_one_keeper
    local keeper lines locks
    keeper=$(keeper)
    lines=$(wc -l <"$server/preload.log")
    locks=$(locks)
    [[ $locks -ge 2000 && $(looks_at_last) -gt 0 ]]
    cp -al "$files/many" "$files/.snapshot"
    await_look
    [[ $(locks) -eq $locks ]]
    [[ $(keeper) == "$keeper" ]]
    [[ $(wc -l <"$server/preload.log") -eq $lines ]]
}

locks() {
    grep -c 'mlock(' "$server/trace"
}

# Once there are two more, the second has begun after this call.
await_look() {
    server_await has_looks $(($(looks_at_last) + 2))
}

looks_at_last() {
    grep -c '/many/1999"' "$server/trace" || true
}

has_looks() {
    [[ $(looks_at_last) -ge $1 ]]
}

# ---- reloads ----

@test "SIGHUP puts a new list in force" {
    needs_insight
    make_file former 5000000
    serve former big
    server_await has_one_keeper
    is_kept former
    is_kept big
    list small big
    reload
    server_await has_one_keeper
    is_kept small
    is_kept big
    run -1 is_kept former
    is_downloaded small
    is_downloaded big
    is_downloaded former
    [[ $(counter LISTED) -eq 2 && $(counter MAPPED) -eq 2 ]]
}

@test "a session that downloads goes on through SIGHUP" {
    serve big
    session_login
    session_download big
    list small
    reload
    session_finish
    cmp "$files/big" "$server/received"
    session_end
    [[ $(counter BYTES) -eq 9000001 && $(counter BYTES_KERNEL) -eq 0 ]]
}

@test "after SIGHUP with a mistake, the previous directives stay in force" {
    serve big
    directives "TransferMMapFile $files/small" 'TransferMMapEngine perhaps'
    reload
    logged 'preload.conf:4: TransferMMapEngine: expected on or off'
    logged 'preload.conf is refused; the previous directives stay in force'
    chmod g+w "$server/preload.conf" # the log is among them, though this file's own is not trusted
    reload
    logged 'preload.conf:1: (the file )?is writable by others'
    chmod g-w "$server/preload.conf"
    is_shown big
    is_downloaded big
    is_downloaded small
    [[ $(listed_and_bytes) == '1 9000001 0' ]]

    list small
    reload
    is_downloaded small
    [[ $(counter LISTED) -eq 2 ]]
}

# ---- directive files that are not taken ----

@test "a directive file with mistakes is refused whole, and all of them are logged" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big" 'TransferMMapFile big' 'TransferMMapSize 1' \
        '<Global>' 'TransferMMapMinSize many'
    server_start preloaded traced
    local told=(
        ':5: TransferMMapFile: .big. '
        ':6: TransferMMapSize: unknown directive'
        ':7: <Global>: not closed'
        ':8: TransferMMapMinSize'
        ' is refused; the server runs without the library.s help'
    )
    local mistake
    for mistake in "${told[@]}"; do
        logged "$server/preload.conf$mistake"
        grep -qE " libxfermmap: $server/preload.conf$mistake" "$server/log" # standard error
    done
    is_downloaded big
    server_stop
    [[ $(kernel_calls 'p?readv?(64)?' big) -gt 0 ]]
    [[ $(kernel_calls mmap big) -eq 0 ]]
    [[ ! -e $server/status ]]
}

@test "of a hundred mistakes twenty are logged, and check names all" {
    for _ in {1..100}; do echo 'TransferMMapSize 1'; done >>"$server/preload.conf"
    server_start preloaded
    [[ $(logged 'unknown directive') -eq 20 && $(logged 'preload.conf: ... and 80 more; xfermmap check') -eq 1 ]]
    run -1 "$project/build/xfermmap" check -c "$server/preload.conf"
    [[ $(grep -c 'unknown directive' <<<"$output") -eq 100 ]]
}

@test "a directive file that others may write to is refused" {
    list big
    chmod g+w "$server/preload.conf"
    is_refused 'is writable by others'
}

@test "a directive file of another user is refused" {
    [[ $EUID -eq 0 ]] || skip 'only root can give a file to another user'
    list big
    chown nobody "$server/preload.conf"
    is_refused 'belongs to user'
}

# The log that an untrusted file names is not trusted either.
is_refused() {
    server_start preloaded
    grep -qE " libxfermmap: $server/preload.conf:1: (the file )?$1" "$server/log"
    is_downloaded big
    [[ ! -e $server/status && ! -e $server/preload.log ]]
}

@test "neither log nor status file is written where everybody may write" {
    mkdir -m 777 "$server/open"
    sed "s|$server/|$server/open/|" < <(directives; cat "$server/preload.conf") >"$server/changed"
    printf '%s\n' 'TransferMMapEngine on' "TransferMMapFile $files/big" >>"$server/changed"
    mv "$server/changed" "$server/preload.conf"
    server_start preloaded traced
    grep -q 'libxfermmap: TransferMMapStatusFile ' "$server/log"
    is_downloaded big
    server_stop
    served_from_memory big
    [[ ! $(ls -A "$server/open") ]]
}
