#include "listed.h"

#include "unit.h"
#include "watchdog.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void run_watched(void (*function)(void))
{
    int status = 1;

    if (watchdog_fork() == WATCHDOG_CHILD) {
        install_guard();
        function();
        _exit(0);
    }
    while (watchdog_poll(&status) == WATCHDOG_RUNNING)
        (void)usleep(1000);
    require(status == 0);
}

/* All functions run in the child of a watchdog. */
#define WATCHED_TEST(name)                                                                         \
    static void name##_watched(void);                                                              \
    CHILD_TEST(name)                                                                               \
    {                                                                                              \
        run_watched(name##_watched);                                                               \
    }                                                                                              \
    static void name##_watched(void)

static char here[1000];

/* The files that these arguments mean, each below the test's directory. */
static struct listed expand(size_t count, ...)
{
    struct config_list arguments = {.items = NULL};
    struct listed listed = {.count = 0};
    va_list names;

    require(getcwd(here, sizeof here) != NULL);
    va_start(names, count);
    for (size_t i = 0; i < count; i++) {
        char *path = NULL;
        require(asprintf(&path, "%s/%s", here, va_arg(names, const char *)) > 0);
        config_list_add(&arguments, path);
    }
    va_end(names);
    listed_expand(&listed, &arguments);
    return listed;
}

/* Expect these, in this order; a problem as "name: problem". */
static bool is_list(const struct listed *listed, size_t count, ...)
{
    char text[2000];
    va_list names;
    bool same = listed->count == count;

    va_start(names, count);
    for (size_t i = 0; same && i < count; i++) {
        const struct listed_file *file = listed->files[i];
        (void)snprintf(text, sizeof text, "%s%s%s", file->path + strlen(here) + 1,
                       file->problem != NULL ? ": " : "",
                       file->problem != NULL ? file->problem : "");
        same = strcmp(text, va_arg(names, const char *)) == 0;
        if (!same)
            (void)fprintf(stderr, "# %zu: %s\n", i, text);
    }
    va_end(names);
    return same;
}

WATCHED_TEST(paths_and_wildcards)
{
    make_file("b.iso", 5000);
    make_file("a.iso", 6000);
    make_file("c.txt", 7000);
    make_file("empty", 0);
    struct listed listed = expand(4, "c.txt", "*.iso", "empty", "absent*");
    require(is_list(&listed, 4, "c.txt", "a.iso", "b.iso", "absent*: No such file or directory"));
    require(listed.files[0]->line == 0 && listed.files[2]->line == 1);
    require(listed.files[3]->line == 3 && listed.files[0]->status.st_size == 7000);
    listed_free(&listed);
    require(listed.count == 0);
}

WATCHED_TEST(a_directory_is_all_files_below_it)
{
    require(mkdir("d", 0755) == 0 && mkdir("d/e", 0755) == 0 && mkdir("other", 0755) == 0);
    make_file("d/z", 10);
    make_file("d/e/y", 10);
    make_file("d/e/empty", 0);
    make_file("other/x", 10);
    require(symlink("../other", "d/link") == 0 && symlink("../other/x", "d/x") == 0);
    require(mkfifo("d/pipe", 0644) == 0 && symlink("d", "to-d") == 0);
    struct listed listed = expand(1, "d");
    require(is_list(&listed, 2, "d/e/y", "d/z"));
    listed = expand(1, "to-d"); /* a directory named as argument is followed */
    require(is_list(&listed, 2, "to-d/e/y", "to-d/z"));
    listed = expand(1, "*o*"); /* and what a wildcard means */
    require(is_list(&listed, 3, "other/x", "to-d/e/y", "to-d/z"));
}

WATCHED_TEST(a_file_is_listed_once)
{
    make_file("file", 10);
    require(link("file", "hard") == 0 && symlink("file", "soft") == 0);
    struct listed listed = expand(4, "soft", "file", "hard", "file");
    require(is_list(&listed, 1, "soft"));
}

WATCHED_TEST(what_is_no_file)
{
    require(mkfifo("pipe", 0644) == 0);
    make_file("file", 10);
    struct listed listed = expand(3, "pipe", "file/x", "file");
    require(is_list(&listed, 3, "pipe: is not a regular file", "file/x: Not a directory", "file"));
    listed_map(&listed, MIB);
    require(listed.files[0]->memory.mapping.memory == NULL);
    require(listed.files[2]->memory.mapping.memory != NULL);
}

WATCHED_TEST(what_does_not_fit)
{
    make_file("small", 10);
    make_file("large", MIB);
    make_file("other", 2 * PAGE);
    struct listed listed = expand(3, "small", "large", "other");
    listed_map(&listed, 3 * PAGE);
    require(
        is_list(&listed, 3, "small", "large: no room for it in TransferMMapMaxMemory", "other"));
    require(listed.files[0]->memory.mapping.length == 10);
    require(listed.files[1]->memory.mapping.memory == NULL);
    require(listed.files[2]->memory.mapping.length == 2 * PAGE);
}

WATCHED_TEST(what_may_not_be_read)
{
    make_file("file", 10);
    struct listed listed = expand(1, "file");
    require(chmod("file", 0) == 0 && chmod(".", 0755) == 0);
    if (geteuid() == 0)
        become_somebody();
    listed_map(&listed, MIB);
    require(is_list(&listed, 1, "file: Permission denied"));
}

static uint64_t read_so_far;

static bool go_on(size_t file, uint64_t bytes)
{
    require(file < 2);
    read_so_far = bytes;
    return true;
}

WATCHED_TEST(files_are_read_in)
{
    make_file("a", 5 * MIB);
    make_file("b", 10);
    struct listed listed = expand(2, "a", "b");
    listed_map(&listed, 64 * MIB);
    listed_read_in(&listed, RESIDENCY_READ, go_on);
    require(read_so_far == 5 * MIB); /* when the last piece began */
    require(residency_bytes(&listed.files[0]->memory) == 5 * MIB);
    require(is_list(&listed, 2, "a", "b"));
}

WATCHED_TEST(a_file_that_shrinks_is_a_problem)
{
    make_file("a", 5 * MIB);
    struct listed listed = expand(1, "a");
    listed_map(&listed, 64 * MIB);
    require(truncate("a", PAGE) == 0);
    listed_read_in(&listed, RESIDENCY_READ, go_on);
    require(listed.files[0]->problem != NULL && listed.files[0]->memory.mapping.memory == NULL);
}

/* ---- comparing ---- */

static void set_times(const char *name, time_t seconds)
{
    const struct timespec times[2] = {{seconds, 0}, {seconds, 0}};

    require(utimensat(AT_FDCWD, name, times, 0) == 0);
}

WATCHED_TEST(each_mark_of_a_file_counts)
{
    make_file("a", 100);
    make_file("b", 100);
    set_times("a", 1000);
    struct listed held = expand(1, "*"), same = expand(1, "*");
    require(held.count == 2 && listed_is_same(&held, &same));

    require(chmod("a", 0600) == 0);
    struct listed touched = expand(1, "*"); /* only its ctime */
    require(listed_is_same(&held, &touched));

    set_times("a", 1001);
    struct listed newer = expand(1, "*");
    require(!listed_is_same(&held, &newer) && !listed_is_same(&newer, &held));
    set_times("a", 1000);
    require(truncate("a", 101) == 0);
    set_times("a", 1000);
    struct listed longer = expand(1, "*");
    require(!listed_is_same(&held, &longer));
    make_file("c", 100);
    require(rename("c", "a") == 0);
    set_times("a", 1000);
    struct listed other = expand(1, "*");
    require(!listed_is_same(&held, &other));
}

WATCHED_TEST(each_mark_counts_by_itself)
{
    make_file("a", 100);
    struct listed held = expand(1, "a"), found = expand(1, "a");
    struct listed_file *file = found.files[0];
    const struct stat64 status = file->status;

    require(listed_is_same(&held, &found));
    file->status.st_dev++;
    require(!listed_is_same(&held, &found));
    file->status = status;
    file->status.st_ino++;
    require(!listed_is_same(&held, &found));
    file->status = status;
    file->status.st_size++;
    require(!listed_is_same(&held, &found));
    file->status = status;
    file->status.st_mtim.tv_sec++;
    require(!listed_is_same(&held, &found));
    file->status = status;
    file->status.st_mtim.tv_nsec ^= 1;
    require(!listed_is_same(&held, &found));
    file->status = status;
    file->status.st_ctim.tv_nsec ^= 1;
    require(listed_is_same(&held, &found));
    held.files[0]->problem = strdup("Permission denied");
    require(!listed_is_same(&held, &found));
}

WATCHED_TEST(a_link_that_is_switched_is_another_file)
{
    make_file("a", 100);
    make_file("b", 100);
    set_times("a", 1000);
    set_times("b", 1000);
    require(symlink("a", "link") == 0);
    struct listed held = expand(1, "link");
    require(unlink("link") == 0 && symlink("b", "link") == 0);
    struct listed found = expand(1, "link");
    require(is_list(&found, 1, "link") && !listed_is_same(&held, &found));
}

WATCHED_TEST(devices_are_not_kept)
{
    require(mkdir("d", 0755) == 0);
    make_file("d/file", 10);
    if (mknod("d/zero", S_IFCHR | 0644, makedev(1, 5)) == 0)
        require(mknod("d/pipe", S_IFIFO | 0644, 0) == 0);
    else
        require(mkfifo("d/pipe", 0644) == 0);
    struct listed listed = expand(2, "d", "d/pipe");
    require(is_list(&listed, 2, "d/file", "d/pipe: is not a regular file"));
    struct config_list arguments = {.items = NULL};
    config_list_add(&arguments, strdup("/dev/zero"));
    struct listed device = {.count = 0};
    listed_expand(&device, &arguments);
    require(device.count == 1 && strcmp(device.files[0]->problem, "is not a regular file") == 0);
}

WATCHED_TEST(files_come_and_go)
{
    make_file("a", 100);
    make_file("c", 100);
    struct listed held = expand(1, "*"), nothing = {.count = 0};
    make_file("b", 100);
    struct listed more = expand(1, "*");
    require(!listed_is_same(&held, &more) && !listed_is_same(&more, &held));
    require(unlink("b") == 0 && unlink("c") == 0);
    struct listed fewer = expand(1, "*");
    require(!listed_is_same(&held, &fewer) && !listed_is_same(&fewer, &held));
    require(!listed_is_same(&nothing, &held) && listed_is_same(&nothing, &nothing));
}

WATCHED_TEST(a_problem_is_looked_at_again_as_its_ctime_changes)
{
    make_file("a", 100);
    struct listed held = expand(1, "a");
    held.files[0]->problem = strdup("Permission denied");
    struct listed same = expand(1, "a");
    require(listed_is_same(&held, &same));
    (void)usleep(20000); /* times have the resolution of a tick */
    require(chmod("a", 0640) == 0);
    struct listed changed = expand(1, "a");
    require(!listed_is_same(&held, &changed));
}

/* ---- what does not answer ---- */

/* Before the child that checks: it inherits what was stuck. */
static void be_stuck_at(const char *name)
{
    char path[2000];
    int status;

    require(getcwd(here, sizeof here) != NULL);
    (void)snprintf(path, sizeof path, "%s/%s", here, name);
    if (watchdog_fork() == WATCHDOG_CHILD) {
        watchdog_touch(path);
        (void)kill(getpid(), SIGKILL);
    }
    while (watchdog_poll(&status) == WATCHDOG_RUNNING)
        (void)usleep(1000);
    require(watchdog_is_hung(path));
}

WATCHED_TEST(an_argument_with_a_stuck_file_stays_as_it_was)
{
    make_file("a", 100);
    make_file("b", 100);
    make_file("c", 100);
    struct listed held = expand(3, "a", "b", "c");
    be_stuck_at("b");
    make_file("b", 200);
    struct listed found = expand(3, "a", "b", "c");
    require(is_list(&found, 3, "a", "b", "c"));
    require(found.files[1]->skipped && !found.files[0]->skipped && !found.files[2]->skipped);
    require(listed_is_same(&held, &found));
    listed_map(&found, MIB);
    require(found.files[1]->memory.mapping.memory == NULL);
    require(found.files[2]->memory.mapping.memory != NULL);
    make_file("c", 300); /* others are followed */
    found = expand(3, "a", "b", "c");
    require(!listed_is_same(&held, &found));
}

WATCHED_TEST(a_stuck_wildcard_or_directory_stays_as_it_was)
{
    require(mkdir("d", 0755) == 0 && mkdir("d/e", 0755) == 0);
    make_file("d/e/a", 100);
    make_file("x.iso", 100);
    struct listed held = expand(2, "d", "*.iso");
    require(held.count == 2);
    be_stuck_at("d/e");
    be_stuck_at("*.iso");
    require(unlink("x.iso") == 0 && unlink("d/e/a") == 0);
    struct listed found = expand(2, "d", "*.iso");
    require(found.skipped_count == 2 && listed_is_same(&held, &found));
}

static int clean(void **state)
{
    (void)state;
    return system("rm -rf ./*"); /* NOLINT(cert-env33-c): in the test's directory */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, clean)
    const struct CMUnitTest tests[] = {
        TEST(paths_and_wildcards),
        TEST(a_directory_is_all_files_below_it),
        TEST(a_file_is_listed_once),
        TEST(what_is_no_file),
        TEST(what_does_not_fit),
        TEST(what_may_not_be_read),
        TEST(files_are_read_in),
        TEST(a_file_that_shrinks_is_a_problem),
        TEST(each_mark_of_a_file_counts),
        TEST(each_mark_counts_by_itself),
        TEST(a_link_that_is_switched_is_another_file),
        TEST(devices_are_not_kept),
        TEST(files_come_and_go),
        TEST(a_problem_is_looked_at_again_as_its_ctime_changes),
        TEST(an_argument_with_a_stuck_file_stays_as_it_was),
        TEST(a_stuck_wildcard_or_directory_stays_as_it_was),
    };

    return cmocka_run_group_tests_name("listed", tests, unit_enter, unit_leave);
}
