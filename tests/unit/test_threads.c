/*
 * Threads that open, read, duplicate and close at once, under the thread sanitizer. It would
 * report a race between close and read, which happens here on purpose: so open and close files by
 * system calls that it does not see.
 */
#include "guard.h"
#include "log.h"
#include "served.h"
#include "status.h"
#include "stream.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { THREADS = 8, FILES = 5, WORDS = 200000 /* in each file */ };

static const char *const names[FILES] = {"0", "1", "2", "3", "4"};
static atomic_bool wrong;
static unsigned rounds; /* of each thread */

/* A word of a file encodes the file and the offset. */
static uint64_t word(unsigned file, size_t index)
{
    return (uint64_t)file << 56 | (uint64_t)index << 8 | 1;
}

static void make_words(unsigned file)
{
    uint64_t *words = calloc(WORDS, sizeof *words);

    assert_non_null(words);
    for (size_t i = 0; i < WORDS; i++)
        words[i] = word(file, i);
    make_text(names[file], (const char *)words, WORDS * sizeof *words);
    free(words);
}

static int enter(void **state)
{
    if (unit_enter(state) != 0)
        return -1;
    log_to(LOG_TO_NOWHERE);
    for (unsigned file = 0; file < FILES; file++)
        make_words(file);
    return 0;
}

/* Instead of cmocka's assertions, in a thread. */
static bool holds(bool condition)
{
    if (!condition)
        atomic_store(&wrong, true);
    return condition;
}

static void run(void *(*work)(void *), unsigned count)
{
    pthread_t threads[THREADS];

    assert_true(count <= THREADS);
    install_guard();
    turn_policy("map");
    stream_serve(0);
    atomic_store(&wrong, false);
    for (uintptr_t i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_false(atomic_load(&wrong));
}

static int finish(void **state)
{
    (void)state;
    for (int fd = 0; fd < STREAM_LIMIT; fd++) {
        if (stream_is_served(fd))
            return -1; /* a test has leaked a stream */
    }
    for (unsigned file = 0; file < FILES; file++) {
        if (mapped_bytes(names[file]) != 0)
            return -1;
    }
    return 0;
}

/* ---- calls as the wrappers make them ---- */

static int open_served(unsigned file)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, names[file], O_RDONLY | O_CLOEXEC);

    if (holds(fd >= 0))
        stream_opened(fd, O_RDONLY);
    return fd;
}

static void close_served(int fd)
{
    stream_closing(fd);
    holds(syscall(SYS_close, fd) == 0);
}

/* ---- separate descriptors for each thread, whose numbers are reused by others ---- */

static void *open_read_close(void *argument)
{
    uint64_t words[500];
    unsigned first = (unsigned)(uintptr_t)argument;

    for (unsigned round = 0; round < rounds; round++) {
        unsigned file = (first + round) % FILES;
        int fd = open_served(file);
        for (size_t i = 0; i < 20000; i += COUNT(words)) {
            ssize_t count = read_served(fd, words, sizeof words);
            if (!holds(count == sizeof words))
                break;
            for (size_t j = 0; j < COUNT(words); j++)
                holds(words[j] == word(file, i + j));
        }
        if (round % 3 == 0)
            stream_hand_over(fd, STREAM_DUP);
        close_served(fd);
    }
    return NULL;
}

static void many_open_read_and_close(void **state)
{
    uint64_t before = status_get(STATUS_BYTES);

    (void)state;
    rounds = 40;
    run(open_read_close, THREADS);
    assert_true(status_get(STATUS_BYTES) > before);
}

/* ---- one descriptor for all threads ---- */

static int shared;
static atomic_uchar seen[WORDS];

static void *read_shared(void *unused)
{
    uint64_t words[100];
    ssize_t count;

    (void)unused;
    while ((count = read_served(shared, words, sizeof words)) > 0) {
        size_t read_words = (size_t)count / sizeof words[0];
        size_t start = words[0] >> 8 & UINT32_MAX;
        for (size_t i = 0; i < read_words; i++) {
            if (holds(words[i] == word(0, start + i)))
                atomic_fetch_add(&seen[start + i], 1);
        }
    }
    holds(count == 0);
    return NULL;
}

/* As with the kernel's offset: one thread reads each word, once. */
static void one_offset_for_all(void **state)
{
    (void)state;
    turn_policy("map");
    stream_serve(0);
    shared = open_served(0);
    assert_true(stream_is_served(shared));
    run(read_shared, THREADS);
    close_served(shared);
    for (size_t i = 0; i < WORDS; i++)
        assert_int_equal(atomic_load(&seen[i]), 1);
}

/* ---- cancellation ---- */

static void *read_for_ever(void *unused)
{
    uint64_t words[100];
    off64_t start;

    (void)unused;
    for (;;) {
        while (read_served(shared, words, sizeof words) > 0)
            continue;
        holds(stream_seek(shared, 0, SEEK_SET, &start));
    }
    return NULL;
}

/* Like read(2), it is a cancellation point; other threads can use the stream afterwards. */
static void a_reader_is_cancelled(void **state)
{
    uint64_t words[100], before = status_get(STATUS_BYTES);
    pthread_t reader;
    void *result = NULL;

    (void)state;
    turn_policy("map");
    stream_serve(0);
    install_guard();
    shared = open_served(0);
    assert_true(stream_is_served(shared));
    assert_int_equal(pthread_create(&reader, NULL, read_for_ever, NULL), 0);
    while (status_get(STATUS_BYTES) < before + 10 * WORDS)
        (void)sched_yield();
    assert_int_equal(pthread_cancel(reader), 0);
    assert_int_equal(pthread_join(reader, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    before = status_get(STATUS_BYTES);
    assert_int_equal(pread_served(shared, words, sizeof words, 0), sizeof words);
    assert_int_equal(words[0], word(0, 0));
    assert_int_equal(status_get(STATUS_BYTES), before + sizeof words);
    close_served(shared);
}

/* ---- descriptors closed and opened during reads ---- */

enum { CHURNED = 500 /* the number */, CHURNS = 3000 };

static atomic_bool churning;

static void churn(void)
{
    for (unsigned i = 0; i < CHURNS; i++) {
        int fd = open_served(i % FILES);
        stream_hand_over(CHURNED, STREAM_DUP);
        holds(syscall(SYS_dup3, fd, CHURNED, O_CLOEXEC) == CHURNED);
        close_served(fd);
        holds(lseek64(CHURNED, 0, SEEK_SET) == 0);
        stream_opened(CHURNED, O_RDONLY); /* as if open(2) had returned it */
        if (i % 7 == 0)
            close_served(CHURNED);
    }
    stream_closing(CHURNED);
    (void)syscall(SYS_close, CHURNED);
    atomic_store(&churning, false);
}

/* One read returns data of one file, from one offset. */
static void *read_churned(void *argument)
{
    uint64_t words[300];

    if (argument == NULL) {
        churn();
        return NULL;
    }
    while (atomic_load(&churning)) {
        ssize_t count = read_served(CHURNED, words, sizeof words);
        if (count < 0)
            holds(errno == EBADF);
        for (size_t i = 1; count > 0 && i < (size_t)count / sizeof words[0]; i++)
            holds(words[i] == words[0] + ((uint64_t)i << 8));
    }
    return NULL;
}

static void a_number_changes_hands_under_readers(void **state)
{
    (void)state;
    atomic_store(&churning, true);
    run(read_churned, 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, finish)
    static const struct CMUnitTest tests[] = {
        TEST(many_open_read_and_close),
        TEST(one_offset_for_all),
        TEST(a_reader_is_cancelled),
        TEST(a_number_changes_hands_under_readers),
    };

    return cmocka_run_group_tests(tests, enter, unit_leave);
}
