#include "hot.h"

#include "handle.h"
#include "set_clock.h"
#include "status.h"
#include "unit.h"
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* The functions are for the child of a watchdog, and for one that may open handles. */
#define HOT_TEST(name)                                                                             \
    static void name##_watched(void);                                                              \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        if (!handle_allowed() || !handle_exists("."))                                              \
            skip();                                                                                \
        to_watch = name##_watched;                                                                 \
        assert_int_equal(run_in_child(run_watched), 0);                                            \
    }                                                                                              \
    static void name##_watched(void)

static void (*to_watch)(void);

uid_t __wrap_geteuid(void);

/* The sessions' user. */
uid_t __wrap_geteuid(void)
{
    return SOMEBODY;
}

static void run_watched(void)
{
    int status = 1;

    require(status_share(NULL));
    if (watchdog_fork() == WATCHDOG_CHILD) {
        install_guard();
        require(chmod(".", 0755) == 0);
        heat_policy(true);
        to_watch();
        _exit(0);
    }
    while (watchdog_poll(&status) == WATCHDOG_RUNNING)
        (void)usleep(1000);
    require(status == 0);
}

static struct hot_limits limits = {.hot = MIB, .memory = 10 * MIB, .fresh = MIB};

static void download(const char *name, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        struct stat64 status;
        int fd = open(name, O_RDONLY | O_CLOEXEC);
        require(fd != -1 && fstat64(fd, &status) == 0);
        heat_opened(fd, &status);
        heat_sent(fd, (uint64_t)status.st_size);
        heat_closing(fd);
        (void)close(fd);
    }
}

static void make(const char *name, size_t size)
{
    make_file(name, size);
    require(chmod(name, 0644) == 0);
}

/* Choose. @return a list of hot files only */
static struct listed choose(const struct listed *held)
{
    struct listed found = {.count = 0};

    hot_add(&found, held, &limits);
    return found;
}

static const struct listed nothing;

/* Whether the list has these files, as in "a b", whose names end their paths. */
static bool has(const struct listed *listed, const char *names)
{
    char text[1000] = "";

    for (size_t i = 0; i < listed->count; i++) {
        const char *name = strrchr(listed->files[i]->path, '/');
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i > 0 ? " " : "",
                       name != NULL ? name + 1 : listed->files[i]->path);
    }
    if (strcmp(text, names) != 0)
        (void)fprintf(stderr, "# %s\n", text);
    return strcmp(text, names) == 0;
}

HOT_TEST(the_hottest_that_fit)
{
    make("a", 400 * KIB);
    make("b", 400 * KIB);
    make("c", 400 * KIB);
    make("once", 4 * KIB);
    download("a", 3);
    download("b", 4);
    download("c", 2);
    download("once", 1);
    struct listed found = choose(&nothing);
    require(has(&found, "b a"));
    require(found.files[0]->downloads == 4 * HEAT_ONE && found.files[0]->since > 0);
    make("small", 100 * KIB);
    download("small", 2);
    found = choose(&nothing); /* where c does not fit */
    require(has(&found, "b a small"));
    limits.memory = 500 * KIB;
    found = choose(&nothing);
    require(has(&found, "b small") || has(&found, "b"));
    limits.fresh = limits.hot = UINT64_MAX; /* more than the memory */
    limits.memory = 2 * MIB;
    found = choose(&nothing);
    require(found.count == 4);
}

/* Its root directory is not in /proc/self/mountinfo. */
HOT_TEST(in_a_chroot_that_is_no_mount_point)
{
    if (run_in_child(own_mounts) != 0)
        return;
    own_mounts();
    require(mkdir("proc", 0755) == 0 && mount("proc", "proc", "proc", 0, NULL) == 0);
    require(chroot(".") == 0);
    make("a", 4 * KIB);
    download("a", 2);
    struct listed found = choose(&nothing);
    require(has(&found, "a"));
}

HOT_TEST(what_is_chosen_can_be_read_in)
{
    make("a", 400 * KIB);
    download("a", 2);
    struct listed found = choose(&nothing);
    listed_map(&found, limits.memory);
    require(found.count == 1 && found.files[0]->problem == NULL);
    require(found.files[0]->memory.mapping.length == 400 * KIB && mapped_bytes("a") == 400 * KIB);
    require(found.files[0]->memory.gently);
}

HOT_TEST(listed_files_come_first)
{
    struct listed found = {.count = 0};
    char path[1000];

    make("a", 400 * KIB);
    make("b", 400 * KIB);
    download("a", 2);
    download("b", 3);
    require(realpath("a", path) != NULL);
    listed_add(&found, path);
    found.hot = found.count;
    limits.memory = 900 * KIB;
    hot_add(&found, &nothing, &limits);
    require(found.hot == 1 && has(&found, "a b"));
    listed_free(&found);
    listed_add(&found, path);
    found.hot = found.count;
    limits.memory = 600 * KIB;
    hot_add(&found, &nothing, &limits);
    require(has(&found, "a"));
}

HOT_TEST(files_of_equal_heat_do_not_push_each_other_out)
{
    limits.hot = 500 * KIB;
    make("a", 400 * KIB);
    make("b", 400 * KIB);
    download("a", 10);
    struct listed held = choose(&nothing);
    download("b", 12);
    struct listed found = choose(&held);
    require(has(&found, "a") && listed_is_same(&held, &found));
    download("b", 3);
    found = choose(&held);
    require(has(&found, "b") && !listed_is_same(&held, &found));
    held = found;
    download("a", 5);
    found = choose(&held);
    require(has(&found, "b"));
}

HOT_TEST(the_order_stays_while_the_set_does)
{
    make("a", KIB);
    make("b", KIB);
    make("c", KIB);
    download("a", 4);
    download("b", 3);
    struct listed held = choose(&nothing);
    require(has(&held, "a b"));
    download("b", 10);
    struct listed found = choose(&held);
    require(listed_is_same(&held, &found) && found.files[0]->since == held.files[0]->since);
    download("c", 20);
    found = choose(&held);
    require(has(&found, "a b c") && !listed_is_same(&held, &found));
}

HOT_TEST(some_new_files_at_a_time)
{
    limits.hot = 10 * MIB;
    make("a", 600 * KIB);
    make("b", 600 * KIB);
    make("c", 4 * KIB);
    download("a", 4);
    download("b", 3);
    download("c", 2);
    struct listed held = choose(&nothing);
    require(has(&held, "a")); /* not c, either, which is less hot than b */
    struct listed found = choose(&held);
    require(has(&found, "a b c"));
    make("large", 5 * MIB);
    download("large", 10);
    held = found;
    found = choose(&held); /* a single one may be larger */
    require(has(&found, "a b c large"));
}

HOT_TEST(deleted_replaced_and_emptied_files_leave)
{
    make("a", 4 * KIB);
    make("b", 4 * KIB);
    make("c", 4 * KIB);
    download("a", 4);
    download("b", 4);
    download("c", 4);
    struct listed held = choose(&nothing);
    listed_map(&held, limits.memory); /* so that the inodes stay */
    require(held.count == 3 && mapped_bytes("a") > 0);
    require(unlink("a") == 0);
    make("new", 4 * KIB);
    require(rename("new", "b") == 0 && truncate("c", 0) == 0);
    struct listed found = choose(&held);
    require(found.count == 0 && !listed_is_same(&held, &found));
    require(truncate("c", 8 * KIB) == 0);
    found = choose(&held);
    require(has(&found, "c") && !listed_is_same(&held, &found));
    download("b", 4); /* the new one counts anew */
    found = choose(&held);
    require(found.count == 2);
}

HOT_TEST(an_inode_that_is_used_again_is_another_file)
{
    struct stat64 former, status;
    int tries = 0;

    make("a", 4 * KIB);
    require(stat64("a", &former) == 0);
    download("a", 3);
    require(choose(&nothing).count == 1);
    do { /* most file systems take the number again at once */
        require(unlink("a") == 0);
        make("a", 4 * KIB);
        require(stat64("a", &status) == 0);
    } while (status.st_ino != former.st_ino && ++tries < 10);
    if (status.st_ino != former.st_ino)
        return;
    require(choose(&nothing).count == 0);
    download("a", 1);
    require(choose(&nothing).count == 0);
    download("a", 1);
    struct listed found = choose(&nothing);
    require(has(&found, "a"));
}

/* ---- what sessions may have written ---- */

/* The name stands for the file. */
static bool is_hidden(const char *name)
{
    struct listed found;
    struct stat64 status;
    char inode[32];

    require(stat64(name, &status) == 0);
    (void)snprintf(inode, sizeof inode, "inode %llu of", (unsigned long long)status.st_ino);
    found = choose(&nothing);
    require(found.count == 1);
    bool hidden = found.files[0]->hidden;
    require(hidden == (strstr(found.files[0]->path, inode) != NULL));
    require(hidden == (strstr(found.files[0]->path, name) == NULL));
    listed_free(&found);
    return hidden;
}

HOT_TEST(a_name_that_not_everyone_may_see_is_not_shown)
{
    require(mkdir("directory", 0755) == 0);
    make("directory/file-of-somebody", 4 * KIB);
    download("directory/file-of-somebody", 2);
    require(!is_hidden("directory/file-of-somebody"));
    require(chmod("directory/file-of-somebody", 0640) == 0);
    require(is_hidden("directory/file-of-somebody"));
    require(chmod("directory/file-of-somebody", 0644) == 0 && chmod("directory", 0711) == 0);
    require(is_hidden("directory/file-of-somebody"));
    require(chmod("directory", 0750) == 0);
    require(is_hidden("directory/file-of-somebody"));
    require(chmod("directory", 0755) == 0 && chmod(".", 0700) == 0);
    require(is_hidden("directory/file-of-somebody"));
    require(chmod(".", 0755) == 0);
    require(!is_hidden("directory/file-of-somebody"));
}

/* Say that the handle of one file is that of another. */
static void lie(const char *told, const char *meant)
{
    struct stat64 status;
    int fd = open(meant, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

    require(fd != -1 && stat64(told, &status) == 0);
    for (unsigned i = 0; i < 3; i++) {
        heat_opened(fd, &status);
        heat_sent(fd, (uint64_t)status.st_size + 1);
        heat_closing(fd);
    }
    (void)close(fd);
}

HOT_TEST(a_handle_has_to_be_that_of_the_file)
{
    make("a", 4 * KIB);
    make("b", 4 * KIB);
    lie("a", "b");
    require(choose(&nothing).count == 0);
}

HOT_TEST(only_regular_files_are_kept)
{
    require(mkfifo("pipe", 0644) == 0 && mkdir("empty", 0755) == 0);
    lie("pipe", "pipe");
    lie("empty", "empty");
    lie("/dev/null", "/dev/null");
    lie("/proc/self/status", "/proc/self/status");
    require(choose(&nothing).count == 0);
}

HOT_TEST(a_table_full_of_lies)
{
    unsigned char *table = status_heat();
    struct stat64 status;

    make("a", 4 * KIB);
    for (unsigned seed = 0; seed < 5; seed++) {
        srandom(seed);
        for (size_t i = 0; i < STATUS_HEAT_BYTES; i++)
            table[i] = (unsigned char)random();
        struct listed found = choose(&nothing);
        require(found.count == 0);
        hot_update(&found, &(uint64_t){0});
    }
    require(stat64("a", &status) == 0);
}

HOT_TEST(downloads_are_brought_up_to_date)
{
    uint64_t all;

    make("a", 4 * KIB);
    make("b", 4 * KIB);
    download("a", 2);
    struct listed held = choose(&nothing);
    download("a", 1);
    download("b", 1);
    hot_update(&held, &all);
    require(held.files[0]->downloads == 3 * HEAT_ONE && all == 4 * HEAT_ONE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test(name)
    static const struct CMUnitTest tests[] = {
        TEST(the_hottest_that_fit),
        TEST(in_a_chroot_that_is_no_mount_point),
        TEST(what_is_chosen_can_be_read_in),
        TEST(listed_files_come_first),
        TEST(files_of_equal_heat_do_not_push_each_other_out),
        TEST(the_order_stays_while_the_set_does),
        TEST(some_new_files_at_a_time),
        TEST(deleted_replaced_and_emptied_files_leave),
        TEST(an_inode_that_is_used_again_is_another_file),
        TEST(a_name_that_not_everyone_may_see_is_not_shown),
        TEST(a_handle_has_to_be_that_of_the_file),
        TEST(only_regular_files_are_kept),
        TEST(a_table_full_of_lies),
        TEST(downloads_are_brought_up_to_date),
    };

    return cmocka_run_group_tests(tests, unit_enter, unit_leave);
}
