#include "reading.h"

#include "debug.h"
#include "guard.h"
#include "libc.h"
#include "status.h"
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

/* How much of a file is mapped at a time, bytes. */
#define WINDOW ((size_t)4 << 20)

/* How much is copied after one look at its end, bytes. FUSE reads so much at once: touching a page
 * farther ahead takes three times as long there. */
#define PIECE ((size_t)128 << 10)

/* The most that one call reads, bytes: read(2). */
#define MOST_BYTES ((size_t)0x7ffff000)

/* The kernel refuses a buffer that extends beyond, even if it would not write there. On x86-64 the
 * last page is reserved (arch/x86/include/asm/page_64_types.h). */
#if defined __x86_64__
#define USER_SPACE (((uintptr_t)1 << 47) - 4096)
#elif UINTPTR_MAX > UINT32_MAX
#define USER_SPACE (((uintptr_t)1 << 48) - 4096)
#else
#define USER_SPACE UINTPTR_MAX
#endif

enum { MAX_PARTS = 16 };

struct request {
    int count;
    const struct iovec *parts;
    size_t length; /* of all parts, bytes */
};

enum copied { COPIED, LEFT /* this read is the kernel's */, FAULT, CHANGED, REFUSED };

static const enum stream_reason reasons[] = {/* to hand the stream over */
                                             [FAULT] = STREAM_FAULT,
                                             [CHANGED] = STREAM_CHANGED,
                                             [REFUSED] = STREAM_REFUSED};

struct outcome {
    struct reading reading;
    enum stream_reason reason; /* to hand the stream over: STREAM_NO_REASON, it is served on */
};

/* ---- from the window: with the stream's busy flag held ---- */

/* True if the state of the file is looked at before each read, as the kernel's read() does on
 * network and overlay file systems. */
static bool is_checked(const struct stream *stream)
{
    return stream->filesystem >= FILESYSTEM_CHECKED;
}

static struct timespec as_timespec(const struct statx_timestamp *time)
{
    return (struct timespec){.tv_sec = (time_t)time->tv_sec, .tv_nsec = (long)time->tv_nsec};
}

/* Get size, mtime and ctime; not atime, for which FUSE would make a request after each read. Older
 * container runtimes refuse statx(2) with EPERM. */
static bool look(int fd, struct stat64 *now)
{
    const unsigned wanted = STATX_SIZE | STATX_MTIME | STATX_CTIME;
    struct statx status;

    if (statx(fd, "", AT_EMPTY_PATH, wanted, &status) == -1)
        return fstat64(fd, now) == 0;
    now->st_size = (off64_t)status.stx_size;
    now->st_mtim = as_timespec(&status.stx_mtime);
    now->st_ctim = as_timespec(&status.stx_ctime);
    return true;
}

/* @return false: the size is not known, or the file has changed */
static bool look_at_size(struct stream *stream)
{
    struct stat64 now;

    assert(atomic_flag_test_and_set(&stream->busy)); /* held */
    if (!look(stream_fd(stream), &now) || !atomic_load(&stream->served))
        return false;
    if (is_checked(stream) &&
        (now.st_size != stream->size || !filesystem_same_time(&now.st_mtim, &stream->modified) ||
         !filesystem_same_time(&now.st_ctim, &stream->changed)))
        return false;
    stream->size = now.st_size;
    return true;
}

/* @return how much of the request the file has at `offset`; 0 at its end; -1: not known */
static ssize_t readable(struct stream *stream, const struct request *request, off64_t offset)
{
    off64_t wanted = (off64_t)request->length;

    if (offset <= stream->size && wanted <= stream->size - offset)
        return (ssize_t)wanted;
    /* it may have grown */
    if (!look_at_size(stream))
        return -1;
    if (offset >= stream->size)
        return 0;
    return (ssize_t)(wanted < stream->size - offset ? wanted : stream->size - offset);
}

/* @param start  out: of the window for `offset`. @return its length, bytes */
static size_t window_at(const struct stream *stream, off64_t offset, off64_t *start)
{
    *start = offset - offset % sysconf(_SC_PAGESIZE);
    off64_t end = *start + (off64_t)WINDOW < stream->size ? *start + (off64_t)WINDOW : stream->size;
    if (turn_covers(&stream->turn, offset, 1))
        end = stream->turn.end;
    return (size_t)(end - *start);
}

/* Map for sequential readers only, and where that costs less; random reads go to the kernel. */
static bool worth_mapping(struct stream *stream, off64_t offset, size_t length)
{
    size_t available;
    off64_t start;
    bool reads_on =
        readahead_follow(&stream->reader, stream_fd(stream), offset, length, stream->size);

    if (reads_on && length > 0 && !turn_covers(&stream->turn, offset, length)) {
        turn_end(&stream->turn, &stream->window);
        size_t window = window_at(stream, offset, &start);
        turn_begin(&stream->turn, start, window, stream->filesystem);
    }
    return (reads_on && (stream->turn.maps || length == 0)) ||
           mapping_at(&stream->window, offset, &available) != NULL;
}

/* Move the window so that it starts at `offset`'s page. */
static enum copied move_window(struct stream *stream, off64_t offset)
{
    off64_t start;

    mapping_unmap(&stream->window);
    if (offset >= stream->size)
        return CHANGED; /* it shrank since the read began */
    size_t length = window_at(stream, offset, &start);
    assert(start <= offset && offset < start + (off64_t)length);
    if (!mapping_map(&stream->window, stream_fd(stream), stream->filesystem, start, length)) {
        status_note(STATUS_REFUSED, (uint64_t)errno);
        return REFUSED;
    }
    if (atomic_load(&stream->served))
        return COPIED;
    mapping_unmap(&stream->window); /* closed by another thread: this may be another file's */
    return CHANGED;
}

/* True if the file still extends to `end`. Truncation within a page fills the rest of the page with
 * zeros, without a fault: so look at the size if the last byte is a zero. */
static bool still_there(struct stream *stream, off64_t end, char last)
{
    return last != '\0' || (look_at_size(stream) && end <= stream->size);
}

/* The look at a checked file may be a round trip: make one for each read, here or in the kernel. */
static enum copied may_copy(struct stream *stream, off64_t end, char last)
{
    if (!is_checked(stream))
        return still_there(stream, end, last) ? COPIED : CHANGED;
    if (last == '\0')
        return LEFT;
    return look_at_size(stream) ? COPIED : CHANGED;
}

/* Have the processor fetch the beginning while it waits for the last byte. A few lines only: a
 * dozen made copying half as slow again. */
static void fetch_beginning(const char *from, size_t length)
{
    enum { LINE = 64, AHEAD = 4 * LINE /* bytes */ };

    for (size_t at = 0; at < length && at < AHEAD; at += LINE)
        __builtin_prefetch(from + at);
}

/* Copy what is mapped, all of it or nothing: the last byte is read first, so that nothing is
 * written where the kernel would write nothing. */
static enum copied copy_mapped(struct stream *stream, off64_t end, char *to, const char *from,
                               size_t length)
{
    char last;

    fetch_beginning(from, length);
    if (guard_copy(&last, from + length - 1, 1)) {
        enum copied copied = may_copy(stream, end, last);
        if (copied != COPIED || guard_copy(to, from, length))
            return copied;
    }
    status_add(STATUS_FAULTS, 1);
    return FAULT;
}

/* Copy `length` bytes at `offset` into one buffer. */
static enum copied copy_part(struct stream *stream, off64_t offset, char *to, size_t length)
{
    while (length > 0) {
        size_t available;
        const char *memory = mapping_at(&stream->window, offset, &available);
        if (memory == NULL) {
            enum copied moved = move_window(stream, offset);
            if (moved != COPIED)
                return moved;
            continue;
        }
        size_t step = length < available ? length : available;
        step = step < PIECE ? step : PIECE;
        offset += (off64_t)step;
        enum copied copied = copy_mapped(stream, offset, to, memory, step);
        if (copied != COPIED)
            return copied;
        to += step;
        length -= step;
    }
    return COPIED;
}

static enum copied copy_request(struct stream *stream, const struct request *request,
                                off64_t offset, size_t length)
{
    char last = '\0';

    for (const struct iovec *part = request->parts; length > 0; part++) {
        size_t step = part->iov_len < length ? part->iov_len : length;
        enum copied copied = copy_part(stream, offset, part->iov_base, step);
        if (copied != COPIED)
            return copied;
        if (step > 0)
            last = ((const char *)part->iov_base)[step - 1];
        offset += (off64_t)step;
        length -= step;
    }
    /* once more: it may have been truncated meanwhile */
    return still_there(stream, offset, last) ? COPIED : CHANGED;
}

/* ---- one request ---- */

/* Move the stream's offset from `from` to `to`, unless it has been moved already. */
static bool advance(struct stream *stream, off64_t from, off64_t to)
{
    return atomic_compare_exchange_strong(&stream->offset, &from, to);
}

/* Have the kernel read what the stream's offset has moved over, and set the offset to where that
 * ended. Without cancellation, which would leave the stream in use. */
static ssize_t read_by_kernel(struct stream *stream, const struct request *request, bool moves,
                              off64_t offset, ssize_t length)
{
    int fd = stream_fd(stream), cancel_state;
    ssize_t result = -1;

    errno = EBADF;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    /* another thread may have closed it, or handed it over: then it is still open */
    bool open = atomic_load(&stream->served) || stream_offset(stream) == STREAM_RELEASED;
    if (open)
        result = libc_next(preadv64)(fd, request->parts, request->count, offset);
    (void)pthread_setcancelstate(cancel_state, NULL);
    int failure = errno;
    ssize_t got = result > 0 ? result : 0;
    if (open && moves && got != length && !advance(stream, offset + length, offset + got) &&
        stream_offset(stream) == STREAM_RELEASED)
        (void)libc_next(lseek64)(fd, got - length, SEEK_CUR);
    errno = failure;
    stream_count_kernel(stream, got);
    return result;
}

/* True if the last byte that was read is a zero. */
static bool ends_in_zero(const struct request *request, ssize_t bytes)
{
    size_t rest = bytes > 0 ? (size_t)bytes : 0;
    const struct iovec *part = request->parts;
    char last = '\1';

    for (; rest > 0 && rest > part->iov_len; part++)
        rest -= part->iov_len;
    return rest > 0 && guard_copy(&last, (const char *)part->iov_base + rest - 1, 1) &&
           last == '\0';
}

/* @param exclusive  true: the caller holds the busy flag */
static struct outcome answer(struct stream *stream, const struct request *request, off64_t at,
                             bool exclusive)
{
    bool moves = at == READING_MOVES;
    off64_t offset;
    ssize_t length;

    do {
        off64_t present = stream_offset(stream);
        offset = moves ? present : at;
        if (present < 0 || offset > INT64_MAX - (off64_t)request->length)
            return (struct outcome){.reason = STREAM_ODD};
        length = (ssize_t)request->length;
        if (exclusive && length > 0)
            length = readable(stream, request, offset);
        if (length < 0)
            return (struct outcome){.reason = STREAM_CHANGED};
        assert(offset >= 0 && length <= (ssize_t)request->length);
        /* before the copy: a handler that interrupts it and reads gets what follows */
    } while (moves && !advance(stream, offset, offset + length));

    /* after a read that ended in a zero, the next one mostly does, too */
    bool mapped = exclusive && request->length > 0 &&
                  worth_mapping(stream, offset, (size_t)length) && !stream->zero_ended;
    struct turn *turn = exclusive && mapped == stream->turn.maps ? &stream->turn : NULL;
    uint64_t since = turn != NULL ? turn_clock(turn) : 0;
    enum copied copied = !mapped       ? LEFT
                         : length == 0 ? COPIED
                                       : copy_request(stream, request, offset, (size_t)length);
    ssize_t result = length;
    if (copied == COPIED) {
        stream->bytes += (uint64_t)length;
        status_add(STATUS_BYTES, (uint64_t)length);
    } else {
        result = read_by_kernel(stream, request, moves, offset, length);
        if (exclusive)
            stream->zero_ended = is_checked(stream) && ends_in_zero(request, result);
    }
    if (turn != NULL)
        turn_add(turn, since, (size_t)length);
    return (struct outcome){.reading = {true, result}, .reason = reasons[copied]};
}

/* Compute the length. @return false: the request is odd: the kernel is to answer */
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

struct reading reading_read(int fd, const struct iovec *parts, int count, off64_t offset)
{
    struct outcome outcome = {.reason = STREAM_BLOCKED};

    if (!stream_is_served(fd))
        return outcome.reading;
    pthread_testcancel(); /* read(2) is a cancellation point */
    struct stream *stream = stream_enter(fd);
    if (stream == NULL)
        return outcome.reading;

    struct request request = {.count = count, .parts = parts};
    int saved = errno;
    bool ready = guard_ready();
    if (ready && !measure(&request)) {
        outcome.reason = STREAM_ODD;
    } else if (ready) {
        bool exclusive = !atomic_flag_test_and_set(&stream->busy);
        outcome = answer(stream, &request, offset, exclusive);
        if (exclusive)
            atomic_flag_clear(&stream->busy);
    }
    if (!outcome.reading.answered || outcome.reading.bytes >= 0)
        errno = saved;
    if (outcome.reason != STREAM_NO_REASON)
        stream_hand_over(fd, outcome.reason);
    stream_leave(stream);
    return outcome.reading;
}

struct reading reading_readv(int fd, const struct iovec *parts, int count, off64_t offset)
{
    struct iovec copies[MAX_PARTS];

    if (stream_is_served(fd) && count >= 1 && count <= MAX_PARTS && guard_ready() &&
        guard_copy(copies, parts, (size_t)count * sizeof *parts))
        return reading_read(fd, copies, count, offset);
    stream_hand_over(fd, STREAM_ODD);
    return (struct reading){.answered = false};
}
