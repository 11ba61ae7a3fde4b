#include "process.h"

#include "libc.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open /* glibc 2.31's headers lack both; the numbers are the same everywhere */
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* In place of the start of a zombie. */
#define ENDED UINT64_MAX

/* Whether numbers in /proc are those of the caller's PID namespace. */
static bool proc_is_ours(void)
{
    char self[16] = "";

    return readlink("/proc/self", self, sizeof self - 1) > 0 && strtol(self, NULL, 10) == getpid();
}

/* @return 0: not seen; ENDED */
static uint64_t look_up(pid_t process)
{
    enum { FIELDS_BETWEEN = 20 }; /* from the name, which may hold anything, to "starttime" */
    char path[32], line[1024];

    (void)snprintf(path, sizeof path, "/proc/%d/stat", process);
    if (!proc_is_ours() || libc_read_file(path, line, sizeof line) == 0)
        return 0;
    const char *field = strrchr(line, ')');
    if (field == NULL || field[1] == '\0')
        return 0;
    if (field[2] == 'Z' || field[2] == 'X')
        return ENDED;
    for (int i = 0; field != NULL && i < FIELDS_BETWEEN; i++)
        field = strchr(field + 1, ' ');
    return field != NULL ? strtoull(field, NULL, 10) : 0;
}

uint64_t process_start(pid_t process)
{
    uint64_t start = look_up(process);

    return start != ENDED ? start : 0;
}

enum process_state process_look(pid_t process, uint64_t start)
{
    uint64_t now = process > 0 ? look_up(process) : ENDED;

    if (now == ENDED)
        return PROCESS_GONE;
    if (now != 0 && start != 0)
        return now == start ? PROCESS_ALIVE : PROCESS_GONE;
    return kill(process, 0) == -1 && errno == ESRCH ? PROCESS_GONE : PROCESS_UNKNOWN;
}

uint64_t process_namespace(void)
{
    struct stat64 status;

    return stat64("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

int process_open(pid_t process)
{
    return (int)syscall(SYS_pidfd_open, process, 0);
}

/* ---- forking ---- */

/* Discard the SIGCHLD of a child that was waited for. Another child's looks the same: so send it
 * again if one is to be waited for. In this order: a child that ends in between sends its own. */
static void discard_child_signal(const sigset_t *child_signal)
{
    const struct timespec at_once = {0};
    siginfo_t other = {.si_pid = 0};

    (void)sigtimedwait(child_signal, NULL, &at_once);
    if (waitid(P_ALL, 0, &other, WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT) == 0 &&
        other.si_pid != 0)
        (void)kill(getpid(), SIGCHLD);
}

/* @return errno of fork(2), which the exit status of the process between carries; 0 */
static int fork_twice(void (*body)(void *argument), void *argument, int kept)
{
    int status = 0;
    pid_t between = fork();

    if (between == -1)
        return errno;
    if (between == 0) {
        /* before the server continues: it may bind its ports again */
        for (int fd = 0; fd <= STDERR_FILENO; fd++) {
            if (fd != kept)
                libc_close(fd);
        }
        process_close_from(STDERR_FILENO + 1);
        pid_t orphan = fork();
        if (orphan == 0)
            body(argument);
        _exit(orphan == -1 ? errno : 0);
    }
    /* ECHILD where SIGCHLD is ignored: the errno is not known */
    while (waitpid(between, &status, 0) == -1 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

bool process_fork_orphan(void (*body)(void *argument), void *argument, int kept)
{
    sigset_t child_signal, former, pending;

    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    (void)libc_next(pthread_sigmask)(SIG_BLOCK, &child_signal, &former);
    (void)sigpending(&pending);
    int failure = fork_twice(body, argument, kept);
    if (sigismember(&pending, SIGCHLD) == 0)
        discard_child_signal(&child_signal);
    (void)libc_next(pthread_sigmask)(SIG_SETMASK, &former, NULL);
    errno = failure;
    return failure == 0;
}

/* ---- descriptors ---- */

/* @return false: no /proc */
static bool close_listed_in_proc(int first)
{
    DIR *directory = opendir("/proc/self/fd");
    const struct dirent *entry;

    if (directory == NULL)
        return false;
    while ((entry = readdir(directory)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (entry->d_name[0] != '.' && fd >= first && fd != dirfd(directory))
            libc_close(fd);
    }
    (void)closedir(directory);
    return true;
}

void process_close_from(int first)
{
    struct rlimit most;

    if (syscall(SYS_close_range, first, UINT_MAX, 0) == 0 || close_listed_in_proc(first) ||
        getrlimit(RLIMIT_NOFILE, &most) == -1)
        return;
    for (int fd = first; fd < (int)most.rlim_cur; fd++)
        libc_close(fd);
}
