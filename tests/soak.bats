#!/usr/bin/env bats
# The soak: run a server with sessions of all kinds while its files change, see soak.py; and compare the master's
# resources before and after. "make soak" runs longer.

bats_require_minimum_version 1.5.0

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server_create 'UseSendfile off'
    ssh-keygen -e -f "$server/key.pem" >"$server/authorized_keys"
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 64 KB' \
        "TransferMMapFile $server/files/listed $server/files/listed-small"
}

teardown() {
    server_remove
}

# The master's descriptors, mappings, and private memory in KiB. Pipes are not counted: ProFTPD, also without the
# library, sometimes keeps that of a session which ended while it was forked.
belongings() {
    local master
    master=$(<"$server/pid")
    echo "$(find "/proc/$master/fd" -mindepth 1 ! -lname 'pipe:*' | wc -l) $(wc -l <"/proc/$master/maps")" \
        "$(awk '/^RssAnon:/ { print $2 }' "/proc/$master/status")"
}

is_alone() {
    ! pgrep -P "$(<"$server/pid")" >/dev/null
}

# Download for $1 seconds, then let the server settle. Same exit status as soak.py.
soak() {
    local status=0
    timeout -k 5 $(($1 + 150)) python3 "$BATS_TEST_DIRNAME/soak.py" "$server" "$1" || status=1
    server_await is_alone
    reload
    server_await has_one_keeper
    server_await is_steady belongings
    return $status
}

@test "sessions of all kinds, and nothing is wrong and nothing left over" {
    needs_insight
    local seconds=${SOAK_SECONDS:-12} before after
    server_start preloaded
    soak 2
    before=$(belongings)
    soak "$seconds" >"$server/soak.log" || { cat "$server/soak.log"; return 1; }
    after=$(belongings)
    echo "# $seconds s: $(tail -n 1 "$server/soak.log")" >&3
    echo "# the master's descriptors, mappings and KiB: $before before, $after after" >&3

    read -ra before <<<"$before"
    read -ra after <<<"$after"
    [[ ${after[0]} -le ${before[0]} && ${after[1]} -le ${before[1]} ]]
    # ProFTPD itself grows by 5 KiB with each restart
    local hangups
    hangups=$(grep -oE '[0-9,]+ hangups' "$server/soak.log" | tr -cd 0-9)
    [[ ${after[2]} -lt $((before[2] + 512 + 6 * hangups)) ]]
    [[ $(counter BYTES) -gt $((10 << 20)) && $(counter LISTED) -gt 0 ]]
    is_kept listed
    is_kept listed-small
    run ! grep -E ' 0 downloads| 0 aborts| 0 hangups' "$server/soak.log"
}
