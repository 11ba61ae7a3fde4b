#!/usr/bin/env bats
# Each room of the library by itself, see unit/: one test here for each program, whose tests are shown if one fails.

passes() {
    local layout=()
    ! setarch -R true 2>/dev/null || layout=(setarch -R) # the thread sanitizer knows few of them
    CMOCKA_MESSAGE_OUTPUT=TAP "${layout[@]}" "$BATS_TEST_DIRNAME/../build/unit/test_$1"
}

@test "unit: the directive file" {
    passes config
}

@test "unit: the server's own configuration as directive file" {
    passes config_server
}

@test "unit: descriptors and their streams" {
    passes descriptor
}

@test "unit: what everybody may read" {
    passes everyone
}

@test "unit: copying from memory that may fault" {
    passes guard
}

@test "unit: reading in and locking" {
    passes keep
}

@test "unit: how much memory there is to take" {
    passes allowance
}

@test "unit: what sessions tell the master" {
    passes notice
}

@test "unit: listed files" {
    passes preload
}

@test "unit: the transfer buffer's size" {
    passes readsize
}

@test "unit: each call to the system in turn refused" {
    passes refused
}

@test "unit: keeping files in memory" {
    passes resident
}

@test "unit: the rights of one thread" {
    passes rights
}

@test "unit: standing before the program's signals" {
    passes signals
}

@test "unit: counting in shared memory" {
    passes status
}

@test "unit: reading as the kernel does" {
    passes stream
}

@test "unit: many threads at once" {
    passes threads
}

@test "unit: what a fuzzer made of the directive file" {
    "$BATS_TEST_DIRNAME/../build/unit/replay_config" "$BATS_TEST_DIRNAME"/fuzz/corpus/*
}
