#include "residency.h"

#include "debug.h"
#include "guard.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* What is read in and locked at a time, bytes: a keeper that is to end does so in between. */
#define PIECE ((size_t)4 << 20)

/* How far the device is asked ahead, bytes: eight pieces. */
#define AHEAD ((size_t)32 << 20)

/* Requests for the whole piece suit block devices, those for small ranges network file systems:
 * both are made, and those for what is under way cost next to nothing. */
#define SMALL_RANGE ((size_t)128 << 10)

/* A huge page, bytes, where there are such: x86, arm64. */
#define HUGE_PAGE ((size_t)2 << 20)

/* How much mincore(2) is asked about at a time, bytes. */
#define STEP ((size_t)1 << 30)

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

bool residency_map(struct residency *file, int fd, enum filesystem kind,
                   const struct stat64 *status)
{
    char path[32];

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    *file =
        (struct residency){.mincore_works = status->st_uid == geteuid() || access(path, W_OK) == 0};
    if (!mapping_map(&file->mapping, fd, kind, 0, (size_t)status->st_size))
        return false;
    if (madvise(file->mapping.memory, file->mapping.length, MADV_DONTFORK) == 0)
        return true;
    mapping_unmap(&file->mapping);
    return false;
}

/* ---- reading in ---- */

struct position {
    size_t file;
    size_t offset;
};

static size_t piece_at(struct residency *const *files, struct position position)
{
    size_t rest = files[position.file]->mapping.length - position.offset;

    return rest < PIECE ? rest : PIECE;
}

static void step(struct residency *const *files, struct position *position)
{
    position->offset += piece_at(files, *position);
    assert(position->offset <= files[position->file]->mapping.length);
    if (position->offset < files[position->file]->mapping.length)
        return;
    position->file++;
    position->offset = 0;
}

static void ask_for(const struct residency *file, size_t offset, size_t length)
{
    char *memory = file->mapping.memory + offset;

    (void)madvise(memory, length, MADV_WILLNEED);
    for (size_t at = 0; at < length; at += SMALL_RANGE)
        (void)madvise(memory + at, length - at < SMALL_RANGE ? length - at : SMALL_RANGE,
                      MADV_WILLNEED);
}

/* Read pages in by touching them. @return 0, EIO */
static int touch(const char *memory, size_t length)
{
    char byte;

    for (size_t at = 0; at < length; at += page_size()) {
        if (!guard_ready() || !guard_copy(&byte, memory + at, 1))
            return EIO;
    }
    return 0;
}

/* True if a touch reads in a huge page, as mapping_map() asks. MADV_WILLNEED would read small ones:
 * docs/design.md, "Windows". */
static bool comes_in_huge_pages(const struct residency *file)
{
    unsigned char there[HUGE_PAGE / 4096];

    if (touch(file->mapping.memory, 1) != 0 ||
        mincore(file->mapping.memory, HUGE_PAGE, there) == -1)
        return false;
    for (size_t i = 0; i < HUGE_PAGE / page_size(); i++) {
        if ((there[i] & 1) == 0)
            return false;
    }
    return true;
}

/* Ask for a file ahead of others, or not. Say which file it is before it is touched: if it does not
 * answer, it is to be skipped, and no other. */
static bool asks_ahead(struct residency *const *files, size_t file, uint64_t bytes,
                       residency_progress *on_piece)
{
    if (!files[file]->mincore_works || files[file]->mapping.length < HUGE_PAGE)
        return files[file]->mapping.length > 0;
    (void)on_piece(file, bytes);
    return !comes_in_huge_pages(files[file]);
}

/* Touch first: on Linux 6.18 mlock(2) of a page that can't be read tries endlessly. */
static void keep_piece(struct residency *file, size_t offset, size_t length,
                       enum residency_mode mode)
{
    if (file->error == 0)
        file->error = touch(file->mapping.memory + offset, length);
    if (mode == RESIDENCY_READ || file->error != 0 || file->lock_error != 0)
        return;
    if (mlock(file->mapping.memory + offset, length) == 0)
        file->locked += length;
    else
        file->lock_error = errno;
}

void residency_read_in(struct residency *const *files, size_t count, enum residency_mode mode,
                       residency_progress *on_piece)
{
    struct position asked = {0, 0}, done = {0, 0};
    uint64_t bytes = 0;
    size_t ahead = 0;
    bool asks = true;

    while (done.file < count) {
        size_t length = piece_at(files, done);
        size_t wanted = files[done.file]->gently ? length : AHEAD;
        for (; asked.file < count && ahead < wanted; step(files, &asked)) {
            if (asked.offset == 0)
                asks = asks_ahead(files, asked.file, bytes, on_piece);
            if (asks)
                ask_for(files[asked.file], asked.offset, piece_at(files, asked));
            ahead += piece_at(files, asked);
        }
        assert(asked.file > done.file || (asked.file == done.file && asked.offset > done.offset));
        assert(length <= ahead);
        if (!on_piece(done.file, bytes))
            return;
        keep_piece(files[done.file], done.offset, length, mode);
        ahead -= length;
        bytes += length;
        step(files, &done);
    }
}

uint64_t residency_bytes(const struct residency *file)
{
    static unsigned char present[STEP / 4096];
    uint64_t pages = 0;

    for (size_t at = 0; at < file->mapping.length; at += STEP) {
        size_t rest = file->mapping.length - at, length = rest < STEP ? rest : STEP;
        if (!file->mincore_works || mincore(file->mapping.memory + at, length, present) == -1)
            return UINT64_MAX;
        for (size_t i = 0; i < (length + page_size() - 1) / page_size(); i++)
            pages += present[i] & 1;
    }
    uint64_t bytes = pages * page_size();
    /* the last page is not full */
    return bytes < file->mapping.length ? bytes : file->mapping.length;
}
