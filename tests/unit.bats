#!/usr/bin/env bats
# The unit tests, see unit/: one test here for each program; a failure shows the program's output.

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
}

passes() {
    local layout=()
    ! setarch -R true 2>/dev/null || layout=(setarch -R) # the thread sanitizer supports few layouts
    CMOCKA_MESSAGE_OUTPUT=TAP "${layout[@]}" "$BATS_TEST_DIRNAME/../build/unit/$1"
}

@test "unit: the directive file" {
    passes test_config
}

@test "unit: the server's own configuration as directive file" {
    passes test_config_server
}

@test "unit: copying from memory that may fault" {
    passes test_guard
}

@test "unit: how often files were downloaded recently" {
    passes test_heat
}

@test "unit: which files are hot" {
    passes test_hot
}

@test "unit: the keeper's life" {
    passes test_keeper
}

@test "unit: the list of files" {
    passes test_listed
}

@test "unit: a child that looks at files, and may hang" {
    passes test_watchdog
}

@test "unit: how much memory there is to take" {
    passes test_memory_limits
}

@test "unit: processes and their descriptors" {
    passes test_process
}

@test "unit: the transfer buffer's size" {
    passes test_readsize
}

@test "unit: which way a window is read" {
    passes test_turn
}

@test "unit: each call to the system in turn refused" {
    passes test_refused
}

@test "unit: reading in and locking" {
    passes test_residency
}

@test "unit: chaining signal handlers" {
    passes test_signals
}

@test "unit: counting in shared memory" {
    passes test_status
}

@test "unit: reading as the kernel does" {
    needs_no_overlay
    passes test_stream
}

@test "unit: many threads at once" {
    needs_no_overlay
    passes threads/test_threads
}

@test "unit: what a fuzzer made of the directive file" {
    "$BATS_TEST_DIRNAME/../build/unit/replay_config" "$BATS_TEST_DIRNAME"/fuzz/corpus/*
}
