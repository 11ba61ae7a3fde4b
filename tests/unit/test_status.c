#include "status.h"

#include "guard.h"
#include "log.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST(name) cmocka_unit_test(name)

/* What is shared is shared for the life of a process, so each story is a process of its own. */
#define STORY(name)                                                                                \
    static void name##_in_child(void);                                                             \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        (void)unlink("status");                                                                    \
        assert_int_equal(ending_of(name##_in_child), 0);                                           \
    }                                                                                              \
    static void name##_in_child(void)

static struct status_header header;
static struct status_file file;

/* What a tool would see. @return false: the file doesn't reach so far */
static bool read_at(off_t offset, void *buffer, size_t size)
{
    int fd = open("status", O_RDONLY | O_CLOEXEC);

    in_story(fd != -1);
    ssize_t got = pread(fd, buffer, size, offset);
    (void)close(fd);
    return got == (ssize_t)size;
}

static bool read_slot(unsigned slot)
{
    return read_at((off_t)(STATUS_FILES_AT + slot * sizeof file), &file, sizeof file);
}

static off_t size_of_file(void)
{
    struct stat status;

    in_story(stat("status", &status) == 0);
    in_story(status.st_blocks * 512 >= status.st_size); /* no holes, which could fault */
    return status.st_size;
}

static void share(void)
{
    in_story(status_share("status"));
}

STORY(the_header_says_what_the_file_is)
{
    share();
    status_directives("/etc/proftpd/preload.conf", true);
    status_add(STATUS_BYTES, 7); /* before it listens: not to be counted */
    status_serving();
    status_add(STATUS_BYTES, 5);
    status_serving();
    in_story(read_at(0, &header, sizeof header));
    in_story(memcmp(header.name, "xfermmap", 8) == 0 && header.version == STATUS_VERSION);
    in_story(header.counters == STATUS_COUNTER_COUNT && header.files_at == STATUS_FILES_AT);
    in_story(header.file_size == sizeof(struct status_file) && header.engine == 1);
    in_story(header.master == getpid() && status_is_alive(&header));
    in_story(header.started > 0 && header.directives_read >= header.started);
    in_story(strcmp(header.directives, "/etc/proftpd/preload.conf") == 0);

    uint64_t bytes = 0;
    in_story(
        read_at((off_t)(header.counters_at + STATUS_BYTES * sizeof bytes), &bytes, sizeof bytes));
    in_story(bytes == 5);
}

STORY(a_file_is_counted_in_its_slot)
{
    share();
    status_file_set(3, "/srv/a", 1000, 500);
    status_file_add(3, 1, 600, 400);
    status_file_add(3, 2, 30, 7);
    in_story(read_slot(3) && file.used == 1 && strcmp(file.path, "/srv/a") == 0);
    in_story(file.size == 1000 && file.locked == 500);
    in_story(file.downloads == 3 && file.bytes == 630 && file.bytes_kernel == 407);

    status_file_set(3, "/srv/a", 1000, 1000); /* the same path: it goes on */
    in_story(read_slot(3) && file.downloads == 3 && file.locked == 1000);
    status_file_set(3, "/srv/b", 1, 0);
    in_story(read_slot(3) && file.downloads == 0 && file.bytes == 0 && file.bytes_kernel == 0);
    status_file_clear(3);
    in_story(read_slot(3) && file.used == 0);
}

STORY(a_long_path_is_shown_by_its_end)
{
    char path[1000];

    share();
    memset(path, 'x', sizeof path);
    memcpy(path + sizeof path - sizeof "/end", "/end", sizeof "/end");
    status_file_set(0, path, 1, 0);
    in_story(read_slot(0) && strncmp(file.path, "...xxx", 6) == 0);
    in_story(strlen(file.path) == sizeof file.path - 1);
    in_story(strcmp(file.path + sizeof file.path - sizeof "/end", "/end") == 0);
}

STORY(the_file_grows_with_its_slots)
{
    share();
    in_story(size_of_file() == STATUS_FILES_AT);
    status_file_add(0, 1, 1, 1); /* there is none yet */
    in_story(size_of_file() == STATUS_FILES_AT);
    status_file_set(0, "/a", 1, 0);
    off_t one = size_of_file();
    in_story(one > STATUS_FILES_AT && one <= STATUS_FILES_AT + 128 * (off_t)sizeof file);
    status_file_set(1000, "/b", 1, 0);
    in_story(read_slot(1000) && size_of_file() < STATUS_FILES_AT + 1200 * (off_t)sizeof file);
    status_file_set(STATUS_FILES - 1, "/c", 1, 0);
    in_story(read_slot(STATUS_FILES - 1) && file.used == 1);
    in_story(read_slot(1000) && file.used == 1);

    off_t all = size_of_file();
    status_file_set(STATUS_FILES, "/d", 1, 0);
    status_file_add(STATUS_FILES, 1, 1, 1);
    status_file_add(UINT_MAX, 1, 1, 1);
    status_file_clear(UINT_MAX);
    in_story(size_of_file() == all);
}

STORY(sessions_count_in_it_too)
{
    share();
    status_file_set(1, "/a", 1, 0);
    pid_t session = fork();
    if (session == 0) {
        status_add(STATUS_LISTED, 2);
        status_file_add(1, 2, 20, 10);
        _exit(0);
    }
    in_story(waitpid(session, NULL, 0) == session);
    in_story(status_get(STATUS_LISTED) == 2);
    in_story(read_slot(1) && file.downloads == 2 && file.bytes == 20 && file.bytes_kernel == 10);
}

/* As on a full disk. The path has no directory: were the log written to, it would be syslog. */
STORY(a_disk_that_is_full_leaves_files_out)
{
    struct rlimit limit = {STATUS_FILES_AT, STATUS_FILES_AT};

    (void)signal(SIGXFSZ, SIG_IGN);
    share();
    in_story(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    log_to(LOG_TO_NOWHERE, NULL);
    status_file_set(0, "/a", 1, 0);
    status_file_add(0, 1, 1, 1);
    status_file_clear(0);
    status_add(STATUS_LISTED, 1);
    in_story(!read_slot(0) && status_get(STATUS_LISTED) == 1);
}

STORY(a_log_that_may_not_grow_ends_nobody)
{
    struct rlimit limit = {0, 0};
    sigset_t pending;

    log_to(LOG_TO_FILE, "log");
    log_as(geteuid());
    in_story(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    log_line("too long");
    in_story(sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 0);
    in_story(access("log", F_OK) == 0); /* it was written to: an empty file */
}

STORY(a_file_that_was_replaced_is_let_be)
{
    share();
    in_story(rename("status", "other") == 0);
    make_text("status", "x", 1);
    log_to(LOG_TO_NOWHERE, NULL);
    status_file_set(0, "/a", 1, 0);
    in_story(size_of_file() == 1);
    (void)unlink("other");
}

STORY(a_file_that_is_truncated_does_no_harm)
{
    share();
    guard_start();
    status_file_set(200, "/a", 1, 0);
    in_story(truncate("status", 0) == 0);
    status_file_add(200, 1, 1, 1);
    status_add(STATUS_BYTES, 7);
    in_story(status_get(STATUS_BYTES) == 7);
}

STORY(without_a_file_all_slots_are_shared_in_memory)
{
    in_story(status_share(NULL));
    status_file_set(STATUS_FILES - 1, "/a", 1, 0);
    status_file_add(STATUS_FILES - 1, 1, 1, 1);
    status_file_clear(STATUS_FILES - 1);
    in_story(access("status", F_OK) == -1);
}

/* ---- whose file it is ---- */

static void serve(void)
{
    share();
    status_serving();
}

STORY(the_file_of_a_server_that_is_gone_is_replaced)
{
    struct stat former, now;

    in_story(ending_of(serve) == 0);
    in_story(stat("status", &former) == 0);
    int held = open("status", O_RDONLY | O_CLOEXEC); /* so that its inode isn't used again */
    share();
    in_story(stat("status", &now) == 0 && now.st_ino != former.st_ino);
    (void)close(held);
}

static void share_with_another(void)
{
    in_story(!status_share("status") && errno == EBUSY);
    status_add(STATUS_BYTES, 1);
    in_story(status_get(STATUS_BYTES) == 1);
}

static void serve_and_share_with_another(void)
{
    uint64_t bytes = 1;

    serve();
    in_story(ending_of(share_with_another) == 0);
    in_story(read_at(0, &header, sizeof header) && header.master == getpid());
    in_story(
        read_at((off_t)(header.counters_at + STATUS_BYTES * sizeof bytes), &bytes, sizeof bytes));
    in_story(bytes == 0);
}

static void the_file_of_a_server_at_work_is_not_taken(void **state)
{
    (void)state;
    if (under_qemu_user())
        skip(); /* it tells a process another start time than it tells others */
    (void)unlink("status");
    assert_int_equal(ending_of(serve_and_share_with_another), 0);
}

STORY(a_process_number_that_is_used_again_is_no_server)
{
    struct status_header former = {.version = STATUS_VERSION};

    serve();
    in_story(read_at(0, &former, sizeof former) && status_is_alive(&former));
    former.master_since--;
    in_story(!status_is_alive(&former));
    former.master = -1;
    in_story(!status_is_alive(&former));
    in_story(status_process_start(0) == 0);
}

STORY(what_is_no_status_file_is_not_removed)
{
    make_text("status", "mine", 4);
    in_story(!status_share("status") && errno == EEXIST);
    in_story(size_of_file() == 4 && unlink("status") == 0);

    in_story(symlink("elsewhere", "status") == 0);
    in_story(!status_share("status") && errno == EEXIST);
    in_story(access("elsewhere", F_OK) == -1);
}

STORY(where_everybody_may_write_there_is_no_file)
{
    in_story(mkdir("open", 0777) == 0 && chmod("open", 0777) == 0);
    in_story(!status_share("open/status") && errno == EPERM);
    in_story(access("open/status", F_OK) == -1 && rmdir("open") == 0);
}

/* The file is written with the rights of whoever runs this. */
static int enter(void **state)
{
    log_as(geteuid());
    return unit_enter(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_header_says_what_the_file_is),
        TEST(a_file_is_counted_in_its_slot),
        TEST(a_long_path_is_shown_by_its_end),
        TEST(the_file_grows_with_its_slots),
        TEST(sessions_count_in_it_too),
        TEST(a_disk_that_is_full_leaves_files_out),
        TEST(a_log_that_may_not_grow_ends_nobody),
        TEST(a_file_that_was_replaced_is_let_be),
        TEST(a_file_that_is_truncated_does_no_harm),
        TEST(without_a_file_all_slots_are_shared_in_memory),
        TEST(the_file_of_a_server_that_is_gone_is_replaced),
        TEST(the_file_of_a_server_at_work_is_not_taken),
        TEST(a_process_number_that_is_used_again_is_no_server),
        TEST(what_is_no_status_file_is_not_removed),
        TEST(where_everybody_may_write_there_is_no_file),
    };

    return cmocka_run_group_tests_name("status", tests, enter, unit_leave);
}
