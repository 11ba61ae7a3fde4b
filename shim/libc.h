/*
 * The next definition of each wrapped function: libc's, or that of a library preloaded after this
 * one. This table is the only place with names and signatures. glob(3) and globfree(3) are in it,
 * though not wrapped: ProFTPD exports its own, lib/glob.c, which the library would otherwise call.
 */
#ifndef LIBC_H
#define LIBC_H

#include <dirent.h>
#include <glob.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

/* X(result, name, parameters), as in the manual pages; the fortified ones as in glibc's ABI. */
#define LIBC_FUNCTIONS(X)                                                                          \
    X(int, open, (const char *path, int flags, ...))                                               \
    X(int, open64, (const char *path, int flags, ...))                                             \
    X(int, openat, (int directory, const char *path, int flags, ...))                              \
    X(int, openat64, (int directory, const char *path, int flags, ...))                            \
    X(int, __open_2, (const char *path, int flags))                                                \
    X(int, __open64_2, (const char *path, int flags))                                              \
    X(int, __openat_2, (int directory, const char *path, int flags))                               \
    X(int, __openat64_2, (int directory, const char *path, int flags))                             \
    X(ssize_t, read, (int fd, void *buffer, size_t count))                                         \
    X(ssize_t, __read_chk, (int fd, void *buffer, size_t count, size_t size))                      \
    X(ssize_t, pread, (int fd, void *buffer, size_t count, off_t offset))                          \
    X(ssize_t, pread64, (int fd, void *buffer, size_t count, off64_t offset))                      \
    X(ssize_t, __pread_chk, (int fd, void *buffer, size_t count, off_t offset, size_t size))       \
    X(ssize_t, __pread64_chk, (int fd, void *buffer, size_t count, off64_t offset, size_t size))   \
    X(ssize_t, readv, (int fd, const struct iovec *parts, int count))                              \
    X(ssize_t, preadv, (int fd, const struct iovec *parts, int count, off_t offset))               \
    X(ssize_t, preadv64, (int fd, const struct iovec *parts, int count, off64_t offset))           \
    X(ssize_t, preadv2, (int fd, const struct iovec *parts, int count, off_t offset, int flags))   \
    X(ssize_t, preadv64v2,                                                                         \
      (int fd, const struct iovec *parts, int count, off64_t offset, int flags))                   \
    X(off_t, lseek, (int fd, off_t offset, int whence))                                            \
    X(off64_t, lseek64, (int fd, off64_t offset, int whence))                                      \
    X(int, close, (int fd))                                                                        \
    X(int, close_range, (unsigned first, unsigned last, int flags))                                \
    X(void, closefrom, (int first))                                                                \
    X(int, dup, (int fd))                                                                          \
    X(int, dup2, (int fd, int target))                                                             \
    X(int, dup3, (int fd, int target, int flags))                                                  \
    X(int, fcntl, (int fd, int command, ...))                                                      \
    X(int, fcntl64, (int fd, int command, ...))                                                    \
    X(int, lockf, (int fd, int command, off_t length))                                             \
    X(int, lockf64, (int fd, int command, off64_t length))                                         \
    X(ssize_t, sendfile, (int out, int in, off_t *offset, size_t count))                           \
    X(ssize_t, sendfile64, (int out, int in, off64_t *offset, size_t count))                       \
    X(ssize_t, copy_file_range,                                                                    \
      (int in, off64_t *in_offset, int out, off64_t *out_offset, size_t count, unsigned flags))    \
    X(ssize_t, splice,                                                                             \
      (int in, off64_t *in_offset, int out, off64_t *out_offset, size_t count, unsigned flags))    \
    X(int, execve, (const char *path, char *const arguments[], char *const environment[]))         \
    X(int, execv, (const char *path, char *const arguments[]))                                     \
    X(int, execvp, (const char *file, char *const arguments[]))                                    \
    X(int, execvpe, (const char *file, char *const arguments[], char *const environment[]))        \
    X(int, fexecve, (int fd, char *const arguments[], char *const environment[]))                  \
    X(int, posix_spawn,                                                                            \
      (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,                   \
       const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[]))   \
    X(int, posix_spawnp,                                                                           \
      (pid_t * pid, const char *file, const posix_spawn_file_actions_t *actions,                   \
       const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[]))   \
    X(int, system, (const char *command))                                                          \
    X(FILE *, popen, (const char *command, const char *mode))                                      \
    X(int, execveat,                                                                               \
      (int directory, const char *path, char *const arguments[], char *const environment[],        \
       int flags))                                                                                 \
    X(pid_t, _Fork, (void))                                                                        \
    X(pid_t, vfork, (void))                                                                        \
    X(FILE *, fdopen, (int fd, const char *mode))                                                  \
    X(DIR *, fdopendir, (int fd))                                                                  \
    X(int, glob,                                                                                   \
      (const char *pattern, int flags, int (*error)(const char *path, int number), glob_t *found)) \
    X(void, globfree, (glob_t * found))                                                            \
    X(int, accept, (int fd, struct sockaddr *address, socklen_t *length))                          \
    X(int, accept4, (int fd, struct sockaddr *address, socklen_t *length, int flags))              \
    X(int, listen, (int fd, int backlog))                                                          \
    X(int, select,                                                                                 \
      (int descriptors, fd_set *reading, fd_set *writing, fd_set *excepting,                       \
       struct timeval *timeout))                                                                   \
    X(int, getsockopt, (int fd, int level, int option, void *value, socklen_t *length))            \
    X(int, sigaction, (int number, const struct sigaction *action, struct sigaction *former))      \
    X(sighandler_t, signal, (int number, sighandler_t handler))                                    \
    X(sighandler_t, __sysv_signal, (int number, sighandler_t handler))                             \
    X(sighandler_t, sysv_signal, (int number, sighandler_t handler))                               \
    X(sighandler_t, bsd_signal, (int number, sighandler_t handler))                                \
    X(sighandler_t, ssignal, (int number, sighandler_t handler))                                   \
    X(int, sighold, (int number))                                                                  \
    X(int, sigblock, (int mask))                                                                   \
    X(int, sigsetmask, (int mask))                                                                 \
    X(int, sigprocmask, (int how, const sigset_t *set, sigset_t *former))                          \
    X(int, pthread_sigmask, (int how, const sigset_t *set, sigset_t *former))

enum libc_function {
#define X(result, name, parameters) LIBC_##name,
    LIBC_FUNCTIONS(X)
#undef X
        LIBC_FUNCTION_COUNT
};

#define X(result, name, parameters) typedef result libc_##name##_function parameters;
LIBC_FUNCTIONS(X)
#undef X

typedef void libc_any_function(void);

extern _Atomic(libc_any_function *) libc_found[LIBC_FUNCTION_COUNT];

/* Look up the next definition of a function and remember it. For a name that this libc lacks it is
 * a stub that fails with ENOSYS. Not async-signal-safe: dlsym(3). */
libc_any_function *libc_find(enum libc_function function);

/* Look up all of them, so that handlers find them. */
void libc_find_all(void);

/* Close past this library, unless `fd` is -1. Preserves errno. */
void libc_close(int fd);

/* Read a small file past this library, such as one of /proc. @return its length; 0: nothing */
size_t libc_read_file(const char *path, char *text, size_t size);

#define NS_PER_SECOND 1000000000

/* @return the clock's time, nanoseconds: clock_gettime(2). Async-signal-safe. */
uint64_t libc_time(clockid_t clock);

/* libc_next(read)(fd, buffer, count) calls the next definition. */
#define libc_next(name) ((libc_##name##_function *)libc_ready(LIBC_##name))

static inline libc_any_function *libc_ready(enum libc_function function)
{
    libc_any_function *known = atomic_load_explicit(&libc_found[function], memory_order_relaxed);
    return known != NULL ? known : libc_find(function);
}

#endif
