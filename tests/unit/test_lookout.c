#include "lookout.h"

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

#define STORY(name)                                                                                \
    static void name##_in_child(void);                                                             \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        assert_int_equal(ending_of(name##_in_child), 0);                                           \
    }                                                                                              \
    static void name##_in_child(void)

static unsigned kills_of_nobody;

/* In place of libc's, to see which are sent to what is no process any more. */
int kill(pid_t process, int number)
{
    int result = (int)syscall(SYS_kill, process, number);

    kills_of_nobody += result == -1 && errno == ESRCH;
    return result;
}

/* Wait for an event, as a parent does. */
static enum lookout_event await(int *exit_status)
{
    enum lookout_event event = LOOKOUT_NOTHING;

    while (event == LOOKOUT_NOTHING) {
        struct pollfd child = {.fd = lookout_descriptor(), .events = POLLIN};
        (void)poll(&child, 1, 500);
        event = lookout_look(exit_status);
    }
    in_story(lookout_descriptor() == -1);
    return event;
}

static time_t now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

STORY(a_child_looks_and_exits)
{
    int status = 0;

    for (int i = 1; i < 4; i++) {
        enum lookout_event event = lookout_begin();
        if (event == LOOKOUT_CHILD) {
            lookout_at("/some/path");
            _exit(i);
        }
        in_story(event == LOOKOUT_NOTHING && await(&status) == LOOKOUT_DONE && status == i);
    }
    in_story(waitpid(-1, NULL, 0) == -1);
}

static void hang(const char *path)
{
    lookout_at(path);
    (void)pause();
    _exit(0);
}

STORY(a_child_that_stays_is_given_up)
{
    int status;
    time_t since = now();

    if (lookout_begin() == LOOKOUT_CHILD)
        hang("/dead/file");
    in_story(await(&status) == LOOKOUT_STUCK && strcmp(lookout_stuck_at(), "/dead/file") == 0);
    in_story(now() - since >= LOOKOUT_SECONDS && now() - since < 3 * LOOKOUT_SECONDS);
    siginfo_t ended = {.si_pid = 0};
    for (int i = 0; i < 1000 && ended.si_pid == 0; i++) {
        in_story(waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0);
        (void)usleep(10000);
    }
    in_story(ended.si_code == CLD_KILLED && ended.si_status == SIGKILL);
    in_story(lookout_is_stuck("/dead/file"));
    in_story(!lookout_is_stuck("/dead/file2") && !lookout_is_stuck("/dead/fil"));
    in_story(!lookout_is_stuck("/dead/other"));

    if (lookout_begin() == LOOKOUT_CHILD) {
        for (int i = 0; i < 2 * LOOKOUT_SECONDS; i++) { /* it goes on all the time */
            lookout_at("/slow/file");
            (void)usleep(600000);
        }
        _exit(lookout_is_stuck("/dead/file"));
    }
    in_story(await(&status) == LOOKOUT_DONE && status == 1);
}

static void die(const char *path)
{
    lookout_at(path);
    (void)kill(getpid(), SIGKILL);
}

/* Quicker than to wait for it: a child that is killed counts as stuck. */
static void be_stuck_at(const char *path)
{
    int status;

    if (lookout_begin() == LOOKOUT_CHILD)
        die(path);
    in_story(await(&status) == LOOKOUT_STUCK);
}

STORY(two_files_make_a_directory)
{
    be_stuck_at("/dead/a");
    be_stuck_at("/alive/a");
    in_story(strcmp(lookout_stuck_at(), "/alive/a") == 0 && !lookout_is_stuck("/dead/c"));
    be_stuck_at("/dead/b");
    in_story(strcmp(lookout_stuck_at(), "/dead/") == 0);
    in_story(lookout_is_stuck("/dead/c") && lookout_is_stuck("/dead/c/d"));
    in_story(!lookout_is_stuck("/dead") && !lookout_is_stuck("/alive/b"));
}

STORY(too_many_are_too_many)
{
    char path[32];
    unsigned stuck = 0;

    while (stuck < 100) {
        enum lookout_event event = lookout_begin();
        (void)snprintf(path, sizeof path, "/%u/file", stuck);
        if (event == LOOKOUT_CHILD)
            die(path);
        if (event == LOOKOUT_FAILED)
            break;
        int status;
        in_story(await(&status) == LOOKOUT_STUCK);
        stuck++;
    }
    in_story(stuck == 16 && lookout_descriptor() == -1);
    in_story(lookout_is_stuck("/0/file") && lookout_is_stuck("/15/file"));
}

STORY(a_child_takes_the_parent_s_place)
{
    _Atomic int *told = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;

    in_story(told != MAP_FAILED);
    if (lookout_begin() == LOOKOUT_CHILD) {
        lookout_at("/a");
        lookout_succeed();
        if (lookout_begin() == LOOKOUT_CHILD) { /* it has a child of its own */
            lookout_at("/b");
            _exit(7);
        }
        enum lookout_event event = await(&status);
        atomic_store(told, event == LOOKOUT_DONE && status == 7 ? 1 : 2);
        _exit(0);
    }
    in_story(await(&status) == LOOKOUT_SUCCESSOR);
    for (int i = 0; i < 5000 && atomic_load(told) == 0; i++)
        (void)usleep(1000);
    in_story(atomic_load(told) == 1);
}

STORY(a_child_is_ended)
{
    if (lookout_begin() == LOOKOUT_CHILD)
        hang("/dead/file");
    lookout_end();
    in_story(lookout_descriptor() == -1 && !lookout_is_stuck("/dead/file"));
    in_story(waitpid(-1, NULL, 0) > 0); /* it was killed, and is there to be waited for */
}

/* It was waited for: its number may be another process's by now. */
STORY(a_child_that_was_waited_for_gets_no_signal)
{
    int status;

    if (lookout_begin() == LOOKOUT_CHILD)
        die("/dead/file");
    in_story(await(&status) == LOOKOUT_STUCK);
    in_story(kills_of_nobody == 0);
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

    return cmocka_run_group_tests_name("lookout", tests, unit_enter, unit_leave);
}
