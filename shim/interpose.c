/* The wrappers of libc's functions: each asks a room below, or calls libc. No logic is here. */

/* The fortified headers define some of these functions themselves. */
#undef _FORTIFY_SOURCE

#include "guard.h"
#include "heat.h"
#include "libc.h"
#include "reading.h"
#include "readsize.h"
#include "sending.h"
#include "server.h"
#include "signals.h"
#include "stream.h"
#include "vfork_child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Wrappers of a family differ in their signatures only. The macros' last arguments are those of
 * libc's function. */

/* ---- opening ---- */

/* Declare `mode`, an argument that open(2) has only with flags that create a file. */
#define TAKE_MODE(mode, flags)                                                                     \
    mode_t mode = 0;                                                                               \
    if (((flags)&O_CREAT) != 0 || ((flags)&O_TMPFILE) == O_TMPFILE) {                              \
        va_list arguments;                                                                         \
        va_start(arguments, flags);                                                                \
        mode = va_arg(arguments, mode_t);                                                          \
        va_end(arguments);                                                                         \
    }

static int opened(int fd, int flags)
{
    if (fd >= 0)
        stream_opened(fd, flags);
    return fd;
}

#define OPEN(name, parameters, ...)                                                                \
    EXPORT int name parameters                                                                     \
    {                                                                                              \
        TAKE_MODE(mode, flags)                                                                     \
        server_opening();                                                                          \
        return opened(libc_next(name)(__VA_ARGS__, mode), flags);                                  \
    }

/* The fortified ones have no mode: they are called without O_CREAT. */
#define OPEN_2(name, parameters, ...)                                                              \
    EXPORT int name parameters                                                                     \
    {                                                                                              \
        server_opening();                                                                          \
        return opened(libc_next(name)(__VA_ARGS__), flags);                                        \
    }

OPEN(open, (const char *path, int flags, ...), path, flags)
OPEN(open64, (const char *path, int flags, ...), path, flags)
OPEN(openat, (int directory, const char *path, int flags, ...), directory, path, flags)
OPEN(openat64, (int directory, const char *path, int flags, ...), directory, path, flags)
OPEN_2(__open_2, (const char *path, int flags), path, flags)
OPEN_2(__open64_2, (const char *path, int flags), path, flags)
OPEN_2(__openat_2, (int directory, const char *path, int flags), directory, path, flags)
OPEN_2(__openat64_2, (int directory, const char *path, int flags), directory, path, flags)

/* ---- reading ---- */

static const struct reading not_answered = {.answered = false};

/* Not inline: its frame would slow down reads of sockets. */
__attribute__((noinline)) static struct reading ask_stream(int fd, void *buffer, size_t count,
                                                           off64_t offset)
{
    struct iovec part = {buffer, count};

    return reading_read(fd, &part, 1, offset);
}

/* Reads of a download may be shortened. */
static inline struct reading read_on(int fd, void *buffer, size_t *count)
{
    *count = readsize_limit(fd, *count);
    return stream_is_served(fd) ? ask_stream(fd, buffer, *count, READING_MOVES) : not_answered;
}

static inline struct reading read_at(int fd, void *buffer, size_t count, off64_t offset)
{
    return stream_is_served(fd) && offset >= 0 ? ask_stream(fd, buffer, count, offset)
                                               : not_answered;
}

static struct reading readv_at(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return offset >= 0 ? reading_readv(fd, parts, count, offset) : not_answered;
}

/* preadv2(2) is preadv(2), or readv(2) with an offset of -1. With flags the kernel answers. */
static struct reading readv_with_flags(int fd, const struct iovec *parts, int count, off64_t offset,
                                       int flags)
{
    if (flags == 0 && offset == -1)
        return reading_readv(fd, parts, count, READING_MOVES);
    if (flags == 0)
        return readv_at(fd, parts, count, offset);
    if (offset == -1)
        stream_hand_over(fd, STREAM_ODD);
    return not_answered;
}

#define READ(name, parameters, ask, ...)                                                           \
    EXPORT ssize_t name parameters                                                                 \
    {                                                                                              \
        struct reading reading = ask;                                                              \
        return reading.answered ? reading.bytes : libc_next(name)(__VA_ARGS__);                    \
    }

READ(read, (int fd, void *buffer, size_t count), read_on(fd, buffer, &count), fd, buffer, count)
READ(__read_chk, (int fd, void *buffer, size_t count, size_t size),
     count <= size ? read_on(fd, buffer, &count) : not_answered, fd, buffer, count, size)
READ(pread, (int fd, void *buffer, size_t count, off_t offset), read_at(fd, buffer, count, offset),
     fd, buffer, count, offset)
READ(pread64, (int fd, void *buffer, size_t count, off64_t offset),
     read_at(fd, buffer, count, offset), fd, buffer, count, offset)
READ(__pread_chk, (int fd, void *buffer, size_t count, off_t offset, size_t size),
     count <= size ? read_at(fd, buffer, count, offset) : not_answered, fd, buffer, count, offset,
     size)
READ(__pread64_chk, (int fd, void *buffer, size_t count, off64_t offset, size_t size),
     count <= size ? read_at(fd, buffer, count, offset) : not_answered, fd, buffer, count, offset,
     size)
READ(readv, (int fd, const struct iovec *parts, int count),
     reading_readv(fd, parts, count, READING_MOVES), fd, parts, count)
READ(preadv, (int fd, const struct iovec *parts, int count, off_t offset),
     readv_at(fd, parts, count, offset), fd, parts, count, offset)
READ(preadv64, (int fd, const struct iovec *parts, int count, off64_t offset),
     readv_at(fd, parts, count, offset), fd, parts, count, offset)
READ(preadv2, (int fd, const struct iovec *parts, int count, off_t offset, int flags),
     readv_with_flags(fd, parts, count, offset, flags), fd, parts, count, offset, flags)
READ(preadv64v2, (int fd, const struct iovec *parts, int count, off64_t offset, int flags),
     readv_with_flags(fd, parts, count, offset, flags), fd, parts, count, offset, flags)

/* ---- the offset ---- */

/* Asking for the offset does not move it. */
static off64_t moved(int fd, off64_t offset, int whence, off64_t result)
{
    if (offset != 0 || whence != SEEK_CUR)
        heat_moved(fd, result);
    return result;
}

EXPORT off_t lseek(int fd, off_t offset, int whence)
{
    off64_t result;

    if (!stream_seek(fd, offset, whence, &result))
        return (off_t)moved(fd, offset, whence, libc_next(lseek)(fd, offset, whence));
    if ((off_t)result == result)
        return (off_t)result;
    errno = EOVERFLOW; /* where off_t has 32 bits */
    return -1;
}

EXPORT off64_t lseek64(int fd, off64_t offset, int whence)
{
    off64_t result;

    return stream_seek(fd, offset, whence, &result)
               ? result
               : moved(fd, offset, whence, libc_next(lseek64)(fd, offset, whence));
}

/* ---- descriptors ---- */

EXPORT void closefrom(int first)
{
    stream_hand_over_range(first > 0 ? (unsigned)first : 0, UINT_MAX, STREAM_CLOSE);
    libc_next(closefrom)(first);
}

/* Do something before the call. */
#define AFTER(before, type, name, parameters, ...)                                                 \
    EXPORT type name parameters                                                                    \
    {                                                                                              \
        before;                                                                                    \
        return libc_next(name)(__VA_ARGS__);                                                       \
    }

static int duplicated(int duplicate)
{
    stream_forget(duplicate);
    return duplicate;
}

EXPORT int dup(int fd)
{
    stream_hand_over(fd, STREAM_DUP);
    return duplicated(libc_next(dup)(fd));
}

static void hand_over_both(int fd, int target)
{
    stream_hand_over(fd, STREAM_DUP);
    stream_hand_over(target, STREAM_CLOSE);
    heat_reused(target);
}

static void closing(int fd)
{
    readsize_closing(fd);
    stream_closing(fd);
}

AFTER(closing(fd), int, close, (int fd), fd)
/* handed over: if the call fails they are still open */
AFTER(stream_hand_over_range(first, last, STREAM_CLOSE), int, close_range,
      (unsigned first, unsigned last, int flags), first, last, flags)
AFTER(hand_over_both(fd, target), int, dup2, (int fd, int target), fd, target)
AFTER(hand_over_both(fd, target), int, dup3, (int fd, int target, int flags), fd, target, flags)

/* Each command has at most one argument, which libc also passes as a pointer. */
#define TAKE_ARGUMENT(argument, last)                                                              \
    void *argument;                                                                                \
    va_list arguments;                                                                             \
    va_start(arguments, last);                                                                     \
    argument = va_arg(arguments, void *);                                                          \
    va_end(arguments);

/* A lock may start at the kernel's offset: set that to the stream's. */
static void before_lock(int fd)
{
    off64_t unused;

    (void)stream_seek(fd, 0, SEEK_CUR, &unused);
}

static void before_fcntl(int fd, int command, const void *argument)
{
    switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        stream_hand_over(fd, STREAM_DUP);
        break;
    case F_SETFL:
        if (((intptr_t)argument & O_DIRECT) != 0)
            stream_hand_over(fd, STREAM_DIRECT);
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

static int after_fcntl(int command, int result)
{
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(result) : result;
}

EXPORT int fcntl(int fd, int command, ...)
{
    TAKE_ARGUMENT(argument, command)
    before_fcntl(fd, command, argument);
    return after_fcntl(command, libc_next(fcntl)(fd, command, argument));
}

EXPORT int fcntl64(int fd, int command, ...)
{
    TAKE_ARGUMENT(argument, command)
    before_fcntl(fd, command, argument);
    return after_fcntl(command, libc_next(fcntl64)(fd, command, argument));
}

AFTER(before_lock(fd), int, lockf, (int fd, int command, off_t length), fd, command, length)
AFTER(before_lock(fd), int, lockf64, (int fd, int command, off64_t length), fd, command, length)

/* ---- functions that read inside the kernel or libc ---- */

EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t count)
{
    if (sizeof *offset == sizeof(off64_t))
        return sending_send(out, in, (off64_t *)offset, count);
    /* a 32-bit off_t: no read-ahead */
    if (offset == NULL)
        stream_hand_over(in, STREAM_SEND);
    ssize_t sent = libc_next(sendfile)(out, in, offset, count);
    sending_count(in, sent);
    return sent;
}

EXPORT ssize_t sendfile64(int out, int in, off64_t *offset, size_t count)
{
    return sending_send(out, in, offset, count);
}

static void hand_over_unless(const off64_t *offset, int fd)
{
    if (offset == NULL)
        stream_hand_over(fd, STREAM_SEND);
}

AFTER(hand_over_unless(in_offset, in), ssize_t, copy_file_range,
      (int in, off64_t *in_offset, int out, off64_t *out_offset, size_t count, unsigned flags), in,
      in_offset, out, out_offset, count, flags)
AFTER(hand_over_unless(in_offset, in), ssize_t, splice,
      (int in, off64_t *in_offset, int out, off64_t *out_offset, size_t count, unsigned flags), in,
      in_offset, out, out_offset, count, flags)
AFTER(stream_hand_over(fd, STREAM_STDIO), FILE *, fdopen, (int fd, const char *mode), fd, mode)
AFTER(stream_hand_over(fd, STREAM_STDIO), DIR *, fdopendir, (int fd), fd)

/* ---- running another program, without fork(2) and its handlers ---- */

static void hand_over_all(void)
{
    stream_hand_over_range(0, UINT_MAX, STREAM_EXEC);
}

#define EXEC(name, parameters, ...) AFTER(hand_over_all(), int, name, parameters, __VA_ARGS__)

EXEC(execve, (const char *path, char *const arguments[], char *const environment[]), path,
     arguments, environment)
EXEC(execv, (const char *path, char *const arguments[]), path, arguments)
EXEC(execvp, (const char *file, char *const arguments[]), file, arguments)
EXEC(execvpe, (const char *file, char *const arguments[], char *const environment[]), file,
     arguments, environment)
EXEC(fexecve, (int fd, char *const arguments[], char *const environment[]), fd, arguments,
     environment)
EXEC(execveat,
     (int directory, const char *path, char *const arguments[], char *const environment[],
      int flags),
     directory, path, arguments, environment, flags)
EXEC(posix_spawn,
     (pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *actions,
      const posix_spawnattr_t *restrict attributes, char *const arguments[],
      char *const environment[]),
     pid, path, actions, attributes, arguments, environment)
EXEC(posix_spawnp,
     (pid_t * pid, const char *file, const posix_spawn_file_actions_t *actions,
      const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[]),
     pid, file, actions, attributes, arguments, environment)
EXEC(system, (const char *command), command)
AFTER(hand_over_all(), FILE *, popen, (const char *command, const char *mode), command, mode)

/* Declare `arguments`, and `rest`, the arguments after the NULL. libc's execl() calls execve()
 * inside of libc, past the library. */
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

/* Runs no handlers of pthread_atfork(3). */
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

/* The child runs on this stack, so no frame of ours may be between the caller and libc's vfork():
 * jump to it. On other architectures vfork(2) is not wrapped. */
#if defined __x86_64__ || defined __aarch64__
__attribute__((used)) static libc_vfork_function *before_vfork(void)
{
    hand_over_all();
    vfork_begin();
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

/* ---- connections ---- */

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
        server_listening(fd);
    return result;
}

/* ---- sockets ---- */

EXPORT int getsockopt(int fd, int level, int option, void *restrict value,
                      socklen_t *restrict length)
{
    int result = libc_next(getsockopt)(fd, level, option, value, length);

    if (result == 0)
        readsize_enlarge(fd, level, option, value, length);
    return result;
}

AFTER(readsize_pausing(descriptors), int, select,
      (int descriptors, fd_set *restrict reading, fd_set *restrict writing,
       fd_set *restrict excepting, struct timeval *restrict timeout),
      descriptors, reading, writing, excepting, timeout)

/* ---- signals ---- */

EXPORT int sigaction(int number, const struct sigaction *restrict action,
                     struct sigaction *restrict former)
{
    guard_disposition(number, action);
    return signals_action(number, action, former);
}

#define SIGNAL(name)                                                                               \
    EXPORT sighandler_t name(int number, sighandler_t handler)                                     \
    {                                                                                              \
        return signals_signal(number, handler, libc_next(name));                                   \
    }

SIGNAL(signal)
SIGNAL(__sysv_signal)
SIGNAL(sysv_signal)
SIGNAL(bsd_signal)
SIGNAL(ssignal)

/* As in libc: no flags, an empty mask, and the signal unblocked. */
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

#define MASK(name, parameters, ...)                                                                \
    EXPORT int name parameters                                                                     \
    {                                                                                              \
        int result = libc_next(name)(__VA_ARGS__);                                                 \
        guard_mask_changed();                                                                      \
        return result;                                                                             \
    }

MASK(sighold, (int number), number)
MASK(sigblock, (int mask), mask)
MASK(sigsetmask, (int mask), mask)
MASK(sigprocmask, (int how, const sigset_t *restrict set, sigset_t *restrict former), how, set,
     former)
MASK(pthread_sigmask, (int how, const sigset_t *restrict set, sigset_t *restrict former), how, set,
     former)
