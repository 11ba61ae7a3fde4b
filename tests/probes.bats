#!/usr/bin/env bats
# The static probes of libxfermmap(8), PROBES: gdb(1) attaches to a session and follows its downloads.

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    needs_insight
    grep -q 'Name: served' < <(readelf -n "$library") || skip 'the library was built without sys/sdt.h'
    server_create 'UseSendfile off'
    directives 'TransferMMapEngine on'
    server_start preloaded
    session_login
}

teardown() {
    [[ ! ${tracer:-} ]] || kill "$tracer" 2>/dev/null || true
    server_remove
}

# Record the session's probes in $server/probes.
attach() {
    cat >"$server/gdb" <<'GDB'
set pagination off
set breakpoint pending off
handle SIGBUS nostop noprint pass
break -probe-stap xfermmap:served
commands
silent
printf "served %d %ld %ld\n", $_probe_arg0, $_probe_arg1, $_probe_arg2
continue
end
break -probe-stap xfermmap:released
commands
silent
printf "released %d %s %ld\n", $_probe_arg0, (char *)$_probe_arg1, $_probe_arg2
continue
end
break -probe-stap xfermmap:left
commands
silent
printf "left %d %s\n", $_probe_arg0, (char *)$_probe_arg1
continue
end
echo attached\n
continue
GDB
    gdb -q -batch -nx -p "$session" -x "$server/gdb" </dev/null >"$server/probes" 2>&1 3>&- &
    tracer=$!
    server_await grep -q '^attached' "$server/probes" || { cat "$server/probes"; return 1; }
}

download() {
    session_download "$1"
    session_finish
    cmp "$server/files/$1" "$server/received"
}

@test "a download from memory, from its open to its close" {
    make_file large 6000000
    attach
    download large
    session_end
    wait "$tracer"
    cat "$server/probes"
    inode=$(stat -c %i "$server/files/large")
    fd=$(sed -nE "s/^served ([0-9]+) 6000000 $inode\$/\1/p" "$server/probes")
    [[ $fd ]]
    grep -A 1 "^served $fd 6000000" "$server/probes" | grep -qx "released $fd close 6000000"
}

@test "a file that is left to the kernel, and one that shrinks while it is sent" {
    make_file small 1000
    make_file shrinks 60000000
    attach
    download small
    session_download shrinks
    truncate -s 1000000 "$server/files/shrinks"
    session_finish
    session_end
    wait "$tracer"
    cat "$server/probes"
    grep -qxE 'left [0-9]+ smaller than TransferMMapMinSize' "$server/probes"
    grep -qxE 'released [0-9]+ (fault|file changed) [0-9]+' "$server/probes"
}
