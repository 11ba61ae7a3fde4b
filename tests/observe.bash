# What can be seen of a server and its sessions from outside, and a client that takes one step at a time. To be sourced
# instead of server.bash; all of it acts on $server.

source "${BASH_SOURCE[0]%/*}/server.bash"

started=() # processes that end with the test: for its teardown

end_started() {
    local process
    for process in "${started[@]}"; do
        kill "$process" 2>/dev/null || true
        wait "$process" || true
    done
    started=()
}

# The file $1 among those that are served: so many random bytes.
make_file() {
    random_bytes "$2" >"$server/files/$1"
}

is_downloaded() {
    ftp_get "$1" | cmp "$server/files/$1" -
}

# Directives, each argument a line, with a log and a status file to look at.
directives() {
    printf '%s\n' "TransferMMapLog $server/preload.log" "TransferMMapStatusFile $server/status" "$@" \
        >"$server/preload.conf"
}

# How often the library's log has this; fails if it never does.
logged() {
    grep -cE "libxfermmap: .*$1" "$server/preload.log"
}

# One of STATUS_COUNTERS, whose order status.h alone defines. The header says where they start.
counter() {
    local names index start
    start=$(od -An -t u4 -j 16 -N 4 "$server/status")
    mapfile -t names < <(sed -nE 's/^ *X\(([A-Z_]+), ".*/\1/p' "$project/shim/status.h")
    for index in "${!names[@]}"; do
        [[ ${names[index]} == "$1" ]] || continue
        od -An -t u8 -j $((start + 8 * index)) -N 8 "$server/status" | tr -d ' '
        return 0
    done
    echo "there is no counter $1" >&2
    return 1
}

# As in "2 1048576 0": two listed files were opened, 1 MiB came from memory, nothing of them from the kernel.
listed_and_bytes() {
    echo "$(counter LISTED) $(counter BYTES) $(counter BYTES_KERNEL)"
}

# Have the kernel drop these files from its page cache; they are on the disk as they are.
forget_pages() {
    local file left=0
    for file; do
        dd of="$file" oflag=nocache conv=nocreat,notrunc,fdatasync count=0 status=none
        left=$((left + $(fincore --bytes --noheadings --output RES "$file")))
    done
    [[ $left -lt 1000000 ]] || { echo "$left bytes can't be dropped from memory" >&2; return 1; }
}

# Where in the memory of process $1 the served file $2 is mapped, be it deleted by now.
addresses() {
    awk -v path="$server/files/$2" 'index($0, path) { print $1 }' "/proc/$1/maps"
}

# ---- the keeper ----

# The processes that have listed files in memory: a keeper, or two during a reload; and the child that looks at the files.
keeping() {
    pgrep -g "$(<"$server/group")" -x xfermmap -r D,R,S,T,t || true
}

# The keeper that the status names.
keeper() {
    "$project/build/xfermmap" status -f "$server/status" | sed -nE 's/^Keeper: process ([0-9]+)[, ].*/\1/p'
}

# The child is there for some milliseconds, every three seconds.
has_one_keeper() {
    [[ $(keeping) && $(keeping) == "$(keeper)" ]]
}

has_no_keeper() {
    [[ ! $(keeping) ]]
}

# How much the keeper has locked, bytes.
kept() {
    locked "$(keeper)"
}

is_kept() {
    is_mapped "$(keeper)" "$1"
}

# The size, of so many bytes, in whole pages.
in_pages() {
    local page
    page=$(getconf PAGESIZE)
    echo $((($1 + page - 1) / page * page))
}

# The status has a row for the served file $1, with this size, as in "8.6 MiB"; or, without one, any.
is_shown() {
    "$project/build/xfermmap" status -f "$server/status" | grep -qE "^ +${2:-[0-9].*} +[0-9?].* $server/files/$1$"
}

is_not_shown() {
    ! is_shown "$@"
}

pages_in_memory() {
    fincore --bytes --noheadings --output RES "$server/files/$1" | tr -d ' '
}

logged_times() {
    [[ $(logged "$2") -ge $1 ]]
}

# To be denied with "run -1": more than 1 is an error.
is_mapped() {
    grep -qF "$server/files/$2" "/proc/$1/maps"
}

# How much of a process's memory is locked, bytes.
locked() {
    awk '/^VmLck:/ { print $2 * 1024 }' "/proc/$1/status"
}

# What to run a command with, so that a plain user does: in $as_user.
become_plain_user() {
    as_user=()
    [[ $EUID -eq 0 ]] || return 0
    as_user=(setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups)
    "${as_user[@]}" test -r "$library" -a -x "$proftpd" || skip 'nobody else may read the project'
    chown -R nobody "$server"
}

# The server shuts others out of its memory and its descriptors, prctl(PR_SET_DUMPABLE), be they the user who runs it.
needs_insight() {
    if [[ $EUID -ne 0 ]] || ! is_allowed 19 || ! is_allowed 14; then
        skip 'only root can look into a server at work, with CAP_SYS_PTRACE and CAP_IPC_LOCK'
    fi
}

# Whether root has the capability of this number here, capabilities(7): in a container it may not.
is_allowed() {
    local bounding
    bounding=$(sed -n 's/^CapBnd:[^0-9a-f]*//p' /proc/self/status)
    [[ $((16#$bounding >> $1 & 1)) -eq 1 ]]
}

needs_namespaces() {
    unshare --mount --pid --fork true 2>/dev/null ||
        skip 'no namespaces: they take root with CAP_SYS_ADMIN, and a root directory that is a mount point'
}

# What is on tmpfs can't be dropped from memory. What is on overlayfs is left to the kernel for some seconds, and files
# with holes are on both.
needs_disk() {
    [[ $(type_of_place) != @(tmpfs|overlayfs) ]] || skip "TMPDIR is on $(type_of_place); set it to a directory on a disk"
}

# On overlayfs the library checks a file before each read, which then does not fault; and the kernel does not say what is
# in its page cache.
needs_no_overlay() {
    [[ $(type_of_place) != overlayfs ]] || skip 'TMPDIR is on overlayfs; set it to a directory on a disk'
}

is_in_memory() {
    [[ $(type_of_place) == tmpfs ]]
}

type_of_place() {
    stat -f -c %T "${TMPDIR:-/tmp}"
}

needs_fuse() {
    [[ -x "$project/build/faultfs" ]] || { echo 'build/faultfs is missing: run make check' >&2; return 1; }
    [[ -r /dev/fuse && -w /dev/fuse ]] || skip '/dev/fuse is missing, or not for this user'
    is_allowed 21 || skip 'mounting takes CAP_SYS_ADMIN'
}

# The server takes its time to close what it had of a session that has ended, and a former keeper to go.
# is_steady COMMAND...: it says the same once more.
is_steady() {
    local now
    now=$("$@")
    sleep 1
    [[ $("$@") == "$now" ]]
}

# Have the directive file read again, and wait until the log says what came of it, and that the files are in memory.
reload() {
    local verdicts
    verdicts=$(count_verdicts)
    server_settle
    kill -HUP "$(<"$server/pid")"
    server_await has_verdicts $((verdicts + 1))
    server_await server_is_up
    server_await listed_are_in
}

has_verdicts() {
    [[ $(count_verdicts) -ge $1 ]]
}

count_verdicts() {
    grep -scE 'is in force|is refused' "$server/preload.log" || true
}

# The file $server/original is to be had as disk/broken, with an error in $2 bytes from $1 on.
broken_mount() {
    needs_fuse
    disk_mount "$server/original" "$1" "$2" 0
}

# ---- a file that changes while it is read ----

# Read some of file $1, do $2, read on, and print what that was.
reads_on() {
    "${@:3}" /usr/bin/python3 - "$1" "$2" <<'PYTHON'
import os, sys, time
name, act = sys.argv[1:]
fd = os.open(name, os.O_RDONLY)
assert os.read(fd, 65536) == b"o" * 65536 and os.pread(fd, 65536, 65536) == b"o" * 65536
exec(act)
try:
    print(os.read(fd, 16384)[:3], len(os.read(fd, 16384)), os.pread(fd, 3, 0))
except OSError as error:
    print(error)
PYTHON
}

# The same by the kernel and with the library, which counts in a new status file. $make makes the file $1 before.
reads_the_same() {
    local expected actual
    rm -f "$server/status"
    # shellcheck disable=SC2154 # the test's
    $make
    expected=$(reads_on "$@")
    $make
    actual=$(reads_on "$@" env LD_PRELOAD="$library" XFERMMAP_CONF="$server/preload.conf" XFERMMAP_PROCESS=python3)
    [[ $actual == "$expected" ]] || { printf '%s\n' "after $2" "by the kernel: $expected" "with the library: $actual"; return 1; } >&2
}

# ---- one session, step by step ----

# Leaves the session's process in $session.
session_begin() {
    exec {control}<>"/dev/tcp/$(<"$server/address")/$(<"$server/ftp_port")"
    session_reply
    # shellcheck disable=SC2034 # for the tests
    session=$(pgrep -n -P "$(<"$server/pid")")
}

session_login() {
    session_begin
    session_say "USER $account"
    session_say "PASS $account"
    session_say 'TYPE I'
}

# The last line of the server's answer is in $reply.
session_say() {
    printf '%s\r\n' "$1" >&"$control"
    session_reply
}

session_reply() {
    reply=
    until [[ $reply =~ ^[0-9]{3}' ' ]]; do
        IFS= read -r -t 30 -u "$control" reply
        reply=${reply%$'\r'}
    done
}

# Begin to download; nothing is read but the first byte, so that the server sends no more than fits into the sockets.
session_download() {
    local n
    session_say PASV
    IFS='(,)' read -ra n <<<"$reply"
    exec {data}<>"/dev/tcp/${n[1]}.${n[2]}.${n[3]}.${n[4]}/$((n[5] * 256 + n[6]))"
    session_say "RETR $1"
    echo "$reply" >"$server/replies"
    head -c 1 <&"$data" >"$server/received"
}

# Read the rest, and the server's last word.
session_finish() {
    timeout 60 cat <&"$data" >>"$server/received" || true
    exec {data}<&-
    session_reply
    echo "$reply" >>"$server/replies"
}

session_end() {
    session_say QUIT
    exec {control}<&-
}
