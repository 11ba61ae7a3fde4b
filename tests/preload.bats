#!/usr/bin/env bats
# Listed files: in memory from the server's start on, and never stale.

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
    server_remove
}

@test "a session neither reads nor maps a listed file that it inherits" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/small"
    server_start preloaded traced
    local threads
    threads=$(threads_of_master)
    is_downloaded small
    server_stop

    served_from_memory small
    [[ $(kernel_calls mmap small) -eq 1 ]]
    [[ " $threads " == *" $(mapped_by small) "* ]]
    [[ $(listed_and_bytes) == '1 5000 0' ]]
}

@test "a session maps a large listed file in windows, and reads nothing of it" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big"
    server_start preloaded traced
    local threads
    threads=$(threads_of_master)
    is_downloaded big
    server_stop

    served_from_memory big
    [[ $(kernel_calls mmap big) -gt 1 ]]
    [[ " $threads " == *" $(mapped_by big | head -n 1) "* ]] # the whole of it
    [[ $(mapped_by big | tail -n +2 | sort -u | wc -l) -eq 1 ]] # and the session
    [[ $(listed_and_bytes) == '1 9000001 0' ]]
}

threads_of_master() {
    (cd "/proc/$(<"$server/pid")/task" && echo *)
}

# Who mapped a file of the traced server, a line for each time.
mapped_by() {
    grep -F "<$files/$1>" "$server/trace" | grep -oE '^[0-9]+ +mmap' | grep -oE '^[0-9]+'
}

@test "the log says what is in force, from the start on, and what is in memory" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big $files/small"
    server_start preloaded
    logged 'preload.conf is in force: TransferMMapEngine on, '
    logged 'listed files: 2 in memory \(8.6 MiB\) after [0-9.]+ s, .* MiB locked; 0 not in memory'
}

@test "a listed file is served from memory however small it is" {
    make_file unlisted 5000
    directives 'TransferMMapEngine on' "TransferMMapFile $files/small"
    server_start preloaded traced
    is_downloaded small
    is_downloaded unlisted
    server_stop

    served_from_memory small
    [[ $(kernel_calls 'p?readv?(64)?' unlisted) -gt 0 ]]
    [[ $(listed_and_bytes) == '1 5000 0' ]]
}

@test "a file that is replaced is served anew" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big $files/small"
    server_start preloaded
    is_downloaded big
    local name
    for name in big small; do
        make_file new "$(stat -c %s "$files/$name")"
        touch -r "$files/$name" "$files/new"
        mv "$files/new" "$files/$name"
        is_downloaded "$name"
    done
    [[ $(counter LISTED) -eq 1 ]]
}

@test "a file that is rewritten in place is served anew" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big $files/small"
    server_start preloaded
    is_downloaded big
    is_downloaded small
    [[ $(counter CHANGED) -eq 0 ]]

    local name size
    for name in big small; do
        for size in "$(stat -c %s "$files/$name")" 4097 9500000 0; do
            touch -r "$files/$name" "$server/times"
            make_file "$name" "$size"
            touch -r "$server/times" "$files/$name" # some tools do that: the time of change remains to tell
            is_downloaded "$name"
        done
    done
    [[ $(counter CHANGED) -gt 0 ]] # how often depends on when each is taken in anew
}

@test "SIGHUP puts a new list in force" {
    needs_insight
    make_file former 5000000
    directives 'TransferMMapEngine on' "TransferMMapFile $files/former $files/big"
    server_start preloaded
    local master kept
    master=$(<"$server/pid")
    is_mapped "$master" former
    kept=$(addresses "$master" big)
    [[ $kept ]]

    directives 'TransferMMapEngine on' "TransferMMapFile $files/small" "TransferMMapFile $files/big"
    reload
    is_mapped "$master" small
    run -1 is_mapped "$master" former
    [[ $(addresses "$master" big) == "$kept" ]]

    is_downloaded small
    is_downloaded big
    is_downloaded former
    [[ $(counter LISTED) -eq 2 ]]
}

@test "the master has a thread more once a file is listed" {
    directives 'TransferMMapEngine on'
    server_start preloaded
    [[ $(threads_of_master | wc -w) -eq 1 ]]
    is_downloaded big
    directives 'TransferMMapEngine on' "TransferMMapFile $files/small"
    reload
    [[ $(threads_of_master | wc -w) -eq 2 ]]
    is_downloaded small
    [[ $(counter LISTED) -eq 1 && $(counter MAPPED) -eq 1 ]]
}

@test "SIGHUP maps a file that was replaced, and lets go of the former" {
    needs_insight
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big"
    server_start preloaded
    make_file new 6000000
    mv "$files/new" "$files/big"
    grep -qF "$files/big (deleted)" "/proc/$(<"$server/pid")/maps"

    reload
    run ! grep -F "$files/big (deleted)" "/proc/$(<"$server/pid")/maps"
    is_downloaded big
    [[ $(listed_and_bytes) == '1 6000000 0' ]]
}

@test "a session that downloads goes on through SIGHUP" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big"
    server_start preloaded
    session_login
    session_download big

    directives 'TransferMMapEngine on' "TransferMMapFile $files/small"
    reload
    session_finish
    cmp "$files/big" "$server/received"
    session_end
    [[ $(listed_and_bytes) == '1 9000001 0' ]]
}

@test "after SIGHUP with a mistake, the former directives stay in force" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big"
    server_start preloaded
    directives "TransferMMapFile $files/small" 'TransferMMapEngine perhaps'
    reload
    logged 'preload.conf:4: TransferMMapEngine takes on or off'
    logged 'preload.conf is refused; the former directives stay in force'
    chmod g+w "$server/preload.conf" # and the log is one of them, though this file's own is not believed
    reload
    logged 'preload.conf:1: the file is writable by others'
    chmod g-w "$server/preload.conf"
    is_downloaded big
    is_downloaded small
    [[ $(listed_and_bytes) == '1 9000001 0' ]]

    directives 'TransferMMapEngine on' "TransferMMapFile $files/small"
    reload
    is_downloaded small
    [[ $(counter LISTED) -eq 2 ]]
}

@test "with TransferMMapEngine off, a session lets go of the listed files" {
    needs_insight
    directives 'TransferMMapEngine off' "TransferMMapFile $files/big $files/small"
    server_start preloaded
    session_begin
    is_mapped "$(<"$server/pid")" big
    is_mapped "$(<"$server/pid")" small
    run -1 is_mapped "$session" small
    session_end
    is_downloaded big
    is_downloaded small
    [[ $(listed_and_bytes) == '0 0 0' ]]

    directives 'TransferMMapEngine on' "TransferMMapFile $files/big $files/small"
    reload
    session_begin
    is_mapped "$session" small
    session_end
}

@test "wildcards" {
    mkdir "$files/one" "$files/two"
    make_file one/a.iso 6000
    make_file two/b.iso 6000
    make_file two/c.txt 6000
    directives 'TransferMMapEngine on' "TransferMMapFile $files/*/?.iso"
    server_start preloaded
    is_downloaded one/a.iso
    is_downloaded two/b.iso
    [[ $(listed_and_bytes) == '2 12000 0' ]]
    is_downloaded two/c.txt
    [[ $(counter LISTED) -eq 2 ]]
}

@test "what can't be mapped is told, and the others load" {
    mkfifo "$files/pipe"
    : >"$files/empty"
    directives 'TransferMMapEngine on' \
        "TransferMMapFile $files/absent $files $files/pipe $files/big/x" \
        "TransferMMapFile $files/empty $files/absent* $files/big"
    server_start preloaded
    logged "$files/absent: No such file"
    logged "$files: is no regular file"
    logged "$files/pipe: is no regular file"
    logged "$files/big/x: Not a directory"
    logged "$files/absent\*: No such file"
    run ! logged empty
    is_downloaded big
    is_downloaded empty
    [[ $(listed_and_bytes) == '1 9000001 0' ]]
}

@test "a directive file with mistakes is refused whole, and all of them are told" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big" 'TransferMMapFile big' 'TransferMMapSize 1' \
        '<Global>' 'TransferMMapMinSize many'
    server_start preloaded traced
    local told=(
        ':5: TransferMMapFile: .big. is no absolute path'
        ':6: unknown directive .TransferMMapSize.'
        ':7: <Global> is not closed'
        ':8: TransferMMapMinSize'
        ' is refused; the server runs without the library.s help'
    )
    local mistake
    for mistake in "${told[@]}"; do
        logged "$server/preload.conf$mistake"
        grep -qE "^proftpd: libxfermmap: $server/preload.conf$mistake" "$server/log" # standard error
    done
    is_downloaded big
    server_stop
    [[ $(kernel_calls 'p?readv?(64)?' big) -gt 0 ]]
    [[ $(kernel_calls mmap big) -eq 0 ]]
    [[ ! -e $server/status ]]
}

@test "a directive file that others may write to is refused" {
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big"
    chmod g+w "$server/preload.conf"
    is_refused 'is writable by others'
}

@test "a directive file of another user is refused" {
    [[ $EUID -eq 0 ]] || skip 'only root can give a file to another user'
    directives 'TransferMMapEngine on' "TransferMMapFile $files/big"
    chown nobody "$server/preload.conf"
    is_refused 'belongs to user'
}

# What an untrusted file says of the log is not believed either.
is_refused() {
    server_start preloaded
    grep -qE "^proftpd: libxfermmap: $server/preload.conf:1: the file $1" "$server/log"
    is_downloaded big
    [[ ! -e $server/status && ! -e $server/preload.log ]]
}

@test "neither log nor status file is written where everybody may write" {
    mkdir -m 777 "$server/open"
    sed "s|$server/|$server/open/|" < <(directives; cat "$server/preload.conf") >"$server/changed"
    printf '%s\n' 'TransferMMapEngine on' "TransferMMapFile $files/big" >>"$server/changed"
    mv "$server/changed" "$server/preload.conf"
    server_start preloaded traced
    grep -q 'libxfermmap: TransferMMapStatusFile .*not everyone may write to' "$server/log"
    is_downloaded big
    server_stop
    served_from_memory big
    [[ ! $(ls -A "$server/open") ]]
}
