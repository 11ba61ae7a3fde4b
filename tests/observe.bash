# Observe a server and its sessions from outside, and drive a client step by step. Source it instead of server.bash;
# all functions act on $server.

source "${BASH_SOURCE[0]%/*}/server.bash"

started=() # processes to end in the test's teardown

end_started() {
    local process
    for process in "${started[@]}"; do
        kill "$process" 2>/dev/null || true
        wait "$process" || true
    done
    started=()
}

# Create the served file $1 with so many random bytes.
make_file() {
    random_bytes "$2" >"$server/files/$1"
}

is_downloaded() {
    ftp_get "$1" | cmp "$server/files/$1" -
}

# Write directives, each argument a line, with a log and a status file.
directives() {
    printf '%s\n' "TransferMMapLog $server/preload.log" "TransferMMapStatusFile $server/status" "$@" \
        >"$server/preload.conf"
}

# Count the lines of the library's log that match; fail if there are none.
logged() {
    grep -cE "libxfermmap: .*$1" "$server/preload.log"
}

# Print one of STATUS_COUNTERS, whose order only status.h defines. The header says where they start.
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

# For example "2 1048576 0": two listed files were opened, 1 MiB came from memory, none of it from the kernel.
listed_and_bytes() {
    echo "$(counter LISTED) $(counter BYTES) $(counter BYTES_KERNEL)"
}

# Drop these files from the kernel's page cache, after writing them to disk.
forget_pages() {
    local file left=0
    for file; do
        dd of="$file" oflag=nocache conv=nocreat,notrunc,fdatasync count=0 status=none
        left=$((left + $(fincore --bytes --noheadings --output RES "$file")))
    done
    [[ $left -lt 1000000 ]] || { echo "$left bytes can't be dropped from memory" >&2; return 1; }
}

# Where process $1 maps the served file $2, even if it was deleted since.
addresses() {
    awk -v path="$server/files/$2" 'index($0, path) { print $1 }' "/proc/$1/maps"
}

# ---- the keeper ----

# The processes that map listed files: a keeper, or two during a reload; and the child that checks the files.
keeping() {
    pgrep -g "$(<"$server/group")" -x xfermmap -r D,R,S,T,t || true
}

# The keeper that the status names.
keeper() {
    "$project/build/xfermmap" status -f "$server/status" | sed -nE 's/^Keeper: process ([0-9]+)[, ].*/\1/p'
}

# The child runs for some milliseconds, every three seconds.
has_one_keeper() {
    [[ $(keeping) && $(keeping) == "$(keeper)" ]]
}

has_no_keeper() {
    [[ ! $(keeping) ]]
}

# Bytes that the keeper has locked.
kept() {
    locked "$(keeper)"
}

is_kept() {
    is_mapped "$(keeper)" "$1"
}

# Round a size in bytes up to whole pages.
in_pages() {
    local page
    page=$(getconf PAGESIZE)
    echo $((($1 + page - 1) / page * page))
}

# status_is PATTERN OPTION...: the status has a matching line. grep reads to the end: the tool would fail with SIGPIPE.
status_is() {
    "$project/build/xfermmap" status -f "$server/status" "${@:2}" | grep -E "$1" >/dev/null
}

# The status has a row for the served file $1, with this size, for example "8.6 MiB"; or with any.
is_shown() {
    status_is "^ +${2:-[0-9].*} +[0-9?].* $server/files/$1$"
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

# Negate it with "run -1": more than 1 is an error.
is_mapped() {
    grep -qF "$server/files/$2" "/proc/$1/maps"
}

# Bytes of a process's memory that are locked.
locked() {
    awk '/^VmLck:/ { print $2 * 1024 }' "/proc/$1/status"
}

# Leaves in $as_user a command prefix that drops to an unprivileged user.
become_plain_user() {
    as_user=()
    [[ $EUID -eq 0 ]] || return 0
    as_user=(setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups)
    "${as_user[@]}" test -r "$library" -a -x "$proftpd" || skip 'nobody else may read the project'
    chown -R nobody "$server"
}

# The server blocks access to its memory and descriptors by prctl(PR_SET_DUMPABLE), even for its own user.
needs_insight() {
    if [[ $EUID -ne 0 ]] || ! is_allowed 19 || ! is_allowed 14; then
        skip 'only root can look into a server at work, with CAP_SYS_PTRACE and CAP_IPC_LOCK'
    fi
}

# True if root has the capability of this number here, capabilities(7): in a container it may lack it.
is_allowed() {
    local bounding
    bounding=$(sed -n 's/^CapBnd:[^0-9a-f]*//p' /proc/self/status)
    [[ $((16#$bounding >> $1 & 1)) -eq 1 ]]
}

needs_namespaces() {
    unshare --mount --pid --fork true 2>/dev/null ||
        skip 'no namespaces: they take root with CAP_SYS_ADMIN, and a root directory that is a mount point'
}

# Files on tmpfs can't be dropped from memory. The library leaves young files on overlayfs to the kernel, and files
# with holes on both.
needs_disk() {
    [[ $(type_of_place) != @(tmpfs|overlayfs) ]] || skip "TMPDIR is on $(type_of_place); set it to a directory on a disk"
}

# On overlayfs the library leaves files to the kernel that are no older than the directives, and checks others before
# each read, which then does not fault. The kernel has no handles of files there, does not report what is in its page
# cache, and a mapping of the status file holds no lock.
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

# is_steady COMMAND...: prints the same twice. The server needs time to close what an ended session had, and a former
# keeper to exit.
is_steady() {
    local now
    now=$("$@")
    sleep 1
    [[ $("$@") == "$now" ]]
}

# Reload, and wait until the log has a verdict and the files are in memory.
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

# Mount the file $server/original as disk/broken, with a read error in $2 bytes from $1 on.
broken_mount() {
    needs_fuse
    disk_mount "$server/original" "$1" "$2" 0
}

# ---- a file that changes while it is read ----

# Read part of file $1, do $2, read on, and print the result.
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

# Compare the kernel with the library, which counts in a new status file. $make creates the file $1 before each.
reads_the_same() {
    local expected actual
    rm -f "$server/status"
    # shellcheck disable=SC2154 # the test sets it
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

# Leaves the last line of the server's answer in $reply.
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

# Begin to download, and read only the first byte, so that the server sends no more than the sockets hold.
session_download() {
    local n
    session_say PASV
    IFS='(,)' read -ra n <<<"$reply"
    exec {data}<>"/dev/tcp/${n[1]}.${n[2]}.${n[3]}.${n[4]}/$((n[5] * 256 + n[6]))"
    session_say "RETR $1"
    echo "$reply" >"$server/replies"
    head -c 1 <&"$data" >"$server/received"
}

# Read the rest, and the server's last reply.
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
