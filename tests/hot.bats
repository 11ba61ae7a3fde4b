#!/usr/bin/env bats
# TransferMMapHot: keep the files that clients download most. Files change, the keeper is killed, and a session
# overwrites all shared memory.

# shellcheck disable=SC2030,SC2031 # a test's variables are its own

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server_create 'UseSendfile off' 'DefaultRoot ~'
    files=$server/files
    tool=$project/build/xfermmap
    make_file big 9000001
    make_file small 5000
    needs_handles
}

teardown() {
    [[ ! ${BATS_TEST_COMPLETED:-} && -e $server/preload.log ]] && cat "$server/preload.log"
    mountpoint -q "$server/files/disk" && umount "$server/files/disk"
    server_remove
}

needs_handles() {
    needs_no_overlay
    [[ $EUID -eq 0 ]] || skip 'only root may open files by their handles'
    if "$tool" check -c <(echo 'TransferMMapHot 1 MB') 2>&1 | grep CAP_DAC_READ_SEARCH >/dev/null; then
        skip 'this root may not open files by their handles'
    fi
}

# Start a server with this TransferMMapHot, and with further directives.
serve() {
    directives 'TransferMMapEngine on' "TransferMMapHot $1" "${@:2}"
    server_start preloaded
}

download() {
    local times=$1 name
    for name in "${@:2}"; do
        for ((; times > 0; times--)); do
            is_downloaded "$name"
        done
        times=$1
    done
}

status() {
    "$tool" status -f "$server/status" "$@"
}

is_hot() {
    status --json | python3 -c 'import json, sys; sys.exit(sys.argv[1] not in [f["path"] for f in json.load(sys.stdin)["hot"]])' \
        "$files/$1"
}

is_cold() {
    ! is_hot "$1"
}

in_json() {
    status --json | python3 -c "import json, sys; all = json.load(sys.stdin); print($1)"
}

# ---- what is kept ----

@test "files that were downloaded twice are kept, and one that was downloaded once is not" {
    make_file once 5000
    make_file sent 300000
    serve '64 MB'
    download 2 big small
    download 1 once
    ftps_get sent >/dev/null
    ftps_get sent >/dev/null
    server_await is_hot sent
    is_hot big
    is_hot small
    is_cold once
    server_await has_one_keeper
    is_kept big
    is_kept small
    run -1 is_kept once
    [[ $(kept) -eq $(($(in_pages 9000001) + $(in_pages 5000) + $(in_pages 300000))) ]]
    [[ $(logged 'hot files: [0-9] in memory') -eq 1 ]]
}

@test "sendfile counts, and a REST near the end is no download" {
    sed -i '/UseSendfile off/d' "$server/proftpd.conf"
    make_file tail 5000
    serve '64 MB'
    download 2 big small
    for _ in {1..8}; do
        ftp_get tail --range 4900- | cmp <(tail -c 100 "$files/tail") -
    done
    server_await is_hot small
    is_hot big
    is_cold tail
    [[ $(counter SENT) -eq $((2 * 9000001 + 2 * 5000 + 8 * 100)) ]]
}

@test "status shows the hot files, what share of the bytes was kept, and the list that would keep them" {
    local odd='odd "na\me" [x] 100%{env:HOME}*'
    make_file "$odd" 6000
    make_file listed 7000
    serve '64 MB' "TransferMMapFile $files/listed"
    download 3 big
    download 2 listed
    for _ in 1 2; do ftp_get 'odd%20%22na%5Cme%22%20%5Bx%5D%20100%25%7Benv%3AHOME%7D%2A' >/dev/null; done
    server_await is_hot "$odd"
    server_await is_hot big
    server_await is_shown big
    download 1 big
    run -0 status
    [[ $output == 'active: '*'; 1 of 1 listed files locked, '*'; 2 hot files, 8.6 MiB of at most 64.0 MiB locked'* ]]
    grep -qE "^ +8\.6 MiB +8\.6 MiB +8\.6 MiB +[34]\.[0-9] +[0-9.]+ %  20[0-9: -]+ $files/big$" <<<"$output"
    grep -qE '^ +[0-9]+  of these, bytes of files kept in memory \([0-9.]+ MiB, [2-9][0-9]\.[0-9] %\)$' <<<"$output"
    [[ $(in_json '[f["path"] for f in all["files"]]') == "['$files/listed']" ]]
    [[ $(in_json '[f["locked"] for f in all["hot"]]') == '[9000001, 6000]' ]]
    [[ $(in_json '0.5 < sum(f["share"] for f in all["hot"]) < 1') == True ]]
    [[ $(in_json 'all["keeper"]["most_hot"]') -eq $((64 << 20)) ]]
    status --prometheus >"$server/metrics"
    grep -qx 'xfermmap_hot_files 2' "$server/metrics"
    grep -qE "^xfermmap_hot_file_downloads\{path=\"$files/big\"\} [34]\.[0-9]+$" "$server/metrics"

    status --suggest >"$server/suggested"
    [[ $(wc -l <"$server/suggested") -eq 2 ]]
    run -0 "$tool" check -c "$server/suggested"
    [[ $output == *'2 listed files, 8.6 MiB'* ]]
}

@test "a hot file that is not public is kept, and its name and size are not shown" {
    mkdir "$files/private"
    make_file private/secret 6000
    chown nobody "$files/private"
    chmod 700 "$files/private"
    serve '64 MB'
    for _ in 1 2; do ftp_get private/secret | cmp "$files/private/secret" -; done
    server_await logged_times 1 'hot files: 1 in memory'
    server_await has_one_keeper
    is_kept private/secret
    { status; status --json; status --prometheus; status --suggest; cat "$server/status"; } >"$server/shown"
    run ! grep -qa 'secret' "$server/shown"
    run ! grep -qwa 6000 "$server/shown"
    grep -q '^# 1 more, whose paths are not public' "$server/shown"
    [[ $(in_json '[(f["path"], f["size"]) for f in all["hot"]]') == '[(None, None)]' ]]
}

@test "listed files come first, and hot ones stay within TransferMMapMaxMemory, and their own amount" {
    make_file listed $((6 << 20))
    make_file more $((3 << 20))
    serve '100%' 'TransferMMapMaxMemory 10 MB' "TransferMMapFile $files/listed"
    download 3 big
    download 2 more
    server_await is_hot more
    is_cold big
    [[ $(kept) -eq $((9 << 20)) ]]
    directives 'TransferMMapEngine on' 'TransferMMapHot 2 MB' "TransferMMapFile $files/listed"
    reload
    server_await is_cold more
    server_await has_one_keeper
    [[ $(kept) -eq $((6 << 20)) ]]
    directives 'TransferMMapEngine on' "TransferMMapFile $files/listed"
    reload
    [[ $(status) != *'hot'* ]]
}

# The debug build's counts are halved every eight seconds.
@test "yesterday's hot file gives way to today's" {
    make_file today 8000001
    library=$project/build/debug/libxfermmap.so
    serve '12 MB'
    download 16 big
    server_await is_hot big
    sleep 16
    download 9 today
    server_await is_hot today
    is_cold big
    server_await has_one_keeper
    [[ $(kept) -eq $(in_pages 8000001) ]]
    # and what nobody downloads any more is not kept
    sleep 60
    server_await is_cold today
}

# ---- changes ----

@test "a hot file that is deleted, replaced, truncated or emptied is followed, and downloads are right" {
    local name
    for name in replaced truncated emptied; do
        make_file "$name" 600000
    done
    serve '64 MB'
    download 2 big replaced truncated emptied
    server_await is_hot emptied
    server_await is_hot big
    rm "$files/big"
    make_file new 500000
    mv "$files/new" "$files/replaced"
    truncate -s 1000 "$files/truncated"
    : >"$files/emptied"
    server_await is_cold big
    server_await is_cold emptied
    server_await is_cold replaced
    server_await is_shown truncated '1000 B'
    is_downloaded replaced
    is_downloaded truncated
    is_downloaded emptied
    download 2 replaced
    server_await is_hot replaced
    server_await has_one_keeper
    is_kept replaced
    [[ $(in_json '[f["path"] for f in all["hot"]]') != *'deleted'* ]]
}

@test "when the keeper is killed, the counts survive: the next one has the hot files at once" {
    serve '64 MB'
    download 2 big small
    server_await is_hot small
    server_await has_one_keeper
    kill -KILL "$(keeper)"
    server_await has_no_keeper
    is_downloaded big
    reload
    server_await is_hot big
    is_hot small
    server_await has_one_keeper
    is_kept big
    is_kept small
}

# ---- where it can't work ----

# Count the calls of this name in all processes but the master.
calls() {
    awk -v name="$1" 'NR == 1 { master = $1 } $1 != master && index($2, name "(") == 1 { count++ } END { print count + 0 }' \
        "$server/trace"
}

# Trace three downloads of a small file. The rest of the arguments is the server's environment.
trace() {
    setsid strace -f -o "$server/trace" -e 'trace=name_to_handle_at,open_by_handle_at,lseek,geteuid' \
        env "$@" "$proftpd" -n -c "$server/proftpd.conf" </dev/null >>"$server/log" 2>&1 3>&- &
    echo $! >"$server/group"
    server_await server_is_up
    is_downloaded small
    is_downloaded small
    is_downloaded small
    server_stop
    made=$(calls name_to_handle_at):$(calls lseek):$(calls geteuid)
}

@test "by default it is off and adds no system call; on, it asks for a handle at the second download" {
    needs_insight
    local made stock preloaded=("LD_PRELOAD=$library" "XFERMMAP_CONF=$server/preload.conf")
    trace
    stock=$made
    directives 'TransferMMapEngine on' 'TransferMMapHot off'
    trace "${preloaded[@]}"
    [[ $stock == 0:* && $made == "$stock" ]]
    directives 'TransferMMapEngine on' "TransferMMapFile $files/small"
    trace "${preloaded[@]}"
    [[ $(calls open_by_handle_at) -eq 0 ]]
    directives 'TransferMMapEngine on' 'TransferMMapHot 64 MB'
    trace "${preloaded[@]}"
    [[ $made == 1:* && $made != "1:${stock#*:}" ]]
}

@test "without the capability the log and check say so, and listed files are kept" {
    directives 'TransferMMapEngine on' 'TransferMMapHot 64 MB' "TransferMMapFile $files/small"
    setsid setpriv --bounding-set -dac_read_search --inh-caps -dac_read_search env "LD_PRELOAD=$library" \
        "XFERMMAP_CONF=$server/preload.conf" "$proftpd" -n -c "$server/proftpd.conf" </dev/null >>"$server/log" 2>&1 3>&- &
    echo $! >"$server/group"
    server_await server_is_up
    server_await listed_are_in
    download 3 big
    sleep 4
    is_kept small
    run -1 is_kept big
    [[ $(logged 'TransferMMapHot: .* needs CAP_DAC_READ_SEARCH') -eq 1 ]]
    run -1 setpriv --bounding-set -dac_read_search --inh-caps -dac_read_search \
        "$tool" check -c "$server/preload.conf"
    [[ $output == *'TransferMMapHot: '*CAP_DAC_READ_SEARCH* ]]
}

@test "on a file system without handles, as overlayfs, the log and check PATH say so, once" {
    mkdir "$server/"{lower,upper,work} "$files/disk"
    mount -t overlay overlay -o "lowerdir=$server/lower,upperdir=$server/upper,workdir=$server/work" "$files/disk" ||
        skip 'no overlayfs here'
    make_file disk/file 7000
    serve '64 MB'
    download 3 disk/file small
    server_await is_hot small
    server_await logged_times 1 'TransferMMapHot: some downloaded files have no file handles'
    sleep 4
    [[ $(logged 'have no file handles') -eq 1 ]]
    is_cold disk/file
    run "$tool" check -c "$server/preload.conf" "$files/disk/file"
    [[ $output == *'nor kept when it is hot: its file system has no file handles'* ]]
}

# ---- a session that forges counts and handles ----

# All that a session shares with others: the status file, and the anonymous memory behind it.
shared_ranges() {
    awk -v status="$server/status" '
        $6 == status || ($6 == "/dev/zero" && index($1, end "-") == 1) { print $1 }
        $6 == status { end = substr($1, index($1, "-") + 1) }' "/proc/$session/maps"
}

# Write random bytes over all of it, as process $session could.
lie() {
    local range start end
    while read -r range; do
        start=$((16#${range%-*})) end=$((16#${range#*-}))
        dd if=/dev/urandom "of=/proc/$session/mem" bs=4096 seek=$((start / 4096)) count=$(((end - start) / 4096)) \
            iflag=fullblock conv=notrunc status=none
    done < <(shared_ranges)
}

@test "if a session overwrites all shared memory with random bytes, downloads and limits hold" {
    needs_insight
    serve '16 MB' "TransferMMapFile $files/small"
    download 3 big
    server_await is_hot big
    server_await has_one_keeper
    session_login
    [[ $(shared_ranges | wc -l) -eq 2 ]]
    local keepers
    for _ in {1..8}; do
        lie
        is_downloaded big
        is_downloaded small
        sleep 1
        keepers=$(keeping)
        [[ $keepers ]]
        for keeper in $keepers; do
            [[ ! -e /proc/$keeper || $(locked "$keeper") -le $((17 << 20)) ]]
        done
        run status
        [[ $status -le 3 ]]
        run status --json
        [[ $status -le 3 ]]
    done
    session_end
    is_downloaded small
}
