#!/usr/bin/env bats
# The ways to start a server: in each, listed files come from memory; and when the server only answers a question, the
# library stays inert.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server_create 'UseSendfile off'
    random_bytes 6000000 >"$server/files/big"
    directives 'TransferMMapEngine on' "TransferMMapFile $server/files/big"
    preload=("LD_PRELOAD=$library" "XFERMMAP_CONF=$server/preload.conf" "XFERMMAP_WAY=$XFERMMAP_WAY")
    command=("$proftpd" -c "$server/proftpd.conf")
}

teardown() {
    server_remove
    end_started
}

# Run a server in the foreground, for server_stop to stop.
in_foreground() {
    server_settle
    server_run "$@" || { cat "$server/log"; return 1; }
    server_await listed_are_in
}

serves_from_memory() {
    ftp_get big | cmp "$server/files/big" -
    [[ $(listed_and_bytes) == '1 6000000 0' ]]
}

@test "in the foreground" {
    in_foreground env "${preload[@]}" "${command[@]}" -n
    serves_from_memory
}

# The server listens on one socket after the other. The delay lets the first load the list before the second.
@test "on several sockets, with one keeper" {
    echo "TransferMMapFile $server/files/absent" >>"$server/preload.conf"
    in_foreground strace -f --seccomp-bpf -o "$server/trace" -e trace=listen -e inject=listen:delay_exit=500000 \
        env "${preload[@]}" "${command[@]}" -n
    server_await has_listened 2
    serves_from_memory
    [[ $(logged 'absent: No such file') -eq 1 && $(logged 'listed files:') -eq 1 ]]
    server_await has_one_keeper
}

has_listened() {
    [[ $(grep -c 'listen.* = 0' "$server/trace") -ge $1 ]]
}

# Arguments: the prefix to run it with.
into_background() {
    server_settle
    "$@" env "${preload[@]}" "${command[@]}" </dev/null >>"$server/log" 2>&1 3>&- &
    started+=($!)
    server_await test -s "$server/pid"
    cp "$server/pid" "$server/group" # it became a process group leader
    server_await server_is_up
    server_await listed_are_in
    [[ $(ps -o ppid= "$(<"$server/pid")") -ne $BASHPID ]]
}

@test "as a daemon" {
    into_background
    serves_from_memory

    reload
    ftp_get big | cmp "$server/files/big" -
    [[ $(counter LISTED) -eq 2 ]]
}

# It then listens before the fork, too, on a socket that is not for clients.
@test "as a daemon that ftpdctl talks to" {
    needs_disk
    needs_insight
    sed -i "s|ControlsEngine off|ControlsEngine on\n ControlsSocket $server/ftpdctl|" "$server/proftpd.conf"
    into_background strace -f -o "$server/trace" -e trace=clone -e inject=clone:delay_enter=500000
    is_kept big
    [[ $(kept) -ge 6000000 ]]
    [[ $(logged 'listed files:') -eq 1 ]]
    serves_from_memory
}

@test "from a bare environment, as systemd's" {
    in_foreground env -i "${preload[@]}" "${command[@]}" -n
    serves_from_memory
}

@test "under a plain user" {
    local as_user
    become_plain_user
    in_foreground "${as_user[@]}" env "${preload[@]}" "${command[@]}" -n
    [[ $(ps -o uid= "$(<"$server/pid")") -ne 0 ]]
    serves_from_memory
}

# Start a server for each connection, as inetd does, with the connection as its standard input and output. Disabling
# its prctl() lets strace see its descriptors even without root.
@test "by inetd, one server for each connection" {
    needs_disk
    sed -i 's/ServerType standalone/ServerType inetd/' "$server/proftpd.conf"
    cat >"$server/inetd" <<'PYTHON'
import os, socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
connection, _ = listener.accept()
listener.close()
open(sys.argv[3], 'w').write(str(os.getpid()))
os.dup2(connection.fileno(), 0)
os.dup2(connection.fileno(), 1)
os.dup2(connection.fileno(), 2)
os.execvp(sys.argv[4], sys.argv[4:])
PYTHON
    in_foreground python3 "$server/inetd" "$(<"$server/address")" "$(<"$server/ftp_port")" "$server/pid" \
        strace --seccomp-bpf -f -y -s 0 -e 'trace=/^(p?read.*|sendfile|mmap|prctl)$' -e inject=prctl:retval=0 \
        -o "$server/trace" env "${preload[@]}" "${command[@]}"
    session_login
    [[ $(kernel_calls mmap big) -eq 0 ]]
    [[ $(locked "$session") -lt $(stat -c %s "$server/files/big") ]] # the server locks some pages itself
    grep -qE '^Threads:.*[^0-9]1$' "/proc/$session/status"
    session_download big
    session_finish
    cmp "$server/files/big" "$server/received"
    session_end
    server_await server_is_gone
    rm "$server/group" # no server is left to be stopped
    served_from_memory big
}

# ---- where something is limited or set otherwise ----

@test "where no file may be longer than some KiB, ulimit -f, the server starts, and the log says so once" {
    in_foreground bash -c 'ulimit -f 64; exec "$@"' bash env "${preload[@]}" "${command[@]}" -n
    ftp_get big | cmp "$server/files/big" -
    reload
    [[ $(logged "TransferMMapStatusFile $server/status: .*ulimit -f") -eq 1 ]]
    [[ ! -e $server/status && ! $(compgen -G "$server/status.*") ]]
}

@test "where statx(2) is refused, as older container runtimes do, all is from memory" {
    in_foreground strace -f --seccomp-bpf -o "$server/trace" -e trace=statx -e inject=statx:error=EPERM \
        env "${preload[@]}" "${command[@]}" -n
    serves_from_memory
    grep -q 'statx.*EPERM .*(INJECTED)' "$server/trace"
}

# There, the lower case of I is not i.
@test "in a Turkish locale the directive file means the same at a reload as at the start" {
    localedef -i tr_TR -f UTF-8 --no-archive "$server/tr_TR.UTF-8" || skip 'package locales is not installed'
    sed -i 's/TransferMMapFile/TRANSFERMMAPFILE/' "$server/preload.conf"
    in_foreground env LOCPATH="$server" LC_ALL=tr_TR.UTF-8 "${preload[@]}" "${command[@]}" -n
    serves_from_memory
    reload
    run ! logged 'is refused'
    [[ $(logged 'is in force') -eq 2 ]]
}

# ---- questions only ----

@test "with a question, the server answers as without the library" {
    local question
    for question in --configtest -t --version -v --version-status --settings -V --list -l --help -h -td5; do
        ask "$question" >"$server/expected" || true
        ask "$question" "${preload[@]}" >"$server/answer" || true
        diff -u "$server/expected" "$server/answer"
        [[ $(wc -l <"$server/answer") -gt 1 ]]
    done
    [[ ! -e $server/preload.log && ! -e $server/status ]]
}

@test "with a question, neither directives nor files are looked at" {
    local question
    for question in --configtest -t -v -V -l -h; do
        strace -f -y -e trace=file,mmap -o "$server/trace" env "${preload[@]}" "${command[@]}" "$question" >"$server/answer" 2>&1
        grep -q "$library" "$server/trace"
        run ! grep -E "$server/(preload|files|status)" "$server/trace"
    done
}

# The output without times and process numbers, and the exit status. Further arguments are for the environment.
ask() {
    local status=0
    env "${@:2}" "${command[@]}" "$1" >"$server/said" 2>&1 || status=$?
    sed -E 's/^[0-9-]+ [0-9:,]+ //; s/proftpd\[[0-9]+\]/proftpd/' "$server/said"
    echo "exit status $status"
}
