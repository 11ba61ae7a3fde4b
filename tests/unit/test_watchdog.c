#include "watchdog.h"

#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned kills_of_nobody;

/* Replaces libc's, to count signals to processes that no longer exist. */
int kill(pid_t process, int number)
{
    int result = (int)syscall(SYS_kill, process, number);

    kills_of_nobody += result == -1 && errno == ESRCH;
    return result;
}

/* Wait for an event, as a parent does. */
static enum watchdog_event await(int *exit_status)
{
    enum watchdog_event event = WATCHDOG_RUNNING;

    while (event == WATCHDOG_RUNNING) {
        struct pollfd child = {.fd = watchdog_descriptor(), .events = POLLIN};
        (void)poll(&child, 1, 500);
        event = watchdog_poll(exit_status);
    }
    require(watchdog_descriptor() == -1);
    return event;
}

static time_t now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

CHILD_TEST(a_child_looks_and_exits)
{
    int status = 0;

    for (int i = 1; i < 4; i++) {
        enum watchdog_event event = watchdog_fork();
        if (event == WATCHDOG_CHILD) {
            watchdog_touch("/some/path");
            _exit(i);
        }
        require(event == WATCHDOG_RUNNING && await(&status) == WATCHDOG_EXITED && status == i);
    }
    require(waitpid(-1, NULL, 0) == -1);
}

static void hang(const char *path)
{
    watchdog_touch(path);
    (void)pause();
    _exit(0);
}

CHILD_TEST(a_child_that_stays_is_given_up)
{
    int status;
    time_t since = now();

    if (watchdog_fork() == WATCHDOG_CHILD)
        hang("/dead/file");
    require(await(&status) == WATCHDOG_HUNG && strcmp(watchdog_hung_path(), "/dead/file") == 0);
    require(now() - since >= WATCHDOG_SECONDS && now() - since < 3 * WATCHDOG_SECONDS);
    siginfo_t ended = {.si_pid = 0};
    for (int i = 0; i < 1000 && ended.si_pid == 0; i++) {
        require(waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0);
        (void)usleep(10000);
    }
    require(ended.si_code == CLD_KILLED && ended.si_status == SIGKILL);
    require(watchdog_is_hung("/dead/file"));
    require(!watchdog_is_hung("/dead/file2") && !watchdog_is_hung("/dead/fil"));
    require(!watchdog_is_hung("/dead/other"));

    if (watchdog_fork() == WATCHDOG_CHILD) {
        for (int i = 0; i < 2 * WATCHDOG_SECONDS; i++) { /* it is slow, but does not hang */
            watchdog_touch("/slow/file");
            (void)usleep(600000);
        }
        _exit(watchdog_is_hung("/dead/file"));
    }
    require(await(&status) == WATCHDOG_EXITED && status == 1);
}

static void die(const char *path)
{
    watchdog_touch(path);
    (void)kill(getpid(), SIGKILL);
}

/* Quicker than waiting: a killed child counts as stuck. */
static void be_stuck_at(const char *path)
{
    int status;

    if (watchdog_fork() == WATCHDOG_CHILD)
        die(path);
    require(await(&status) == WATCHDOG_HUNG);
}

CHILD_TEST(two_files_make_a_directory)
{
    be_stuck_at("/dead/a");
    be_stuck_at("/alive/a");
    require(strcmp(watchdog_hung_path(), "/alive/a") == 0 && !watchdog_is_hung("/dead/c"));
    be_stuck_at("/dead/b");
    require(strcmp(watchdog_hung_path(), "/dead/") == 0);
    require(watchdog_is_hung("/dead/c") && watchdog_is_hung("/dead/c/d"));
    require(!watchdog_is_hung("/dead") && !watchdog_is_hung("/alive/b"));
}

CHILD_TEST(too_many_are_too_many)
{
    char path[32];
    unsigned stuck = 0;

    while (stuck < 100) {
        enum watchdog_event event = watchdog_fork();
        (void)snprintf(path, sizeof path, "/%u/file", stuck);
        if (event == WATCHDOG_CHILD)
            die(path);
        if (event == WATCHDOG_FAILED)
            break;
        int status;
        require(await(&status) == WATCHDOG_HUNG);
        stuck++;
    }
    require(stuck == 16 && watchdog_descriptor() == -1);
    require(watchdog_is_hung("/0/file") && watchdog_is_hung("/15/file"));
}

CHILD_TEST(a_child_takes_the_parent_s_place)
{
    _Atomic int *told = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;

    require(told != MAP_FAILED);
    if (watchdog_fork() == WATCHDOG_CHILD) {
        watchdog_touch("/a");
        watchdog_replace_parent();
        if (watchdog_fork() == WATCHDOG_CHILD) { /* it has a child, too */
            watchdog_touch("/b");
            _exit(7);
        }
        enum watchdog_event event = await(&status);
        atomic_store(told, event == WATCHDOG_EXITED && status == 7 ? 1 : 2);
        _exit(0);
    }
    require(await(&status) == WATCHDOG_REPLACED);
    for (int i = 0; i < 5000 && atomic_load(told) == 0; i++)
        (void)usleep(1000);
    require(atomic_load(told) == 1);
}

CHILD_TEST(a_child_is_ended)
{
    if (watchdog_fork() == WATCHDOG_CHILD)
        hang("/dead/file");
    watchdog_kill();
    require(watchdog_descriptor() == -1 && !watchdog_is_hung("/dead/file"));
    require(waitpid(-1, NULL, 0) > 0); /* it was killed, and can be reaped */
}

/* It was reaped: its number may be another process's by now. */
CHILD_TEST(a_child_that_was_waited_for_gets_no_signal)
{
    int status;

    if (watchdog_fork() == WATCHDOG_CHILD)
        die("/dead/file");
    require(await(&status) == WATCHDOG_HUNG);
    require(kills_of_nobody == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_looks_and_exits),
        cmocka_unit_test(a_child_that_stays_is_given_up),
        cmocka_unit_test(two_files_make_a_directory),
        cmocka_unit_test(too_many_are_too_many),
        cmocka_unit_test(a_child_takes_the_parent_s_place),
        cmocka_unit_test(a_child_is_ended),
        cmocka_unit_test(a_child_that_was_waited_for_gets_no_signal),
    };

    return cmocka_run_group_tests_name("watchdog", tests, unit_enter, unit_leave);
}
