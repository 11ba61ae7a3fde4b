/*
 * The libc functions that a server calls, in this library's place: each asks a room below, else
 * calls libc. No logic of its own stands here.
 */

/* The fortified headers define some of these functions themselves. */
#undef _FORTIFY_SOURCE

#include "borrowed.h"
#include "descriptor.h"
#include "guard.h"
#include "libc.h"
#include "readsize.h"
#include "resident.h"
#include "rights.h"
#include "server.h"
#include "signals.h"
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* ---- opening ---- */

/* Declare `mode`: there is such an argument only with the flags that create a file, open(2). */
#define TAKE_MODE(mode, flags)                                                                     \
    mode_t mode = 0;                                                                               \
    if (((flags)&O_CREAT) != 0 || ((flags)&O_TMPFILE) == O_TMPFILE) {                              \
        va_list arguments;                                                                         \
        va_start(arguments, flags);                                                                \
        mode = va_arg(arguments, mode_t);                                                          \
        va_end(arguments);                                                                         \
    }

static int opened(int fd, const char *path, int flags)
{
    if (fd >= 0)
        stream_opened(fd, path, flags);
    return fd;
}

EXPORT int open(const char *path, int flags, ...)
{
    TAKE_MODE(mode, flags)
    server_opening();
    return opened(libc_next(open)(path, flags, mode), path, flags);
}

EXPORT int open64(const char *path, int flags, ...)
{
    TAKE_MODE(mode, flags)
    server_opening();
    return opened(libc_next(open64)(path, flags, mode), path, flags);
}

EXPORT int openat(int directory, const char *path, int flags, ...)
{
    TAKE_MODE(mode, flags)
    server_opening();
    return opened(libc_next(openat)(directory, path, flags, mode), path, flags);
}

EXPORT int openat64(int directory, const char *path, int flags, ...)
{
    TAKE_MODE(mode, flags)
    server_opening();
    return opened(libc_next(openat64)(directory, path, flags, mode), path, flags);
}

EXPORT int __open_2(const char *path, int flags)
{
    server_opening();
    return opened(libc_next(__open_2)(path, flags), path, flags);
}

EXPORT int __open64_2(const char *path, int flags)
{
    server_opening();
    return opened(libc_next(__open64_2)(path, flags), path, flags);
}

EXPORT int __openat_2(int directory, const char *path, int flags)
{
    server_opening();
    return opened(libc_next(__openat_2)(directory, path, flags), path, flags);
}

EXPORT int __openat64_2(int directory, const char *path, int flags)
{
    server_opening();
    return opened(libc_next(__openat64_2)(directory, path, flags), path, flags);
}

/* ---- reading ---- */

struct answer {
    bool given;
    ssize_t bytes;
};

static const struct answer no_answer = {.given = false};

/* Apart from its callers: a read of what is not served, a socket's, would pay for its frame. */
__attribute__((noinline)) static struct answer ask_stream(int fd, void *buffer, size_t count,
                                                          off64_t offset)
{
    struct iovec part = {buffer, count};
    struct answer answer = no_answer;

    answer.given = stream_read(fd, &part, 1, offset, &answer.bytes);
    return answer;
}

static inline struct answer served(int fd, void *buffer, size_t count)
{
    return descriptor_served(fd) ? ask_stream(fd, buffer, count, STREAM_OFFSET) : no_answer;
}

static inline struct answer served_at(int fd, void *buffer, size_t count, off64_t offset)
{
    return descriptor_served(fd) && offset >= 0 ? ask_stream(fd, buffer, count, offset) : no_answer;
}

EXPORT ssize_t read(int fd, void *buffer, size_t count)
{
    struct answer answer = served(fd, buffer, count);

    return answer.given ? answer.bytes : libc_next(read)(fd, buffer, count);
}

EXPORT ssize_t __read_chk(int fd, void *buffer, size_t count, size_t size)
{
    struct answer answer = count <= size ? served(fd, buffer, count) : no_answer;

    return answer.given ? answer.bytes : libc_next(__read_chk)(fd, buffer, count, size);
}

EXPORT ssize_t pread(int fd, void *buffer, size_t count, off_t offset)
{
    struct answer answer = served_at(fd, buffer, count, offset);

    return answer.given ? answer.bytes : libc_next(pread)(fd, buffer, count, offset);
}

EXPORT ssize_t pread64(int fd, void *buffer, size_t count, off64_t offset)
{
    struct answer answer = served_at(fd, buffer, count, offset);

    return answer.given ? answer.bytes : libc_next(pread64)(fd, buffer, count, offset);
}

EXPORT ssize_t __pread_chk(int fd, void *buffer, size_t count, off_t offset, size_t size)
{
    struct answer answer = count <= size ? served_at(fd, buffer, count, offset) : no_answer;

    return answer.given ? answer.bytes : libc_next(__pread_chk)(fd, buffer, count, offset, size);
}

EXPORT ssize_t __pread64_chk(int fd, void *buffer, size_t count, off64_t offset, size_t size)
{
    struct answer answer = count <= size ? served_at(fd, buffer, count, offset) : no_answer;

    return answer.given ? answer.bytes : libc_next(__pread64_chk)(fd, buffer, count, offset, size);
}

EXPORT ssize_t readv(int fd, const struct iovec *parts, int count)
{
    ssize_t result;

    return stream_readv(fd, parts, count, STREAM_OFFSET, &result)
               ? result
               : libc_next(readv)(fd, parts, count);
}

EXPORT ssize_t preadv(int fd, const struct iovec *parts, int count, off_t offset)
{
    ssize_t result;

    return offset >= 0 && stream_readv(fd, parts, count, offset, &result)
               ? result
               : libc_next(preadv)(fd, parts, count, offset);
}

EXPORT ssize_t preadv64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    ssize_t result;

    return offset >= 0 && stream_readv(fd, parts, count, offset, &result)
               ? result
               : libc_next(preadv64)(fd, parts, count, offset);
}

/* With flags it is the kernel's, without them it is preadv(), or readv() for an offset of -1. */
static bool served_with_flags(int fd, const struct iovec *parts, int count, off64_t offset,
                              int flags, ssize_t *result)
{
    if (flags != 0 && offset == -1)
        stream_let_go(fd);
    return flags == 0 && offset >= -1 &&
           stream_readv(fd, parts, count, offset == -1 ? STREAM_OFFSET : offset, result);
}

EXPORT ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    ssize_t result;

    return served_with_flags(fd, parts, count, offset, flags, &result)
               ? result
               : libc_next(preadv2)(fd, parts, count, offset, flags);
}

EXPORT ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
{
    ssize_t result;

    return served_with_flags(fd, parts, count, offset, flags, &result)
               ? result
               : libc_next(preadv64v2)(fd, parts, count, offset, flags);
}

/* ---- the offset ---- */

EXPORT off_t lseek(int fd, off_t offset, int whence)
{
    off64_t result;

    if (!stream_seek(fd, offset, whence, &result))
        return libc_next(lseek)(fd, offset, whence);
    if ((off_t)result == result)
        return (off_t)result;
    errno = EOVERFLOW; /* where off_t has 32 bits */
    return -1;
}

EXPORT off64_t lseek64(int fd, off64_t offset, int whence)
{
    off64_t result;

    return stream_seek(fd, offset, whence, &result) ? result
                                                    : libc_next(lseek64)(fd, offset, whence);
}

/* ---- descriptors ---- */

EXPORT int close(int fd)
{
    stream_closing(fd);
    return libc_next(close)(fd);
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
    /* let go and not only forgotten: should the call fail, they are open still */
    stream_let_go_range(first, last);
    return libc_next(close_range)(first, last, flags);
}

EXPORT void closefrom(int first)
{
    stream_let_go_range(first > 0 ? (unsigned)first : 0, UINT_MAX);
    libc_next(closefrom)(first);
}

static int duplicated(int fd, int duplicate)
{
    if (duplicate >= 0)
        (void)stream_duplicated(fd, duplicate);
    return duplicate;
}

EXPORT int dup(int fd)
{
    return duplicated(fd, libc_next(dup)(fd));
}

EXPORT int dup2(int fd, int target)
{
    if (fd == target)
        return libc_next(dup2)(fd, target);
    bool shared = stream_replacing(fd, target);
    return stream_replaced(target, shared, libc_next(dup2)(fd, target));
}

EXPORT int dup3(int fd, int target, int flags)
{
    if (fd == target)
        return libc_next(dup3)(fd, target, flags);
    bool shared = stream_replacing(fd, target);
    return stream_replaced(target, shared, libc_next(dup3)(fd, target, flags));
}

/* Every command takes at most one argument, which libc too passes on as a pointer. */
#define TAKE_ARGUMENT(argument, last)                                                              \
    void *argument;                                                                                \
    va_list arguments;                                                                             \
    va_start(arguments, last);                                                                     \
    argument = va_arg(arguments, void *);                                                          \
    va_end(arguments);

/* A lock may be meant from the kernel's offset on: have it put right. */
static void before_lock(int fd)
{
    off64_t unused;

    (void)stream_seek(fd, 0, SEEK_CUR, &unused);
}

static void before_fcntl(int fd, int command, const void *argument)
{
    switch (command) {
    case F_SETFL:
        if (((intptr_t)argument & O_DIRECT) != 0)
            stream_let_go(fd);
        break;
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        before_lock(fd);
        break;
    default:
        break;
    }
}

static int after_fcntl(int fd, int command, int result)
{
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(fd, result) : result;
}

EXPORT int fcntl(int fd, int command, ...)
{
    TAKE_ARGUMENT(argument, command)
    before_fcntl(fd, command, argument);
    return after_fcntl(fd, command, libc_next(fcntl)(fd, command, argument));
}

EXPORT int fcntl64(int fd, int command, ...)
{
    TAKE_ARGUMENT(argument, command)
    before_fcntl(fd, command, argument);
    return after_fcntl(fd, command, libc_next(fcntl64)(fd, command, argument));
}

EXPORT int lockf(int fd, int command, off_t length)
{
    before_lock(fd);
    return libc_next(lockf)(fd, command, length);
}

EXPORT int lockf64(int fd, int command, off64_t length)
{
    before_lock(fd);
    return libc_next(lockf64)(fd, command, length);
}

/* ---- what the kernel, or libc, does with a descriptor itself ---- */

EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t count)
{
    if (sizeof *offset == sizeof(off64_t))
        return stream_send(out, in, (off64_t *)offset, count);
    /* a 32-bit off_t: no read-ahead */
    if (offset == NULL)
        stream_let_go(in);
    ssize_t sent = libc_next(sendfile)(out, in, offset, count);
    stream_sent(in, sent);
    return sent;
}

EXPORT ssize_t sendfile64(int out, int in, off64_t *offset, size_t count)
{
    return stream_send(out, in, offset, count);
}

EXPORT ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset,
                               size_t count, unsigned flags)
{
    if (in_offset == NULL)
        stream_let_go(in);
    return libc_next(copy_file_range)(in, in_offset, out, out_offset, count, flags);
}

EXPORT ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t count,
                      unsigned flags)
{
    if (in_offset == NULL)
        stream_let_go(in);
    return libc_next(splice)(in, in_offset, out, out_offset, count, flags);
}

EXPORT FILE *fdopen(int fd, const char *mode)
{
    stream_let_go(fd);
    return libc_next(fdopen)(fd, mode);
}

EXPORT DIR *fdopendir(int fd)
{
    stream_let_go(fd);
    return libc_next(fdopendir)(fd);
}

/* ---- handing descriptors to another program, past fork(2) and its handlers ---- */

static void let_go_all(void)
{
    stream_let_go_range(0, UINT_MAX);
}

EXPORT int execve(const char *path, char *const arguments[], char *const environment[])
{
    let_go_all();
    return libc_next(execve)(path, arguments, environment);
}

EXPORT int execv(const char *path, char *const arguments[])
{
    let_go_all();
    return libc_next(execv)(path, arguments);
}

EXPORT int execvp(const char *file, char *const arguments[])
{
    let_go_all();
    return libc_next(execvp)(file, arguments);
}

EXPORT int execvpe(const char *file, char *const arguments[], char *const environment[])
{
    let_go_all();
    return libc_next(execvpe)(file, arguments, environment);
}

EXPORT int fexecve(int fd, char *const arguments[], char *const environment[])
{
    let_go_all();
    return libc_next(fexecve)(fd, arguments, environment);
}

EXPORT int execveat(int directory, const char *path, char *const arguments[],
                    char *const environment[], int flags)
{
    let_go_all();
    return libc_next(execveat)(directory, path, arguments, environment, flags);
}

/*
 * Declare `arguments`, and `rest`, which stands behind the NULL that ends them. libc's own execl()
 * reaches execve() inside of libc, where the library does not see it.
 */
#define TAKE_ARGUMENTS(arguments, rest, first)                                                     \
    size_t count = 1;                                                                              \
    va_list rest;                                                                                  \
    for (va_start(rest, first); va_arg(rest, char *) != NULL;)                                     \
        count++;                                                                                   \
    va_end(rest);                                                                                  \
    char *arguments[count + 1];                                                                    \
    arguments[0] = (char *)(uintptr_t)(first);                                                     \
    va_start(rest, first);                                                                         \
    for (size_t i = 1; i <= count; i++)                                                            \
        arguments[i] = va_arg(rest, char *);

EXPORT int execl(const char *path, const char *first, ...)
{
    TAKE_ARGUMENTS(arguments, rest, first)
    va_end(rest);
    return execv(path, arguments);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
    TAKE_ARGUMENTS(arguments, rest, first)
    va_end(rest);
    return execvp(file, arguments);
}

EXPORT int execle(const char *path, const char *first, ...)
{
    TAKE_ARGUMENTS(arguments, rest, first)
    char *const *environment = va_arg(rest, char *const *);
    va_end(rest);
    return execve(path, arguments, environment);
}

EXPORT int posix_spawn(pid_t *restrict pid, const char *restrict path,
                       const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *restrict attributes, char *const arguments[],
                       char *const environment[])
{
    let_go_all();
    return libc_next(posix_spawn)(pid, path, actions, attributes, arguments, environment);
}

EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const arguments[],
                        char *const environment[])
{
    let_go_all();
    return libc_next(posix_spawnp)(pid, file, actions, attributes, arguments, environment);
}

EXPORT int system(const char *command)
{
    let_go_all();
    return libc_next(system)(command);
}

EXPORT FILE *popen(const char *command, const char *mode)
{
    let_go_all();
    return libc_next(popen)(command, mode);
}

/* It runs none of the handlers that fork(2) has. */
EXPORT pid_t _Fork(void)
{
    server_before_fork();
    pid_t child = libc_next(_Fork)();
    if (child == 0)
        server_in_child();
    else
        server_after_fork();
    return child;
}

/*
 * The child runs in this memory and on this stack, so no frame of ours may lie between the caller
 * and libc's vfork(): it is jumped to. On other architectures vfork(2) is not wrapped.
 */
#if defined __x86_64__ || defined __aarch64__
__attribute__((used)) static libc_vfork_function *before_vfork(void)
{
    let_go_all();
    memory_lend();
    return libc_next(vfork);
}

#if defined __x86_64__
__asm__(".text\n.globl vfork\n.type vfork, @function\n"
        "vfork: .cfi_startproc\n"
        "endbr64\nsubq $8, %rsp\n.cfi_adjust_cfa_offset 8\n"
        "call before_vfork\n"
        "addq $8, %rsp\n.cfi_adjust_cfa_offset -8\njmp *%rax\n"
        ".cfi_endproc\n.size vfork, . - vfork\n");
#else
__asm__(".text\n.globl vfork\n.type vfork, %function\n"
        "vfork: .cfi_startproc\n"
        "hint #34\nstp x29, x30, [sp, #-16]!\n.cfi_adjust_cfa_offset 16\n"
        "bl before_vfork\n"
        "ldp x29, x30, [sp], #16\n.cfi_adjust_cfa_offset -16\n"
        "mov x16, x0\nbr x16\n"
        ".cfi_endproc\n.size vfork, . - vfork\n");
#endif
#endif

/* ---- what tells master and sessions apart ---- */

/* __SOCKADDR_ARG: the headers declare the address as a union of all kinds of pointers to one. */

static int connected(int fd)
{
    if (fd >= 0)
        server_accepted(fd);
    return fd;
}

EXPORT int accept(int fd, __SOCKADDR_ARG address, socklen_t *restrict length)
{
    return connected(libc_next(accept)(fd, address.__sockaddr__, length));
}

EXPORT int accept4(int fd, __SOCKADDR_ARG address, socklen_t *restrict length, int flags)
{
    return connected(libc_next(accept4)(fd, address.__sockaddr__, length, flags));
}

EXPORT int listen(int fd, int backlog)
{
    int result = libc_next(listen)(fd, backlog);

    if (result == 0)
        server_listening();
    return result;
}

/* ---- rights, which libc would give to the library's own thread, too, and wait for it ---- */

EXPORT int seteuid(uid_t user)
{
    return resident_is_only_company() ? rights_set_user(user) : libc_next(seteuid)(user);
}

EXPORT int setegid(gid_t group)
{
    return resident_is_only_company() ? rights_set_group(group) : libc_next(setegid)(group);
}

/* ---- sockets ---- */

EXPORT int getsockopt(int fd, int level, int option, void *restrict value,
                      socklen_t *restrict length)
{
    int result = libc_next(getsockopt)(fd, level, option, value, length);

    if (result == 0)
        readsize_told(fd, level, option, value, length);
    return result;
}

/* ---- signals ---- */

EXPORT int sigaction(int number, const struct sigaction *restrict action,
                     struct sigaction *restrict former)
{
    guard_disposition(number, action);
    return signals_action(number, action, former);
}

EXPORT sighandler_t signal(int number, sighandler_t handler)
{
    return signals_signal(number, handler, libc_next(signal));
}

EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler)
{
    return signals_signal(number, handler, libc_next(__sysv_signal));
}

EXPORT sighandler_t sysv_signal(int number, sighandler_t handler)
{
    return signals_signal(number, handler, libc_next(sysv_signal));
}

EXPORT sighandler_t bsd_signal(int number, sighandler_t handler)
{
    return signals_signal(number, handler, libc_next(bsd_signal));
}

EXPORT sighandler_t ssignal(int number, sighandler_t handler)
{
    return signals_signal(number, handler, libc_next(ssignal));
}

/* As libc's: no flags, an empty mask, and the signal unblocked. */
EXPORT sighandler_t sigset(int number, sighandler_t handler)
{
    const struct sigaction action = {.sa_handler = handler};
    const bool hold = handler == SIG_HOLD;
    struct sigaction former;
    sigset_t one, mask;

    sigemptyset(&one);
    if (sigaddset(&one, number) == -1 ||
        signals_action(number, hold ? NULL : &action, &former) == -1)
        return SIG_ERR;
    (void)sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &one, &mask);
    return sigismember(&mask, number) == 1 ? SIG_HOLD : former.sa_handler;
}

EXPORT int sigignore(int number)
{
    const struct sigaction action = {.sa_handler = SIG_IGN};

    return signals_action(number, &action, NULL);
}

EXPORT int sighold(int number)
{
    int result = libc_next(sighold)(number);

    guard_mask_changed();
    return result;
}

EXPORT int sigblock(int mask)
{
    int former = libc_next(sigblock)(mask);

    guard_mask_changed();
    return former;
}

EXPORT int sigsetmask(int mask)
{
    int former = libc_next(sigsetmask)(mask);

    guard_mask_changed();
    return former;
}

EXPORT int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict former)
{
    int result = libc_next(sigprocmask)(how, set, former);

    guard_mask_changed();
    return result;
}

EXPORT int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict former)
{
    int result = libc_next(pthread_sigmask)(how, set, former);

    guard_mask_changed();
    return result;
}
