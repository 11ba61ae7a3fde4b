#!/usr/bin/env bats
# Where the server has no /dev/log, or not all of /proc: in containers, and with /proc mounted hidepid.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    [[ $EUID -eq 0 ]] || skip 'only root can make namespaces'
    server_create 'UseSendfile off'
    files=$server/files
    tool=$project/build/xfermmap
    make_file big 5000001
    make_inside
    preload=("LD_PRELOAD=$library" "XFERMMAP_CONF=$server/preload.conf")
}

teardown() {
    [[ ! ${BATS_TEST_COMPLETED:-} && -e ${server:-}/log ]] && cat "$server/log"
    server_remove
}

# Leaves $inside, which runs a command in a mount namespace whose /dev has no log.
make_inside() {
    inside=$server/inside
    mkdir "$server/dev"
    cat >"$inside" <<'SCRIPT'
#!/usr/bin/env bash
set -e
dev=${0%/*}/dev
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$dev"
cp -a /dev/null /dev/zero /dev/random /dev/urandom "$dev"
ln -s /proc/self/fd "$dev/fd"
ln -s fd/2 "$dev/stderr"
mount --bind "$dev" /dev
exec "$@"
SCRIPT
    chmod 755 "$inside"
}

# The directives, each a line, of a server that lists "big" and a file that is missing.
list_in_container() {
    printf '%s\n' 'TransferMMapEngine on' "TransferMMapStatusFile $server/status" \
        "TransferMMapFile $files/big $files/absent" "$@" >"$server/preload.conf"
}

# start_in_container OPTION...: the server's options; -n keeps it in the foreground. Its output is in ${pipe:-$server/log}.
start_in_container() {
    setsid unshare -m "$inside" env "${preload[@]}" "$proftpd" -c "$server/proftpd.conf" "$@" \
        </dev/null >>"${pipe:-$server/log}" 2>&1 3>&- &
    echo $! >"$server/group"
    server_await server_is_up
}

# How often a line of the library's is on standard error.
said() {
    grep -cE "libxfermmap: .*$1" "$server/log"
}

all_said() {
    [[ $(said 'is in force') -eq 1 && $(said 'absent: No such file') -eq 1 && $(said 'listed files: 1 in memory') -eq 1 ]]
}

checked() {
    run --separate-stderr unshare -m "$inside" "$tool" check -c "$server/preload.conf"
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
        [[ $log == syslog || $status -eq 1 ]] # a server with -n does well without
        [[ $stderr == "xfermmap: TransferMMapLog $log: "* ]]
    done
}

# Leaves the process that reads the pipe into the server's log in $reader; it ends when the pipe does.
output_is_a_pipe() {
    pipe=$server/pipe
    mkfifo "$pipe"
    cat "$pipe" >"$server/log" 3>&- &
    reader=$!
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
