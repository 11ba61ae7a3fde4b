#include "twin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    NEVER_OPEN = 999, /* a number */
    OWN = 900,        /* the tester's own descriptors, from here on */
    CHOSEN = 500,     /* the library's side; the kernel's are 100 further */
    STANDARD = SLOTS - 2,
    BEYOND_TABLES = SLOTS - 1, /* a number beyond the library's tables */
    PAGE = 4096,
    MARGIN = 64,
    BEYOND = 2 * PAGE, /* bytes compared beyond those read */
    MOST_CUT = 20000,
    FILL = 0xee
};

#define ARENA ((size_t)1 << 20) /* bytes of memory for buffers */

static const int odd_numbers[ODD_SLOTS] = {-1, NEVER_OPEN, 0x7fffffff};
static int numbers[SIDES][SLOTS];

static char *arenas[SIDES];
static char *read_only[SIDES], *not_mapped[SIDES];
static int directories[SIDES];
static int sinks[SIDES][2], sources[SIDES][2];

static void need(bool holds, const char *what)
{
    if (holds)
        return;
    perror(what);
    _exit(2);
}

/* ---- files ---- */

static const size_t sizes[FILES] = {0, 1, 4096, 70001, 9000001, 300000};

const char *twin_path(enum side side, unsigned file)
{
    static const char *const paths[SIDES][FILES] = {
        {"a/f0", "a/f1", "a/f2", "a/f3", "a/f4", "a/f5"},
        {"b/f0", "b/f1", "b/f2", "b/f3", "b/f4", "b/f5"},
    };
    return paths[side][file];
}

int twin_directory(enum side side)
{
    return directories[side];
}

/* Never the same twice, and with zeros: these look like the end of a truncated page. */
static void compose(unsigned char *bytes, size_t length, uint64_t seed)
{
    uint64_t state = seed;

    for (size_t i = 0; i < length; i += sizeof(uint64_t)) {
        uint64_t word = step_random(&state);
        size_t rest = length - i < sizeof word ? length - i : sizeof word;
        memcpy(bytes + i, &word, rest);
    }
    for (size_t i = 0; i < length; i += 3000)
        memset(bytes + i, 0, length - i < 700 ? length - i : 700);
}

static void write_file(const char *path, int flags, int64_t offset, size_t length, uint64_t seed)
{
    unsigned char *bytes = malloc(length + 1);
    int fd = (int)RAW(openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);

    need(bytes != NULL && fd != -1, path);
    compose(bytes, length, seed);
    need(RAW(pwrite64, fd, bytes, length, offset) == (ssize_t)length, path);
    need(RAW(close, fd) == 0, path);
    free(bytes);
}

static void outside_on(enum side side, const struct step *step)
{
    const char *path = twin_path(side, step->file);
    const char *new = side == LIBRARY ? "a/new" : "b/new";
    uint64_t state = step->seed;
    size_t length = step_below(&state, 20000);
    int64_t offset = (int64_t)step_size(&state);
    int fd;

    switch (step->operation) {
    case OUTSIDE_WRITE:
        write_file(path, 0, offset, length, state);
        break;
    case OUTSIDE_TRUNCATE:
        (void)RAW(truncate, path, offset);
        break;
    case OUTSIDE_RENAME:
        write_file(new, O_EXCL, 0, length, state);
        write_file(new, 0, offset, length, state + 1);
        need(renameat(AT_FDCWD, new, AT_FDCWD, path) == 0, path);
        break;
    case OUTSIDE_UNLINK:
        (void)RAW(unlinkat, AT_FDCWD, path, 0);
        break;
    case OUTSIDE_PUNCH:
        fd = (int)RAW(openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
        if (fd == -1)
            break;
        (void)RAW(fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length + 1);
        need(RAW(close, fd) == 0, path);
        break;
    default:
        abort();
    }
}

void twin_outside(const struct step *step)
{
    outside_on(LIBRARY, step);
    outside_on(KERNEL, step);
}

static bool file_agrees(unsigned file)
{
    unsigned char bytes[SIDES][64 * 1024];
    ssize_t counts[SIDES];
    int fds[SIDES];
    bool agrees = true;
    off_t rest = 16 << 20;

    for (int side = 0; side < SIDES; side++)
        fds[side] = (int)RAW(openat, AT_FDCWD, twin_path((enum side)side, file), O_RDONLY);
    if ((fds[LIBRARY] == -1) != (fds[KERNEL] == -1))
        return false;
    if (fds[LIBRARY] == -1)
        return true;
    do {
        for (int side = 0; side < SIDES; side++)
            counts[side] = RAW(read, fds[side], bytes[side], sizeof bytes[side]);
        agrees = counts[LIBRARY] == counts[KERNEL] && counts[LIBRARY] >= 0 &&
                 memcmp(bytes[LIBRARY], bytes[KERNEL], (size_t)counts[LIBRARY]) == 0;
        rest -= counts[LIBRARY];
    } while (agrees && counts[LIBRARY] > 0 && rest > 0);
    for (int side = 0; side < SIDES; side++)
        need(RAW(close, fds[side]) == 0, "close");
    return agrees;
}

bool twin_files_agree(void)
{
    for (unsigned file = 0; file < FILES; file++) {
        if (!file_agrees(file))
            return false;
    }
    return true;
}

/* A long file has holes, and content at the boundaries: it is made for each sequence. */
static void make_file(enum side side, unsigned file)
{
    const size_t piece = 100000;
    struct stat status;
    const char *path = twin_path(side, file);

    if (stat(path, &status) == 0)
        return; /* made before the start, as it is listed */
    for (size_t offset = 0; offset <= sizes[file]; offset += 1 << 20) {
        size_t rest = sizes[file] - offset;
        write_file(path, 0, (int64_t)offset, rest < piece ? rest : piece, file + 1);
        if (offset + piece < sizes[file] && rest < 2 << 20)
            write_file(path, 0, (int64_t)(sizes[file] - piece), piece, file + 2);
    }
}

/* Created, existing, or not supported by the file system: FAT has neither links nor FIFOs. */
static bool is_made(int result)
{
    return result == 0 || errno == EEXIST || errno == EPERM;
}

static void make_files(enum side side)
{
    static const struct {
        const char *name, *target;
    } links[] = {{"link", "f4"}, {"dangling", "missing"}, {"loop", "loop"}};
    const char *directory = side == LIBRARY ? "a" : "b";

    need(mkdirat(AT_FDCWD, directory, 0755) == 0 || errno == EEXIST, directory);
    directories[side] = (int)RAW(openat, AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    directories[side] = (int)RAW(fcntl, directories[side], F_DUPFD_CLOEXEC, OWN);
    need(directories[side] != -1, directory);
    for (unsigned file = 0; file < FILES; file++)
        make_file(side, file);
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        need(is_made(symlinkat(links[i].target, directories[side], links[i].name)), links[i].name);
    need(is_made(mkfifoat(directories[side], "fifo", 0644)), "fifo");
}

/* ---- descriptors ---- */

static int chosen_number(enum side side, unsigned slot)
{
    if (slot == STANDARD && side == LIBRARY)
        return STDIN_FILENO; /* the library does not serve it */
    if (slot == BEYOND_TABLES)
        return 70000 + (int)side;
    return CHOSEN + (int)side * 100 + (int)(slot - LOW_SLOTS);
}

bool twin_is_chosen(unsigned slot)
{
    return slot >= LOW_SLOTS && slot < SLOTS;
}

int twin_number(enum side side, unsigned slot)
{
    return slot < SLOTS ? numbers[side][slot] : odd_numbers[slot - SLOTS];
}

int twin_chosen_slot(enum side side, int fd)
{
    int slot = LOW_SLOTS + fd - chosen_number(side, LOW_SLOTS);

    return slot >= LOW_SLOTS && slot < STANDARD ? slot : -1;
}

bool twin_is_empty(unsigned slot)
{
    return twin_number(LIBRARY, slot) == NEVER_OPEN;
}

void twin_forget(enum side side, unsigned slot)
{
    numbers[side][slot] = NEVER_OPEN;
}

unsigned twin_vacate(enum side side, unsigned slot)
{
    slot %= LOW_SLOTS;
    int number = numbers[side][slot];
    twin_forget(side, slot);
    if (number != NEVER_OPEN)
        (void)BOTH(side, close(number), (int)RAW(close, number));
    return slot;
}

int64_t twin_keep(enum side side, unsigned slot, int fd)
{
    if (fd < 0)
        return fd;
    numbers[side][slot] = fd;
    return slot;
}

/* Move it to a number that no step uses. */
static int own(int fd)
{
    int moved = (int)RAW(fcntl, fd, F_DUPFD_CLOEXEC, OWN);

    need(fd != -1 && moved != -1 && RAW(close, fd) == 0, "descriptors");
    return moved;
}

static void make_descriptors(enum side side)
{
    int ends[2];

    for (unsigned slot = 0; slot < SLOTS; slot++)
        numbers[side][slot] = twin_is_chosen(slot) ? chosen_number(side, slot) : NEVER_OPEN;

    /* open like standard input, so that open() does not return that number */
    int fd = (int)RAW(openat, AT_FDCWD, "/dev/null", O_RDONLY);
    if (fd != numbers[side][STANDARD])
        need(RAW(dup3, fd, numbers[side][STANDARD], 0) != -1 && RAW(close, fd) == 0, "/dev/null");

    need(pipe2(ends, O_NONBLOCK) == 0, "pipe");
    sources[side][0] = own(ends[0]);
    sinks[side][0] = own(ends[1]);
    need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0, "socketpair");
    sources[side][1] = own(ends[0]);
    sinks[side][1] = own(ends[1]);
}

int twin_sink(enum side side, bool socket)
{
    return sinks[side][socket];
}

bool twin_drain(void)
{
    static char bytes[SIDES][1 << 20];

    for (int kind = 0; kind < 2; kind++) {
        size_t got[SIDES] = {0, 0};
        for (int side = 0; side < SIDES; side++) {
            ssize_t count;
            while ((count = RAW(read, sources[side][kind], bytes[side] + got[side],
                                sizeof bytes[side] - got[side])) > 0)
                got[side] += (size_t)count;
        }
        if (got[LIBRARY] != got[KERNEL] || memcmp(bytes[LIBRARY], bytes[KERNEL], got[KERNEL]) != 0)
            return false;
    }
    return true;
}

/* ---- buffers ---- */

static void make_buffers(enum side side)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    char *memory = mmap(NULL, ARENA + PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    char *pages = mmap(NULL, 2 * (size_t)PAGE, PROT_READ, flags, -1, 0);

    need(memory != MAP_FAILED && pages != MAP_FAILED, "memory");
    memset(memory, FILL, ARENA);
    need(mprotect(memory + ARENA, PAGE, PROT_NONE) == 0, "memory");
    need(mprotect(pages + PAGE, PAGE, PROT_NONE) == 0, "memory");
    arenas[side] = memory;
    read_only[side] = pages;
    not_mapped[side] = pages + PAGE;
}

/* Return the writable bytes of a CUT_OFF buffer. */
static size_t before_cut(const struct step *step, uint64_t count)
{
    uint64_t state = step->seed;

    return step_below(&state, count < MOST_CUT - MARGIN ? count + 1 : MOST_CUT - MARGIN);
}

static char *place_of(enum side side, const struct step *step, uint64_t count)
{
    switch (step->buffer) {
    case GOOD:
        return arenas[side] + MARGIN + step->shift;
    case CUT_OFF:
        return arenas[side] + ARENA - before_cut(step, count);
    case READ_ONLY:
        return read_only[side] + step->shift;
    case NOT_MAPPED:
        return not_mapped[side] + step->shift;
    case NOWHERE:
        return NULL;
    case NONCANONICAL:
        return (char *)((uintptr_t)1 << 62);
    case LAST_PAGE:
        return (char *)((uintptr_t)1 << 47) - PAGE + step->shift;
    default:
        return (char *)(UINTPTR_MAX - PAGE);
    }
}

void *twin_buffer(enum side side, const struct step *step)
{
    return place_of(side, step, step->count);
}

int twin_parts(enum side side, const struct step *step, struct iovec *parts)
{
    static const int odd[] = {-1, 0, 1025};
    uint64_t state = step->seed;
    int count = 1 + (int)step_below(&state, step_below(&state, 4) == 0 ? MOST_PARTS : 4);
    int bad = (int)step_below(&state, (uint64_t)count);
    char *next = arenas[side] + MARGIN + step->shift;

    for (int i = 0; i < count; i++) {
        uint64_t most = step_below(&state, 8) == 0 ? 40000 : 3000;
        size_t length = step_below(&state, 10) == 0 ? 0 : step_below(&state, most);
        parts[i] = (struct iovec){next, length};
        next += length + step_below(&state, 20);
    }
    if (step->buffer != GOOD)
        parts[bad].iov_base = place_of(side, step, parts[bad].iov_len);
    if (step_below(&state, 100) == 0)
        parts[bad].iov_len = step->count;
    return step_below(&state, 50) == 0 ? odd[step_below(&state, 3)] : count;
}

static bool region_agrees(size_t start, size_t length)
{
    if (memcmp(arenas[LIBRARY] + start, arenas[KERNEL] + start, length) != 0)
        return false;
    memset(arenas[LIBRARY] + start, FILL, length);
    memset(arenas[KERNEL] + start, FILL, length);
    return true;
}

bool twin_buffers_agree(const struct step *step, uint64_t count, int64_t answer)
{
    size_t length = (answer > 0 ? (size_t)answer : 0) + BEYOND;

    if (length > count)
        length = (size_t)count;
    length += 2 * (size_t)MARGIN + step->shift;
    if (length > ARENA)
        length = ARENA;
    return region_agrees(0, length) &&
           (step->buffer != CUT_OFF || region_agrees(ARENA - MOST_CUT, MOST_CUT));
}

void twin_make(void)
{
    struct rlimit limit;

    need(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = limit.rlim_max < 80000 ? 2048 : 80000;
    need(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    for (int side = 0; side < SIDES; side++) {
        make_files((enum side)side);
        make_descriptors((enum side)side);
        make_buffers((enum side)side);
    }
}
