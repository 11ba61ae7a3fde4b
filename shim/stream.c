#include "stream.h"

#include "critical.h"
#include "descriptor.h"
#include "guard.h"
#include "libc.h"
#include "mapping.h"
#include "notice.h"
#include "preload.h"
#include "readahead.h"
#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

/* A stream's offset while it can't be served. */
enum {
    HANDED_OVER = -1, /* the kernel has it, for the length of a critical section */
    LET_GO = -2       /* the kernel has it for good */
};

/* How much of a file a session has mapped at a time, bytes. */
#define WINDOW ((size_t)4 << 20)

/* What one call reads at most, bytes: read(2). */
#define MOST_BYTES ((size_t)0x7ffff000)

/* The kernel refuses a buffer that reaches beyond, whether or not it would write there. Where an
 * architecture has more, buffers there are left to it. On x86-64 the last page is no program's
 * (arch/x86/include/asm/page_64_types.h). */
#if defined __x86_64__
#define USER_SPACE (((uintptr_t)1 << 47) - 4096)
#elif UINTPTR_MAX > UINT32_MAX
#define USER_SPACE (((uintptr_t)1 << 48) - 4096)
#else
#define USER_SPACE UINTPTR_MAX
#endif

struct stream {
    _Atomic off64_t offset; /* where the next read starts, bytes; or one of the above */
    off64_t kernel_offset;  /* the lagging one; in critical sections only */

    /* Held by the call that copies, never waited for: who finds it taken asks the kernel. */
    atomic_flag busy;
    struct preload *listed; /* the whole file in memory, or NULL */
    struct mapping window;
    off64_t size; /* of the file, as last seen, bytes */
    struct readahead reader;
    uint64_t bytes; /* served from memory so far */

    _Atomic uint64_t bytes_kernel; /* served by the kernel so far */
};

enum { MAX_PARTS = 16 };

struct request {
    int fd;
    int count;
    const struct iovec *parts;
    size_t length; /* of all parts, bytes */
};

enum outcome {
    ANSWERED,
    ANSWERED_LAST, /* this one was; the next are the kernel's */
    NO_ANSWER      /* the kernel's, from this one on */
};

static struct stream streams[STREAM_LIMIT];
static atomic_bool serving;
static _Atomic off64_t min_size;

void stream_policy(bool serve, off64_t size)
{
    atomic_store(&min_size, size);
    atomic_store(&serving, serve);
}

/* ---- beginning and end ---- */

/* stdin, stdout and stderr are there from the start, and read inside of libc, past the library. */
static bool is_standard(int fd)
{
    return fd <= STDERR_FILENO;
}

static bool flags_allow(int flags)
{
    return (flags & (O_ACCMODE | O_PATH | O_DIRECT | O_DIRECTORY)) == O_RDONLY;
}

static void begin(int fd, const struct stat64 *status, struct preload *listed)
{
    int slot = fd < DESCRIPTOR_LIMIT ? descriptor_take_slot() : NO_SLOT;

    if (slot == NO_SLOT) {
        status_add(STATUS_FULL, 1);
        preload_release(listed);
        return;
    }
    struct stream *stream = &streams[slot];
    stream->kernel_offset = 0;
    stream->listed = listed;
    stream->size = status->st_size;
    stream->reader = (struct readahead){.next = 0};
    stream->bytes = 0;
    atomic_store(&stream->bytes_kernel, 0);
    atomic_store(&stream->offset, 0);
    status_add(listed != NULL ? STATUS_LISTED : STATUS_MAPPED, 1);

    descriptor_attach(fd, slot);
}

static void detach(int fd, int slot)
{
    if (descriptor_detach(fd, slot))
        descriptor_unpin(slot);
}

/* Make `fd` stand for nothing, in case its close went past the library: a direct system call. */
static void forget(int fd)
{
    int slot = descriptor_pin(fd);

    if (slot == NO_SLOT)
        return;
    detach(fd, slot);
    descriptor_unpin(slot);
}

static bool is_candidate(int fd, int flags, struct stat64 *status)
{
    return atomic_load_explicit(&serving, memory_order_relaxed) && !is_standard(fd) &&
           flags_allow(flags) && fstat64(fd, status) == 0 && S_ISREG(status->st_mode) &&
           status->st_size > 0;
}

void stream_opened(int fd, const char *path, int flags)
{
    struct stat64 status;
    int saved = errno;

    forget(fd);
    if (is_candidate(fd, flags, &status)) {
        /* critical: the child of a fork in between would share the offset, unknown to both */
        struct critical section = critical_enter();
        struct preload *listed = preload_find(&status);
        if (listed == NULL)
            notice_send(path);
        bool small = listed == NULL && status.st_size < atomic_load(&min_size);
        if (small) {
            status_add(STATUS_SMALL, 1);
        } else if (mapping_is_faithful(fd, &status)) {
            begin(fd, &status, listed);
        } else {
            status_add(STATUS_ODD, 1);
            preload_release(listed);
        }
        critical_leave(&section);
    }
    errno = saved;
}

void descriptor_on_end(int slot)
{
    struct stream *stream = &streams[slot];

    mapping_unmap(&stream->window);
    preload_count(stream->listed, stream->bytes, atomic_load(&stream->bytes_kernel));
    preload_release(stream->listed);
    atomic_flag_clear(&stream->busy);
}

/* ---- hand-over ---- */

/*
 * Put the kernel's offset where the stream stands, and keep others from it until give_back().
 * @return where it stands; LET_GO: the kernel has it already, or `fd` means something else by now
 */
static off64_t hand_over(int slot, int fd)
{
    struct stream *stream = &streams[slot];

    if (atomic_load(&stream->offset) == LET_GO || !descriptor_is(fd, slot))
        return LET_GO;
    off64_t offset = atomic_exchange(&stream->offset, HANDED_OVER);
    if (offset != stream->kernel_offset)
        (void)libc_next(lseek64)(fd, offset, SEEK_SET);
    return offset;
}

static void give_back(int slot, off64_t offset)
{
    streams[slot].kernel_offset = offset;
    atomic_store(&streams[slot].offset, offset);
}

/*
 * Hand over, and make `fd` stand for nothing.
 * @param for_good  false: its duplicates are served on. True: they follow when they are used, see
 *                  answer()
 */
static void leave(int fd, bool for_good)
{
    if (!descriptor_served(fd))
        return;
    int saved = errno;
    struct critical section = critical_enter();
    int slot = descriptor_pin(fd);
    if (slot != NO_SLOT) {
        off64_t offset = hand_over(slot, fd);
        if (offset != LET_GO)
            give_back(slot, for_good ? LET_GO : offset);
        detach(fd, slot);
        descriptor_unpin(slot);
    }
    critical_leave(&section);
    errno = saved;
}

void stream_let_go(int fd)
{
    leave(fd, true);
}

void stream_let_go_range(unsigned first, unsigned last)
{
    int highest = descriptor_highest();

    for (unsigned fd = first; highest >= 0 && fd <= last && fd <= (unsigned)highest; fd++)
        stream_let_go((int)fd);
}

void stream_closing(int fd)
{
    leave(fd, false); /* handed over, for the close may not happen: it is a cancellation point */
}

bool stream_duplicated(int fd, int duplicate)
{
    int slot = descriptor_pin(fd);

    forget(duplicate);
    if (slot == NO_SLOT)
        return false;
    if (is_standard(duplicate) || duplicate >= DESCRIPTOR_LIMIT) {
        descriptor_unpin(slot);
        stream_let_go(fd);
        return false;
    }
    descriptor_attach(duplicate, slot);
    return true;
}

bool stream_replacing(int fd, int target)
{
    stream_let_go(target);
    return stream_duplicated(fd, target);
}

int stream_replaced(int target, bool shared, int result)
{
    if (result == -1 && shared)
        forget(target);
    return result;
}

bool stream_seek(int fd, off64_t offset, int whence, off64_t *result)
{
    if (!descriptor_served(fd))
        return false;
    struct critical section = critical_enter();
    int slot = descriptor_pin(fd);
    off64_t from = slot != NO_SLOT ? hand_over(slot, fd) : LET_GO;
    if (from != LET_GO) {
        *result = libc_next(lseek64)(fd, offset, whence);
        give_back(slot, *result >= 0 ? *result : from);
    }
    if (slot != NO_SLOT)
        descriptor_unpin(slot);
    critical_leave(&section);
    return from != LET_GO;
}

/* ---- reading from memory; with the stream's busy flag held ---- */

/* Learn the file's size anew. @return false: it can't be had */
static bool look_at_size(struct stream *stream, int slot, int fd)
{
    struct stat64 status;

    if (fstat64(fd, &status) == -1 || !descriptor_is(fd, slot))
        return false;
    stream->size = status.st_size;
    return true;
}

/* How much of the request the file has from `offset` on, 0 at its end; -1: can't be told. */
static ssize_t readable(struct stream *stream, int slot, const struct request *request,
                        off64_t offset)
{
    off64_t wanted = (off64_t)request->length;

    if (offset <= stream->size && wanted <= stream->size - offset)
        return (ssize_t)wanted;
    /* The file may have grown: at its end the kernel is asked each time. */
    if (!look_at_size(stream, slot, request->fd))
        return -1;
    if (offset >= stream->size)
        return 0;
    return (ssize_t)(wanted < stream->size - offset ? wanted : stream->size - offset);
}

static const char *place(const struct stream *stream, off64_t offset, size_t *available)
{
    const char *memory = NULL;

    if (stream->listed != NULL)
        memory = mapping_at(preload_mapping(stream->listed), offset, available);
    return memory != NULL ? memory : mapping_at(&stream->window, offset, available);
}

/* Whether mapping pays: for one who reads on where the last read ended, not for one who jumps. */
static bool worth_mapping(struct stream *stream, int fd, off64_t offset, size_t length)
{
    size_t available;
    bool reads_on = readahead_follow(&stream->reader, fd, offset, length, stream->size);

    return reads_on || place(stream, offset, &available) != NULL;
}

/* Move the window so that it starts at `offset`'s page. */
static bool move_window(struct stream *stream, int slot, int fd, off64_t offset)
{
    off64_t page = sysconf(_SC_PAGESIZE);
    off64_t start = offset - offset % page;
    off64_t rest = stream->size - start;
    size_t length = rest < (off64_t)WINDOW ? (size_t)rest : WINDOW;

    mapping_unmap(&stream->window);
    if (offset >= stream->size)
        return false; /* it shrank since the read began */
    if (!mapping_map(&stream->window, fd, start, length)) {
        status_add(STATUS_REFUSED, 1);
        return false;
    }
    if (!descriptor_is(fd, slot)) { /* closed by another thread: this may be another file's */
        mapping_unmap(&stream->window);
        return false;
    }
    return true;
}

/*
 * Whether `end` is within the file, for all that can be told from the byte before it. A file that
 * is truncated within a page leaves zeros in the rest of that page, and no fault: so a zero is a
 * reason to look.
 */
static bool still_there(struct stream *stream, int slot, int fd, off64_t end, char last)
{
    return last != '\0' || (look_at_size(stream, slot, fd) && end <= stream->size);
}

/*
 * Have the processor fetch the beginning while it waits for the end: memory takes as long for both
 * as for one. Just a few lines: after a dozen, copying was seen to take half as long again.
 */
static void fetch_beginning(const char *from, size_t length)
{
    enum { LINE = 64, AHEAD = 4 * LINE /* bytes */ };

    for (size_t at = 0; at < length && at < AHEAD; at += LINE)
        __builtin_prefetch(from + at);
}

/*
 * Copy what is mapped, all of it or none: the end is looked at first, so that nothing is written
 * where the kernel would write nothing.
 */
static bool copy_mapped(struct stream *stream, int slot, int fd, off64_t end, char *to,
                        const char *from, size_t length)
{
    char last;

    fetch_beginning(from, length);
    bool whole = guard_copy(&last, from + length - 1, 1);

    if (whole && !still_there(stream, slot, fd, end, last))
        return false;
    whole = whole && guard_copy(to, from, length);
    if (!whole)
        status_add(STATUS_FAULTS, 1);
    return whole;
}

/* Copy `length` bytes at `offset` into one buffer. @return false: a fault, or no window */
static bool copy_part(struct stream *stream, int slot, int fd, off64_t offset, char *to,
                      size_t length)
{
    while (length > 0) {
        size_t available;
        const char *memory = place(stream, offset, &available);
        if (memory == NULL) {
            if (!move_window(stream, slot, fd, offset))
                return false;
            continue;
        }
        size_t step = length < available ? length : available;
        offset += (off64_t)step;
        if (!copy_mapped(stream, slot, fd, offset, to, memory, step))
            return false;
        to += step;
        length -= step;
    }
    return true;
}

static bool copy_request(struct stream *stream, int slot, const struct request *request,
                         off64_t offset, size_t length)
{
    char last = '\0';

    for (const struct iovec *part = request->parts; length > 0; part++) {
        size_t step = part->iov_len < length ? part->iov_len : length;
        if (!copy_part(stream, slot, request->fd, offset, part->iov_base, step))
            return false;
        if (step > 0)
            last = ((const char *)part->iov_base)[step - 1];
        offset += (off64_t)step;
        length -= step;
    }
    /* once more: it may have been truncated meanwhile */
    return still_there(stream, slot, request->fd, offset, last);
}

/* ---- reading ---- */

static void count_bytes_of_kernel(struct stream *stream, ssize_t bytes)
{
    atomic_fetch_add_explicit(&stream->bytes_kernel, (uint64_t)bytes, memory_order_relaxed);
    status_add(STATUS_BYTES_KERNEL, (uint64_t)bytes);
}

/* Move the stream's offset from `from` to `to`, unless somebody else has moved it. */
static bool advance(struct stream *stream, off64_t from, off64_t to)
{
    return atomic_compare_exchange_strong(&stream->offset, &from, to);
}

/* Where the stream stands, or LET_GO. */
static off64_t standing(const struct stream *stream)
{
    off64_t offset = atomic_load(&stream->offset);

    if (offset ==
        HANDED_OVER) { /* by another thread, which is in the section until it has it back */
        struct critical section = critical_enter();
        critical_leave(&section);
        offset = atomic_load(&stream->offset);
    }
    return offset >= 0 ? offset : LET_GO;
}

/*
 * What was to be read by us is read by the kernel, and the offset put where that ended. No
 * cancellation while the stream is in use: the caller has been asked already.
 */
static void read_by_kernel(struct stream *stream, int slot, const struct request *request,
                           bool moves, off64_t offset, ssize_t length, ssize_t *result)
{
    int cancel_state;

    errno = EBADF;
    *result = -1;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    /* One that another thread has closed meanwhile is not open; one that it has let go still is. */
    bool open = descriptor_is(request->fd, slot) || standing(stream) == LET_GO;
    if (open)
        *result = libc_next(preadv64)(request->fd, request->parts, request->count, offset);
    (void)pthread_setcancelstate(cancel_state, NULL);
    int failure = errno;
    ssize_t got = *result > 0 ? *result : 0;
    if (open && moves && got != length && !advance(stream, offset + length, offset + got) &&
        standing(stream) == LET_GO)
        (void)libc_next(lseek64)(request->fd, got - length, SEEK_CUR);
    errno = failure;
    count_bytes_of_kernel(stream, got);
}

static enum outcome answer(struct stream *stream, int slot, const struct request *request,
                           off64_t at, bool exclusive, ssize_t *result)
{
    bool moves = at == STREAM_OFFSET;
    off64_t offset;
    ssize_t length;

    do {
        off64_t stands = standing(stream);
        offset = moves ? stands : at;
        if (stands == LET_GO || offset > INT64_MAX - (off64_t)request->length)
            return NO_ANSWER;
        length = (ssize_t)request->length;
        if (exclusive && length > 0)
            length = readable(stream, slot, request, offset);
        if (length < 0)
            return NO_ANSWER;
        /* Moved before the copy: a handler that interrupts it and reads, too, gets what follows. */
    } while (moves && !advance(stream, offset, offset + length));

    bool mapped = exclusive && request->length > 0 &&
                  worth_mapping(stream, request->fd, offset, (size_t)length);
    *result = length;
    if (mapped && (length == 0 || copy_request(stream, slot, request, offset, (size_t)length))) {
        stream->bytes += (uint64_t)length;
        status_add(STATUS_BYTES, (uint64_t)length);
        return ANSWERED;
    }
    read_by_kernel(stream, slot, request, moves, offset, length, result);
    return mapped ? ANSWERED_LAST : ANSWERED;
}

/* @return false: the request is so odd that only the kernel knows what to say of it */
static bool measure(struct request *request)
{
    for (int i = 0; i < request->count; i++) {
        const struct iovec *part = &request->parts[i];
        if (part->iov_len > MOST_BYTES - request->length ||
            (uintptr_t)part->iov_base > USER_SPACE - part->iov_len)
            return false;
        request->length += part->iov_len;
    }
    return true;
}

bool stream_read(int fd, const struct iovec *parts, int count, off64_t offset, ssize_t *result)
{
    if (!descriptor_served(fd))
        return false;
    pthread_testcancel(); /* read(2) is a cancellation point */
    int slot = descriptor_pin(fd);
    if (slot == NO_SLOT)
        return false;

    struct stream *stream = &streams[slot];
    struct request request = {.fd = fd, .count = count, .parts = parts};
    enum outcome outcome = NO_ANSWER;
    int saved = errno;
    if (guard_ready() && measure(&request)) {
        bool exclusive = !atomic_flag_test_and_set(&stream->busy);
        outcome = answer(stream, slot, &request, offset, exclusive, result);
        if (exclusive)
            atomic_flag_clear(&stream->busy);
    }
    if (outcome == NO_ANSWER || *result >= 0)
        errno = saved;
    if (outcome != ANSWERED)
        stream_let_go(fd);
    descriptor_unpin(slot);
    return outcome != NO_ANSWER;
}

bool stream_readv(int fd, const struct iovec *parts, int count, off64_t offset, ssize_t *result)
{
    struct iovec copies[MAX_PARTS];

    if (!descriptor_served(fd))
        return false;
    if (count >= 1 && count <= MAX_PARTS && guard_ready() &&
        guard_copy(copies, parts, (size_t)count * sizeof *parts))
        return stream_read(fd, copies, count, offset, result);
    stream_let_go(fd);
    return false;
}

/* ---- sending ---- */

/* The server sends a file in one call, in which the kernel would be alone for as long as it takes.
 */
#define LARGE_SEND ((size_t)1 << 20)

/* Ask ahead of the next send. @return how much to send before the next time, bytes */
static size_t ask_ahead(int fd, const off64_t *offset, size_t left)
{
    int slot = descriptor_pin(fd);
    size_t step = left;
    off64_t from;

    if (slot == NO_SLOT)
        return left;
    struct stream *stream = &streams[slot];
    if (guard_ready() && guard_copy(&from, offset, sizeof from) && from >= 0 &&
        from < stream->size && !atomic_flag_test_and_set(&stream->busy)) {
        if (from == 0 || from != stream->reader.next)
            readahead_take_over(fd, from, stream->size);
        size_t stride = readahead_stride(&stream->reader);
        step = stride < left ? stride : left;
        (void)readahead_follow(&stream->reader, fd, from, step, stream->size);
        atomic_flag_clear(&stream->busy);
    }
    descriptor_unpin(slot);
    return step;
}

/* A signal that was blocked is pending even if it will be ignored. */
static bool is_ignored(int number)
{
    struct sigaction action;

    if (libc_next(sigaction)(number, NULL, &action) == -1 || action.sa_handler == SIG_IGN)
        return true;
    return action.sa_handler == SIG_DFL &&
           (number == SIGCHLD || number == SIGCONT || number == SIGURG || number == SIGWINCH);
}

/* The same between two sends, where a signal has to end the call as it would have in the kernel.
 * @return 0: one has come */
static size_t ask_ahead_between(int fd, const off64_t *offset, size_t left)
{
    sigset_t all, former, came;

    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    (void)libc_next(pthread_sigmask)(SIG_BLOCK, &all, &former);
    size_t step = ask_ahead(fd, offset, left);
    (void)sigpending(&came);
    for (int number = 1; number < NSIG; number++) {
        if (sigismember(&came, number) == 1 && sigismember(&former, number) == 0 &&
            !is_ignored(number))
            step = 0;
    }
    (void)libc_next(pthread_sigmask)(SIG_SETMASK, &former, NULL);
    return step;
}

static ssize_t send_and_ask_ahead(int out, int in, off64_t *offset, size_t count)
{
    int saved = errno;
    size_t sent = 0, step;

    count = count < MOST_BYTES ? count : MOST_BYTES;
    step = ask_ahead(in, offset, count);
    do {
        errno = saved;
        ssize_t result = libc_next(sendfile64)(out, in, offset, step);
        if (result == -1 && sent == 0)
            return -1;
        sent += result > 0 ? (size_t)result : 0;
        if (result < (ssize_t)step || sent == count)
            break;
        step = ask_ahead_between(in, offset, count - sent);
    } while (step > 0);
    errno = saved;
    return (ssize_t)sent;
}

void stream_sent(int fd, ssize_t bytes)
{
    int slot = bytes > 0 ? descriptor_pin(fd) : NO_SLOT;

    if (slot == NO_SLOT)
        return;
    count_bytes_of_kernel(&streams[slot], bytes);
    descriptor_unpin(slot);
}

ssize_t stream_send(int out, int in, off64_t *offset, size_t count)
{
    if (offset == NULL)
        stream_let_go(in);
    bool asks = descriptor_served(in) && readahead_wanted() && count >= LARGE_SEND;
    ssize_t sent = asks ? send_and_ask_ahead(out, in, offset, count)
                        : libc_next(sendfile64)(out, in, offset, count);
    stream_sent(in, sent);
    return sent;
}
