#include "safe_file.h"

#include "critical.h"
#include "libc.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Where there is also a call with 16-bit ids, SYS_setresuid is that one. */
#ifdef SYS_setresuid32
#define SET_USERS SYS_setresuid32
#else
#define SET_USERS SYS_setresuid
#endif

static uid_t owner;

void safe_file_as(uid_t user)
{
    owner = user;
}

/* @param copy  a buffer of PATH_MAX bytes */
static const char *directory_of(const char *path, char *copy)
{
    (void)snprintf(copy, PATH_MAX, "%s", path);
    return dirname(copy);
}

/* @return false: errno EPERM, or of stat(2) */
static bool is_safe(const char *name)
{
    struct stat64 directory;

    if (stat64(name, &directory) == -1)
        return false;
    errno = EPERM;
    return !(directory.st_mode & S_IWOTH) && (directory.st_uid == 0 || directory.st_uid == owner);
}

int safe_file_open(const char *path, int flags, mode_t mode)
{
    const int safe = O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    /* critical: no handler of the server may run with these rights */
    struct critical section = critical_enter();
    uid_t server = geteuid();
    char copy[PATH_MAX];
    int fd = -1;

    if (server != owner) /* this thread only: seteuid(3) would change all threads */
        (void)syscall(SET_USERS, -1, owner, -1);
    if (is_safe(directory_of(path, copy)))
        fd = libc_next(open64)(path, flags | safe, mode);
    int failure = errno;
    if (server != owner)
        (void)syscall(SET_USERS, -1, server, -1);
    critical_leave(&section);
    errno = failure;
    return fd;
}

bool safe_file_try(const char *path)
{
    int fd = safe_file_open(path, O_WRONLY, 0);
    char copy[PATH_MAX];

    libc_close(fd);
    return fd != -1 || (errno == ENOENT && access(directory_of(path, copy), W_OK | X_OK) == 0);
}

struct safe_file_signals safe_file_block_signals(void)
{
    struct safe_file_signals signals;
    sigset_t ours;

    sigemptyset(&ours);
    sigaddset(&ours, SIGXFSZ);
    sigaddset(&ours, SIGPIPE);
    (void)libc_next(pthread_sigmask)(SIG_BLOCK, &ours, &signals.former);
    (void)sigpending(&signals.pending);
    return signals;
}

void safe_file_restore_signals(const struct safe_file_signals *signals, int failure)
{
    const struct timespec at_once = {0};
    int raised = failure == EFBIG ? SIGXFSZ : failure == EPIPE ? SIGPIPE : 0, saved = errno;
    sigset_t ours;

    sigemptyset(&ours);
    if (raised != 0 && sigismember(&signals->pending, raised) == 0) {
        sigaddset(&ours, raised);
        (void)sigtimedwait(&ours, NULL, &at_once);
    }
    (void)libc_next(pthread_sigmask)(SIG_SETMASK, &signals->former, NULL);
    errno = saved;
}
