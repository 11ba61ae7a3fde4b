#include "run.h"

#include "call.h"
#include "twin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WATCHDOG_SECONDS = 60, LEAST = 8 /* bytes that a handler reads */ };

static struct record *record;

static void differs(const char *what)
{
    if (!atomic_exchange(&record->failed, true))
        (void)snprintf(record->difference, sizeof record->difference, "%s", what);
}

/* ---- a handler that reads whenever it interrupts ---- */

static int watched[SIDES]; /* a file that no step changes */

static void read_in_handler(int number)
{
    char bytes[SIDES][20000];
    static unsigned rounds;
    size_t count = LEAST + rounds++ % (sizeof bytes[0] - LEAST);
    int saved = errno;

    (void)number;
    ssize_t ours = read(watched[LIBRARY], bytes[LIBRARY], count);
    ssize_t kernels = RAW(read, watched[KERNEL], bytes[KERNEL], count);
    if (ours != kernels || (ours > 0 && memcmp(bytes[LIBRARY], bytes[KERNEL], (size_t)ours) != 0))
        differs("a handler's read");
    if (ours == 0) {
        (void)lseek(watched[LIBRARY], 0, SEEK_SET);
        (void)RAW(lseek, watched[KERNEL], 0, SEEK_SET);
    }
    errno = saved;
}

static int own(int fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 900);

    if (fd == -1 || moved == -1 || close(fd) != 0)
        abort();
    return moved;
}

static void start_handler(void)
{
    const struct sigaction action = {.sa_handler = read_in_handler, .sa_flags = SA_RESTART};
    const struct itimerspec often = {{0, 300000}, {0, 300000}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;

    watched[LIBRARY] = own(open("watched", O_RDONLY));
    watched[KERNEL] = own((int)RAW(openat, AT_FDCWD, "watched", O_RDONLY));
    if (sigaction(SIGUSR1, &action, NULL) != 0 ||
        timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
        timer_settime(timer, 0, &often, NULL) != 0)
        abort();
}

/* ---- two processes that take turns ---- */

static pid_t child; /* -1: this is the child; 0: there is none */

static void wake_other(void)
{
    (void)RAW(futex, &record->done, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Wait until the other process has done `count` steps. */
static void await_other(unsigned count)
{
    static const struct timespec second = {1, 0};
    unsigned done;
    siginfo_t info = {.si_pid = 0};

    while ((done = atomic_load(&record->done)) < count && !atomic_load(&record->failed)) {
        (void)RAW(futex, &record->done, FUTEX_WAIT, done, &second, NULL, 0);
        if (child > 0 && waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == child && atomic_load(&record->done) < count)
            differs("the child is gone");
    }
}

static void join(void)
{
    int status;

    if (child == -1)
        _exit(0);
    if (child > 0 && (waitpid(child, &status, 0) != child || status != 0))
        differs("the child's end");
    child = 0;
}

static void divide(unsigned variant)
{
    if (child != 0)
        return;
    child = variant % 2 == 0 ? fork() : _Fork();
    if (child == -1)
        abort();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)alarm(WATCHDOG_SECONDS);
        child = -1;
    }
}

static void run_step(const struct step *step)
{
    char difference[sizeof record->difference];

    if (step->operation == HANG_UP)
        (void)kill(getpid(), SIGHUP);
    else if (!call_step(step, difference, sizeof difference))
        differs(difference);
}

/* True if the step is this process's, of the two. */
static bool is_own(const struct step *step)
{
    return (step->by_child && step->operation != FORK) == (child == -1);
}

static void walk(const struct step *steps, size_t count)
{
    for (unsigned i = 0; i < count && !atomic_load(&record->failed); i++) {
        const struct step *step = &steps[i];
        if (step->operation == JOIN)
            join();
        else if (child != 0 && !is_own(step))
            continue;
        await_other(i);
        if (step->operation == FORK)
            divide(step->variant);
        else if (step->operation != JOIN)
            run_step(step);
        if (child == -1 && step->operation == FORK)
            continue; /* just forked: the parent counts the step */
        if (!atomic_load(&record->failed))
            atomic_store(&record->done, i + 1);
        if (child != 0)
            wake_other();
    }
    join();
}

/* ---- the process's role for the library ---- */

static void ignore(int number)
{
    (void)number;
}

static int listen_on_loopback(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = own(socket(AF_INET, SOCK_STREAM, 0));

    *address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    if (bind(fd, (struct sockaddr *)address, length) != 0 || listen(fd, 1) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &length) != 0)
        abort();
    return fd;
}

static void play(enum role role)
{
    struct sockaddr_in address;
    int status;

    if (signal(SIGHUP, ignore) == SIG_ERR || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        abort();
    if (role != SERVER && role != SERVER_SESSION)
        return;
    int listener = listen_on_loopback(&address);
    if (role != SERVER_SESSION)
        return;
    int client = own(socket(AF_INET, SOCK_STREAM, 0));
    if (connect(client, (struct sockaddr *)&address, sizeof address) != 0 ||
        own(accept(listener, NULL, NULL)) == -1)
        abort();
    pid_t session = fork();
    if (session == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)alarm(WATCHDOG_SECONDS);
        return;
    }
    if (session == -1 || waitpid(session, &status, 0) != session)
        abort();
    if (WIFSIGNALED(status))
        (void)raise(WTERMSIG(status));
    _exit(WEXITSTATUS(status));
}

enum role run_role(uint64_t seed)
{
    return (enum role)(seed % ROLES);
}

bool run_is_scarce(uint64_t seed)
{
    return seed / ROLES / 2 % 2 == 1;
}

int run_steps(const struct step *steps, size_t count, uint64_t seed, struct record *shared)
{
    record = shared;
    (void)alarm(WATCHDOG_SECONDS);
    play(run_role(seed));
    twin_make();
    if (seed / ROLES % 2 == 1)
        start_handler();
    walk(steps, count);
    if (!atomic_load(&record->failed) && !twin_files_agree())
        differs("the files' content");
    return atomic_load(&record->failed) ? 1 : 0;
}
