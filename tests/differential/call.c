#include "call.h"

#include "twin.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Entry points of fortified programs, which no header declares. */
extern ssize_t __read_chk(int fd, void *buffer, size_t count, size_t size);
extern ssize_t __pread_chk(int fd, void *buffer, size_t count, off_t offset, size_t size);
extern ssize_t __pread64_chk(int fd, void *buffer, size_t count, off64_t offset, size_t size);
extern int __open_2(const char *path, int flags);
extern int __open64_2(const char *path, int flags);
extern int __openat_2(int directory, const char *path, int flags);
extern int __openat64_2(int directory, const char *path, int flags);

enum { MOST_SENT = 3 << 20 /* bytes; larger results may come in several pieces */ };

typedef int64_t call_function(enum side side, const struct step *step);

/* ---- opening ---- */

static bool creates(int flags)
{
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
}

/* Relative paths start with the side's directory; openat() omits it. */
static int open_by_library(const char *path, int flags, unsigned variant)
{
    bool within = path != NULL && strncmp(path, "a/", 2) == 0 && path[2] != '\0';
    int directory = within ? twin_directory(LIBRARY) : AT_FDCWD;

    if (creates(flags))
        variant %= 4; /* libc aborts programs that create a file without a mode */
    switch (variant % 8) {
    case 0:
        return open(path, flags, 0600);
    case 1:
        return open64(path, flags, 0600);
    case 2:
        return openat(directory, within ? path + 2 : path, flags, 0600);
    case 3:
        return openat64(AT_FDCWD, path, flags, 0600);
    case 4:
        return __open_2(path, flags);
    case 5:
        return __open64_2(path, flags);
    case 6:
        return __openat_2(AT_FDCWD, path, flags);
    default:
        return __openat64_2(directory, within ? path + 2 : path, flags);
    }
}

static int64_t open_path(enum side side, const struct step *step, const char *path, int flags)
{
    int fd = BOTH(side, open_by_library(path, flags, step->variant),
                  (int)RAW(openat, AT_FDCWD, path, flags, 0600));
    int error = errno;
    int64_t result = fd != -1 ? twin_keep(side, twin_vacate(side, step->slot), fd) : -1;

    errno = error;
    return result;
}

static int64_t call_open(enum side side, const struct step *step)
{
    return open_path(side, step, twin_path(side, step->file), (int)step->flags);
}

static int64_t call_open_odd(enum side side, const struct step *step)
{
    static const char *const paths[SIDES][10] = {
        {"a", "a/", "a/missing/x", "a/f3/x", "a/link", "a/dangling", "a/loop", "a/fifo", "", "a/m"},
        {"b", "b/", "b/missing/x", "b/f3/x", "b/link", "b/dangling", "b/loop", "b/fifo", "", "b/m"},
    };
    char endless[5000];
    uint64_t state = step->seed;
    int flags = (int)step->flags | O_NONBLOCK;
    uint64_t odd = step_below(&state, 14);

    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    switch (odd) {
    case 10:
        return open_path(side, step, NULL, flags & ~O_CREAT);
    case 11:
        return open_path(side, step, endless, flags);
    case 12:
        return open_path(side, step, "/proc/version", flags);
    case 13:
        return open_path(side, step, side == LIBRARY ? "a" : "b", O_TMPFILE | O_RDWR);
    default:
        return open_path(side, step, paths[side][odd], flags);
    }
}

/* ---- reading ---- */

static int64_t call_read(enum side side, const struct step *step)
{
    int fd = twin_number(side, step->slot);
    void *buffer = twin_buffer(side, step);

    if (side == KERNEL)
        return RAW(read, fd, buffer, step->count);
    return step->variant % 2 == 0 ? read(fd, buffer, step->count)
                                  : __read_chk(fd, buffer, step->count, step->count);
}

static int64_t call_pread(enum side side, const struct step *step)
{
    int fd = twin_number(side, step->slot);
    void *buffer = twin_buffer(side, step);

    if (side == KERNEL)
        return RAW(pread64, fd, buffer, step->count, step->offset);
    switch (step->variant % 4) {
    case 0:
        return pread(fd, buffer, step->count, step->offset);
    case 1:
        return pread64(fd, buffer, step->count, step->offset);
    case 2:
        return __pread_chk(fd, buffer, step->count, step->offset, step->count);
    default:
        return __pread64_chk(fd, buffer, step->count, step->offset, step->count);
    }
}

/* The parts, or now and then an invalid pointer. */
static struct iovec *parts_of(enum side side, const struct step *step, struct iovec *parts,
                              int *count)
{
    *count = twin_parts(side, step, parts);
    if (step->variant < 4 && step->buffer != GOOD)
        return twin_buffer(side, step);
    return parts;
}

static int64_t call_readv(enum side side, const struct step *step)
{
    struct iovec room[MOST_PARTS];
    int count, fd = twin_number(side, step->slot);
    struct iovec *parts = parts_of(side, step, room, &count);

    return BOTH(side, readv(fd, parts, count), RAW(readv, fd, parts, count));
}

static int64_t call_preadv(enum side side, const struct step *step)
{
    static const int unknown_flags = 0x40000000;
    struct iovec room[MOST_PARTS];
    int count, fd = twin_number(side, step->slot);
    struct iovec *parts = parts_of(side, step, room, &count);
    off64_t offset = step->variant % 8 == 7 ? -1 : step->offset;
    int flags = step->variant % 16 == 15 ? unknown_flags : 0;

    switch (step->variant % 4) {
    case 0:
        return BOTH(side, preadv(fd, parts, count, offset),
                    RAW(preadv, fd, parts, count, offset, offset >> 63));
    case 1:
        return BOTH(side, preadv64(fd, parts, count, offset),
                    RAW(preadv, fd, parts, count, offset, offset >> 63));
    case 2:
        return BOTH(side, preadv2(fd, parts, count, offset, flags),
                    RAW(preadv2, fd, parts, count, offset, offset >> 63, flags));
    default:
        return BOTH(side, preadv64v2(fd, parts, count, offset, flags),
                    RAW(preadv2, fd, parts, count, offset, offset >> 63, flags));
    }
}

/* stdio reads inside libc; the twin's stdio has a descriptor that the library does not know. */
static int64_t call_fdopen(enum side side, const struct step *step)
{
    int number = twin_number(side, step->slot);
    int fd = BOTH(side, dup(number), (int)RAW(dup, number));
    FILE *file = fd != -1 ? fdopen(fd, "r") : NULL;
    size_t count = step->count < 100000 ? step->count : 100000;
    void *buffer = twin_buffer(side, step);

    if (file == NULL) {
        int error = errno;
        if (fd != -1)
            (void)BOTH(side, close(fd), (int)RAW(close, fd));
        errno = error;
        return -1;
    }
    if (step->variant % 4 == 0)
        (void)fseek(file, (long)step->offset % 100000, SEEK_CUR);
    int64_t result = 0;
    if (step->buffer == GOOD)
        result = (int64_t)fread(buffer, 1, count, file);
    if (ferror(file))
        result = -2;
    if (fclose(file) != 0) /* moves the kernel's offset to the reader's position */
        result -= 1 << 30;
    return result;
}

/* ---- offset ---- */

static int64_t call_lseek(enum side side, const struct step *step)
{
    int fd = twin_number(side, step->slot);
    /* a small step, or only a query of the offset */
    off64_t offset = step->whence == SEEK_CUR && step->variant % 2 == 0 ? 0 : step->offset;

    if (step->whence == SEEK_END)
        offset = -offset;
    if (side == KERNEL)
        return RAW(lseek, fd, offset, step->whence);
    return step->variant % 4 < 2 ? lseek(fd, offset, step->whence)
                                 : lseek64(fd, offset, step->whence);
}

/* ---- descriptors ---- */

static int64_t call_close(enum side side, const struct step *step)
{
    int fd = twin_number(side, step->slot);

    if (step->slot >= SLOTS - 2 && step->slot < SLOTS)
        return 0;
    if (step->slot < LOW_SLOTS)
        twin_forget(side, step->slot);
    return BOTH(side, close(fd), RAW(close, fd));
}

static int64_t call_close_range(enum side side, const struct step *step)
{
    unsigned base = (unsigned)twin_number(side, LOW_SLOTS);
    unsigned first = base + step->slot % 6, last = base + step->other % 6;
    unsigned flags = step->variant % 4 == 0 ? 1u << 2 /* CLOSE_RANGE_CLOEXEC */ : 0;

    if (step->variant % 32 == 1)
        flags = 1u << 30;
    return BOTH(side, close_range(first, last, (int)flags), RAW(close_range, first, last, flags));
}

static int64_t call_dup(enum side side, const struct step *step)
{
    unsigned slot = step->other % LOW_SLOTS;

    if (slot == step->slot)
        slot = (slot + 1) % LOW_SLOTS;
    twin_vacate(side, slot);
    int fd = twin_number(side, step->slot);
    errno = UNTOUCHED_ERRNO;
    return twin_keep(side, slot, BOTH(side, dup(fd), (int)RAW(dup, fd)));
}

static int64_t call_dup2(enum side side, const struct step *step)
{
    unsigned target = step->other;
    int fd = twin_number(side, step->slot);

    if (twin_is_empty(target)) /* its number would be the same on both sides */
        target = LOW_SLOTS;
    int number = twin_number(side, target);
    int flags = step->variant % 2 == 0 ? 0 : O_CLOEXEC;
    if (step->variant % 64 == 3)
        flags = 1;
    if (step->variant % 4 < 2)
        return BOTH(side, dup3(fd, number, flags), RAW(dup3, fd, number, flags)) == number
                   ? (int64_t)target
                   : -1;
    int result = -1;
    if (side == LIBRARY)
        result = dup2(fd, number);
    else if (fd != number)
        result = (int)RAW(dup3, fd, number, 0); /* some architectures lack dup2(2) */
    else if (RAW(fcntl, fd, F_GETFD) != -1)
        result = number;
    return result == number && number != -1 ? (int64_t)target : -1;
}

static int64_t call_fcntl_dup(enum side side, const struct step *step)
{
    int fd = twin_number(side, step->slot);
    int command = step->variant % 2 == 0 ? F_DUPFD : F_DUPFD_CLOEXEC;
    long from = twin_number(side, LOW_SLOTS + step->other % 6);

    if (step->variant % 32 == 2)
        from = step->variant < 128 ? -1 : INT32_MAX;
    int given =
        BOTH(side, step->variant % 8 < 4 ? fcntl(fd, command, from) : fcntl64(fd, command, from),
             (int)RAW(fcntl, fd, command, from));
    if (given == -1)
        return -1;
    int slot = twin_chosen_slot(side, given);
    if (slot == -1)
        (void)BOTH(side, close(given), (int)RAW(close, given));
    return slot == -1 ? SLOTS : slot;
}

static int64_t call_fcntl(enum side side, const struct step *step)
{
    int fd = twin_number(side, step->slot);
    struct flock lock = {.l_type = step->variant < 128 ? F_RDLCK : F_UNLCK,
                         .l_whence = (short)(step->whence < 3 ? step->whence : SEEK_CUR),
                         .l_start = step->offset % 1000,
                         .l_len = (off_t)(step->count % 1000)};
    int64_t result;

    switch (step->variant % 8) {
    case 0:
        return BOTH(side, fcntl(fd, F_SETFL, step->flags | O_NONBLOCK),
                    RAW(fcntl, fd, F_SETFL, step->flags | O_NONBLOCK));
    case 1:
        return BOTH(side, fcntl(fd, F_SETFD, FD_CLOEXEC), RAW(fcntl, fd, F_SETFD, FD_CLOEXEC));
    case 2:
        return BOTH(side, fcntl(fd, F_GETFD), RAW(fcntl, fd, F_GETFD));
    case 3:
        return BOTH(side, fcntl(fd, F_SETLK, &lock), RAW(fcntl, fd, F_SETLK, &lock));
    case 4:
        return BOTH(side, fcntl64(fd, F_OFD_SETLK, &lock), RAW(fcntl, fd, F_OFD_SETLK, &lock));
    case 5:
        lock.l_type = F_WRLCK;
        result = BOTH(side, fcntl(fd, F_OFD_GETLK, &lock), RAW(fcntl, fd, F_OFD_GETLK, &lock));
        return result == 0 ? lock.l_start * 100000 + lock.l_len * 10 + lock.l_type : result;
    case 6:
        return BOTH(side, fcntl(fd, 12345), RAW(fcntl, fd, 12345));
    default:
        return BOTH(side, fcntl(fd, F_GETFL), RAW(fcntl, fd, F_GETFL));
    }
}

/* The twin uses libc's, too: it makes several system calls. */
static int64_t call_lockf(enum side side, const struct step *step)
{
    static const int commands[] = {F_TEST, F_ULOCK, F_TLOCK, 77};
    int fd = twin_number(side, step->slot), command = commands[step->variant % 4];
    off_t length = step->offset % 100000;

    return step->variant < 128 ? lockf(fd, command, length) : lockf64(fd, command, length);
}

static int64_t call_pipe(enum side side, const struct step *step)
{
    unsigned first = twin_vacate(side, step->slot);
    unsigned second = twin_vacate(side, first == step->other % LOW_SLOTS ? first + 1 : step->other);
    int ends[2];

    errno = UNTOUCHED_ERRNO;
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
        return -1;
    return twin_keep(side, first, ends[0]) * SLOTS + twin_keep(side, second, ends[1]);
}

static int64_t call_socketpair(enum side side, const struct step *step)
{
    unsigned first = twin_vacate(side, step->slot);
    unsigned second = twin_vacate(side, first == step->other % LOW_SLOTS ? first + 1 : step->other);
    int ends[2];

    errno = UNTOUCHED_ERRNO;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0)
        return -1;
    return twin_keep(side, first, ends[0]) * SLOTS + twin_keep(side, second, ends[1]);
}

/* ---- copies inside the kernel ---- */

/* A call's result, combined with the offset that it set. */
static int64_t with_offset(int64_t result, int64_t offset)
{
    return result < 0 ? result : result + (offset << 24);
}

static mode_t type_of(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 ? status.st_mode & S_IFMT : 0;
}

/* True if bytes sent there would stay there now. */
static bool holds(int fd)
{
    struct pollfd target = {.fd = fd, .events = POLLOUT};
    mode_t type = type_of(fd);

    if ((type != S_IFIFO && type != S_IFSOCK) || poll(&target, 1, 0) == -1 ||
        (target.revents & (POLLERR | POLLHUP)) != 0)
        return false;
    return type == S_IFSOCK || (target.revents & POLLOUT) != 0;
}

/*
 * The target: the tester's pipe or socket, which is drained after each step, or the other slot's
 * descriptor. Exclude other pipes and sockets: they hold the file's pages, and what a truncation
 * leaves of these depends on the kernel's folio sizes.
 */
static int target_of(enum side side, const struct step *step)
{
    int other = twin_number(side, step->other), saved = errno;
    bool to_sink = step->variant % 8 >= 2 ||
                   (type_of(twin_number(side, step->slot)) == S_IFREG && holds(other));

    errno = saved;
    return to_sink ? twin_sink(side, step->variant % 2) : other;
}

static int64_t call_sendfile(enum side side, const struct step *step)
{
    int in = twin_number(side, step->slot), out = target_of(side, step);
    off64_t offset = step->offset;
    off64_t *told = step->variant >= 128 ? &offset : NULL;
    size_t count = step->count < MOST_SENT ? step->count : MOST_SENT;

    if (step->buffer > READ_ONLY)
        told = twin_buffer(side, step);
    if (side == KERNEL)
        return with_offset(RAW(sendfile, out, in, told, count), offset);
    return with_offset(step->variant % 16 < 8 ? sendfile(out, in, told, count)
                                              : sendfile64(out, in, told, count),
                       offset);
}

static int64_t call_copy_file_range(enum side side, const struct step *step)
{
    int in = twin_number(side, step->slot), out = twin_number(side, step->other);
    off64_t from = step->offset, to = (off64_t)(step->seed % 200000);
    off64_t *told = step->variant >= 128 ? &from : NULL;
    off64_t *place = step->variant % 4 == 0 ? NULL : &to;
    size_t count = step->count < 100000 ? step->count : 100000;
    unsigned flags = step->variant % 32 == 5;

    if (step->buffer > READ_ONLY)
        told = twin_buffer(side, step);
    return with_offset(BOTH(side, copy_file_range(in, told, out, place, count, flags),
                            RAW(copy_file_range, in, told, out, place, count, flags)),
                       from);
}

static int64_t call_splice(enum side side, const struct step *step)
{
    int in = twin_number(side, step->slot), out = target_of(side, step);
    off64_t offset = step->offset;
    off64_t *told = step->variant >= 128 ? &offset : NULL;
    size_t count = step->count < 100000 ? step->count : 100000;
    unsigned flags = SPLICE_F_NONBLOCK;

    if (step->buffer > READ_ONLY)
        told = twin_buffer(side, step);
    return with_offset(BOTH(side, splice(in, told, out, NULL, count, flags),
                            RAW(splice, in, told, out, NULL, count, flags)),
                       offset);
}

/* The library does not wrap these; but the written data is read later. */
static int64_t call_write(enum side side, const struct step *step)
{
    static const char text[5000] = "written";
    int fd = twin_number(side, step->slot);
    size_t count = step->count % sizeof text;
    off64_t place = step->offset % 10000000;

    switch (step->variant % 4) {
    case 0:
        return BOTH(side, write(fd, text, count), RAW(write, fd, text, count));
    case 1:
        return BOTH(side, ftruncate(fd, place), RAW(ftruncate, fd, place));
    default:
        return BOTH(side, pwrite(fd, text, count, place), RAW(pwrite64, fd, text, count, place));
    }
}

/* ---- both ---- */

static const struct call {
    call_function *function;
    bool takes_time; /* a signal would cut it short */
    enum { NO_BUFFER, COUNTED, PARTS } buffer;
} calls[OPERATION_COUNT] = {
    [OPEN] = {call_open, false, NO_BUFFER},
    [OPEN_ODD] = {call_open_odd, false, NO_BUFFER},
    [READ] = {call_read, false, COUNTED},
    [PREAD] = {call_pread, false, COUNTED},
    [READV] = {call_readv, false, PARTS},
    [PREADV] = {call_preadv, false, PARTS},
    [LSEEK] = {call_lseek, false, NO_BUFFER},
    [CLOSE] = {call_close, false, NO_BUFFER},
    [CLOSE_RANGE] = {call_close_range, false, NO_BUFFER},
    [DUP] = {call_dup, false, NO_BUFFER},
    [DUP2] = {call_dup2, false, NO_BUFFER},
    [FCNTL_DUP] = {call_fcntl_dup, false, NO_BUFFER},
    [FCNTL] = {call_fcntl, false, NO_BUFFER},
    [LOCKF] = {call_lockf, false, NO_BUFFER},
    [SENDFILE] = {call_sendfile, true, NO_BUFFER},
    [COPY_FILE_RANGE] = {call_copy_file_range, true, NO_BUFFER},
    [SPLICE] = {call_splice, true, NO_BUFFER},
    [FDOPEN] = {call_fdopen, true, COUNTED},
    [WRITE] = {call_write, true, NO_BUFFER},
    [PIPE] = {call_pipe, false, NO_BUFFER},
    [SOCKETPAIR] = {call_socketpair, false, NO_BUFFER},
};

/* Set the limit so that no descriptor number is left, for calls that allocate one. */
static void limit_numbers(const struct step *step, bool limited)
{
    static struct rlimit usual;
    struct rlimit none;

    if (!step->limited)
        return;
    if (limited && getrlimit(RLIMIT_NOFILE, &usual) != 0)
        abort();
    none = (struct rlimit){0, usual.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, limited ? &none : &usual) != 0)
        abort();
}

static struct answer answer_of(enum side side, const struct step *step)
{
    const struct call *call = &calls[step->operation];
    struct answer answer;
    /* Except the fault signals: this bypasses the library, which would not know that they are
     * blocked. */
    uint64_t all = ~(UINT64_C(1) << (SIGBUS - 1) | UINT64_C(1) << (SIGSEGV - 1)), former;

    if (call->takes_time)
        (void)RAW(rt_sigprocmask, SIG_BLOCK, &all, &former, sizeof former);
    limit_numbers(step, true);
    errno = UNTOUCHED_ERRNO;
    answer.value = call->function(side, step);
    answer.error = errno;
    limit_numbers(step, false);
    if (call->takes_time)
        (void)RAW(rt_sigprocmask, SIG_SETMASK, &former, NULL, sizeof former);
    return answer;
}

static bool buffers_agree(const struct step *step, int64_t answer)
{
    switch (calls[step->operation].buffer) {
    case COUNTED:
        return twin_buffers_agree(step, step->count, answer);
    case PARTS:
        return twin_buffers_agree(step, UINT64_MAX, answer);
    default:
        return true;
    }
}

bool call_step(const struct step *step, char *difference, size_t size)
{
    if (calls[step->operation].function == NULL) {
        twin_outside(step);
        return true;
    }
    struct answer ours = answer_of(LIBRARY, step), kernels = answer_of(KERNEL, step);
    const char *what = NULL;

    if (ours.value != kernels.value)
        what = "result";
    else if (ours.error != kernels.error)
        what = "errno";
    else if (!buffers_agree(step, ours.value))
        what = "bytes, or the buffer beyond them";
    else if (calls[step->operation].takes_time && !twin_drain())
        what = "bytes sent";
    if (what != NULL)
        (void)snprintf(difference, size,
                       "%s: %" PRId64 " errno %d through the library, %" PRId64
                       " errno %d by the kernel",
                       what, ours.value, ours.error, kernels.value, kernels.error);
    return what == NULL;
}
