#!/usr/bin/env bats
# The keeper, the process that keeps the listed files in memory: what it is, how it ends, and that the server's own
# processes do not change, whatever happens to the keeper or the files.

# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell

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
    end_started
    [[ ! ${BATS_TEST_COMPLETED:-} && -e $server/preload.log ]] && cat "$server/preload.log"
    disk_unmount
    server_remove
}

list() {
    directives 'TransferMMapEngine on' "${@/#/TransferMMapFile $files/}"
}

# Start a server that lists these files. Leaves its process in $master.
serve() {
    list "$@"
    start preloaded
}

start() {
    server_start "$@"
    master=$(<"$server/pid")
}

# Run the arguments, which start the server in the foreground.
in_foreground() {
    server_settle
    server_run "$@" env "LD_PRELOAD=${preload:-$library}" "XFERMMAP_CONF=$server/preload.conf" "$proftpd" -n \
        -c "$server/proftpd.conf" || { cat "$server/log"; return 1; }
    master=$(<"$server/pid")
}

# True if the process has ended. A zombie has, too, as its parent is not ours.
has_ended() {
    [[ ! -e /proc/$1/status ]] || grep -q '^State:.*Z' "/proc/$1/status"
}

# ---- what it is ----

# What others can see of process $1: threads, descriptors, children, files mapped, locked bytes.
outside_of() {
    find "/proc/$1/task" -mindepth 1 -maxdepth 1 | wc -l
    find "/proc/$1/fd" -type l -printf '%f %l\n' | sed 's/\[[0-9]*\]//' | sort -n
    echo "children: $(cat "/proc/$1/task/$1/children")"
    awk '$6 ~ /^\// { print $6 }' "/proc/$1/maps" | grep -vxF -e "$library" -e "$server/status" -e '/dev/zero' | sort -u
    # the server locks 128 bytes of a key, which may lie across two pages
    sed -nE '/^VmLck:/s/\t *[48] kB/ one key/p' "/proc/$1/status"
}

# The children of its parent differ each time.
outside_of_session() {
    session_login
    session_download big
    outside_of "$session" >"$server/session.$1"
    [[ $1 == plain ]] || addresses "$session" big >"$server/windows"
    session_finish
    session_end
}

@test "with 10,000 listed files, the server's processes have the threads, descriptors, children and mappings of the stock server's" {
    needs_insight
    make_file big $((24 << 20))
    mkdir "$files/many"
    head -c 1000000 /dev/urandom | split -b 100 -d -a 5 - "$files/many/"
    start plain
    server_await is_steady outside_of "$master"
    outside_of "$master" >"$server/master.plain"
    outside_of_session plain
    server_stop

    serve many big
    [[ $(logged 'listed files: 10001 in memory') -eq 1 ]]
    outside_of "$master" | diff "$server/master.plain" -
    [[ $(kept) -ge $((10000 * 4096 + (24 << 20))) ]]
    outside_of_session preloaded
    # except for the window
    [[ $(wc -l <"$server/windows") -eq 1 ]]
    [[ $((16#$(cut -d - -f 2 "$server/windows") - 16#$(cut -d - -f 1 "$server/windows"))) -le $((4 << 20)) ]]
    grep -vxF "$files/big" "$server/session.preloaded" | diff <(grep -vxF "$files/big" "$server/session.plain") -
    cmp "$files/big" "$server/received"
}

@test "the keeper is a process of its own, with a name, and has nothing of the server's" {
    needs_insight
    serve big small
    server_await has_one_keeper
    local keeper
    keeper=$(keeper)
    is_kept big
    is_kept small
    [[ $(locked "$keeper") -eq $(($(in_pages 9000001) + $(in_pages 5000))) ]]

    [[ $(<"/proc/$keeper/comm") == xfermmap ]]
    [[ $(ps -o args= "$keeper") == "xfermmap: keeper of proftpd $master" ]]
    [[ $(<"/proc/$keeper/oom_score_adj") -eq 1000 ]]
    [[ $(<"/proc/$master/oom_score_adj") -lt 1000 ]]
    [[ $(readlink "/proc/$keeper/cwd") == / ]]
    [[ $(ps -o ppid= "$keeper") -ne $master ]]
    [[ ! $(<"/proc/$master/task/$master/children") ]]
    has_own_descriptors "$keeper"
    run ! grep -z XFERMMAP "/proc/$keeper/environ"
}

# Only /dev/null, the master's pidfd, and a pipe to the child that checks the files.
has_own_descriptors() {
    local descriptors
    descriptors=$(find "/proc/$1/fd" -type l -printf '%l\n')
    echo "$descriptors"
    [[ $(grep -cx /dev/null <<<"$descriptors") -eq 3 ]]
    run ! grep -vxE '/dev/null|anon_inode:\[pidfd\]|pipe:\[[0-9]+\]' <<<"$descriptors"
    [[ $(grep -c pipe: <<<"$descriptors") -le 1 ]]
}

@test "without a listed file, and with TransferMMapEngine off, there is no keeper" {
    directives 'TransferMMapEngine on'
    start preloaded
    is_downloaded big
    has_no_keeper
    directives 'TransferMMapEngine off' "TransferMMapFile $files/big"
    reload
    is_downloaded big
    has_no_keeper
    run -0 "$project/build/xfermmap" status -f "$server/status"
    [[ $output != *Keeper:* && $output == *'No file is listed.'* ]]
    list big
    reload
    server_await has_one_keeper
    directives 'TransferMMapEngine on'
    reload
    server_await has_no_keeper
    run -0 "$project/build/xfermmap" status -f "$server/status"
    [[ $output != *Keeper:* && $output == *'No file is listed.'* ]]
}

@test "a daemon's keeper belongs to the process that it leaves behind" {
    needs_insight
    list big small
    env "LD_PRELOAD=$library" "XFERMMAP_CONF=$server/preload.conf" "$proftpd" -c "$server/proftpd.conf" \
        </dev/null >>"$server/log" 2>&1 3>&-
    server_await test -s "$server/pid"
    cp "$server/pid" "$server/group" # it became a process group leader
    server_await server_is_up
    server_await listed_are_in
    server_await has_one_keeper
    [[ $(ps -o args= "$(keeper)") == "xfermmap: keeper of proftpd $(<"$server/pid")" ]]
    is_kept big
    is_downloaded big
}

@test "the keeper closes its descriptors where close_range is refused" {
    needs_insight
    local error
    for error in EPERM ENOSYS; do
        list big
        : >"$server/preload.log"
        in_foreground strace -f --seccomp-bpf -o "$server/trace" -e trace=close_range -e "inject=close_range:error=$error"
        server_await listed_are_in
        grep -q "close_range.*$error .*(INJECTED)" "$server/trace"
        is_kept big
        has_own_descriptors "$(keeper)"
        is_downloaded big
        server_stop
    done
}

# ---- how it ends ----

@test "a keeper that is killed is logged once and shown, downloads go on, and a reload starts another one" {
    needs_insight
    serve big small
    server_await has_one_keeper
    local keeper
    keeper=$(keeper)
    status_is "^Keeper: process $keeper, since 20.*, ready$"
    kill -KILL "$keeper"
    server_await has_ended "$keeper"
    server_await has_no_keeper # nor a child of the keeper

    status_is "^Keeper: process $keeper, which is gone, .*not kept in memory$"
    status_is '^keeper gone: downloads are served, but no listed file is kept in memory; reload the server$'
    status_is '"state":"keeper gone"' --json
    status_is '^ +8\.6 MiB +0 B +\? .*/big$'
    status_is '"alive":false' --json
    status_is '"locked":0,' --json
    status_is '^xfermmap_keeper_up 0$' --prometheus
    [[ $(logged 'the keeper has ended') -eq 0 ]] || [[ $(logged 'the keeper has ended') -eq 1 ]]
    is_downloaded big
    sleep 1.1 # it checks once a second at most
    is_downloaded small
    [[ $(logged 'the keeper has ended.*reload') -eq 1 ]]
    sleep 1.1
    is_downloaded big
    [[ $(logged 'the keeper has ended') -eq 1 ]]

    reload
    server_await has_one_keeper
    is_kept big
    status_is '^xfermmap_keeper_up 1$' --prometheus
    status_is "^Keeper: process $(keeper), since 20.*, ready$"
    is_downloaded big
}

@test "the keeper ends with the server, whether that is stopped or killed" {
    serve big
    server_await has_one_keeper
    local keeper
    keeper=$(keeper)
    server_stop # waits for all of the process group
    has_ended "$keeper"

    server_start preloaded
    keeper=$(keeper)
    run -1 has_ended "$keeper"
    local since=$EPOCHSECONDS
    kill -KILL "$(<"$server/pid")"
    server_await has_ended "$keeper"
    [[ $((EPOCHSECONDS - since)) -le 10 ]]
    server_await server_is_gone
    rm "$server/group" "$server/pid"
}

@test "SIGTERM ends the keeper alone" {
    serve big
    server_await has_one_keeper
    local keeper
    keeper=$(keeper)
    kill "$keeper"
    server_await has_ended "$keeper"
    is_downloaded big
}

# The keeper of such a server is the server's child.
@test "a server that is process 1 of its namespace has a keeper, reloads, and leaves nothing" {
    needs_namespaces
    local way keeper
    for way in TERM KILL; do
        sed -i "s|PidFile .*|PidFile $server/inside|" "$server/proftpd.conf"
        list big small
        : >"$server/preload.log"
        # unshare waits for the server
        setsid unshare --pid --fork --mount-proc --kill-child env "LD_PRELOAD=$library" "XFERMMAP_CONF=$server/preload.conf" \
            "$proftpd" -n -c "$server/proftpd.conf" </dev/null >>"$server/log" 2>&1 3>&- &
        echo $! >"$server/group"
        server_await server_is_up
        server_await listed_are_in
        [[ $(<"$server/inside") -eq 1 ]]
        pgrep -g "$(<"$server/group")" -x proftpd >"$server/pid"
        keeper=$(keeping)
        is_mapped "$keeper" big
        is_downloaded big

        : >"$server/preload.log"
        reload
        server_await has_ended "$keeper"
        server_await has_as_many_processes 1
        keeper=$(keeping)
        is_mapped "$keeper" big
        is_downloaded small
        kill "-$way" "$(<"$server/pid")"
        server_await has_ended "$keeper"
        server_await server_is_gone
        rm "$server/group" "$server/pid"
    done
}

# Count the processes with the keeper's name, including zombies.
has_as_many_processes() {
    [[ $(pgrep -c -g "$(<"$server/group")" -x xfermmap) -eq $1 ]]
}

@test "where no process may be forked, the log says so once, and downloads go on" {
    list big small
    local as_user hard
    become_plain_user
    hard=$(ulimit -Hu)
    in_foreground "${as_user[@]}" prlimit --nproc=1:
    server_await listed_are_in
    [[ $(logged 'no keeper process: Resource temporarily unavailable; raise TasksMax .* ulimit -u') -eq 1 ]]
    has_no_keeper
    # the server's own sessions need processes, too
    "${as_user[@]}" prlimit --pid "$master" --nproc="$hard":
    is_downloaded big
    is_downloaded small
    [[ $(logged 'no keeper process') -eq 1 ]]
    [[ $(counter BYTES) -eq 9000001 ]]

    reload
    [[ $(logged 'listed files: 2 in memory') -eq 1 ]]
    server_await has_one_keeper
}

# ---- files that do not answer ----

# The time that 30 clients wait for the server's greeting, milliseconds: median and maximum.
greetings() {
    python3 - "$(<"$server/address")" "$(<"$server/ftp_port")" <<'PYTHON'
import socket, sys, time
times = []
for _ in range(30):
    since = time.monotonic()
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 60) as client:
        assert client.recv(3) == b'220'
    times.append(round(1000 * (time.monotonic() - since)))
print(sorted(times)[15], max(times))
PYTHON
}

# Except the keeper's processes: they end when the call that blocks them returns.
master_has_ended() {
    has_ended "$master"
}

@test "listed files that never answer hold up neither the server nor the other listed files" {
    needs_insight
    needs_fuse
    cp "$files/big" "$server/original"
    disk_mount "$server/original" 0 0 0
    start plain
    local stock slow way
    read -ra stock < <(greetings)
    server_stop

    list small disk/{stat,open,statfs,read}/file big # what hangs is blamed, and not the first
    server_launch preloaded
    master=$(<"$server/pid")
    read -ra slow < <(greetings)
    echo "# greetings take ${slow[0]} ms (at most ${slow[1]}), with the stock server ${stock[0]} (${stock[1]})" >&3
    [[ ${slow[0]} -le $((3 * stock[0] + 100)) && ${slow[1]} -lt 8000 ]]
    [[ $(keeping) && ! $(pgrep -P "$master" -x xfermmap) ]]
    is_downloaded small
    "$project/build/xfermmap" check -c "$server/preload.conf" >"$server/checked" 2>"$server/checked.errors" 3>&- &
    started+=($!)

    # each is given up after 10 s
    for _ in {1..4}; do
        server_await listed_are_in && break
    done
    logged 'listed files: 2 in memory \(8.6 MiB\)'
    is_kept big
    is_kept small
    for way in stat open statfs read; do
        echo "$way"
        [[ $(logged "$files/disk/$way/file: no answer") -eq 1 ]]
    done
    is_downloaded big
    run -0 timeout 10 "$project/build/xfermmap" status -f "$server/status"
    echo "$output"
    [[ $output == *"$files/big"* && $output == *'?'*"$files/disk/stat/file"* ]]

    wait "${started[0]}" && return 1
    started=()
    cat "$server/checked" "$server/checked.errors"
    grep -qE "^ +\? +\? .*$files/disk/stat/file$" "$server/checked"
    grep -qE "8\.6 MiB .*$files/big$" "$server/checked"
    grep -qE 'disk/read/file: no answer' "$server/checked.errors"

    list small
    reload
    server_await is_not_shown big
    is_shown small
    list disk/open/file small
    kill -HUP "$master" # with another list that does not answer
    is_downloaded small
    kill "$master"
    server_await master_has_ended
    disk_unmount
    server_await server_is_gone
    rm "$server/group"
}

# As on NFS, where mmap() asks the server.
@test "a listed file that hangs in mmap is given up, too" {
    needs_insight
    list big small
    in_foreground strace -f --seccomp-bpf -P "$files/big" -o "$server/trace" -e trace=mmap \
        -e inject=mmap:delay_enter=60000000
    is_downloaded small
    server_await listed_are_in
    logged "$files/big: no answer for"
    logged 'listed files: 1 in memory \(0.0 MiB\)'
    is_kept small
    list small
    reload
    kill "$master"
    server_await master_has_ended
    kill -KILL -- "-$(<"$server/group")" # processes that strace still delays
    server_await server_is_gone
    rm -f "$server/group" "$server/pid"
}

@test "a mapping that is refused is told with its reason, in log, status and check" {
    needs_insight
    local error reason remedy strace
    while IFS=: read -r error reason remedy; do
        list big
        : >"$server/preload.log"
        strace=(strace -f --seccomp-bpf -o "$server/trace" -P "$files/big" -e trace=mmap -e "inject=mmap:error=$error")
        in_foreground "${strace[@]}"
        server_await listed_are_in
        is_downloaded big
        is_downloaded small # the master checks what sessions reported when the next one connects
        logged "$files/big: can't be mapped \($reason\): .*$remedy"
        logged "refused to map a file \($reason\), .*$remedy"
        status_is "mmap\(\) failures \(the last: $reason; .*$remedy"
        status_is "\"refused\":\"$reason\"" --json
        run -1 "${strace[@]}" "$project/build/xfermmap" check -c "$server/preload.conf"
        [[ $output =~ "$files/big: can't be mapped ($reason): "[^$'\n']*$remedy ]]
        run -1 "${strace[@]}" "$project/build/xfermmap" check -c "$server/preload.conf" "$files/big"
        [[ $output =~ "$files/big: not from memory: can't be mapped ($reason): "[^$'\n']*$remedy ]]
        server_stop
    done <<REASONS
ENODEV:No such device:FUSE
EACCES:Permission denied:SELinux
EAGAIN:Resource temporarily unavailable:LimitMEMLOCK
ENOMEM:Cannot allocate memory:vm.max_map_count
REASONS
}

# ---- locking ----

@test "without the allowance to lock, all is in memory, and the log says once what to do" {
    needs_disk
    make_file large $((96 << 20))
    forget_pages "$files/large"
    list large small
    local as_user
    become_plain_user
    ulimit -l 8192
    in_foreground "${as_user[@]}"
    server_await listed_are_in
    [[ $(pages_in_memory large) -eq $((96 << 20)) ]]
    reload
    reload

    [[ $(logged 'may lock 8.0 MiB; .*LimitMEMLOCK=infinity .*, or ulimit -l unlimited') -eq 3 ]]
    [[ $(logged 'listed files: 2 in memory \(96.0 MiB\) .*, [0-8]\.[0-9] MiB locked; 0 not') -eq 3 ]]
    server_await has_one_keeper
    [[ $(kept) -le $((8 << 20)) ]]
    is_downloaded large
    is_downloaded small
    [[ $(listed_and_bytes) == "2 $((96 << 20)) 0" ]]
}

# CAP_IPC_LOCK only counts in the initial user namespace.
@test "root of a user namespace that may lock little has all in memory, and the log says what to do" {
    [[ $EUID -eq 0 ]] || skip 'only root can map all users'
    unshare -U true || skip 'no user namespaces here'
    needs_disk
    make_file large $((32 << 20))
    forget_pages "$files/large"
    list large small
    ulimit -l 8192
    mkfifo "$server/go"
    local inside
    # shellcheck disable=SC2016 # variables of the inner shell
    setsid unshare -U bash -c 'read -r _ <"$1/go"; shift; exec "$@"' - "$server" env "LD_PRELOAD=$library" \
        "XFERMMAP_CONF=$server/preload.conf" "$proftpd" -n -c "$server/proftpd.conf" </dev/null >>"$server/log" 2>&1 3>&- &
    inside=$!
    echo $inside >"$server/group"
    server_await is_in_namespace $inside
    echo '0 0 65536' >"/proc/$inside/uid_map"
    echo '0 0 65536' >"/proc/$inside/gid_map"
    echo >"$server/go"
    server_await server_is_up
    server_await listed_are_in
    [[ $(pages_in_memory large) -eq $((32 << 20)) ]]
    [[ $(logged 'not all listed files are locked .*LimitMEMLOCK=infinity, or ulimit -l unlimited') -eq 1 ]]
    [[ $(logged 'listed files: 2 in memory \(32.0 MiB\)') -eq 1 ]]
    is_downloaded large
}

is_in_namespace() {
    [[ $(readlink "/proc/$1/ns/user") != "$(readlink /proc/self/ns/user)" ]]
}

@test "TransferMMapLock off only reads in" {
    needs_insight
    needs_disk
    forget_pages "$files/big"
    list big small
    echo 'TransferMMapLock off' >>"$server/preload.conf"
    start preloaded
    [[ $(pages_in_memory big) -ge 9000001 ]]
    server_await has_one_keeper
    is_kept big
    [[ $(kept) -lt 5000 ]] # the server locks a page itself
    [[ $(logged 'locked \(|may lock') -eq 0 ]]

    list big small
    reload
    [[ $(kept) -ge 9005001 ]]
    echo 'TransferMMapLock off' >>"$server/preload.conf"
    reload
    [[ $(kept) -lt 5000 ]]
}

# ---- reloads ----

# Until $server/polling is removed: the file $2, of $3 bytes, is resident and locked by the keepers of process group
# $1. Try all the while to drop it from the page cache, which the kernel refuses for mapped pages.
watch_over() {
    python3 - "$1" "$2" "$3" "$server/polling" 3>&- <<'PYTHON'
import ctypes, mmap, os, sys
group, path, size, polling = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
fd = os.open(path, os.O_RDONLY)
memory = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0) # not touched: so it doesn't hold the pages
pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
present = ctypes.create_string_buffer(pages)

def start_of(process):
    with open(f'/proc/{process}/stat') as stat:
        name, fields = stat.read().rsplit(')', 1)
    fields = fields.split()
    return (name.endswith('(xfermmap') and int(fields[2]) == group, int(fields[19]), int(process))

def keepers():
    found = []
    for process in filter(str.isdigit, os.listdir('/proc')):
        try:
            found.append(start_of(process))
        except (OSError, ValueError):
            pass
    return [process for ours, _, process in sorted(found) if ours] # the oldest first: it ends when the next one is ready

def locked():
    total = 0
    for process in keepers():
        try:
            with open(f'/proc/{process}/status') as status:
                total += sum(1024 * int(line.split()[1]) for line in status if line.startswith('VmLck:'))
        except OSError:
            pass
    return total

looks, least = 0, 1 << 60
while os.path.exists(polling):
    # a keeper forked after the list was read is missed, and its predecessor may exit: so check again
    for _ in range(4):
        now = locked()
        if now >= size:
            break
    least = min(least, now)
    assert now >= size, f'{now} bytes are locked'
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    assert libc.mincore(memory, size, present) == 0
    there = sum(byte & 1 for byte in present.raw)
    assert there == pages, f'{there} of {pages} pages are in memory'
    looks += 1
print(f'{looks} looks; at least {least} bytes were locked')
assert looks > 20
PYTHON
}

many_files() {
    head -c $((300 * 4000)) /dev/urandom | split -b 4000 -d -a 3 - "$files/many."
}

@test "through a hundred reloads during 16 downloads, what stays listed stays locked in memory, and nothing is left behind" {
    needs_insight
    many_files
    make_file held $((64 << 20))
    sync "$files/held"
    list 'many.*' small held big
    cp "$server/preload.conf" "$server/other.conf"
    list 'many.*' big held
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
    holdings >"$server/before"
    grown=$(anonymous_bytes)
    : >"$server/polling"
    watch_over "$(<"$server/group")" "$files/held" $((64 << 20)) >"$server/watched" 2>&1 3>&- &
    started+=($!)
    reloads_during_downloads 100
    rm "$server/polling"
    wait "${started[0]}" || { cat "$server/watched"; return 1; }
    started=()
    cat "$server/watched"
    holdings | diff "$server/before" -
    grown=$((($(anonymous_bytes) - grown) / 100))
    echo "A reload costs $grown bytes of memory, and without the library $by_itself."
    [[ $grown -lt $((by_itself + 2048)) ]]
    is_kept held
}

reloads_during_downloads() {
    "$BATS_TEST_DIRNAME/clients" "$(<"$server/address")" "$(<"$server/ftp_port")" "$account" 16 "$files/big" "$files/small" \
        >"$server/downloads" 2>"$server/problems" 3>&- &
    local clients=$!
    started+=("$clients")
    reloads "$1"
    kill "$clients" || true # there is none if all of them failed
    wait "$clients" || { cat "$server/problems"; return 1; }
    cat "$server/downloads"
    unset 'started[-1]'
    server_await server_has_no_sessions
    server_await listed_are_in
    server_await has_one_keeper
    server_await is_steady holdings
}

server_has_no_sessions() {
    [[ ! $(pgrep -P "$master" -x proftpd) ]]
}

# Alternate between two lists, as fast as the server can reload.
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

# The master's mappings, descriptors and children; and the keepers, with what they have locked.
holdings() {
    wc -l <"/proc/$master/maps"
    find "/proc/$master/fd" -type l | wc -l
    pgrep -c -P "$master" || true # there is none
    keeping | wc -l
    kept
    [[ $(ls "/proc/$master/task") == "$master" ]]
}

anonymous_bytes() {
    awk '/^RssAnon:/ { print $2 * 1024 }' "/proc/$master/status"
}

# ---- the start ----

@test "the server answers, and reloads, before the listed files are read in" {
    needs_fuse
    cp "$files/big" "$server/original"
    : >"$server/original.hold"
    broken_mount 0 0
    list disk/broken big
    server_launch preloaded
    server_await status_is ', reading in: .* of 17.2 MiB$'
    status_is '^reading in: .* of 17.2 MiB of the listed files \([0-9]+ %\); downloads are served$'
    is_downloaded big
    kill -HUP "$(<"$server/pid")"
    server_await logged_times 2 'preload.conf is in force'
    server_await server_is_up
    is_downloaded big
    [[ $(logged '2 in memory') -eq 0 ]]

    rm "$server/original.hold"
    for _ in {1..5}; do # if the keeper had given it up by then, it tries again after a minute
        server_await logged_times 1 '2 in memory \(17.2 MiB\)' && break
    done
    is_downloaded disk/broken
    server_stop
}

# STARTS: how many. Clients connect from the first moment on.
@test "in a UTF-8 locale, no session hangs that starts while the keeper does" {
    many_files
    list 'many.*' big small
    local turn
    for ((turn = 0; turn < ${STARTS:-20}; turn++)); do
        setsid env LC_ALL=C.UTF-8 "LD_PRELOAD=$library" "XFERMMAP_CONF=$server/preload.conf" \
            "$proftpd" -n -c "$server/proftpd.conf" </dev/null >>"$server/log" 2>&1 3>&- &
        echo $! >"$server/group"
        timeout 60 python3 - "$(<"$server/address")" "$(<"$server/ftp_port")" "$account" <<'PYTHON'
import concurrent.futures, ftplib, sys, time
def session(number):
    until = time.monotonic() + 30
    while True:
        try:
            ftp = ftplib.FTP(timeout=30)
            ftp.connect(sys.argv[1], int(sys.argv[2]))
            break
        except ConnectionError:
            assert time.monotonic() < until
            time.sleep(0.001)
    ftp.login(sys.argv[3], sys.argv[3])
    received = []
    ftp.retrbinary('RETR small', received.append)
    ftp.quit()
    assert len(b''.join(received)) == 5000
with concurrent.futures.ThreadPoolExecutor(6) as threads:
    list(threads.map(session, range(12)))
PYTHON
        server_await test -s "$server/pid"
        server_stop
    done
}

# The allocator's thread is in the master, so its locks may be held as the keeper is forked.
@test "beside an allocator with a thread of its own, logins, listed files and the server's end are as ever" {
    needs_insight
    local allocator order
    allocator=$(find /usr/lib -name libjemalloc.so.2 | head -n 1)
    [[ $allocator ]] || skip 'there is no libjemalloc.so.2'
    export MALLOC_CONF=background_thread:true
    for order in "$library:$allocator" "$allocator:$library"; do
        list big small
        : >"$server/preload.log"
        preload=$order in_foreground
        [[ $(find "/proc/$master/task" -mindepth 1 -maxdepth 1 | wc -l) -gt 1 ]]
        server_await listed_are_in
        is_kept big
        is_downloaded big
        reload
        ftps_get small | cmp "$files/small" -
        is_kept big
        server_stop
    done
}

# ---- memory of the sessions ----

@test "200 sessions in the middle of a listed file of 1 GiB have less than 1 MiB more each" {
    needs_insight
    needs_disk
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

@test "no session has a listed file in its memory that its user has not opened" {
    needs_insight
    serve small big
    session_login
    run -1 is_mapped "$session" small
    run -1 is_mapped "$session" big
    [[ ! $(find "/proc/$session/fd" -lname "$files/*") ]]
    session_download big
    is_mapped "$session" big
    session_finish
    cmp "$files/big" "$server/received"
    run -1 is_mapped "$session" big
    session_end
}

@test "a user gets the same refusals for listed files as from the stock server" {
    [[ $EUID -eq 0 ]] || skip 'only root can serve two users'
    add_account other daemon
    mkdir "$files/hidden"
    make_file private 5000
    make_file large 16000000
    make_file hidden/file 5000
    chmod 600 "$files/private" "$files/large"
    chmod 700 "$files/hidden"
    chown -R "$(session_user)" "$files"
    local closed=(private large hidden/file)
    start plain
    account=other refusals "${closed[@]}" >"$server/expected"
    [[ $(grep -c '^550 ' "$server/expected") -eq 3 ]]
    server_stop

    serve small "${closed[@]}"
    account=other refusals "${closed[@]}" | diff "$server/expected" -
    local name
    for name in "${closed[@]}"; do
        is_kept "$name"
        is_downloaded "$name"
    done
}

# add_account NAME USER: add one with the rights of USER and the password NAME.
add_account() {
    printf '%s:%s:%s:%s::%s:/bin/false\n' "$1" "$(openssl passwd -6 "$1")" "$(id -u "$2")" "$(id -g "$2")" "$files" \
        >>"$server/passwd"
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
