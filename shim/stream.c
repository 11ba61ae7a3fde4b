#include "stream.h"

#include "critical.h"
#include "descriptor.h"
#include "guard.h"
#include "libc.h"
#include "mapping.h"
#include "preload.h"
#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/vfs.h>
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
 * architecture has more, buffers there are left to it. */
#if defined __x86_64__
#define USER_SPACE ((uintptr_t)1 << 47)
#elif UINTPTR_MAX > UINT32_MAX
#define USER_SPACE ((uintptr_t)1 << 52)
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
    off64_t next; /* where a sequential reader reads next, bytes */
};

enum { MAX_PARTS = 16 };

struct request {
    int fd;
    const struct iovec *parts; /* as the program gave them */
    int count;
    struct iovec copies[MAX_PARTS]; /* the program's may be anywhere, or nowhere */
    size_t length;                  /* of all parts, bytes */
};

enum outcome {
    SERVED,
    NOT_NOW, /* the kernel's for this once */
    NO_MORE  /* the kernel's from now on */
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

/* Files whose content is made while it is read: what a mapping of them shows is not what read()
 * gives. */
static bool is_pseudo_file(int fd)
{
    struct statfs system;

    if (fstatfs(fd, &system) == -1)
        return true;
    switch (system.f_type) {
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case SECURITYFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
        return true;
    default:
        return false;
    }
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
    stream->next = 0;
    atomic_store(&stream->offset, 0);
    status_add(listed != NULL ? STATUS_LISTED : STATUS_MAPPED, 1);

    descriptor_attach(fd, slot);
}

void stream_opened(int fd, int flags)
{
    struct stat64 status;
    int saved = errno;

    stream_closing(fd); /* should its close have gone past the library: a direct system call */
    if (!atomic_load_explicit(&serving, memory_order_relaxed) || is_standard(fd) ||
        !flags_allow(flags) || fstat64(fd, &status) == -1 || !S_ISREG(status.st_mode) ||
        status.st_size == 0) {
        errno = saved;
        return;
    }
    /* critical: a fork must not come between, for the child would share the offset unknown to us */
    struct critical section = critical_enter();
    struct preload *listed = preload_find(&status);
    if (listed != NULL)
        begin(fd, &status, listed);
    else if (status.st_size < atomic_load(&min_size))
        status_add(STATUS_SMALL, 1);
    else if (!is_pseudo_file(fd))
        begin(fd, &status, NULL);
    critical_leave(&section);
    errno = saved;
}

void descriptor_on_end(int slot)
{
    struct stream *stream = &streams[slot];

    mapping_unmap(&stream->window);
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

static void detach(int fd, int slot)
{
    if (descriptor_detach(fd, slot))
        descriptor_unpin(slot);
}

void stream_let_go(int fd)
{
    if (!descriptor_served(fd))
        return;
    int saved = errno;
    struct critical section = critical_enter();
    int slot = descriptor_pin(fd);
    if (slot != NO_SLOT) {
        if (hand_over(slot, fd) != LET_GO)
            give_back(slot, LET_GO);
        detach(fd, slot); /* duplicates follow when they are used: see stream_read() */
        descriptor_unpin(slot);
    }
    critical_leave(&section);
    errno = saved;
}

void stream_let_go_range(unsigned first, unsigned last)
{
    int highest = descriptor_highest();

    for (unsigned fd = first; highest >= 0 && fd <= last && fd <= (unsigned)highest; fd++)
        stream_let_go((int)fd);
}

void stream_closing(int fd)
{
    if (!descriptor_served(fd))
        return;
    struct critical section = critical_enter();
    int slot = descriptor_pin(fd);
    if (slot != NO_SLOT) {
        detach(fd, slot);
        descriptor_unpin(slot);
    }
    critical_leave(&section);
}

bool stream_duplicated(int fd, int duplicate)
{
    int slot = descriptor_pin(fd);

    stream_closing(duplicate); /* as in stream_opened() */
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
        stream_closing(target);
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

/* Read by the kernel where the stream stands. @return false: the stream is let go */
static bool read_by_kernel(int slot, const struct request *request, ssize_t *result)
{
    struct critical section = critical_enter();
    off64_t from = hand_over(slot, request->fd);

    if (from != LET_GO) {
        *result = libc_next(readv)(request->fd, request->parts, request->count);
        give_back(slot, from + (*result > 0 ? *result : 0));
        status_add(STATUS_BYTES_KERNEL, *result > 0 ? (uint64_t)*result : 0);
    }
    critical_leave(&section);
    return from != LET_GO;
}

/* ---- reading from memory; all with the stream's busy flag held ---- */

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
static bool worth_mapping(struct stream *stream, off64_t offset, ssize_t length)
{
    size_t available;
    bool sequential = offset == stream->next;

    stream->next = offset + length;
    return sequential || place(stream, offset, &available) != NULL;
}

/* Move the window so that it starts at `offset`'s page. */
static bool move_window(struct stream *stream, int slot, int fd, off64_t offset)
{
    off64_t page = sysconf(_SC_PAGESIZE);
    off64_t start = offset - offset % page;
    off64_t rest = stream->size - start;
    size_t length = rest < (off64_t)WINDOW ? (size_t)rest : WINDOW;

    mapping_unmap(&stream->window);
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
        if (!guard_copy(to, memory, step)) {
            status_add(STATUS_FAULTS, 1);
            return false;
        }
        to += step;
        offset += (off64_t)step;
        length -= step;
    }
    return true;
}

/*
 * Whether what was copied was all there. A file that is truncated within a page leaves zeros in the
 * rest of that page, and no fault: so zeros at the very end are a reason to look.
 */
static bool still_there(struct stream *stream, int slot, int fd, off64_t end, char last)
{
    return last != '\0' || (look_at_size(stream, slot, fd) && end <= stream->size);
}

static bool copy_request(struct stream *stream, int slot, const struct request *request,
                         off64_t offset, size_t length)
{
    char last = '\0';

    for (const struct iovec *part = request->copies; length > 0; part++) {
        size_t step = part->iov_len < length ? part->iov_len : length;
        if (!copy_part(stream, slot, request->fd, offset, part->iov_base, step))
            return false;
        if (step > 0)
            last = ((const char *)part->iov_base)[step - 1];
        offset += (off64_t)step;
        length -= step;
    }
    return still_there(stream, slot, request->fd, offset, last);
}

/* Move the stream's offset from `from` to `to`, unless somebody else has moved it. */
static bool advance(struct stream *stream, off64_t from, off64_t to)
{
    return atomic_compare_exchange_strong(&stream->offset, &from, to);
}

static enum outcome read_from_memory(struct stream *stream, int slot, const struct request *request,
                                     off64_t at, ssize_t *result)
{
    bool moves = at == STREAM_OFFSET;
    off64_t stands = atomic_load(&stream->offset);
    off64_t offset = moves ? stands : at;

    if (stands == LET_GO || offset > INT64_MAX - (off64_t)request->length)
        return NO_MORE;
    if (offset < 0)
        return NOT_NOW;
    ssize_t length = readable(stream, slot, request, offset);
    if (length < 0)
        return NO_MORE;
    if (!worth_mapping(stream, offset, length))
        return NOT_NOW;
    /* Moved before the copy: a handler that interrupts it and reads, too, gets what comes next. */
    if (moves && !advance(stream, offset, offset + length))
        return NOT_NOW;
    *result = length;
    if (length == 0)
        return SERVED;
    if (copy_request(stream, slot, request, offset, (size_t)length)) {
        status_add(STATUS_BYTES, (uint64_t)length);
        return SERVED;
    }
    if (!moves || advance(stream, offset + length, offset))
        return NO_MORE;
    /* Others have read on meanwhile, from where this read ends: only its own bytes are missing. */
    *result = libc_next(preadv64)(request->fd, request->parts, request->count, offset);
    return SERVED;
}

/* Look the request over. NO_MORE: it is so odd that only the kernel knows what to say of it. */
static enum outcome take_parts(struct request *request)
{
    request->length = 0;
    if (request->count < 1 || request->count > MAX_PARTS ||
        !guard_copy(request->copies, request->parts,
                    (size_t)request->count * sizeof *request->parts))
        return NO_MORE;
    for (int i = 0; i < request->count; i++) {
        const struct iovec *part = &request->copies[i];
        if (part->iov_len > MOST_BYTES - request->length ||
            (uintptr_t)part->iov_base > USER_SPACE - part->iov_len)
            return NO_MORE;
        request->length += part->iov_len;
    }
    return request->length > 0 ? SERVED : NOT_NOW;
}

static enum outcome try_memory(int slot, struct request *request, off64_t offset, ssize_t *result)
{
    struct stream *stream = &streams[slot];

    if (!guard_ready())
        return NOT_NOW;
    enum outcome outcome = take_parts(request);
    if (outcome != SERVED)
        return outcome;
    if (atomic_flag_test_and_set(&stream->busy))
        return NOT_NOW;
    outcome = read_from_memory(stream, slot, request, offset, result);
    atomic_flag_clear(&stream->busy);
    return outcome;
}

bool stream_read(int fd, const struct iovec *parts, int count, off64_t offset, ssize_t *result)
{
    if (!descriptor_served(fd))
        return false;
    pthread_testcancel(); /* read(2) is a cancellation point */
    int slot = descriptor_pin(fd);
    if (slot == NO_SLOT)
        return false;

    struct request request;
    request.fd = fd;
    request.parts = parts;
    request.count = count;
    int saved = errno;
    enum outcome outcome = try_memory(slot, &request, offset, result);
    bool answered = outcome == SERVED;
    if (!answered || *result >= 0)
        errno = saved;
    if (outcome == NOT_NOW && offset == STREAM_OFFSET)
        answered = read_by_kernel(slot, &request, result);
    if (!answered && outcome == NO_MORE)
        stream_let_go(fd);
    descriptor_unpin(slot);
    return answered;
}
