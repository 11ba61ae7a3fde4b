#include "keep.h"

#include "guard.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* What is locked at a time, and waited for, bytes: short enough to give up in between, and to hold
 * up nobody who forks. */
#define PIECE ((size_t)4 << 20)

/* How far the device is asked ahead, bytes: eight pieces. */
#define AHEAD ((size_t)32 << 20)

/* A device takes as much of one request as suits it: so the whole piece is asked for first, then
 * small ranges, of which those that are on their way cost next to nothing. */
#define SMALL_RANGE ((size_t)128 << 10)

/* A huge page, bytes, where there are such: x86, arm64. */
#define HUGE_PAGE ((size_t)2 << 20)

struct place {
    size_t file;
    size_t offset;
};

static size_t piece_at(const struct kept *files, struct place place)
{
    size_t rest = files[place.file].mapping.length - place.offset;

    return rest < PIECE ? rest : PIECE;
}

static void step(const struct kept *files, struct place *place)
{
    place->offset += piece_at(files, *place);
    if (place->offset < files[place->file].mapping.length)
        return;
    place->file++;
    place->offset = 0;
}

static void ask_for(const struct kept *file, size_t offset, size_t length)
{
    char *memory = file->mapping.memory + offset;

    (void)madvise(memory, length, MADV_WILLNEED);
    for (size_t at = 0; at < length; at += SMALL_RANGE)
        (void)madvise(memory + at, length - at < SMALL_RANGE ? length - at : SMALL_RANGE,
                      MADV_WILLNEED);
}

/* Touching reads in what is not there yet, on every kernel. @return EIO, 0: it is there */
static int touch(const char *memory, size_t length)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char byte;

    for (size_t at = 0; at < length; at += page) {
        if (!guard_ready() || !guard_copy(&byte, memory + at, 1))
            return EIO;
    }
    return 0;
}

/*
 * Whether the kernel reads this file in by huge pages, for which mapping_map() has asked. It does
 * so as they are touched, two of them ahead; what it is asked for before comes in small ones.
 */
static bool comes_in_huge_pages(const struct mapping *mapping)
{
    unsigned char there[HUGE_PAGE / 4096];
    size_t pages = HUGE_PAGE / (size_t)sysconf(_SC_PAGESIZE);

    if (mapping->length < HUGE_PAGE || touch(mapping->memory, 1) != 0 ||
        mincore(mapping->memory, HUGE_PAGE, there) == -1)
        return false;
    for (size_t i = 0; i < pages; i++) {
        if ((there[i] & 1) == 0)
            return false;
    }
    return true;
}

static int keep_piece(const struct kept *file, size_t offset, size_t length)
{
    const char *memory = file->mapping.memory + offset;

    /* touched first: Linux 6.18 has mlock(2) of a page that can't be read try for ever */
    if (touch(memory, length) != 0)
        return EIO;
    return !file->lock || mlock(memory, length) == 0 ? 0 : errno;
}

bool keep_files(struct kept *files, size_t count, bool (*give_up)(void))
{
    struct place asked = {0, 0}, done = {0, 0};
    size_t ahead = 0;
    bool asks = true;

    while (done.file < count) {
        for (; asked.file < count && ahead < AHEAD; step(files, &asked)) {
            if (asked.offset == 0)
                asks = files[asked.file].error == 0 &&
                       !comes_in_huge_pages(&files[asked.file].mapping);
            if (asks)
                ask_for(&files[asked.file], asked.offset, piece_at(files, asked));
            ahead += piece_at(files, asked);
        }
        if (give_up())
            return false;
        struct kept *file = &files[done.file];
        if (file->error == 0)
            file->error = keep_piece(file, done.offset, piece_at(files, done));
        ahead -= piece_at(files, done);
        step(files, &done);
    }
    return true;
}
