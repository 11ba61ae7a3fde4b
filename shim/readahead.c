#include "readahead.h"

#include "libc.h"

#include <fcntl.h>

/* What is asked for at a time, and the smallest request, bytes. */
#define CHUNK ((off64_t)1 << 20)
#define PIECE ((off64_t)128 << 10)

/* How much one look into the page cache decides for, bytes. */
#define GROUP (8 * CHUNK)

static off64_t ahead;

void readahead_policy(off64_t bytes)
{
    ahead = bytes > 0 && bytes < CHUNK ? CHUNK : bytes;
}

bool readahead_wanted(void)
{
    return ahead > 0;
}

static bool is_cached(int fd, off64_t offset)
{
    char byte;
    struct iovec part = {&byte, sizeof byte};

    /* Linux 4.14. FUSE and NFS do not support it, and are always asked. */
    return libc_next(preadv64v2)(fd, &part, 1, offset, RWF_NOWAIT) == sizeof byte;
}

static bool is_warm(struct readahead *reader, int fd, off64_t start, off64_t end)
{
    off64_t group = start / GROUP + 1;

    if (group != reader->group) {
        reader->group = group;
        reader->warm = is_cached(fd, end - 1);
    }
    return reader->warm;
}

/* Ask for the whole, then for its second half, then for the second halves of both, and so on. Why
 * is in docs/design.md, "Read-ahead". */
static void ask(int fd, off64_t start, off64_t length)
{
    (void)posix_fadvise64(fd, start, length, POSIX_FADV_WILLNEED);
    for (off64_t piece = CHUNK / 2; piece >= PIECE; piece /= 2) {
        for (off64_t at = piece; at < length; at += 2 * piece) {
            off64_t rest = length - at;
            (void)posix_fadvise64(fd, start + at, rest < piece ? rest : piece, POSIX_FADV_WILLNEED);
        }
    }
}

/* Where the chunk that an offset lies in ends, or the file. */
static off64_t end_of_chunk(off64_t offset, off64_t size)
{
    off64_t end = (offset / CHUNK + 1) * CHUNK;

    return end < size ? end : size;
}

static void ask_until(struct readahead *reader, int fd, off64_t until, off64_t size)
{
    while (reader->asked < size && end_of_chunk(reader->asked, size) <= until) {
        off64_t end = end_of_chunk(reader->asked, size);
        if (!is_warm(reader, fd, reader->asked, end))
            ask(fd, reader->asked, end - reader->asked);
        reader->asked = end;
    }
}

bool readahead_follow(struct readahead *reader, int fd, off64_t offset, size_t length, off64_t size)
{
    bool reads_on = offset == reader->next;
    off64_t end = offset + (off64_t)length;

    if (!reads_on) {
        reader->began = offset;
        reader->asked = 0;
        reader->group = 0;
    }
    reader->next = end;
    off64_t so_far = offset - reader->began;
    off64_t distance = so_far < ahead ? so_far : ahead;
    if (distance < CHUNK)
        return reads_on;
    if (reader->asked < end)
        reader->asked = end;
    ask_until(reader, fd, end + distance < size ? end + distance : size, size);
    return reads_on;
}

void readahead_take_over(int fd, off64_t offset, off64_t size)
{
    (void)posix_fadvise64(fd, 0, 0, POSIX_FADV_RANDOM);
    /* enough until readahead_follow() is ahead */
    ask(fd, offset, size - offset < 2 * CHUNK ? size - offset : 2 * CHUNK);
}

/* A look at a page that is not cached makes the kernel read it, a request of its own. So look again
 * only when the reader has come there. */
size_t readahead_stride(struct readahead *reader, int fd, off64_t offset, size_t length)
{
    size_t warm = 0, least = length < (size_t)CHUNK ? length : (size_t)CHUNK;

    if (offset == reader->next && offset < reader->cold)
        return least;
    reader->cold = 0;
    while (warm < length && reader->cold == 0) {
        size_t next = length - warm < (size_t)GROUP ? length : warm + (size_t)GROUP;
        if (is_cached(fd, offset + (off64_t)next - 1))
            warm = next;
        else
            reader->cold = offset + (off64_t)next;
    }
    return warm > least && is_cached(fd, offset) ? warm : least;
}
