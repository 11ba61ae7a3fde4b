#!/usr/bin/env bats
# Listed files in production: the master that accepts connections keeps them in memory, through reloads and changes,
# without holding up its start or its sessions, and shows them to nobody who may not read them.

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
    [[ ! ${clients:-} ]] || kill "$clients" 2>/dev/null || true
    disk_unmount
    server_remove
}

logged_times() {
    [[ $(logged "$2") -ge $1 ]]
}

list() {
    directives 'TransferMMapEngine on' "${@/#/TransferMMapFile $files/}"
}

# Start a server that lists these files. Its process is left in $master.
serve() {
    list "$@"
    start preloaded
}

start() {
    server_start "$1"
    master=$(<"$server/pid")
}

# ---- resident and locked ----

@test "the process that a daemon leaves behind has the listed files locked" {
    needs_insight
    list big small
    env "LD_PRELOAD=$library" "XFERMMAP_CONF=$server/preload.conf" "$proftpd" -c "$server/proftpd.conf" \
        </dev/null >>"$server/log" 2>&1 3>&-
    server_await test -s "$server/pid"
    cp "$server/pid" "$server/group" # it has made itself a process group
    server_await server_is_up
    server_await listed_are_in
    [[ $(locked "$(<"$server/pid")") -ge 9005001 ]]
    is_downloaded big
}

@test "without the allowance to lock, the log says once what to do, and the files are read in" {
    forget_pages "$files/big"
    list big small
    local as_user
    become_plain_user
    ulimit -l 64
    setsid "${as_user[@]}" env "LD_PRELOAD=$library" "XFERMMAP_CONF=$server/preload.conf" \
        "$proftpd" -n -c "$server/proftpd.conf" </dev/null >>"$server/log" 2>&1 3>&- &
    echo $! >"$server/group"
    server_await server_is_up
    server_await listed_are_in
    [[ $(pages_in_memory big) -ge 9000001 ]]
    reload
    reload

    [[ $(logged 'may lock 0.1 MiB; set LimitMEMLOCK=infinity .*, or ulimit -l unlimited') -eq 1 ]]
    [[ $(logged 'listed files: 2 in memory \(8.6 MiB\) .*, 0.0 MiB locked; 0 not') -eq 3 ]]
    [[ $(locked "$(<"$server/pid")") -le 65536 ]]
    is_downloaded big
    is_downloaded small
    [[ $(listed_and_bytes) == '2 9005001 0' ]]
}

pages_in_memory() {
    fincore --bytes --noheadings --output RES "$files/$1" | tr -d ' '
}

@test "TransferMMapLock off only reads in" {
    needs_insight
    forget_pages "$files/big"
    list big small
    echo 'TransferMMapLock off' >>"$server/preload.conf"
    start preloaded
    [[ $(pages_in_memory big) -ge 9000001 ]]
    [[ $(locked "$master") -lt 5000 ]] # the server has a page locked itself
    [[ $(logged 'may lock') -eq 0 ]]

    list big small
    reload
    [[ $(locked "$master") -ge 9005001 ]]
    echo 'TransferMMapLock off' >>"$server/preload.conf"
    reload
    [[ $(locked "$master") -lt 5000 ]]
}

# How much of the file $2 is mapped by huge pages in process $1, KiB.
in_huge_pages() {
    awk -v path="$files/$2" '/^[0-9a-f]+-/ { ours = $6 == path } ours && /^FilePmdMapped:/ { sum += $2 } END { print sum + 0 }' \
        "/proc/$1/smaps"
}

# Whether the kernel reads a file of this file system by huge pages, when it is asked to and one is touched.
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
    make_file image $((8 << 20))
    make_file other $((8 << 20))
    kernel_reads_huge_pages other || skip 'here, the kernel reads files in by small pages only'
    forget_pages "$files/image"
    serve image
    [[ $(in_huge_pages "$master" image) -eq 8192 ]]
    is_downloaded image
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
    [[ $(locked "$(<"$server/pid")") -ge 3005000 && $(locked "$(<"$server/pid")") -lt 4000000 ]]
    is_downloaded big
    [[ $(listed_and_bytes) == '1 9000001 0' ]]
}

@test "more files than a fork can bear are held by a process that ends with the server" {
    needs_insight
    many_files
    serve 'many.*'
    local keeper
    keeper=$(keepers)
    [[ $(grep -c "$files/many" "/proc/$master/maps") -eq 256 ]]
    [[ $(locked "$keeper") -eq $((44 * 4096)) ]]
    [[ $(locked "$master") -ge $((256 * 4096)) && $(locked "$master") -lt $((260 * 4096)) ]]
    [[ $(logged 'listed files: 300 in memory .* 0 not in memory') -eq 1 ]]
    is_downloaded many.299
    [[ $(listed_and_bytes) == '1 4000 0' ]]

    list 'many.*' small
    reload
    server_await has_keepers 1
    [[ $(keepers) != "$keeper" ]]
    keeper=$(keepers)
    [[ $(locked "$keeper") -eq $((44 * 4096 + 8192)) ]]

    list small
    reload
    server_await has_keepers 0
    list 'many.*'
    reload
    keeper=$(keepers)
    server_stop # which waits for all of the process group
    run ! kill -0 "$keeper"

    server_start preloaded
    keeper=$(keepers)
    kill -KILL "$(<"$server/pid")"
    server_await server_is_gone
    rm "$server/group"
    run ! kill -0 "$keeper"
}

many_files() {
    head -c $((300 * 4000)) /dev/urandom | split -b 4000 -d -a 3 - "$files/many."
}

# They are no children of the master's, but of its process group. One that has ended has no memory any more.
keepers() {
    local process
    for process in $(pgrep -g "$(<"$server/group")" -x xfermmap); do
        ! grep -q '^VmLck:' "/proc/$process/status" || echo "$process"
    done
}

has_keepers() {
    [[ $(keepers | wc -l) -eq $1 ]]
}

# ---- the start is not held up ----

@test "the server answers before the listed files are read in, and reloads" {
    cp "$files/big" "$server/original"
    : >"$server/original.hold"
    broken_mount 0 0
    list disk/broken big
    server_launch preloaded
    is_downloaded big
    kill -HUP "$(<"$server/pid")"
    server_await logged_times 2 'preload.conf is in force'
    server_await server_is_up
    is_downloaded big
    [[ $(logged 'listed files:') -eq 0 ]]

    rm "$server/original.hold"
    server_await listed_are_in
    is_downloaded disk/broken
    [[ $(logged '2 in memory \(17.2 MiB\)') -eq 1 ]]
    server_stop
}

# ---- memory ----

@test "200 sessions in the middle of a file of 1 GiB have less than 1 MiB more each" {
    needs_insight
    truncate -s 1G "$files/huge"
    serve huge
    python3 - "$(<"$server/address")" "$(<"$server/ftp_port")" "$account" "$master" <<'PYTHON'
import ftplib, re, sys
address, port, account, master = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
clients, streams = [], []
KIB = re.compile(r'^(?:Private_Clean|Private_Dirty|VmPTE): +(\d+) kB', re.M)

def kibibytes():
    sessions = open(f'/proc/{master}/task/{master}/children').read().split()
    assert len(sessions) >= 200, sessions
    return sum(int(kib) for session in sessions for name in ('smaps_rollup', 'status')
               for kib in KIB.findall(open(f'/proc/{session}/{name}').read()))

for _ in range(200):
    clients.append(ftplib.FTP())
    clients[-1].connect(address, port, timeout=60)
    clients[-1].login(account, account)
before = kibibytes()
for number, client in enumerate(clients):
    client.voidcmd('TYPE I')
    stream = client.transfercmd('RETR huge', rest=(300 + 2 * number) << 20)
    assert stream.recv(1)
    streams.append(stream)
added = (kibibytes() - before) / 200
print(f'{added:.0f} KiB more in each session')
assert 0 < added < 1024
PYTHON
    [[ $(counter LISTED) -eq 200 && $(counter BYTES) -gt 0 ]]
}

# ---- isolation ----

@test "no session has a listed file in its memory that not everyone may read, before its user opens it" {
    [[ $EUID -eq 0 ]] || skip 'only root can serve two users'
    add_account other daemon
    mkdir "$files/hidden"
    make_file private 5000
    make_file large 16000000
    make_file hidden/file 5000
    make_file hidden/large 16000000
    make_file denied 5000
    deny daemon "$files/denied"
    chmod 600 "$files/private" "$files/large"
    chmod 700 "$files/hidden"
    chown -R "$(session_user)" "$files"

    local closed=(private large hidden/file hidden/large denied) name
    server_start plain
    account=other refusals "${closed[@]}" >"$server/expected"
    grep -c '^550 ' "$server/expected"
    server_stop

    serve small "${closed[@]}"
    account=other refusals "${closed[@]}" | diff "$server/expected" -
    for name in small "${closed[@]}"; do
        is_mapped "$master" "$name"
    done
    for name in other visitor; do
        account=$name session_login
        is_mapped "$session" small
        has_none_of "${closed[@]}"
        session_end
    done

    for name in large hidden/large; do
        session_login
        session_download "$name"
        is_mapped "$session" "$name"
        session_finish
        cmp "$files/$name" "$server/received"
        has_none_of "${closed[@]}"
        session_end
    done
    is_downloaded private
    is_downloaded hidden/file
    [[ $(listed_and_bytes) == '4 32010000 0' ]]

    # what is open to everyone until the next reload
    chmod 755 "$files/hidden"
    reload
    session_begin
    is_mapped "$session" hidden/file
    session_end
    chmod 700 "$files/hidden"
    reload
    session_begin
    has_none_of "${closed[@]}"
    session_end
}

# add_account NAME USER: one that has the rights of USER, and the password NAME.
add_account() {
    printf '%s:%s:%s:%s::%s:/bin/false\n' "$1" "$(openssl passwd -6 "$1")" "$(id -u "$2")" "$(id -g "$2")" "$files" \
        >>"$server/passwd"
}

# Everyone may read the file by its mode, but an entry in its acl(5) excepts one user.
deny() {
    python3 - "$(id -u "$1")" "$2" <<'PYTHON' || skip 'the file system knows no access control lists'
import os, struct, sys
nobody = 0xffffffff
entries = [(1, 6, nobody), (2, 0, int(sys.argv[1])), (4, 4, nobody), (16, 4, nobody), (32, 4, nobody)]
value = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in entries)
os.setxattr(sys.argv[2], 'system.posix_acl_access', value)
PYTHON
}

refusals() {
    local name
    session_login
    for name; do
        session_say "RETR $name"
        echo "$reply"
    done
    session_end
}

# Neither mapped nor open in the session.
has_none_of() {
    local file open
    open=$(find "/proc/$session/fd" -lname "$files/*" -printf '%l\n')
    for file; do
        run -1 is_mapped "$session" "$file"
        [[ $open != *"$files/$file"* ]]
    done
    [[ $(find "/proc/$session/task" -mindepth 1 -maxdepth 1 | wc -l) -eq 1 ]]
}

# ---- reload and change ----

@test "through reloads, unchanged files stay where they are and locked, and others come and go" {
    needs_insight
    make_file former 5000000
    make_file changing 3000000
    serve big former changing
    local kept least
    kept=$(addresses "$master" big)
    [[ $kept ]]
    [[ $(locked "$master") -ge 17000001 ]]

    : >"$server/polling"
    least_locked >"$server/least" 3>&- &
    for _ in {1..5}; do
        make_file changing 2000000
        list small big changing
        reload
        [[ $(addresses "$master" big) == "$kept" ]]
        run -1 is_mapped "$master" former
        [[ $(locked "$master") -ge 11005001 && $(locked "$master") -lt 12000000 ]]
        list former changing big
        reload
        [[ $(addresses "$master" big) == "$kept" ]]
        run -1 is_mapped "$master" small
        [[ $(locked "$master") -ge 16000001 && $(locked "$master") -lt 17000000 ]]
    done
    rm "$server/polling"
    wait $!
    least=$(<"$server/least")
    echo "at least $least bytes were locked"
    [[ $least -ge 9000001 && $least -lt 14000001 ]]
}

# What the master has locked at least, as seen until $server/polling is gone.
least_locked() {
    local name kibibytes least=$((1 << 30))
    while [[ -e $server/polling ]]; do
        while read -r name kibibytes _; do
            [[ $name == VmLck: ]] || continue
            [[ $kibibytes -ge $least ]] || least=$kibibytes
        done <"/proc/$master/status"
    done
    echo $((least * 1024))
}

@test "a hundred reloads during downloads leave nothing behind" {
    needs_insight
    many_files
    list 'many.*' small big
    cp "$server/preload.conf" "$server/other.conf"
    list 'many.*' big
    cp "$server/preload.conf" "$server/this.conf"
    local by_itself grown

    # the server's own leak
    start plain
    reloads 10
    by_itself=$(anonymous_bytes)
    reloads 40
    by_itself=$((($(anonymous_bytes) - by_itself) / 40))
    server_stop

    start preloaded
    reloads_during_downloads 10
    server_await are_settled
    holdings >"$server/before"
    grown=$(anonymous_bytes)
    reloads_during_downloads 100
    server_await are_settled
    holdings | diff "$server/before" -
    grown=$((($(anonymous_bytes) - grown) / 100))
    echo "A reload costs $grown bytes of memory, and without the library $by_itself."
    [[ $grown -lt $((by_itself + 2048)) ]]
}

reloads_during_downloads() {
    clients_begin 2 big small
    reloads "$1"
    clients_end
    server_await server_has_no_sessions
    server_await listed_are_in
}

server_has_no_sessions() {
    [[ ! $(pgrep -P "$master" -x proftpd) ]]
}

# Both lists in turns, as fast as the server can take them.
reloads() {
    local turn said from
    from=$(($(stat -c %s "$server/log") + 1))
    exec {said}< <(tail -c +$from -f --pid="$master" "$server/log" 3>&- | grep --line-buffered 'received SIGHUP')
    for ((turn = 0; turn < $1; turn++)); do
        cp "$server/$([[ $((turn % 2)) -eq 0 ]] && echo other || echo this).conf" "$server/next.conf"
        mv "$server/next.conf" "$server/preload.conf"
        kill -HUP "$master"
        read -r -t 30 -u "$said"
    done
    exec {said}<&-
    server_await server_is_up
}

# What the master has: mappings of files, descriptors of each thread, children, keepers.
holdings() {
    local thread
    grep -c "$files" "/proc/$master/maps"
    for thread in "/proc/$master/task/"*; do
        find "$thread/fd" -type l | wc -l
    done
    pgrep -c -P "$master" || true # there is none
    keepers | wc -l
}

are_settled() {
    has_keepers 1 && is_steady holdings
}

anonymous_bytes() {
    awk '/^RssAnon:/ { print $2 * 1024 }' "/proc/$master/status"
}

# Clients that download the files over and over until clients_end, which fails if one of them got something else.
clients_begin() {
    local count=$1
    shift
    "$BATS_TEST_DIRNAME/clients" "$(<"$server/address")" "$(<"$server/ftp_port")" "$account" "$count" "${@/#/$files/}" \
        >"$server/downloads" 2>"$server/problems" 3>&- &
    clients=$!
}

clients_end() {
    kill "$clients" || true # there is none if all of them failed
    wait "$clients" || { cat "$server/problems"; return 1; }
    clients=
    cat "$server/downloads"
}

@test "a storm of SIGHUP, with 16 clients downloading" {
    serve big small
    clients_begin 16 big small
    local turn
    for turn in {1..100}; do
        make_file "list.$((turn % 3))" 300000
        list big "list.$((turn % 3))" small
        kill -HUP "$(<"$server/pid")"
        sleep 0.03
    done
    clients_end
    reload
    is_downloaded big
    is_downloaded list.1
}

@test "a file that changes is taken in by itself after its next download" {
    needs_insight
    serve big small
    local since=$EPOCHSECONDS turn changes=0
    for turn in {1..6}; do
        make_file big $((9100000 + turn)) # in place
        make_file new $((10000 + turn))
        mv "$files/new" "$files/small"
        is_downloaded big
        is_downloaded small
        [[ $turn -ne 2 ]] || server_await logged_times 1 "$files/big has changed and is taken in anew"
    done
    server_await is_served_as_listed big
    server_await is_served_as_listed small
    changes=$(logged "$files/big has changed and is taken in anew")
    echo "$changes times in $((EPOCHSECONDS - since)) s"
    [[ $changes -ge 2 && $changes -le $((2 + (EPOCHSECONDS - since) / 3)) ]]

    server_await has_settled
    run ! grep -F '(deleted)' <(grep -F "$files" "/proc/$master/maps")
    [[ $(locked "$master") -ge $((9100006 + 10006)) ]]
    [[ $(count_verdicts) -eq 1 ]]
}

is_served_as_listed() {
    local listed
    listed=$(counter LISTED)
    is_downloaded "$1"
    [[ $(counter LISTED) -eq $((listed + 1)) ]]
}

has_settled() {
    tail -n 1 "$server/preload.log" | grep -q 'listed files:'
}
