#include "stream.h"

#include "critical.h"
#include "debug.h"
#include "heat.h"
#include "libc.h"
#include "status.h"
#include "vfork_child.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/* The last call under way has left, and the stream is not cleaned up yet. */
#define ENDING UINT32_MAX

/* Static probes (USDT) for bpftrace(8), perf(1) and gdb(1): libxfermmap(8), PROBES. Each is a nop
 * until one of these attaches. */
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#ifdef __clang__
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments" /* in its macros */
#endif
#else
#define DTRACE_PROBE3(provider, name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif

static const char *const reasons[] = {"",
#define X(name, text) text,
                                      STREAM_REASONS(X)
#undef X
};

struct stream streams[STREAM_LIMIT];
static atomic_int highest = -1; /* descriptor that ever had a stream */
static atomic_bool serving;
static _Atomic off64_t min_size;
static _Atomic time_t since; /* the policy is in force, seconds since the Epoch */

void stream_serve(off64_t size)
{
    atomic_store(&min_size, size);
    atomic_store(&since, time(NULL));
    atomic_store(&serving, true);
}

void stream_serve_none(void)
{
    atomic_store(&serving, false);
}

/* ---- how long a stream lives ---- */

static bool join(struct stream *stream)
{
    uint32_t users = atomic_load_explicit(&stream->users, memory_order_relaxed);

    while (users != 0 && users != ENDING) {
        if (atomic_compare_exchange_weak(&stream->users, &users, users + 1))
            return true;
    }
    return false;
}

struct stream *stream_enter(int fd)
{
    while (stream_is_served(fd) && !is_vfork_child()) {
        struct stream *stream = &streams[fd];
        if (!join(stream))
            continue;
        if (atomic_load(&stream->served))
            return stream;
        stream_leave(stream); /* it ended before it was joined */
    }
    return NULL;
}

void stream_leave(struct stream *stream)
{
    uint32_t left, users = atomic_load(&stream->users);

    assert(users != 0 && users != ENDING);
    do {
        left = users > 1 ? users - 1 : ENDING;
    } while (!atomic_compare_exchange_weak(&stream->users, &users, left));
    if (left != ENDING)
        return;
    assert(!atomic_load(&stream->served) && !atomic_flag_test_and_set(&stream->busy));
    turn_end(&stream->turn, &stream->window);
    uint64_t bytes_kernel = atomic_load(&stream->bytes_kernel);
    status_file_read(stream->device, stream->inode, stream->bytes, bytes_kernel);
    heat_sent(stream_fd(stream), stream->bytes + bytes_kernel);
    atomic_store(&stream->users, 0);
}

/* Stop serving, the one place where that happens. The last call under way unmaps the window. */
static void end(struct stream *stream, off64_t offset, enum stream_reason reason)
{
    assert(reason != STREAM_NO_REASON);
    if (!atomic_exchange(&stream->served, false))
        return;
    DTRACE_PROBE3(xfermmap, released, stream_fd(stream), reasons[reason], offset);
    heat_moved(stream_fd(stream), offset);
    stream_leave(stream);
}

static void raise_highest(int fd)
{
    int known = atomic_load(&highest);

    while (known < fd && !atomic_compare_exchange_weak(&highest, &known, fd)) {
    }
}

/* @return STREAM_NUMBER also while another thread still uses the number's former stream */
static enum stream_reason begin(int fd, const struct stat64 *status, enum filesystem filesystem)
{
    uint32_t unused = 0;

    if (fd >= STREAM_LIMIT || !atomic_compare_exchange_strong(&streams[fd].users, &unused, 1)) {
        status_add(STATUS_FULL, 1);
        return STREAM_NUMBER;
    }
    struct stream *stream = &streams[fd];
    assert(critical_is_entered() && !atomic_load(&stream->served));
    assert(stream->window.memory == NULL && stream->turn.start == stream->turn.end);
    stream->kernel_offset = 0;
    stream->filesystem = filesystem;
    stream->size = status->st_size;
    stream->modified = status->st_mtim;
    stream->changed = status->st_ctim;
    stream->reader = (struct readahead){.next = 0};
    stream->zero_ended = false;
    stream->bytes = 0;
    stream->device = status->st_dev;
    stream->inode = status->st_ino;
    atomic_store(&stream->bytes_kernel, 0);
    atomic_flag_clear(&stream->busy);
    atomic_store(&stream->offset, 0);
    status_add(STATUS_MAPPED, 1);
    raise_highest(fd);
    DTRACE_PROBE3(xfermmap, served, fd, status->st_size, status->st_ino);
    atomic_store(&stream->served, true);
    return STREAM_NO_REASON;
}

/* ---- opening ---- */

/* In a critical section: the child of a fork in between would share the offset unknown to both. */
static enum stream_reason serve(int fd, const struct stat64 *status)
{
    enum stream_reason reason = STREAM_FILESYSTEM;
    struct critical section = critical_enter();
    enum filesystem filesystem = filesystem_of(fd, status);
    /* a file that may have been copied up between open(2) and fstat(2) can't be distinguished */
    bool fresh = filesystem == FILESYSTEM_CHECKED && status->st_ctim.tv_sec >= atomic_load(&since);

    if (filesystem < FILESYSTEM_MAPPED || fresh)
        status_note(STATUS_FILESYSTEM, filesystem_mount(fd));
    else
        reason = begin(fd, status, filesystem);
    critical_leave(&section);
    return reason;
}

static enum stream_reason consider(int fd, int flags)
{
    struct stat64 status;

    if (!atomic_load_explicit(&serving, memory_order_relaxed))
        return STREAM_OFF;
    if ((flags & (O_ACCMODE | O_PATH | O_DIRECT | O_DIRECTORY)) != O_RDONLY)
        return STREAM_MODE;
    /* stdio reads descriptors 0 to 2 inside of libc, past the library */
    if (fd <= STDERR_FILENO || fstat64(fd, &status) == -1 || !S_ISREG(status.st_mode) ||
        status.st_size == 0 || is_vfork_child())
        return STREAM_TYPE;
    status_file_opened(&status);
    heat_opened(fd, &status);
    if (status.st_size >= atomic_load_explicit(&min_size, memory_order_relaxed))
        return serve(fd, &status);
    status_add(STATUS_SMALL, 1);
    return STREAM_SMALL;
}

void stream_opened(int fd, int flags)
{
    int saved = errno;

    stream_forget(fd);
    enum stream_reason reason = consider(fd, flags);
    if (reason != STREAM_NO_REASON)
        DTRACE_PROBE3(xfermmap, left, fd, reasons[reason], flags);
    errno = saved;
}

void stream_forget(int fd)
{
    struct stream *stream = stream_enter(fd);

    heat_reused(fd);
    if (stream == NULL)
        return;
    end(stream, atomic_load(&stream->offset), STREAM_REUSED);
    stream_leave(stream);
}

/* ---- hand-over ---- */

/*
 * Set the kernel's offset to the stream's, in a critical section. The stream can't be read from
 * until its offset is set again.
 * @return the offset, bytes; STREAM_RELEASED: the kernel's is authoritative already
 */
static off64_t sync_kernel(struct stream *stream)
{
    off64_t offset = atomic_load(&stream->offset);

    assert(critical_is_entered() && atomic_load(&stream->users) > 0);
    assert(offset != STREAM_BUSY && stream->kernel_offset >= 0);
    /* a handler or another thread may read until here, and moves it */
    while (offset >= 0 && !atomic_compare_exchange_weak(&stream->offset, &offset, STREAM_BUSY)) {
    }
    if (offset < 0 || !atomic_load(&stream->served))
        return STREAM_RELEASED;
    if (offset != stream->kernel_offset)
        (void)libc_next(lseek64)(stream_fd(stream), offset, SEEK_SET);
    return offset;
}

/* @param state  STREAM_RELEASED, or STREAM_CLOSED: calls under way in other threads fail */
static void finish(int fd, off64_t state, enum stream_reason reason)
{
    if (!stream_is_served(fd))
        return;
    int saved = errno;
    struct critical section = critical_enter();
    struct stream *stream = stream_enter(fd);
    if (stream != NULL) {
        off64_t offset = sync_kernel(stream);
        if (offset >= 0)
            atomic_store(&stream->offset, state);
        end(stream, offset, reason);
        stream_leave(stream);
    }
    critical_leave(&section);
    errno = saved;
}

void stream_hand_over(int fd, enum stream_reason reason)
{
    finish(fd, STREAM_RELEASED, reason);
}

void stream_closing(int fd)
{
    finish(fd, STREAM_CLOSED, STREAM_CLOSE); /* and the offset: a close may be cancelled */
    heat_closing(fd);
}

void stream_hand_over_range(unsigned first, unsigned last, enum stream_reason reason)
{
    int most = atomic_load_explicit(&highest, memory_order_relaxed);

    for (unsigned fd = first; most >= 0 && fd <= last && fd <= (unsigned)most; fd++)
        stream_hand_over((int)fd, reason);
}

bool stream_seek(int fd, off64_t offset, int whence, off64_t *result)
{
    if (!stream_is_served(fd))
        return false;
    struct critical section = critical_enter();
    struct stream *stream = stream_enter(fd);
    off64_t from = stream != NULL ? sync_kernel(stream) : STREAM_RELEASED;
    if (from >= 0) {
        *result = libc_next(lseek64)(fd, offset, whence);
        stream->kernel_offset = *result >= 0 ? *result : from;
        atomic_store(&stream->offset, stream->kernel_offset);
    }
    if (stream != NULL)
        stream_leave(stream);
    critical_leave(&section);
    return from >= 0;
}

/* ---- calls under way ---- */

off64_t stream_offset(const struct stream *stream)
{
    off64_t offset = atomic_load(&stream->offset);

    if (offset == STREAM_BUSY) { /* until the other thread leaves the section */
        struct critical section = critical_enter();
        critical_leave(&section);
        offset = atomic_load(&stream->offset);
    }
    return offset == STREAM_BUSY ? STREAM_RELEASED : offset;
}

void stream_count_kernel(struct stream *stream, ssize_t bytes)
{
    atomic_fetch_add_explicit(&stream->bytes_kernel, (uint64_t)bytes, memory_order_relaxed);
    status_add(STATUS_BYTES_KERNEL, (uint64_t)bytes);
}
