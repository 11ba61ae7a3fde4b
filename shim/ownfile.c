#include "ownfile.h"

#include "critical.h"
#include "libc.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where an old call with 16-bit ids exists, the name is that one's. */
#ifdef SYS_setresuid32
#define SET_USERS SYS_setresuid32
#else
#define SET_USERS SYS_setresuid
#endif

static uid_t owner;

void ownfile_as(uid_t user)
{
    owner = user;
}

/* @param copy  a buffer of PATH_MAX bytes */
static const char *directory_of(const char *path, char *copy)
{
    (void)snprintf(copy, PATH_MAX, "%s", path);
    return dirname(copy);
}

/* @return false: errno EPERM, or as of stat(2) */
static bool is_safe(const char *name)
{
    struct stat64 directory;

    if (stat64(name, &directory) == -1)
        return false;
    errno = EPERM;
    return !(directory.st_mode & S_IWOTH) && (directory.st_uid == 0 || directory.st_uid == owner);
}

int ownfile_open(const char *path, int flags, mode_t mode)
{
    const int safe = O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    /* no handler of the server's may run with these rights */
    struct critical section = critical_enter();
    uid_t server = geteuid();
    char copy[PATH_MAX];
    int fd = -1;

    if (server != owner) /* this thread only; seteuid(3) would change all threads of the program */
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

bool ownfile_try(const char *path)
{
    int fd = ownfile_open(path, O_WRONLY, 0);

    if (fd != -1) {
        (void)libc_next(close)(fd);
        return true;
    }
    char copy[PATH_MAX];
    return errno == ENOENT && access(directory_of(path, copy), W_OK | X_OK) == 0;
}
