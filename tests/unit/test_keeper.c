#include "keeper.h"

#include "libc.h"
#include "log.h"
#include "safe_file.h"
#include "status.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void prepare(void)
{
    (void)unlink("status");
    make_text("log", "", 0);
}

/* A master for each test. Its keepers exit with it. */
#define MASTER_TEST(name) CHILD_TEST_AFTER(prepare(), name)

static char here[1000];
static struct config config;

static void want(const char *names)
{
    char path[2000], *copy = strdup(names), *rest = NULL;

    config_list_free(&config.files);
    config.lock = true;
    config.max_memory.bytes = 64 * MIB;
    for (char *name = strtok_r(copy, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest)) {
        (void)snprintf(path, sizeof path, "%s/%s", here, name);
        config_list_add(&config.files, strdup(path));
    }
    free(copy);
}

static struct status_header header(void)
{
    struct status_header header = {.version = 0};
    int fd = open("status", O_RDONLY | O_CLOEXEC);

    require(fd != -1 && read(fd, &header, sizeof header) == sizeof header);
    (void)close(fd);
    return header;
}

/* The keeper that the status names. */
static pid_t keeper(void)
{
    return header().keeper.process;
}

static const char *in_here(const char *name)
{
    static char path[2000];

    (void)snprintf(path, sizeof path, "%s/%s", here, name);
    return path;
}

static void be_master(void)
{
    char *arguments[] = {NULL};

    require(getcwd(here, sizeof here) != NULL);
    install_guard();
    keeper_prepare(0, arguments, arguments);
    safe_file_as(geteuid());
    log_to(in_here("log"));
    require(status_share(in_here("status")));
    status_set_master();
}

static void await(const char *in_log)
{
    for (int i = 0; i < 1500 && !logged(in_log); i++)
        (void)usleep(10000);
    require(logged(in_log));
}

static bool is_gone(pid_t process)
{
    for (int i = 0; i < 300; i++) {
        if (status_number(process, "VmSize") == -1)
            return true;
        (void)usleep(10000);
    }
    return false;
}

MASTER_TEST(files_are_kept_by_a_process)
{
    make_file("a", 3 * MIB);
    make_file("b", 5000);
    be_master();
    want("a b absent");
    size_t before = descriptors_of("self");
    require(keeper_start(&config) && keeper_is_wanted());
    await("listed files: 2 in memory (3.0 MiB)");
    await("absent: No such file or directory; it is not kept in memory");
    require(descriptors_of("self") == before && mapped_bytes("a") == 0);
    require(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD);
    require(header().keeper.state == STATUS_READY && keeper() != getpid());
    if (geteuid() == 0)
        require(status_number(keeper(), "VmLck") == 3 * 1024 + 8);
    require(!keeper_is_missing());
    keeper_end();
    require(is_gone(keeper()) || keeper() == 0);
    require(!keeper_is_wanted() && header().keeper.state == STATUS_KEEPS_NOTHING);
}

MASTER_TEST(a_newer_one_takes_over)
{
    make_file("a", MIB);
    make_file("b", MIB);
    be_master();
    want("a");
    require(keeper_start(&config));
    await("listed files: 1 in memory");
    pid_t first = keeper();
    want("a b");
    require(keeper_start(&config));
    await("listed files: 2 in memory");
    require(keeper() != first && is_gone(first));
}

/* Of all keepers of this master, found by process group, KiB. */
static long locked_by_keepers(void)
{
    DIR *processes = opendir("/proc");
    const struct dirent *entry;
    long locked = 0;

    require(processes != NULL);
    while ((entry = readdir(processes)) != NULL) {
        pid_t process = (pid_t)strtol(entry->d_name, NULL, 10);
        if (process > 0 && process != getpid() && getpgid(process) == getpgrp()) {
            long kib = status_number(process, "VmLck");
            locked += kib > 0 ? kib : 0;
        }
    }
    (void)closedir(processes);
    return locked;
}

MASTER_TEST(what_stays_listed_stays_locked)
{
    enum { LISTED_KIB = 32 * 1024 };

    if (geteuid() != 0)
        return; /* others' lock limit is too low */
    require(setpgid(0, 0) == 0);
    make_file("a", LISTED_KIB * (size_t)KIB);
    be_master();
    want("a");
    require(keeper_start(&config));
    await("listed files: 1 in memory");
    for (int i = 0; i < 5; i++) {
        pid_t former = keeper();
        if (i == 3)
            make_file("b", MIB);
        want("b a");
        require(keeper_start(&config));
        unsigned looks = 0;
        for (bool over = false; !over; looks++) {
            over = keeper() != former && status_number(former, "VmLck") == -1;
            require(locked_by_keepers() >= LISTED_KIB);
        }
        require(looks > 3);
    }
}

MASTER_TEST(a_keeper_has_nothing_of_its_master_s)
{
    char name[16];
    int ends[2];

    make_file("a", MIB);
    be_master();
    want("a");
    require(pipe(ends) == 0);
    require(keeper_start(&config));
    await("listed files: 1 in memory");
    require(close(ends[1]) == 0);
    struct pollfd end = {.fd = ends[0], .events = POLLIN};
    require(poll(&end, 1, 0) == 1); /* the pipe broke: the keeper does not hold it */
    (void)snprintf(name, sizeof name, "%d", keeper());
    if (!under_valgrind()) /* three of /dev/null, the master, a pipe while it checks */
        require(descriptors_of(name) <= 5);
    require(status_number(keeper(), "Threads") == 1);
    require(status_number(getpid(), "Threads") == 1);
    require(status_number(keeper(), "PPid") != getpid());
}

MASTER_TEST(it_ends_on_a_signal_and_ignores_the_server_s)
{
    make_file("a", MIB);
    be_master();
    want("a");
    require(keeper_start(&config));
    await("listed files: 1 in memory");
    pid_t process = keeper();
    require(kill(process, SIGHUP) == 0 && kill(process, SIGUSR1) == 0);
    require(kill(process, SIGUSR2) == 0);
    (void)usleep(300000);
    require(keeper() == process && status_number(process, "VmSize") > 0);
    require(kill(process, SIGTERM) == 0 && is_gone(process));
}

/* @return seconds until the log has the line */
static double takes(const char *in_log)
{
    struct timespec from, to;

    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    await(in_log);
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}

MASTER_TEST(a_switched_link_is_followed_at_once)
{
    make_file("a", 5000);
    make_file("b", 3 * MIB);
    (void)unlink("link");
    require(symlink("a", "link") == 0);
    be_master();
    want("link");
    require(keeper_start(&config));
    await("listed files: 1 in memory (0.0 MiB)");
    (void)sleep(1);
    require(symlink("b", "new") == 0 && rename("new", "link") == 0);
    require(takes("listed files have changed: 1 in memory (3.0 MiB)") <= 5);
    require(unlink("link") == 0);
    require(takes("listed files have changed: 0 in memory") <= 5);
}

MASTER_TEST(changes_are_followed)
{
    make_file("a", MIB);
    be_master();
    want("*.iso a");
    make_file("a.iso", 5000);
    require(keeper_start(&config));
    await("listed files: 2 in memory");
    make_file("b.iso", 5000);
    await("listed files have changed: 3 in memory (1.0 MiB)");
    require(unlink("a.iso") == 0 && unlink("b.iso") == 0);
    await("listed files have changed: 1 in memory (1.0 MiB)");
    make_file("a", 2 * MIB);
    await("listed files have changed: 1 in memory (2.0 MiB)");
}

MASTER_TEST(one_that_is_killed_is_missed)
{
    make_file("a", MIB);
    be_master();
    want("a");
    require(keeper_start(&config));
    await("listed files: 1 in memory");
    pid_t killed = keeper();
    require(!keeper_is_missing());
    require(kill(killed, SIGKILL) == 0 && is_gone(killed));
    bool missing = false;
    for (int i = 0; i < 30 && !missing; i++) {
        (void)usleep(100000);
        missing = keeper_is_missing();
    }
    require(missing);
    (void)sleep(2);
    require(!keeper_is_missing()); /* it was returned */
    require(keeper_start(&config));
    for (int i = 0; i < 1000 && (keeper() == killed || header().keeper.state != STATUS_READY); i++)
        (void)usleep(10000);
    require(keeper() != killed && header().keeper.state == STATUS_READY);
}

MASTER_TEST(it_ends_with_its_master)
{
    pid_t master = fork();

    if (master == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        make_file("a", MIB);
        be_master();
        want("a");
        require(keeper_start(&config));
        (void)pause();
    }
    await("listed files: 1 in memory");
    pid_t orphan = keeper();
    require(kill(master, SIGKILL) == 0 && waitpid(master, NULL, 0) == master);
    require(is_gone(orphan));
}

MASTER_TEST(without_a_process_there_is_none)
{
    static const struct rlimit none = {0, 0};

    make_file("a", MIB);
    be_master();
    want("a");
    require(setrlimit(RLIMIT_NPROC, &none) == 0);
    if (geteuid() == 0)
        become_somebody();
    require(!keeper_start(&config) && errno == EAGAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_kept_by_a_process),
        cmocka_unit_test(a_newer_one_takes_over),
        cmocka_unit_test(what_stays_listed_stays_locked),
        cmocka_unit_test(a_keeper_has_nothing_of_its_master_s),
        cmocka_unit_test(it_ends_on_a_signal_and_ignores_the_server_s),
        cmocka_unit_test(a_switched_link_is_followed_at_once),
        cmocka_unit_test(changes_are_followed),
        cmocka_unit_test(one_that_is_killed_is_missed),
        cmocka_unit_test(it_ends_with_its_master),
        cmocka_unit_test(without_a_process_there_is_none),
    };

    return cmocka_run_group_tests_name("keeper", tests, unit_enter, unit_leave);
}
