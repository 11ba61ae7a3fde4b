#include "keeper.h"

#include "critical.h"
#include "libc.h"
#include "preload.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct report { /* one for each of its files that failed, and one after them */
    size_t file;
    int error;
};

#define FINISHED SIZE_MAX

/* ---- at both ends of the line ---- */

/* Whether the other end is closed, be there something left to be read or not. */
static bool is_cut(int line)
{
    struct pollfd end = {.fd = line}; /* a hang-up is told without being asked for */

    return poll(&end, 1, 0) == 1;
}

/* ---- in the keeper, which was forked off a thread and so must not allocate ---- */

static int line_to_master;

static bool is_dismissed(void)
{
    return is_cut(line_to_master);
}

/* The master's ends of this line and of the former keeper's must be the master's alone: else
 * neither keeper would see them closed. */
static void close_all_but(int fd)
{
    if (fd > 0)
        (void)syscall(__NR_close_range, 0, fd - 1, 0);
    (void)syscall(__NR_close_range, fd + 1, UINT_MAX, 0);
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

static void send_report(size_t file, int error)
{
    struct report report = {.file = file, .error = error};

    (void)send(line_to_master, &report, sizeof report, MSG_NOSIGNAL);
}

static _Noreturn void keep(struct kept *files, size_t count, int line)
{
    ssize_t heard = 1;
    char unused;

    close_all_but(line);
    line_to_master = line;
    (void)prctl(PR_SET_NAME, "xfermmap");
    for (size_t i = 0; i < count; i++) {
        if (is_dismissed())
            _exit(0);
        map_listed(&files[i]);
    }
    if (!keep_files(files, count, is_dismissed))
        _exit(0);
    for (size_t i = 0; i < count; i++) {
        if (files[i].error != 0)
            send_report(i, files[i].error);
    }
    send_report(FINISHED, 0);
    while (heard > 0) /* nothing is, but the end */
        heard = libc_next(read)(line, &unused, sizeof unused);
    _exit(0);
}

/* ---- in the master, and between ---- */

/* A process that sends no SIGCHLD, and that only a wait for such ones sees: clone(2). Past the
 * handlers of pthread_atfork(3). */
static pid_t fork_unseen(void)
{
    return (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
}

/*
 * The keeper is an orphan. As a child of the server's it could be waited for by the server, which
 * would wait for as long as it lives (__WALL), or as a child of a program that has never heard of
 * it, once the server has executed that. Init becomes its parent, or who stands in for it,
 * PR_SET_CHILD_SUBREAPER. Where that is the server, process 1 of a container say, it is told of the
 * keeper's end by SIGCHLD, as of that of any orphan.
 */
static _Noreturn void fork_orphan(struct kept *files, size_t count, int line)
{
    pid_t orphan = fork_unseen();

    if (orphan == 0)
        keep(files, count, line);
    _exit(orphan == -1 ? errno : 0);
}

/* At once, so that it is not there to be found. @return 0; errno of its clone(2), as far as known
 */
static int wait_for(pid_t between)
{
    int status = 0;

    (void)waitpid(between, &status, (int)__WCLONE); /* ECHILD: a wait of the server's was faster */
    return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

bool keeper_employ(struct keeper *keeper, struct kept *files, size_t count)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == -1)
        return false;
    struct critical section = critical_enter(); /* the child gets it in one piece */
    pid_t between = fork_unseen();
    if (between == 0)
        fork_orphan(files, count, ends[1]);
    critical_leave(&section);
    int failure = between > 0 ? wait_for(between) : errno;
    (void)libc_next(close)(ends[1]);
    if (failure == 0 && is_cut(ends[0])) /* nobody else has it open: there is no keeper */
        failure = EAGAIN;
    if (failure == 0)
        keeper->line = ends[0];
    else
        (void)libc_next(close)(ends[0]);
    errno = failure;
    return failure == 0;
}

bool keeper_hear(struct keeper *keeper, struct kept *files, size_t count, bool (*give_up)(void))
{
    struct pollfd readable = {.fd = keeper->line, .events = POLLIN};
    struct report report;

    for (;;) {
        if (give_up()) {
            errno = ECANCELED;
            return false;
        }
        if (poll(&readable, 1, 200) <= 0) /* -1: libc's setuid(3) interrupts all threads */
            continue;
        if (libc_next(read)(keeper->line, &report, sizeof report) != sizeof report) {
            errno = ECHILD;
            return false;
        }
        if (report.file >= count)
            return true;
        files[report.file].error = report.error;
    }
}

bool keeper_has_ended(struct keeper *keeper)
{
    bool ended = keeper->line != -1 && is_cut(keeper->line);

    if (ended)
        keeper_dismiss(keeper);
    return ended;
}

void keeper_dismiss(struct keeper *keeper)
{
    if (keeper->line != -1)
        (void)libc_next(close)(keeper->line);
    keeper->line = -1;
}
