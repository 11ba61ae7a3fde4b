#!/usr/bin/env bats
# What make demo does besides measuring.

bats_require_minimum_version 1.5.0

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    source "$project/bench/busy.bash"
    directory=$(mktemp -d "${TMPDIR:-/tmp}/xfermmap.XXXXXX")
    chmod 755 "$directory"
}

teardown() {
    end_started
    rm -rf "$directory"
}

# said_with BUSY ALL: print the message if the processors are busy for BUSY of ALL ticks.
said_with() {
    echo '1000 100000' >"$directory/ticks"
    ticks() { cat "$directory/ticks"; }
    sleep() { echo "$((1000 + busy)) $((100000 + all))" >"$directory/ticks"; }
    local busy=$1 all=$2
    run -0 warn_if_busy
}

@test "a machine is called busy for what runs now, not for what has run" {
    local busy all
    read -r busy all < <(ticks)
    [[ $busy -gt 0 && $busy -lt $all ]]

    said_with 5 200
    [[ ! $output ]]
    said_with 100 200
    [[ $output == 'Other programs use 50 % of the processors, '* ]]
}

@test "a demo that is interrupted leaves nothing" {
    TMPDIR=$directory "$project/bench/demo" >"$directory/said" 2>&1 3>&- &
    started+=($!)
    server_await has_server
    kill "${started[0]}"
    wait "${started[0]}" || true
    started=()
    run ! has_server
    [[ $(ls "$directory") == said ]]
}

has_server() {
    pgrep -f "proftpd.* -c $directory/" >/dev/null
}
