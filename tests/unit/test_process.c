#include "process.h"

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define STORY(name)                                                                                \
    static void name##_in_child(void);                                                             \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        assert_int_equal(ending_of(name##_in_child), 0);                                           \
    }                                                                                              \
    static void name##_in_child(void)

static _Atomic int *shared; /* among parent and orphan */
static volatile sig_atomic_t children_signals;

static int enter(void **state)
{
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    shared = page != MAP_FAILED ? page : NULL;
    return shared != NULL ? unit_enter(state) : -1;
}

static void on_child(int number)
{
    (void)number;
    children_signals = children_signals + 1;
}

STORY(a_start_time_tells_processes_apart)
{
    uint64_t start = process_start(getpid());
    pid_t child = fork();

    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    in_story(start != 0 && process_is_alive(getpid(), start));
    in_story(!process_is_alive(getpid(), start - 1));
    in_story(process_start(0) == 0 && process_start(-1) == 0 && !process_is_alive(0, 0));
    start = process_start(child);
    in_story(process_is_alive(child, start));
    in_story(kill(child, SIGKILL) == 0);
    siginfo_t info;
    in_story(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    in_story(!process_is_alive(child, start)); /* a zombie has ended */
    in_story(waitpid(child, NULL, 0) == child && process_start(child) == 0);
}

STORY(a_descriptor_tells_of_the_end)
{
    pid_t child = fork();

    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    struct pollfd end = {.fd = process_open(child), .events = POLLIN};
    in_story(end.fd != -1 && poll(&end, 1, 0) == 0);
    in_story(kill(child, SIGKILL) == 0 && poll(&end, 1, 10000) == 1);
    in_story(waitpid(child, NULL, 0) == child);
    in_story(process_open(child) == -1 && errno == ESRCH);
}

static void say_who(void *argument)
{
    atomic_store(&shared[0], *(int *)argument);
    atomic_store(&shared[1], getpid());
    for (int i = 0; i < 5000 && atomic_load(&shared[2]) == 0; i++)
        (void)usleep(1000);
    _exit(0);
}

/* Start an orphan, and see that the program notices nothing. */
static void start_orphan(void)
{
    int argument = 42;

    for (int i = 0; i < 3; i++)
        atomic_store(&shared[i], 0);
    in_story(process_fork_orphan(say_who, &argument));
    for (int i = 0; i < 5000 && atomic_load(&shared[1]) == 0; i++)
        (void)usleep(1000);
    in_story(atomic_load(&shared[0]) == 42 && atomic_load(&shared[1]) > 0);
    char orphan[16];
    (void)snprintf(orphan, sizeof orphan, "%d", atomic_load(&shared[1]));
    if (!under_qemu_user())                    /* which has some of its own */
        in_story(descriptors_of(orphan) == 0); /* a socket that listens could not be bound again */
    atomic_store(&shared[2], 1);
}

STORY(an_orphan_is_not_noticed)
{
    struct sigaction action = {.sa_handler = on_child};
    sigset_t pending;

    in_story(sigaction(SIGCHLD, &action, NULL) == 0);
    start_orphan();
    in_story(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD);
    in_story(sigpending(&pending) == 0 && sigismember(&pending, SIGCHLD) == 0);
    in_story(children_signals == 0);
}

STORY(a_child_s_signal_is_not_lost)
{
    sigset_t child_signal, pending;

    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    in_story(sigprocmask(SIG_BLOCK, &child_signal, NULL) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    siginfo_t info;
    in_story(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    start_orphan(); /* the signal was pending before */
    in_story(sigpending(&pending) == 0 && sigismember(&pending, SIGCHLD) == 1);
    const struct timespec at_once = {0};
    in_story(sigtimedwait(&child_signal, NULL, &at_once) == SIGCHLD);
    start_orphan(); /* and now it comes on top: the child is still to be waited for */
    in_story(sigpending(&pending) == 0 && sigismember(&pending, SIGCHLD) == 1);
    in_story(waitpid(child, NULL, 0) == child);
}

STORY(an_orphan_of_one_who_ignores_its_children)
{
    struct sigaction action = {.sa_handler = SIG_IGN};

    in_story(sigaction(SIGCHLD, &action, NULL) == 0);
    start_orphan();
}

STORY(descriptors_are_closed)
{
    int first = open("/dev/null", O_RDONLY), last = fcntl(first, F_DUPFD, 700);

    in_story(first > 2 && last >= 700);
    process_close_from(first + 1);
    in_story(fcntl(first, F_GETFD) != -1 && fcntl(last, F_GETFD) == -1);
    process_close_from(0);
    in_story(fcntl(0, F_GETFD) == -1 && fcntl(first, F_GETFD) == -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_time_tells_processes_apart),
        cmocka_unit_test(a_descriptor_tells_of_the_end),
        cmocka_unit_test(an_orphan_is_not_noticed),
        cmocka_unit_test(a_child_s_signal_is_not_lost),
        cmocka_unit_test(an_orphan_of_one_who_ignores_its_children),
        cmocka_unit_test(descriptors_are_closed),
    };

    return cmocka_run_group_tests_name("process", tests, enter, unit_leave);
}
