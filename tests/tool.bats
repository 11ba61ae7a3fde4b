#!/usr/bin/env bats
# The command-line tool.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    tool=$project/build/xfermmap
    python=/usr/bin/python3 # Debian packages the modules
    server_create 'UseSendfile off'
    files=$server/files
    random_bytes 9000001 >"$files/big"
    random_bytes 5000 >"$files/small"
}

teardown() {
    end_started
    server_remove
}

# ---- the command line ----

@test "xfermmap tells how it is used" {
    local command
    for command in '' check status run; do
        # shellcheck disable=SC2086 # empty, or one word
        run -0 --separate-stderr "$tool" $command --help
        [[ $output == "Usage: xfermmap${command:+ $command} "*'Exit status'* && ! $stderr ]]
        # shellcheck disable=SC2086
        run -2 --separate-stderr "$tool" $command --nonsense
        [[ ! $output && $stderr == *'xfermmap'*'nonsense'* ]]
    done
    local asked
    for asked in -h help 'check -h' 'help check' 'status -h' 'help status' 'run -h' 'help run'; do
        # shellcheck disable=SC2086 # words
        run -0 --separate-stderr "$tool" $asked
        command=$(tr -d ' -' <<<"${asked/help/-h}")
        command=${command/#h/} command=${command/%h/}
        [[ $output == "Usage: xfermmap${command:+ $command} "*'Exit status'* && ! $stderr ]]
    done
    run -2 --separate-stderr "$tool" help serve
    [[ $stderr == "xfermmap: there is no command 'serve'"* ]]
    run -0 "$tool" --version
    [[ $output =~ ^xfermmap\ [0-9.]+$ ]]
    run -2 --separate-stderr "$tool"
    run -2 --separate-stderr "$tool" serve
    [[ $stderr == "xfermmap: there is no command 'serve'"* ]]
    run -2 --separate-stderr "$tool" status --watch=0
    for command in '--json --prometheus' '-pj' '--watch --prometheus' '-p -w'; do
        # shellcheck disable=SC2086 # words
        run -2 --separate-stderr timeout 10 "$tool" status -f "$server/status" $command
        [[ ! $output && $stderr == 'xfermmap status: --'*"--prometheus"*" don't go together"* ]]
    done
    run -2 --separate-stderr "$tool" run
}

# ---- check ----

checked() {
    run --separate-stderr "$tool" check -c "$server/preload.conf"
}

@test "check says what would be listed" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big $files/sm*"
    checked
    echo "$output"
    [[ $status -eq 0 && ! $stderr ]]
    [[ $output == *'TransferMMapEngine on'* ]]
    grep -qE "^ +8\.6 MiB +(8\.6 MiB|\?) +$files/big$" <<<"$output"
    grep -qE "^ +4\.9 KiB +(4\.9 KiB|\?) +$files/small$" <<<"$output"
    grep -qE '^2 listed files, 8\.6 MiB; TransferMMapMaxMemory is' <<<"$output"
}

@test "check says what each directive is" {
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1536' 'TransferMMapReadSize off' \
        "TransferMMapFile $files/big \"$files/sm*\""
    checked
    head -n 11 <<<"$output" | diff - <(
        printf 'TransferMMap%s\n' 'Engine on' "File $files/big" "File $files/sm*" 'MinSize 1536 B' 'Lock on' \
            'MaxMemory 50%' 'Hot off' 'ReadAhead 8 MB' 'ReadSize off' "Log $server/preload.log" "StatusFile $server/status"
    )
    directives 'TransferMMapMaxMemory 3072 MB' 'TransferMMapMinSize 0'
    checked
    grep -qx 'TransferMMapMaxMemory 3 GB' <<<"$output"
    grep -qx 'TransferMMapMinSize 0' <<<"$output"
}

@test "check says which variables it took" {
    directives "TransferMMapFile $files/%{env:XM_NAME}"
    XM_NAME=big checked
    [[ $status -eq 0 && $output == *"preload.conf:3: %{env:XM_NAME} is taken from this environment"*"$files/big"* ]]
    checked
    [[ $status -eq 1 && $stderr == "$server/preload.conf:3: %{env:XM_NAME} is not set"* ]]
}

@test "check says which of the server's directives are in the way" {
    local notes="proftpd.conf: (UseSendfile is on|SocketOptions sndbuf 65536 is)"
    directives 'TransferMMapEngine on'
    printf '%s\n' 'Port 21' 'SocketOptions rcvbuf 4096 sndbuf 65536' >"$server/proftpd.conf"
    run --separate-stderr "$tool" check -c "$server/preload.conf" -s "$server/proftpd.conf"
    [[ $status -eq 0 && $(grep -cE "$notes" <<<"$output") -eq 2 ]]
    printf '%s\n' 'Port 21' '<Global>' 'UseSendfile off' '</Global>' >"$server/proftpd.conf"
    run --separate-stderr "$tool" check -c "$server/preload.conf" -s "$server/proftpd.conf"
    [[ $status -eq 0 && $(grep -cE "$notes" <<<"$output") -eq 0 ]]
    run --separate-stderr "$tool" check -c "$server/preload.conf" -s "$server/absent"
    [[ $status -eq 1 && $stderr == *'no such file' ]]

    # and if that is the directive file
    directives 'Port 21' 'TransferMMapEngine on'
    checked
    [[ $status -eq 0 && $output == *"$server/preload.conf: UseSendfile is on"* ]]
    directives 'Port 21' 'UseSendfile 50%' 'UseSendfile off' 'TransferMMapEngine on'
    checked
    [[ $output == *"$server/preload.conf: UseSendfile is on"* ]]
}

@test "check sees what of a file is in memory" {
    needs_disk
    forget_pages "$files/big"
    directives "TransferMMapFile $files/big"
    checked
    grep -qE "^ +8\.6 MiB +0 B +$files/big$" <<<"$output"
    grep -q '^1 listed file, ' <<<"$output"
}

@test "check says that without the engine nothing is served" {
    directives "TransferMMapFile $files/big"
    checked
    [[ $status -eq 0 && $output == 'TransferMMapEngine off; no download is served from memory'$'\n'* ]]
}

@test "check finds what a directive file has wrong" {
    local wrong=(
        'TransferMMapEngine perhaps' ':1: TransferMMapEngine: expected on or off'
        '\nTransferMMapSpeed 9' ":2: TransferMMapSpeed: unknown directive; expected one of TransferMMapEngine, "
        'TransferMMapFile a.iso' ":1: TransferMMapFile: 'a.iso' must be an absolute path"
        '# comment\n\n<Global>\nTransferMMapEngine on' ':3: <Global>: not closed; expected </Global>'
        '<Global>\n</VirtualHost>\n</Global>' ':2: </VirtualHost>: expected </Global>, which line 1 opens'
        'TransferMMapMinSize many' ':1: TransferMMapMinSize: expected a size'
        'TransferMMapFile "/srv/a' ':1: TransferMMapFile: the quotation mark is not closed'
        'TransferMMapLog none\nTransferMMapLog syslog' ':2: TransferMMapLog: set in '
        'TransferMMapLog log\nTransferMMapStatusFile s' ':2: TransferMMapStatusFile: expected an absolute path'
        'TransferMMapMaxMemory 101%' ':1: TransferMMapMaxMemory: expected'
    )
    local n
    for ((n = 0; n < ${#wrong[@]}; n += 2)); do
        echo -e "${wrong[n]}" >"$server/preload.conf"
        checked
        echo "${wrong[n]}: $stderr"
        [[ $status -eq 1 && ! $output ]]
        [[ $'\n'$stderr == *$'\n'"$server/preload.conf${wrong[n + 1]}"* ]]
        [[ $stderr == *'would be refused'* ]]
    done

    printf 'Transfer\0' >"$server/preload.conf"
    checked
    [[ $status -eq 1 && $stderr == *'preload.conf:1: a NUL byte'* ]]
    rm "$server/preload.conf"
    checked
    [[ $status -eq 1 && $stderr == "$server/preload.conf: No such file"* ]]
}

@test "check says which file is wrong as a whole" {
    local main=$server/preload.conf included=$server/included.conf file
    for file in "$main" "$included"; do
        directives "Include $included"
        true >"$included"
        chmod go+w "$file"
        checked
        echo "$stderr"
        [[ $status -eq 1 && $stderr == "$file:1: the file is writable by others than its owner; chmod go-w it"$'\n'* ]]
        rm "$file"
        mkfifo "$file"
        checked
        echo "$stderr"
        [[ $status -eq 1 && $stderr == "$file:1: the file is not a regular file; name a text file"$'\n'* ]]
        rm "$file"
    done

    ln -sf preload.conf "$main"
    checked
    [[ $status -eq 1 && $stderr == "$main:1: the file can't be opened: Too many levels of symbolic links"$'\n'* ]]
    run -1 --separate-stderr "$tool" check -c /proc/self/mem
    [[ $stderr == "/proc/self/mem:1: the file can't be read from here on: "* ]]
}

@test "check says which file an Include means" {
    directives "Include $server/absent.conf"
    checked
    [[ $status -eq 1 && $stderr == "$server/preload.conf:3: Include: $server/absent.conf: No such file or directory" ]]
    directives 'Include some.conf' "Include $server/absent.conf" "Include $server/preload.conf" Include
    checked
    echo "$stderr"
    [[ $status -eq 1 && $stderr == *"preload.conf:3: Include: 'some.conf' must be an absolute path"* ]]
    [[ $stderr == *"preload.conf:4: Include: $server/absent.conf: No such file"* ]]
    [[ $stderr == *"preload.conf:5: Include: $server/preload.conf leads back to itself"* ]]
    [[ $stderr == *"preload.conf:6: Include: '' must be an absolute path"* ]]
}

@test "check finds files that can't be listed" {
    mkfifo "$files/pipe"
    directives "TransferMMapFile $files/absent /dev/null $files/big" "TransferMMapFile $files/pipe $files/*.iso"
    checked
    [[ $status -eq 1 && $output == *"$files/big"*'1 listed file,'* ]]
    [[ $stderr == *"$server/preload.conf:3: TransferMMapFile $files/absent: No such file"* && $stderr == *"/dev/null: is not a regular file"* ]]
    [[ $stderr == *"$files/pipe: is not a regular file"* && $stderr == *"$files/*.iso: No such file"* ]]
}

@test "check says why root may not read a file" {
    [[ $EUID -eq 0 ]] || skip 'only for root'
    mkdir -m 700 "$files/closed"
    cp "$files/big" "$files/closed"
    chown -R nobody "$files/closed"
    directives "TransferMMapFile $files/closed/big"
    run -1 --separate-stderr setpriv --bounding-set=-dac_override,-dac_read_search "$tool" check -c "$server/preload.conf"
    [[ $stderr == "$server/preload.conf:3: TransferMMapFile $files/closed/big: root may not read it: NFS with root_squash, "* ]]
}

@test "check finds where the library can't write" {
    mkdir -m 1777 "$server/open"
    directives "TransferMMapFile $files/big"
    sed -i "s|$server/preload.log|$server/open/log|; s|$server/status|$server/absent/status|" "$server/preload.conf"
    checked
    [[ $status -eq 1 && $stderr == *"TransferMMapLog $server/open/log: its directory must belong to root"* ]]
    [[ $stderr == *"TransferMMapStatusFile $server/absent/status: its directory is not there; make it" ]]
    [[ ! -e $server/open/log ]]
}

@test "check finds that files don't fit" {
    directives 'TransferMMapMaxMemory 8 MB' "TransferMMapFile $files/big $files/small"
    checked
    [[ $status -eq 1 && $output == *'1 listed file, 4.9 KiB; TransferMMapMaxMemory is 8.0 MiB of '* ]]
    [[ $stderr == "$server/preload.conf:4: TransferMMapFile $files/big: no room for it in TransferMMapMaxMemory"* ]]
    directives 'TransferMMapMaxMemory 9 MB' "TransferMMapFile $files/big $files/*i* $files/small" # one of them twice
    checked
    [[ $status -eq 0 && $output == *'2 listed files, 8.6 MiB; '* && $output != *TransferMMapHot:* && ! $stderr ]]
    directives 'TransferMMapHot 1 MB' 'TransferMMapMaxMemory 9 MB' "TransferMMapFile $files/*i*"
    checked
    [[ $output == *"TransferMMapHot: hot files get "4??.?" KiB in place of 1.0 MiB, "* ]]

    local unlocked=()
    [[ $EUID -ne 0 ]] || unlocked=(setpriv --bounding-set=-ipc_lock) # root may lock all
    directives "TransferMMapFile $files/big"
    ulimit -l 64
    run "${unlocked[@]}" "$tool" check -c "$server/preload.conf"
    [[ $status -eq 0 && $output == *'may lock 64.0 KiB only'* ]]
}

# paths_checked LINE...: check reports these lines, each "PATH: what", and $all says that all are served from memory
paths_checked() {
    local line paths=() said code=0
    for line; do
        paths+=("${line%%: *}")
    done
    said=$("$tool" check -c "$server/preload.conf" -s "$server/proftpd.conf" "${paths[@]}" 2>&1) || code=$?
    echo "$said"
    [[ $code -eq ${all:-1} ]]
    printf '%s\n' "$said" | sed 's/; [0-9?][^;]* are in memory now//' | diff - <(printf '%s\n' "$@")
}

@test "check PATH says whether a file is served from memory, and why not" {
    mkdir "$files/directory"
    cp "$files/big" "$files/directory/other"
    cp "$files/big" "$files/third"
    : >"$files/empty"
    mkfifo "$files/"$'pipe\e'
    directives 'TransferMMapEngine on' 'TransferMMapMaxMemory 9 MB' "TransferMMapFile $files/big $files/small $files/third"
    all=0 paths_checked "$files/big: from memory; listed, to be kept in memory" "$files/directory/other: from memory; not listed"
    paths_checked "$files/small: not from memory: smaller than TransferMMapMinSize (4.0 MiB); listed, to be kept in memory" \
        "$files/third: from memory; listed, but not kept in memory: no room for it in TransferMMapMaxMemory" \
        "$files/empty: not from memory: is empty, or has no regular file in it" \
        "$files/absent: not from memory: No such file or directory" \
        "/sys/kernel/uevent_seqnum: not from memory: is on sysfs at /sys, which is left to the kernel"
    run -1 "$tool" check -c "$server/preload.conf" -s "$server/proftpd.conf" "$files/"$'pipe\e'
    [[ $output == "$files/pipe?: not from memory: is not a regular file" ]]
    run -0 "$tool" check -c "$server/preload.conf" -s "$server/proftpd.conf" "$files/directory"
    [[ $output == "$files/directory/other: from memory; not listed; "*' of 8.6 MiB are in memory now' ]]

    # and a session serves them so
    server_start preloaded
    for file in big third directory/other small; do
        ftp_get "$file" | cmp "$files/$file" -
    done
    server_await has_counted BYTES 27000003
    [[ $(counter BYTES_KERNEL) -eq 0 && $(counter MAPPED) -eq 3 ]]

    directives "TransferMMapFile $files/big"
    paths_checked "$files/big: not from memory: TransferMMapEngine is off; listed"
}

@test "check PATH says where the engine is off, and of sendfile" {
    directives 'Port 21' 'DefaultAddress 127.0.0.1' '<VirtualHost 127.0.0.2 ::1>' 'TransferMMapEngine on' '</VirtualHost>'
    run -0 "$tool" check -c "$server/preload.conf" "$files/big"
    [[ ${lines[0]} == 'TransferMMapEngine on for 2 of 3 addresses, and off for others' ]]
    [[ ${lines[1]} == '  off for 127.0.0.1, port 21' && ${lines[2]} == '  on for 127.0.0.2, port 21' ]]
    [[ ${lines[3]} == '  on for ::1, port 21' && ${#lines[@]} -eq 5 ]]
    [[ ${lines[4]} == "$files/big: from memory; not listed; "*"; but plain FTP by sendfile: UseSendfile is on in $server/preload.conf" ]]
    checked # the values of all directives include it
    [[ $output == 'TransferMMapEngine on for 2 of 3 addresses, and off for others'$'\n  off for 127.0.0.1, port 21\n'* ]]

    directives 'TransferMMapEngine on'
    echo 'UseSendfile off' >"$server/proftpd.conf.off"
    run -0 "$tool" check -c "$server/preload.conf" -s "$server/proftpd.conf.off" "$files/big"
    [[ $output != *sendfile* ]]
    run -1 "$tool" check -c "$server/preload.conf" -s "$server/absent" "$files/big"
}

@test "check says that the running server uses another directive file" {
    directives 'TransferMMapEngine on'
    server_start preloaded
    cp "$server/preload.conf" "$server/other.conf"
    run -0 --separate-stderr env XFERMMAP_CONF="$server/preload.conf" "$tool" check
    [[ ! $stderr && $output != *'changed since'* ]]
    touch -d '1 minute' "$server/preload.conf"
    run -0 env XFERMMAP_CONF="$server/preload.conf" "$tool" check
    [[ $output == *"$server/preload.conf: changed since the running server, process $(<"$server/pid"), read it; reload the server"* ]]
    run -1 --separate-stderr env XFERMMAP_CONF="$server/other.conf" "$tool" check
    [[ $stderr == "xfermmap: this is $server/other.conf, but the running server, process $(<"$server/pid"), uses $server/preload.conf; check that one with -c" ]]
    run -0 --separate-stderr "$tool" check -c "$server/other.conf" # named explicitly, so an error
    [[ ! $stderr ]]
    server_stop
    run -0 env XFERMMAP_CONF="$server/other.conf" "$tool" check
}

# ---- status ----

status_of_server() {
    "$tool" status -f "$server/status" "$@"
}

serve_some() {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/small $files/big"
    server_start preloaded
    [[ $(counter SMALL) -eq 0 ]] # reads by the server's own start are not counted
    ftp_get big | cmp "$files/big" -
    ftp_get big | cmp "$files/big" -
    server_await has_counted LISTED 2
}

has_counted() {
    [[ $(counter "$1") -eq $2 ]]
}

@test "status looks into no other file than the directives say" {
    directives 'TransferMMapMistake on'
    run -1 --separate-stderr "$tool" status -c "$server/preload.conf"
    [[ ! $output && $stderr == "refused: $server/preload.conf has errors, see xfermmap check; "*WITHOUT* ]]
    printf 'TransferMMapStatusFile none\n' >"$server/preload.conf"
    run -1 --separate-stderr "$tool" status -c "$server/preload.conf"
    [[ ! $output && $stderr == *'TransferMMapStatusFile is none in'* ]]
    directives
    run -1 --separate-stderr "$tool" status -c "$server/preload.conf"
    [[ ! $output && $stderr == *"$server/status"* ]]
    run -1 --separate-stderr "$tool" status -c "$server/absent.conf"
    [[ ! $output && $stderr == "xfermmap: the directive file $server/absent.conf: No such file or directory" ]]
}

@test "status shows what was served, and as JSON as its schema says" {
    needs_insight # a plain user may lock less than is listed
    serve_some
    run -0 --separate-stderr status_of_server
    echo "$output"
    [[ ! $stderr && ${lines[0]} == 'active: 100.0 % of 17.2 MiB from memory; 2 of 2 listed files locked, 8.6 MiB of at most '* ]]
    [[ ${lines[1]} == "Server: process $(<"$server/pid"), with libxfermmap 1.0, counting since 20"* ]]
    [[ ${lines[2]} == "Directives: $server/preload.conf, read 20"*'TransferMMapEngine on' ]]
    grep -qE "^ +8\.6 MiB .* 2 +17\.2 MiB +0 B +$files/big$" <<<"$output"
    grep -qE "^ +4\.9 KiB .* 0 +0 B +0 B +$files/small$" <<<"$output"
    grep -qE '^ +8\.6 MiB .* 2 +17\.2 MiB +0 B  total of 2 files$' <<<"$output"
    grep -qE '^ +18000002  bytes read from memory \(17\.2 MiB\)$' <<<"$output"
    grep -qE '^ +2  kept files opened, unchanged since they were read in$' <<<"$output"
    run ! grep -E '^ +0  ' <<<"$output" # zeros are not shown
    run -0 status_of_server -n 1
    [[ $output == *"$files/big"*'total of 2 files'* && $output != *"$files/small"* ]]

    # the default comes from the directives
    run -0 env XFERMMAP_CONF="$server/preload.conf" "$tool" status
    [[ $output == *"process $(<"$server/pid"),"* ]]

    run -124 timeout 2.5 "$tool" status -f "$server/status" --watch
    [[ $(grep -c '^Server: process' <<<"$output") -ge 2 ]]
    grep -qx 'Now: 0 B/s from memory, 0 B/s by the kernel' <<<"$output"
    run -124 timeout 2.5 "$tool" status -f "$server/status" --watch --json
    [[ $(grep -c '"alive":true' <<<"$output") -ge 2 ]]

    status_of_server --json >"$server/json"
    "$python" - "$project/docs/status.schema.json" "$server/json" "$files" <<'PYTHON'
import json, jsonschema, sys
schema, status = (json.load(open(path)) for path in sys.argv[1:3])
validator = jsonschema.Draft202012Validator
validator.check_schema(schema)
validator(schema).validate(status)
assert set(status["totals"]) == set(schema["properties"]["totals"]["properties"])
small, big = status["files"]
assert big["path"] == sys.argv[3] + "/big" and big["opened"] == 2 and big["bytes"] == 18000002
assert status["server"]["alive"] and status["directives"]["engine"]
assert status["state"] == "active" and status["server"]["library"] == "1.0"
assert status["keeper"]["alive"] and status["keeper"]["ready"]
assert status["keeper"]["listed"] == 2 and status["keeper"]["most"] > 9005001
assert status["keeper"]["read_in"] == status["keeper"]["to_read_in"] == 9005001
assert status["totals"]["listed"] == 2 and status["totals"]["bytes"] == 18000002
del small["size"]
try:
    validator(schema).validate(status)
    sys.exit("the schema allows anything")
except jsonschema.ValidationError:
    pass
PYTHON
}

verdict() {
    run --separate-stderr "$tool" status -c "$server/preload.conf"
}

@test "status begins with a verdict" {
    directives 'TransferMMapEngine on'
    verdict
    [[ $status -eq 1 && ! $output && $stderr == *"$server/status: No such file or directory; no running server"* ]]
    server_start preloaded
    verdict
    [[ $status -eq 0 && ${lines[0]} == 'active: nothing was read yet; no file is listed' ]]
    [[ ${lines[-1]} == 'No file is listed.' ]]
    ftp_get big | cmp "$files/big" -
    server_await has_counted MAPPED 1
    verdict
    [[ $status -eq 0 && ${lines[0]} == 'active: 100.0 % of 8.6 MiB from memory; no file is listed' ]]

    # refused by a reload, and before it
    directives 'TransferMMapEngine on' 'TransferMMapMistake on'
    verdict
    [[ $status -eq 0 && ${lines[0]} == 'active: '* ]]
    [[ $stderr == "xfermmap: a reload will be refused: $server/preload.conf has errors, "*'the previous directives' ]]
    cp "$server/preload.conf" "$server/other.conf" # not the file of this server
    run -1 --separate-stderr "$tool" status -c "$server/other.conf"
    [[ ! $output && $stderr == "refused: $server/other.conf has errors, "*'a server that starts with it runs WITHOUT the library'* ]]
    run -1 --separate-stderr "$tool" status -c "$server/other.conf" --prometheus
    [[ $output == *$'\nxfermmap_up 0' ]]

    directives 'TransferMMapEngine off'
    kill -HUP "$(<"$server/pid")"
    server_await is_off
    verdict
    [[ $status -eq 0 && ${lines[0]} == 'off: no download is served from memory, TransferMMapEngine is off' ]]
    server_stop
    verdict
    [[ $status -eq 1 && ${lines[0]} == 'dead: no server runs; the last was process '* ]]
}

is_off() {
    status_of_server | grep 'TransferMMapEngine off' >/dev/null
}

# In a PID namespace, which only has the test's processes.
@test "status without a status file says whether the library is in a server" {
    local namespace=(unshare --fork --pid --mount-proc --kill-child)
    [[ $EUID -eq 0 ]] || namespace+=(-r)
    "${namespace[@]}" true || skip 'needs a PID namespace'
    mkdir "$server/programs"
    cp "$(command -v sleep)" "$server/programs/proftpd"
    cp "$(command -v sleep)" "$server/programs/in.proftpd"
    directives 'TransferMMapEngine on'
    cat >"$server/inside" <<INSIDE
"$server/programs/proftpd" 60 3>&- &
XFERMMAP_PROCESS=none LD_PRELOAD="$library" "$server/programs/in.proftpd" 60 3>&- &
until grep -q libxfermmap /proc/\$!/maps && grep -q proftpd /proc/\$!/comm; do sleep 0.1; done
"$tool" status -f "$server/status"
INSIDE
    run -1 --separate-stderr timeout 20 "${namespace[@]}" sh "$server/inside"
    [[ $stderr == *'No such file or directory; no running server'*$'\nProcesses named proftpd: 2, 1 of them with libxfermmap' ]]
}

@test "status says that plain FTP is sent by the kernel" {
    sed -i 's/UseSendfile off/UseSendfile on/' "$server/proftpd.conf"
    directives 'TransferMMapEngine on'
    server_start preloaded
    ftp_get big | cmp "$files/big" -
    server_await has_counted BYTES_KERNEL 9000001
    verdict
    [[ ${lines[0]} == 'active: 0.0 % of 8.6 MiB from memory (is UseSendfile on? see xfermmap check); '* ]]
}

@test "status --watch says how much is read now" {
    directives 'TransferMMapEngine on'
    server_start preloaded
    timeout 10 "$tool" status -f "$server/status" --watch >"$server/watched" 3>&- &
    started+=($!)
    server_await test -s "$server/watched"
    ftp_get big --limit-rate 3M | cmp "$files/big" -
    server_await grep -qE '^Now: [1-9][0-9.]* (M|K)iB/s from memory, 0 B/s by the kernel$' "$server/watched"
    run ! grep -qF $'\e[3J' "$server/watched" # the terminal's scrollback stays
}

@test "status --output replaces a file, by a whole one or not at all" {
    directives 'TransferMMapEngine on'
    server_start preloaded
    echo former >"$server/metrics"
    ln "$server/metrics" "$server/former"
    run -0 "$tool" status -f "$server/status" --prometheus --output "$server/metrics"
    [[ ! $output ]]
    grep -q '^xfermmap_up 1$' "$server/metrics"
    [[ $(<"$server/former") == former ]] # another file replaced it
    run -1 "$tool" status -f "$server/status" --prometheus --output "$server/none/metrics"
    [[ $output == *"--output $server/none/metrics: No such file"* ]]
    run -1 "$tool" status -f "$server/status" --output "$server/files" # a directory
    [[ $output == *"--output $server/files: "* ]]
    run ! compgen -G "$server/files.*"
    run -2 "$tool" status --watch --output "$server/metrics"
}

@test "status --prometheus is what Prometheus reads" {
    mkdir "$files/a b"
    printf 'a\\b"c' >"$files/a b/\"\\"
    local name
    for name in $'\xc4\xe3' $'\xba\xc3'; do # not UTF-8; Prometheus rejects both of two series with the same name
        echo "$name" >"$files/a b/$name"
    done
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big \"$files/a b/*\""
    server_start preloaded
    ftp_get big | cmp "$files/big" -
    server_await has_counted LISTED 1
    status_of_server --prometheus >"$server/metrics"
    "$python" - "$server/metrics" "$files" <<'PYTHON'
import sys
from prometheus_client.parser import text_string_to_metric_families as parse
families = list(parse(open(sys.argv[1]).read()))
names = [family.name for family in families]
assert len(names) == len(set(names)), names
series = [(s.name, tuple(s.labels.items())) for family in families for s in family.samples]
assert len(series) == len(set(series)), series
values = {(s.name, s.labels.get("path"), s.labels.get("source") or s.labels.get("way")): s.value
          for family in families for s in family.samples}
assert all(family.documentation and family.type in ("gauge", "counter") for family in families)
assert values["xfermmap_up", None, None] == 1
assert values["xfermmap_bytes_total", None, "memory"] == 9000001
assert values["xfermmap_opens_total", None, "mapped"] == 1
assert {s.labels["version"] for family in families for s in family.samples if s.name == "xfermmap_library_info"} == {"1.0"}
assert values["xfermmap_keeper_up", None, None] == values["xfermmap_keeper_ready", None, None] == 1
assert values["xfermmap_file_bytes_total", sys.argv[2] + "/big", "memory"] == 9000001
assert values["xfermmap_file_size_bytes", sys.argv[2] + '/a b/"\\', None] == 5
assert values["xfermmap_file_size_bytes", sys.argv[2] + "/a b/\\xC4\\xE3", None] == 3
PYTHON
    server_stop
    run -1 --separate-stderr status_of_server --prometheus
    [[ $output == *$'\nxfermmap_up 0\n'* ]]
}

@test "the dashboard shows metrics that status prints" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big"
    server_start preloaded
    status_of_server --prometheus >"$server/metrics"
    "$python" - "$server/metrics" "$project/docs/grafana/xfermmap-dashboard.json" <<'PYTHON'
import json, re, sys
from prometheus_client.parser import text_string_to_metric_families as parse
printed = {}
for family in parse(open(sys.argv[1]).read()):
    for sample in family.samples:
        printed.setdefault(sample.name, []).append(sample.labels)
panels = json.load(open(sys.argv[2]))["panels"]
targets = [target for panel in panels for target in panel["targets"]]
assert len(panels) > 5 and all(panel["targets"] for panel in panels)
for target in targets:
    print(target)
    named = re.findall(r'(xfermmap_\w+)\{instance=~"\$instance"(?:, (\w+)="(\w+)")?\}', target["expr"])
    assert len(named) == target["expr"].count("xfermmap_") > 0
    labels = re.findall(r'by \((\w+)\)', target["expr"]) + re.findall(r'{{(\w+)}}', target["legendFormat"])
    for name, label, value in named:
        assert name in printed, f"{name} is not printed"
        assert not label or any(each.get(label) == value for each in printed[name]), (name, label, value)
        for label in labels:  # the scraper adds instance
            assert label == "instance" or any(label in each for each in printed[name]), (name, label)
PYTHON
}

@test "the status file is the server's until it is gone" {
    serve_some
    cp "$server/status" "$server/before"
    run -0 env LD_PRELOAD="$library" XFERMMAP_CONF="$server/preload.conf" XFERMMAP_PROCESS=cat \
        cat "$server/address"
    [[ $output == *'TransferMMapStatusFile'*'another running server'* ]]
    cmp "$server/before" "$server/status"

    kill -KILL -- "-$(<"$server/group")"
    server_await server_is_gone
    rm "$server/group"
    run -1 status_of_server
    [[ ${lines[0]} == 'dead: no server runs; the last was process '*', started 20'* ]]
    [[ ${lines[2]} == *', which is gone, '* && $output == *" $files/big"* && $output != *locked* && $output != *Keeper:* ]]
    grep -qE "^ +8\.6 MiB +2 +17\.2 MiB +0 B  $files/big$" <<<"$output" # neither locked nor resident
    run -1 status_of_server --json
    [[ $output == *'"state":"dead"'*'"alive":false'* ]]
    rm "$server/status"
    run -1 --separate-stderr status_of_server
    [[ ! $output && $stderr == "xfermmap: $server/status: No such file or directory; no running server"* ]]
}

@test "status takes nothing on trust" {
    serve_some
    server_stop
    cp "$server/status" "$server/whole"
    # the path of the first slot: an escape sequence, half a character, no terminator
    { printf '\033[2J\302\233\303(%s\377' "$files"; printf 'x%.0s' {1..600}; } |
        head -c 408 | dd of="$server/status" bs=1 seek=$((8192 + 104)) conv=notrunc status=none
    # the library's version: likewise unterminated
    printf '\033[2J\302\233\303x%.0s' 1 2 | dd of="$server/status" bs=1 seek=160 conv=notrunc status=none
    run -1 status_of_server
    [[ $output == *"?[2J???($files?xxx"* && $output == *' with libxfermmap ?[2J???x?[2J???, counting since '* ]]
    run ! grep -aP '[\x00-\x08\x0b-\x1f\x7f-\xff]' <<<"$output"
    run -1 status_of_server --json
    "$python" -c 'import json, sys; json.load(sys.stdin)' <<<"$output"

    local size
    for size in 0 7 4000 8192 9000; do
        cp "$server/whole" "$server/status"
        truncate -s "$size" "$server/status"
        run -1 --separate-stderr status_of_server
        [[ $size -ge 8192 || $stderr == "xfermmap: $server/status is not a status file"* ]]
    done
    cp "$server/whole" "$server/status"
    printf '\001' | dd of="$server/status" bs=1 seek=8 conv=notrunc status=none
    run -1 --separate-stderr status_of_server
    [[ $stderr == *'by another version of the library'* ]]
    printf 'X' | dd of="$server/status" bs=1 conv=notrunc status=none
    run -1 --separate-stderr status_of_server
    [[ $stderr == *'is not a status file'* ]]
    mkfifo "$server/pipe"
    run -1 --separate-stderr timeout 10 "$tool" status -f "$server/pipe"
}

# Download with eight clients at once, $1 files each: whole and resumed; listed files, large and small, and others.
# First run a session that downloads nothing, to see what each session opens besides.
download_at_random() {
    random_bytes 1200001 >"$files/listed"
    random_bytes 100 >"$files/tiny"
    : >"$files/empty"
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1 MB' "TransferMMapFile $files/listed $files/small"
    server_start preloaded
    cat >"$server/clients" <<'PYTHON'
import collections, concurrent.futures, ftplib, random, sys
address, port, account, files, clients, turns = sys.argv[1:]
names = ["big"] + 5 * ["listed", "small", "tiny"] + ["empty"]
content = {name: open(f"{files}/{name}", "rb").read() for name in set(names)}

def client(number):
    choice = random.Random(number)
    downloads, received = collections.Counter(), collections.Counter()
    with ftplib.FTP() as ftp:
        ftp.connect(address, int(port), timeout=60)
        ftp.login(account, account)
        for _ in range(int(turns)):
            name, parts = choice.choice(names), []
            start = choice.randrange(len(content[name]) // 2 + 1) if choice.random() < 0.3 else None
            ftp.retrbinary("RETR " + name, parts.append, rest=start)
            assert b"".join(parts) == content[name][start:], f"{name} from {start} on is not what the server has"
            downloads[name] += 1
            received[name] += sum(map(len, parts))
        ftp.voidcmd("QUIT")
    return downloads, received

with concurrent.futures.ThreadPoolExecutor(int(clients)) as threads:
    running = [threads.submit(client, number) for number in range(int(clients))]
results = [each.result() for each in running]  # raises the client's exception
for name in sorted(content):
    print(name, *(sum(counts[name] for counts in kind) for kind in zip(*results)))
PYTHON
    status_of_server --json >"$server/start"
    run_clients 1 0
    status_of_server --json >"$server/before"
    run_clients 8 "$1" >"$server/got"
    status_of_server --json >"$server/after"
}

run_clients() {
    "$python" "$server/clients" "$(<"$server/address")" "$(<"$server/ftp_port")" "$account" "$files" "$@"
}

# counted_truly DOWNLOADS MEMORY-OR-KERNEL: counted so many downloads, and served large files from memory or the
# kernel.
counted_truly() {
    "$python" - "$server" "$@" <<'PYTHON'
import json, sys
directory, planned, source = sys.argv[1:]
start, before, after = (json.load(open(f"{directory}/{name}")) for name in ("start", "before", "after"))
got = {name: (int(count), int(size)) for name, count, size in map(str.split, open(f"{directory}/got"))}
idle, totals = ({name: late["totals"][name] - early["totals"][name] for name in late["totals"]}
                for early, late in ((start, before), (before, after)))
print(got, idle, totals, after["files"])

assert sum(count for count, _ in got.values()) == int(planned)
assert sorted(got) == ["big", "empty", "listed", "small", "tiny"] and all(count > 0 for count, _ in got.values())

# Only the sum is certain: memory or kernel depends on residency, and on how a session reads a file.
memory, kernel = totals.pop("bytes"), totals.pop("bytes_kernel")
assert memory + kernel == got["listed"][1] + got["big"][1]
assert memory > kernel if source == "memory" else memory == 0

# An empty file counts nowhere. Each of the eight sessions opens the same files as the idle one, such as that of
# users.
assert {name for name in idle if idle[name]} <= {"kernel_small"}
assert totals == dict.fromkeys(totals, 0) | {
    "listed": got["listed"][0] + got["small"][0], "mapped": got["listed"][0] + got["big"][0],
    "kernel_small": got["small"][0] + got["tiny"][0] + 8 * idle["kernel_small"]}

# A session's reads of a small file go to the kernel, and are not counted.
slots = {file["path"]: (file["opened"], file["bytes"] + file["bytes_kernel"]) for file in after["files"]}
assert slots == {f"{directory}/files/listed": got["listed"], f"{directory}/files/small": (got["small"][0], 0)}
PYTHON
}

@test "status counts what the clients got" {
    download_at_random 125
    counted_truly 1000 memory
}

@test "status counts what the server sends by sendfile" {
    sed -i 's/UseSendfile off/UseSendfile on/' "$server/proftpd.conf"
    download_at_random 25
    counted_truly 200 kernel
}

@test "what can't be written is told" {
    directives 'TransferMMapEngine on'
    run -1 --separate-stderr check_into /dev/full
    [[ $stderr == *"the output can't be written: No space left on device" ]]
    run -1 --separate-stderr check_into '&-'
    [[ $stderr == *"the output can't be written: Bad file descriptor" ]]
}

check_into() {
    case $1 in
        '&-') "$tool" check -c "$server/preload.conf" >&- ;;
        *) "$tool" check -c "$server/preload.conf" >"$1" ;;
    esac
}

@test "a name with control characters is one line, and nothing to the terminal" {
    mkfifo "$files/"$'x\n\e[31mforged'
    directives 'TransferMMapEngine on' "TransferMMapFile $files/x*"
    checked
    [[ $status -eq 1 && $stderr == "$server/preload.conf:4: TransferMMapFile $files/x??[31mforged: is not a regular file" ]]
    server_start preloaded
    [[ $(logged 'x..\[31mforged: is not a regular file') -eq 1 ]]
}

# ---- run ----

@test "run preloads the library" {
    run -0 "$tool" run -c "$server/preload.conf" -- env
    [[ $'\n'$output$'\n' == *$'\n'"LD_PRELOAD=$library"$'\n'* ]]
    [[ $'\n'$output$'\n' == *$'\n'"XFERMMAP_CONF=$server/preload.conf"$'\n'* ]]
    LD_PRELOAD=/lib/none.so run -0 --separate-stderr "$tool" run env
    [[ $'\n'$output$'\n' == *$'\n'"LD_PRELOAD=$library:/lib/none.so"$'\n'* ]]

    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1'
    env XFERMMAP_PROCESS=cat "$tool" run -c "$server/preload.conf" -- cat "$files/big" | cmp "$files/big" -
    [[ $(counter BYTES) -eq 9000001 ]]
}

@test "run refuses where LD_PRELOAD can't name the library" {
    mkdir "$server/a b"
    cp "$tool" "$library" "$server/a b"
    run -1 --separate-stderr "$server/a b/xfermmap" run -- echo ran
    [[ ! $output && $stderr == *"a b/libxfermmap.so: LD_PRELOAD takes no path with a space"* ]]
}

@test "run ends as the command does" {
    run -3 "$tool" run -- sh -c 'exit 3'
    run -127 --separate-stderr "$tool" run -- "$server/none"
    [[ $stderr == "xfermmap: $server/none: No such file or directory" ]]
    run -126 --separate-stderr "$tool" run -- "$files"
    run -1 --separate-stderr "$tool" run -c "$server/none" true
    [[ $stderr == "xfermmap: the directive file $server/none: No such file or directory" ]]
}
