/*
 * A master starts, lists files and serves them, repeatedly; each time its next call for resources
 * fails. Reads must stay right. The linker replaces libc's functions by those below (--wrap).
 */
#include "config_file.h"
#include "guard.h"
#include "listed.h"
#include "log.h"
#include "safe_file.h"
#include "served.h"
#include "status.h"
#include "stream.h"
#include "unit.h"
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LARGE = 5 * MIB };

enum call { MMAP, MADVISE, MLOCK, FALLOCATE, CALLOC, REALLOC, STRDUP, CALLS };

/* Shared with the children. */
static struct asked {
    atomic_uint calls; /* so far */
    atomic_uint of[CALLS];
} * asked;

static unsigned refused; /* the number of the call to refuse */

static bool is_refused(enum call call, int error)
{
    if (asked == NULL)
        return false;
    atomic_fetch_add(&asked->of[call], 1);
    if (atomic_fetch_add(&asked->calls, 1) + 1 != refused)
        return false;
    errno = error;
    return true;
}

/* Wrap a function of libc: refuse it, or call it. off_t is long for a name without "64", also if
 * this file is compiled with a 64-bit off_t. */
#define REFUSABLE(call, error, refusal, type, name, parameters, arguments)                         \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        return is_refused(call, error) ? (refusal) : __real_##name arguments;                      \
    }

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */
REFUSABLE(MMAP, ENOMEM, MAP_FAILED, void *, mmap,
          (void *address, size_t length, int protection, int flags, int fd, long offset),
          (address, length, protection, flags, fd, offset))
REFUSABLE(MMAP, ENOMEM, MAP_FAILED, void *, mmap64,
          (void *address, size_t length, int protection, int flags, int fd, off64_t offset),
          (address, length, protection, flags, fd, offset))
REFUSABLE(MADVISE, EINVAL, -1, int, madvise, (void *address, size_t length, int advice),
          (address, length, advice))
REFUSABLE(MLOCK, ENOMEM, -1, int, mlock, (const void *address, size_t length), (address, length))
REFUSABLE(FALLOCATE, 0, ENOSPC, int, posix_fallocate, (int fd, long start, long length),
          (fd, start, length))
REFUSABLE(CALLOC, ENOMEM, NULL, void *, calloc, (size_t count, size_t size), (count, size))
REFUSABLE(REALLOC, ENOMEM, NULL, void *, realloc, (void *memory, size_t size), (memory, size))
REFUSABLE(REALLOC, ENOMEM, NULL, void *, reallocarray, (void *memory, size_t count, size_t size),
          (memory, count, size))
REFUSABLE(STRDUP, ENOMEM, NULL, char *, strdup, (const char *text), (text))
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

static void read_through(const char *name, off64_t size)
{
    static char buffer[300 * KIB];
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t got = 1;

    require(fd != -1);
    stream_opened(fd, O_RDONLY);
    for (off64_t at = 0; got > 0; at += got) {
        got = read_served(fd, buffer, sizeof buffer);
        require(got >= 0 && (got > 0 || at == size));
        for (ssize_t i = 0; i < got; i += 997)
            require((unsigned char)buffer[i] == content(at + i));
    }
    stream_closing(fd);
    require(close(fd) == 0);
}

static bool go_on(size_t file, uint64_t bytes)
{
    (void)file;
    (void)bytes;
    return true;
}

static void keep(const struct config *config)
{
    struct listed listed = {.count = 0};

    listed_expand(&listed, &config->files);
    listed_map(&listed, 64 * MIB);
    listed_read_in(&listed, config->lock ? RESIDENCY_LOCK : RESIDENCY_READ, go_on);
    status_files_begin();
    for (size_t i = 0; i < listed.count; i++) {
        struct status_identity identity = status_identity_of(&listed.files[i]->status);
        status_file_set(status_file_take(listed.files[i]->path), 0, &identity, 0, 0);
    }
    status_files_end();
    listed_free(&listed);
}

/* A server's lifetime, including its keeper: a refused call may lose the library's help, but no
 * byte. */
static void serve(void)
{
    struct config config;

    install_guard();
    if (config_read("conf", &config) && config.valid) {
        safe_file_as(geteuid());
        log_to("log");
        (void)status_share("status");
        turn_policy("map");
        stream_serve(config.min_size);
        if (watchdog_fork() == WATCHDOG_CHILD) {
            keep(&config);
            _exit(0);
        }
    }
    int unused;
    while (watchdog_descriptor() != -1 && watchdog_poll(&unused) == WATCHDOG_RUNNING)
        (void)usleep(1000);
    read_through("small", 3 * PAGE + 100);
    read_through("large", LARGE);
    read_through("unlisted", LARGE);
}

static void whatever_is_refused_the_bytes_are_right(void **state)
{
    char conf[2 * PAGE], here[PAGE];

    (void)state;
    assert_non_null(getcwd(here, sizeof here));
    make_text("conf", conf,
              (size_t)snprintf(conf, sizeof conf,
                               "TransferMMapEngine on\nTransferMMapFile %s/small %s/lar*\n"
                               "TransferMMapStatusFile %s/status\n",
                               here, here, here));
    for (refused = 0; refused <= asked->calls; refused++) { /* 0: nothing is refused */
        atomic_store(&asked->calls, 0);
        make_text("log", "", 0);
        (void)unlink("status");
        assert_int_equal(run_in_child(serve), 0);
    }
    for (enum call call = 0; call < CALLS; call++)
        assert_true(asked->of[call] > 0);
}

static int enter(void **state)
{
    if (unit_enter(state) != 0)
        return -1;
    make_file("small", 3 * PAGE + 100);
    make_file("large", LARGE);
    make_file("unlisted", LARGE);
    void *shared =
        mmap(NULL, sizeof *asked, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    asked = shared != MAP_FAILED ? shared : NULL;
    return asked != NULL ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_refused_the_bytes_are_right),
    };
    return cmocka_run_group_tests(tests, enter, unit_leave);
}
