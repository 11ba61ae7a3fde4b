#!/usr/bin/env bats
# Servers without /dev/log or without all of /proc: in containers, and with /proc mounted hidepid.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    needs_namespaces
    server_create 'UseSendfile off'
    files=$server/files
    tool=$project/build/xfermmap
    make_file big 5000001
    make_inside
    preload=("LD_PRELOAD=$library" "XFERMMAP_CONF=$server/preload.conf")
}

teardown() {
    end_started
    [[ ! ${BATS_TEST_COMPLETED:-} && -e ${server:-}/log ]] && cat "$server/log"
    server_remove
}

# Leaves in $inside a command prefix that runs a command in a mount namespace without /dev/log, with $hidepid if set.
make_inside() {
    inside=$server/inside
    mkdir "$server/dev"
    cat >"$inside" <<'SCRIPT'
#!/usr/bin/env bash
set -e
dev=${0%/*}/dev
mount -t tmpfs -o mode=755 none "$dev"
for name in null zero random urandom; do
    : >"$dev/$name"
    mount --bind "/dev/$name" "$dev/$name"
done
ln -s /proc/self/fd "$dev/fd"
ln -s fd/2 "$dev/stderr"
mount --rbind "$dev" /dev
[[ ! ${hidepid:-} ]] || mount -t proc -o "hidepid=$hidepid" proc /proc
exec "$@"
SCRIPT
    chmod 755 "$inside"
}

# The directives, one a line, of a server that lists "big" and a missing file.
list_in_container() {
    printf '%s\n' 'TransferMMapEngine on' "TransferMMapStatusFile $server/status" \
        "TransferMMapFile $files/big $files/absent" "$@" >"$server/preload.conf"
}

# start_in_container OPTION...: the server's options; -n keeps it in the foreground. Output goes to
# ${pipe:-$server/log}.
start_in_container() {
    server_settle
    setsid unshare -m "$inside" env "${preload[@]}" "$proftpd" -c "$server/proftpd.conf" "$@" \
        </dev/null >>"${pipe:-$server/log}" 2>&1 3>&- &
    echo $! >"$server/group"
    server_await server_is_up
}

# Count the library's lines on standard error that match.
said() {
    grep -cE "libxfermmap: .*$1" "$server/log"
}

all_said() {
    [[ $(said 'is in force') -eq 1 && $(said 'absent: No such file') -eq 1 && $(said 'listed files: 1 in memory') -eq 1 ]]
}

checked() {
    run --separate-stderr unshare -m "$inside" "$tool" check -c "$server/preload.conf"
}

status_of_server() {
    "$@" "$tool" status -f "$server/status" "${format[@]}"
}

# Do not report as gone what can't be seen: in text, in JSON, for Prometheus. Arguments: the prefix to run the tool
# with.
cannot_tell() {
    local format=()
    run -3 status_of_server "$@"
    echo "$output"
    [[ ${lines[0]} == 'cannot tell: process '* && ${lines[1]} == *", which can't be seen from here, "* ]]
    run ! grep -q 'is gone' <<<"$output"
    format=(--json)
    run -3 status_of_server "$@"
    [[ $(grep -cE '"alive": ?null' <<<"$output") -eq 2 ]]
    format=(--prometheus)
    run -3 status_of_server "$@"
    run ! grep -E '^xfermmap_(keeper_)?up ' <<<"$output"
}

# ---- the log ----

@test "what the log does not take is on standard error, and check tells" {
    local log
    mkdir "$server/directory"
    for log in syslog /dev/stderr /proc/self/fd/2 "$server/directory" "$server/none/log"; do
        list_in_container "TransferMMapLog $log"
        : >"$server/log"
        start_in_container -n
        server_await all_said
        server_stop
        sed -i "s| $files/absent||" "$server/preload.conf"
        checked
        echo "$stderr"
        [[ $log == syslog || $status -eq 1 ]] # a server with -n needs no log
        [[ $stderr == "xfermmap: TransferMMapLog $log: "* ]]
    done
}

# Leaves in $reader the process that copies the pipe into the server's log. It exits when the pipe closes.
output_is_a_pipe() {
    pipe=$server/pipe
    mkfifo "$pipe"
    cat "$pipe" >"$server/log" 3>&- &
    reader=$!
    started+=("$reader")
}

has_ended() {
    ! kill -0 "$1" 2>/dev/null
}

@test "TransferMMapLog stderr: each line once, and nothing of it is held open after the server" {
    local reader pipe
    output_is_a_pipe
    list_in_container 'TransferMMapLog stderr'
    start_in_container -n
    server_await all_said
    kill -KILL "$(keeper)"
    sleep 1
    is_downloaded big
    server_await said 'the keeper has ended'
    kill -HUP "$(<"$server/pid")"
    server_await has_said 2 'listed files: 1 in memory'
    [[ $(said 'is in force') -eq 2 ]]
    kill -KILL "$(<"$server/pid")"
    server_await server_is_gone
    rm "$server/group"
    server_await has_ended "$reader"

    sed -i "s| $files/absent||" "$server/preload.conf"
    checked
    echo "$stderr"
    [[ $status -eq 0 && ! $stderr ]]
}

has_said() {
    [[ $(said "$2") -eq $1 ]]
}

@test "TransferMMapLog stderr: in the background it is let go" {
    local reader pipe
    output_is_a_pipe
    list_in_container 'TransferMMapLog stderr'
    start_in_container
    server_await has_ended "$reader"
    server_await test -s "$server/pid"
    cp "$server/pid" "$server/group"
    server_await has_one_keeper
    kill -0 "$(<"$server/pid")"
}

# ---- whether the server runs ----

serve_listed() {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big"
    server_start preloaded
}

@test "where /proc hides processes, a server that runs is not called gone, and one that is gone is" {
    local hidepid as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups) format=()
    serve_listed
    for hidepid in 1 2 4; do
        export hidepid
        cannot_tell unshare -m "$inside" "${as_nobody[@]}"
        run -0 status_of_server unshare -m "$inside"
    done
    server_stop
    run -1 status_of_server unshare -m "$inside" "${as_nobody[@]}"
}

@test "where /proc hides processes, a keeper that runs is not called gone" {
    local format=()
    serve_listed
    server_stop
    : >"$server/preload.log"
    hidepid=2 start_in_container -n
    server_await listed_are_in
    sleep 1
    is_downloaded big
    sleep 1
    is_downloaded big
    run ! logged 'the keeper has ended'
    kill -KILL "$(keeper)"
    server_await downloaded_and_logged # until process 1 has reaped it
}

downloaded_and_logged() {
    is_downloaded big && sleep 0.5 && logged 'the keeper has ended'
}

@test "a server in another PID namespace keeps its status file, and leaves it when it has ended" {
    needs_no_overlay
    local elsewhere=(unshare --pid --fork --mount-proc --kill-child) format=()
    local second=("${elsewhere[@]}" env "${preload[@]}" XFERMMAP_PROCESS=cat cat "$server/address")
    serve_listed
    cannot_tell "${elsewhere[@]}"
    run -0 "${second[@]}"
    [[ $output == *'TransferMMapStatusFile'*'another running server '* ]]
    run -0 status_of_server
    [[ ${lines[1]} == "Server: process $(<"$server/pid"), "* ]]

    kill -KILL -- "-$(<"$server/group")"
    server_await server_is_gone
    rm "$server/group"
    run -1 status_of_server "${elsewhere[@]}"
    [[ ${lines[0]} == "dead: no server runs; the last was process "* ]]
    run -0 "${second[@]}"
    [[ $output != *'TransferMMapStatusFile'* ]]
    [[ $(echo "$server"/status*) == "$server/status" ]]
}

# Stop one between creating the file and filling it.
@test "of two processes that start at the same moment one counts in the file, and no other file is left" {
    needs_no_overlay
    directives 'TransferMMapEngine on'
    mkfifo "$server/wait"
    setsid strace -f -o "$server/trace" -e trace=fallocate -e inject=fallocate:delay_enter=2s \
        env "${preload[@]}" "$proftpd" -n -c "$server/proftpd.conf" </dev/null >>"$server/log" 2>&1 3>&- &
    echo $! >"$server/group"
    server_await grep -qs fallocate "$server/trace"
    env "${preload[@]}" XFERMMAP_PROCESS=cat cat "$server/wait" >"$server/said" 2>&1 3>&- &
    started+=($!)
    server_await server_is_up
    exec 4>"$server/wait"
    exec 4>&-
    wait "${started[0]}"
    [[ ! -s $server/said ]]
    [[ $(logged 'TransferMMapStatusFile .*: another running server ') -eq 1 ]]
    [[ $(echo "$server"/status*) == "$server/status" ]]
}

@test "in a container, the server serves, and status and check tell, from inside and from the host" {
    needs_no_overlay
    local format=() init outer in_it
    list_in_container
    sed -i "s| $files/absent||" "$server/preload.conf"
    mkfifo "$server/go"
    # shellcheck disable=SC2016 # variables of the inner shell
    hidepid=2 setsid unshare -U -m -p -n --fork --kill-child bash -c 'read -r _ <"$1/go"; shift; exec "$@"' - "$server" "$inside" \
        bash -c 'ip link set lo up; exec "$@"' - env "${preload[@]}" "$proftpd" -n -c "$server/proftpd.conf" \
        </dev/null >>"$server/log" 2>&1 3>&- &
    outer=$!
    echo $outer >"$server/group"
    server_await pgrep -P $outer
    init=$(pgrep -P $outer)
    echo '0 0 65536' >"/proc/$init/uid_map"
    echo '0 0 65536' >"/proc/$init/gid_map"
    echo >"$server/go"
    server_await said 'listed files: 1 in memory'
    echo "$init" >"$server/pid"

    in_it=(nsenter -t "$init" -U -m -p -n)
    "${in_it[@]}" curl -q -sS --max-time 60 "$(ftp_url big)" | cmp "$files/big" -
    run -0 status_of_server "${in_it[@]}"
    echo "$output"
    grep -qE " 1 +4\.8 MiB +0 B +$files/big$" <<<"$output"
    run -0 "${in_it[@]}" "$tool" check -c "$server/preload.conf"
    cannot_tell env
    run -0 "$tool" check -c "$server/preload.conf"
    server_stop
    run -1 status_of_server
}
