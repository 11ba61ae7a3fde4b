#include "keeper.h"

#include "critical.h"
#include "libc.h"
#include "preload.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct report { /* one for each of its files that failed, and one at the end */
    size_t file;
    int error;
};

#define FINISHED SIZE_MAX

/* ---- in the keeper, which was forked off a thread and so must not allocate ---- */

static bool never(void)
{
    return false;
}

static void map_listed(struct kept *file)
{
    struct stat64 status;
    int fd = preload_open(file->path);

    if (fd == -1 || fstat64(fd, &status) == -1 ||
        !mapping_map(&file->mapping, fd, 0, (size_t)status.st_size))
        file->error = errno;
    if (fd != -1)
        (void)libc_next(close)(fd);
}

static _Noreturn void keep(struct kept *files, size_t count, pid_t master, int reports)
{
    struct report last = {.file = FINISHED};

    (void)prctl(PR_SET_NAME, "xfermmap");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; i < count; i++)
        map_listed(&files[i]);
    (void)keep_files(files, count, never);
    for (size_t i = 0; i < count; i++) {
        struct report report = {i, files[i].error};
        if (report.error != 0)
            (void)!write(reports, &report, sizeof report);
    }
    (void)!write(reports, &last, sizeof last);
    (void)libc_next(close)(reports);
    while (getppid() == master) /* killed when that ends; asked, in case it ended before prctl() */
        (void)sleep(60);
    _exit(0);
}

/* ---- in the master ---- */

/* A process that is no child to the server's waitpid(2), and sends it no SIGCHLD: clone(2). So its
 * number stays its own, too, until it was waited for. */
static pid_t fork_unseen(void)
{
    return (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
}

bool keeper_employ(struct keeper *keeper, struct kept *files, size_t count)
{
    int ends[2];
    pid_t master = getpid(), process;

    if (pipe2(ends, O_CLOEXEC) == -1)
        return false;
    struct critical section = critical_enter(); /* the child gets it in one piece */
    process = fork_unseen();
    critical_leave(&section);
    if (process == 0) {
        (void)libc_next(close)(ends[0]);
        keep(files, count, master, ends[1]);
    }
    int failure = errno;
    (void)libc_next(close)(ends[1]);
    if (process > 0)
        *keeper = (struct keeper){.process = process, .reports = ends[0]};
    else
        (void)libc_next(close)(ends[0]);
    errno = failure;
    return process > 0;
}

static void stop_hearing(struct keeper *keeper)
{
    if (keeper->reports != -1)
        (void)libc_next(close)(keeper->reports);
    keeper->reports = -1;
}

bool keeper_hear(struct keeper *keeper, struct kept *files, size_t count, bool (*give_up)(void))
{
    struct pollfd readable = {.fd = keeper->reports, .events = POLLIN};
    struct report report;

    for (;;) {
        if (give_up()) {
            errno = ECANCELED;
            return false;
        }
        if (poll(&readable, 1, 200) == 0)
            continue;
        if (libc_next(read)(keeper->reports, &report, sizeof report) != sizeof report) {
            errno = ECHILD;
            return false;
        }
        if (report.file >= count)
            break;
        files[report.file].error = report.error;
    }
    stop_hearing(keeper);
    return true;
}

bool keeper_has_ended(struct keeper *keeper)
{
    if (keeper->process == 0 ||
        waitpid(keeper->process, NULL, WNOHANG | (int)__WCLONE) != keeper->process)
        return false;
    stop_hearing(keeper);
    keeper->process = 0;
    return true;
}

void keeper_dismiss(struct keeper *keeper)
{
    if (keeper->process > 0) {
        (void)kill(keeper->process, SIGKILL);
        (void)waitpid(keeper->process, NULL, (int)__WCLONE);
    }
    stop_hearing(keeper);
    keeper->process = 0;
}
