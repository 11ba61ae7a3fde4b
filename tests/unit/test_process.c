#include "process.h"

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static _Atomic int *shared; /* between parent and orphan */
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

CHILD_TEST(a_start_time_tells_processes_apart)
{
    uint64_t start = process_start(getpid());
    pid_t child = fork();

    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    require(start != 0 && process_look(getpid(), start) == PROCESS_ALIVE);
    require(process_look(getpid(), start - 1) == PROCESS_GONE);
    require(process_start(0) == 0 && process_start(-1) == 0 && process_look(0, 0) == PROCESS_GONE);
    start = process_start(child);
    require(process_look(child, start) == PROCESS_ALIVE);
    require(kill(child, SIGKILL) == 0);
    siginfo_t info;
    require(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    require(process_look(child, start) == PROCESS_GONE); /* a zombie has ended */
    require(waitpid(child, NULL, 0) == child && process_start(child) == 0);
}

/* There, /proc/1 is another process. */
CHILD_TEST(where_proc_is_of_another_namespace_nothing_is_known_but_an_end)
{
    uint64_t start_of_init = process_start(1), mine = process_namespace();
    int ending;

    if (geteuid() != 0)
        return;
    require(mine != 0 && unshare(CLONE_NEWPID) == 0);
    pid_t child = fork();
    if (child == 0) {
        require(getpid() == 1 && process_namespace() != mine && process_start(1) == 0);
        require(process_look(1, start_of_init) == PROCESS_UNKNOWN);
        require(process_look(2, start_of_init) == PROCESS_GONE);
        _exit(0);
    }
    require(waitpid(child, &ending, 0) == child && ending == 0);
}

CHILD_TEST(a_descriptor_tells_of_the_end)
{
    if (under_valgrind())
        return; /* it lacks pidfd_open(2) */
    pid_t child = fork();

    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    struct pollfd end = {.fd = process_open(child), .events = POLLIN};
    require(end.fd != -1 && poll(&end, 1, 0) == 0);
    require(kill(child, SIGKILL) == 0 && poll(&end, 1, 10000) == 1);
    require(waitpid(child, NULL, 0) == child);
    require(process_open(child) == -1 && errno == ESRCH);
}

static void say_who(void *argument)
{
    atomic_store(&shared[0], *(int *)argument);
    atomic_store(&shared[1], getpid());
    for (int i = 0; i < 5000 && atomic_load(&shared[2]) == 0; i++)
        (void)usleep(1000);
    _exit(0);
}

/* Start an orphan, and check that the program notices nothing. */
static void start_orphan(void)
{
    int argument = 42;

    for (int i = 0; i < 3; i++)
        atomic_store(&shared[i], 0);
    require(process_fork_orphan(say_who, &argument, -1));
    for (int i = 0; i < 5000 && atomic_load(&shared[1]) == 0; i++)
        (void)usleep(1000);
    require(atomic_load(&shared[0]) == 42 && atomic_load(&shared[1]) > 0);
    char orphan[16];
    (void)snprintf(orphan, sizeof orphan, "%d", atomic_load(&shared[1]));
    if (!under_valgrind())                    /* it has descriptors open */
        require(descriptors_of(orphan) == 0); /* none blocks a later bind() */
    atomic_store(&shared[2], 1);
}

CHILD_TEST(an_orphan_is_not_noticed)
{
    struct sigaction action = {.sa_handler = on_child};
    sigset_t pending;

    require(sigaction(SIGCHLD, &action, NULL) == 0);
    start_orphan();
    require(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD);
    require(sigpending(&pending) == 0 && sigismember(&pending, SIGCHLD) == 0);
    require(children_signals == 0);
}

CHILD_TEST(a_child_s_signal_is_not_lost)
{
    sigset_t child_signal, pending;

    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    require(sigprocmask(SIG_BLOCK, &child_signal, NULL) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    siginfo_t info;
    require(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    start_orphan(); /* the signal was pending before */
    require(sigpending(&pending) == 0 && sigismember(&pending, SIGCHLD) == 1);
    const struct timespec at_once = {0};
    require(sigtimedwait(&child_signal, NULL, &at_once) == SIGCHLD);
    start_orphan(); /* another one while that child is not yet reaped */
    require(sigpending(&pending) == 0 && sigismember(&pending, SIGCHLD) == 1);
    require(waitpid(child, NULL, 0) == child);
}

CHILD_TEST(an_orphan_of_one_who_ignores_its_children)
{
    struct sigaction action = {.sa_handler = SIG_IGN};

    require(sigaction(SIGCHLD, &action, NULL) == 0);
    start_orphan();
}

/* Another child exits while the orphan is forked: the two signals merge into one. */
CHILD_TEST(another_child_s_signal_comes_meanwhile)
{
    struct sigaction action = {.sa_handler = on_child};
    int ended = 0;

    require(sigaction(SIGCHLD, &action, NULL) == 0);
    for (int i = 0; i < 200; i++) {
        children_signals = 0;
        pid_t child = fork();
        if (child == 0) {
            (void)usleep((useconds_t)(i * 10));
            _exit(0);
        }
        int argument = 42;
        atomic_store(&shared[2], 1);
        require(process_fork_orphan(say_who, &argument, -1));
        siginfo_t info = {.si_pid = 0};
        require(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT | WNOHANG) == 0);
        ended += info.si_pid == child;
        require(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
        for (int j = 0; j < 1000 && children_signals == 0; j++)
            (void)usleep(1000);
        require(children_signals > 0 && waitpid(child, NULL, 0) == child);
    }
    require(ended > 0); /* else no signal arrived meanwhile */
}

CHILD_TEST(an_orphan_with_the_signal_blocked)
{
    sigset_t child_signal, mask, pending;

    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    require(sigprocmask(SIG_BLOCK, &child_signal, NULL) == 0);
    start_orphan();
    require(sigpending(&pending) == 0 && sigismember(&pending, SIGCHLD) == 0);
    require(sigprocmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGCHLD) == 1);
}

CHILD_TEST(without_a_process_there_is_no_orphan)
{
    static const struct rlimit none = {0, 0};
    int argument = 42;

    require(setrlimit(RLIMIT_NPROC, &none) == 0);
    if (geteuid() == 0)
        become_somebody();
    require(!process_fork_orphan(say_who, &argument, -1) && errno == EAGAIN);
}

/* The intermediate process may be forked, but not the orphan. */
static void be_allowed_one_process(void)
{
    static const struct rlimit two = {2, 2};
    int argument = 42;

    require(setrlimit(RLIMIT_NPROC, &two) == 0);
    become_somebody();
    require(!process_fork_orphan(say_who, &argument, -1) && errno == EAGAIN);
    require(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD);
}

static void one_process_is_not_enough(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* this user has other processes */
    assert_int_equal(run_in_child(be_allowed_one_process), 0);
}

CHILD_TEST(descriptors_are_closed)
{
    int first = open("/dev/null", O_RDONLY), last = fcntl(first, F_DUPFD, 700);

    require(first > 2 && last >= 700);
    process_close_from(first + 1);
    require(fcntl(first, F_GETFD) != -1 && fcntl(last, F_GETFD) == -1);
    process_close_from(0);
    require(fcntl(0, F_GETFD) == -1 && fcntl(first, F_GETFD) == -1);
}

/* Like a sandbox that does not know the call, or forbids it. */
static void refuse_close_range(unsigned failure)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 436, 0, 1), /* close_range */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | failure),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT(filter), .filter = filter};

    require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    require(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    require(syscall(436, 1000, 1000, 0) == -1 && errno == (int)failure);
}

enum proc { WITH_PROC, WITHOUT_PROC };

static void close_with(unsigned failure, enum proc proc)
{
    int first = open("/dev/null", O_RDONLY), last = fcntl(first, F_DUPFD, 700);

    require(first > 2 && last >= 700);
    if (proc == WITHOUT_PROC) {
        own_mounts();
        require(mount("none", "/proc", "tmpfs", 0, "") == 0);
    }
    refuse_close_range(failure);
    process_close_from(first + 1);
    require(fcntl(first, F_GETFD) != -1 && fcntl(last, F_GETFD) == -1);
    process_close_from(0);
    require(fcntl(0, F_GETFD) == -1 && fcntl(first, F_GETFD) == -1);
}

static void close_without_permission(void)
{
    close_with(EPERM, WITH_PROC);
}

static void close_on_an_old_kernel(void)
{
    close_with(ENOSYS, WITH_PROC);
}

static void close_without_proc(void)
{
    close_with(EPERM, WITHOUT_PROC);
}

static void descriptors_are_closed_without_close_range(void **state)
{
    (void)state;
    assert_int_equal(run_in_child(close_without_permission), 0);
    assert_int_equal(run_in_child(close_on_an_old_kernel), 0);
    if (run_in_child(own_mounts) == 0)
        assert_int_equal(run_in_child(close_without_proc), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_time_tells_processes_apart),
        cmocka_unit_test(where_proc_is_of_another_namespace_nothing_is_known_but_an_end),
        cmocka_unit_test(a_descriptor_tells_of_the_end),
        cmocka_unit_test(an_orphan_is_not_noticed),
        cmocka_unit_test(a_child_s_signal_is_not_lost),
        cmocka_unit_test(an_orphan_of_one_who_ignores_its_children),
        cmocka_unit_test(another_child_s_signal_comes_meanwhile),
        cmocka_unit_test(an_orphan_with_the_signal_blocked),
        cmocka_unit_test(without_a_process_there_is_no_orphan),
        cmocka_unit_test(one_process_is_not_enough),
        cmocka_unit_test(descriptors_are_closed),
        cmocka_unit_test(descriptors_are_closed_without_close_range),
    };

    return cmocka_run_group_tests_name("process", tests, enter, unit_leave);
}
