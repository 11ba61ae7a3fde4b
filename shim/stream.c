#include "stream.h"

#include "critical.h"
#include "libc.h"
#include "status.h"
#include "vfork_child.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/* The last call under way has left, and the stream is not cleaned up yet. */
#define ENDING UINT32_MAX

struct stream streams[STREAM_LIMIT];
static atomic_int highest = -1; /* descriptor that ever had a stream */
static atomic_bool serving;
static _Atomic off64_t min_size;
static _Atomic time_t since; /* the policy is in force, seconds since the Epoch */

void stream_policy(bool serve, off64_t size)
{
    atomic_store(&min_size, size);
    atomic_store(&since, time(NULL));
    atomic_store(&serving, serve);
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

    do {
        left = users > 1 ? users - 1 : ENDING;
    } while (!atomic_compare_exchange_weak(&stream->users, &users, left));
    if (left != ENDING)
        return;
    turn_end(&stream->turn, &stream->window);
    status_file_read(stream->device, stream->inode, stream->bytes,
                     atomic_load(&stream->bytes_kernel));
    atomic_store(&stream->users, 0);
}

/* Serve the stream no more. It is unmapped when the last call under way has left. */
static void end(struct stream *stream)
{
    if (atomic_exchange(&stream->served, false))
        stream_leave(stream);
}

static void raise_highest(int fd)
{
    int known = atomic_load(&highest);

    while (known < fd && !atomic_compare_exchange_weak(&highest, &known, fd)) {
    }
}

/* Where the former stream of this number is still in use by another thread, the kernel serves. */
static void begin(int fd, const struct stat64 *status, enum filesystem filesystem)
{
    uint32_t unused = 0;

    if (fd >= STREAM_LIMIT || !atomic_compare_exchange_strong(&streams[fd].users, &unused, 1)) {
        status_add(STATUS_FULL, 1);
        return;
    }
    struct stream *stream = &streams[fd];
    stream->kernel_offset = 0;
    stream->filesystem = filesystem;
    stream->size = status->st_size;
    stream->modified = status->st_mtim;
    stream->changed = status->st_ctim;
    stream->reader = (struct readahead){.next = 0};
    stream->bytes = 0;
    stream->device = status->st_dev;
    stream->inode = status->st_ino;
    atomic_store(&stream->bytes_kernel, 0);
    atomic_flag_clear(&stream->busy);
    atomic_store(&stream->offset, 0);
    status_add(STATUS_MAPPED, 1);
    raise_highest(fd);
    atomic_store(&stream->served, true);
}

/* ---- opening ---- */

/* stdio reads these inside of libc, past the library. */
static bool is_standard(int fd)
{
    return fd <= STDERR_FILENO;
}

static bool flags_allow(int flags)
{
    return (flags & (O_ACCMODE | O_PATH | O_DIRECT | O_DIRECTORY)) == O_RDONLY;
}

static bool is_candidate(int fd, int flags, struct stat64 *status)
{
    return atomic_load_explicit(&serving, memory_order_relaxed) && !is_standard(fd) &&
           flags_allow(flags) && fstat64(fd, status) == 0 && S_ISREG(status->st_mode) &&
           status->st_size > 0;
}

/* Critical: the child of a fork in between would share the offset, unknown to both. */
static void serve(int fd, const struct stat64 *status)
{
    struct critical section = critical_enter();
    enum filesystem filesystem = filesystem_of(fd, status);
    /* one that may have been copied up between open(2) and fstat(2) can't be told from one that was
     * not */
    bool fresh = filesystem == FILESYSTEM_CHECKED && status->st_ctim.tv_sec >= atomic_load(&since);

    if (filesystem < FILESYSTEM_MAPPED || fresh)
        status_note(STATUS_ODD, filesystem_mount(fd));
    else
        begin(fd, status, filesystem);
    critical_leave(&section);
}

void stream_forget(int fd)
{
    struct stream *stream = stream_enter(fd);

    if (stream == NULL)
        return;
    end(stream);
    stream_leave(stream);
}

void stream_opened(int fd, int flags)
{
    struct stat64 status;
    int saved = errno;

    stream_forget(fd);
    if (is_candidate(fd, flags, &status) && !is_vfork_child()) {
        status_file_opened(&status);
        if (status.st_size >= atomic_load_explicit(&min_size, memory_order_relaxed))
            serve(fd, &status);
        else
            status_add(STATUS_SMALL, 1);
    }
    errno = saved;
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
static void finish(int fd, off64_t state)
{
    if (!stream_is_served(fd))
        return;
    int saved = errno;
    struct critical section = critical_enter();
    struct stream *stream = stream_enter(fd);
    if (stream != NULL) {
        if (sync_kernel(stream) >= 0)
            atomic_store(&stream->offset, state);
        end(stream);
        stream_leave(stream);
    }
    critical_leave(&section);
    errno = saved;
}

void stream_hand_over(int fd)
{
    finish(fd, STREAM_RELEASED);
}

void stream_closing(int fd)
{
    finish(fd, STREAM_CLOSED); /* with the offset: a close that is cancelled does not happen */
}

void stream_hand_over_range(unsigned first, unsigned last)
{
    int most = atomic_load_explicit(&highest, memory_order_relaxed);

    for (unsigned fd = first; most >= 0 && fd <= last && fd <= (unsigned)most; fd++)
        stream_hand_over((int)fd);
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
