#include "status.h"

#include "libc.h"
#include "ownfile.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NAME "xfermmap"

/* The file is allocated by so many slots at a time. */
enum { SLOTS_AT_ONCE = 128 };

/*
 * Behind the slots, and in no file: device and inode -> slot, a hash table with open addressing. A
 * place holds a slot's number and 1 more, 0: empty.
 */
enum { INDEX_PLACES = 2 * STATUS_FILES, MOST_PROBES = 64 };

#define FILE_BYTES   (STATUS_FILES_AT + STATUS_FILES * sizeof(struct status_file))
#define INDEX_BYTES  (INDEX_PLACES * sizeof(uint16_t))
#define SHARED_BYTES (FILE_BYTES + INDEX_BYTES)

_Static_assert(sizeof(struct status) <= STATUS_FILES_AT, "the slots follow");
_Static_assert(sizeof(struct status_file) == 512 && offsetof(struct status_file, path) == 88 &&
                   offsetof(struct status, counters) % sizeof(uint64_t) == 0,
               "the same for 32 and 64 bits");

static struct status of_this_process;
static struct status *status = &of_this_process;
static struct status_file *files; /* NULL until it is shared */
static _Atomic uint16_t *places;  /* the index */
static char file_path[PATH_MAX];  /* "" without a file */
static struct stat64 file_status;
static bool taken[STATUS_FILES]; /* by this process, the keeper */
static unsigned allocated;       /* slots of the file */

/* ---- the master ---- */

void status_serving(void)
{
    /* what the server has opened while it started are no downloads */
    for (size_t i = 0; status->header.master == 0 && i < STATUS_COUNTER_COUNT; i++)
        atomic_store(&status->counters[i], 0);
    status->header.master_since = process_start(getpid());
    status->header.master = getpid();
}

void status_directives(const char *path, bool engine)
{
    (void)snprintf(status->header.directives, sizeof status->header.directives, "%s", path);
    status->header.directives_read = time(NULL);
    status->header.engine = engine;
}

/* @return false: there is something that must stay, errno is EEXIST or EBUSY */
static bool remove_former(const char *path)
{
    struct status_header header = {.version = 0};
    int fd = libc_next(open)(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd == -1)
        return true;
    bool whole = libc_next(read)(fd, &header, sizeof header) == sizeof header;
    (void)libc_next(close)(fd);
    errno = EEXIST;
    if (!whole || memcmp(header.name, NAME, sizeof header.name) != 0)
        return false;
    errno = EBUSY;
    if (header.version == STATUS_VERSION && process_is_alive(header.master, header.master_since))
        return false;
    /* anew: the sessions of a server that is gone may still count in it */
    return unlink(path) == 0;
}

/* @return descriptor, -1: errno */
static int create_file(const char *path)
{
    if ((!ownfile_try(path) && errno == EPERM) || !remove_former(path))
        return -1;
    int fd = ownfile_open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
    if (fd == -1)
        return -1;
    /* allocated, for a hole on a full disk faults when it is written to */
    int failure = fchmod(fd, 0644) == -1 ? errno : posix_fallocate(fd, 0, STATUS_FILES_AT);
    if (failure == 0 && (ftruncate(fd, FILE_BYTES) == -1 || fstat64(fd, &file_status) == -1))
        failure = errno;
    if (failure == 0)
        return fd;
    (void)libc_next(close)(fd);
    (void)unlink(path);
    errno = failure;
    return -1;
}

static void fill_header(struct status_header *header)
{
    memcpy(header->name, NAME, sizeof header->name);
    header->version = STATUS_VERSION;
    header->counters = STATUS_COUNTER_COUNT;
    header->counters_at = offsetof(struct status, counters);
    header->files_at = STATUS_FILES_AT;
    header->file_size = sizeof(struct status_file);
    header->started = time(NULL);
}

bool status_share(const char *path)
{
    const int flags = MAP_SHARED | MAP_NORESERVE, protection = PROT_READ | PROT_WRITE;
    int fd = path != NULL ? create_file(path) : -1;
    int saved = errno;
    char *shared = mmap(NULL, SHARED_BYTES, protection, flags | MAP_ANONYMOUS, -1, 0);

    if (shared != MAP_FAILED) {
        if (fd != -1 &&
            mmap(shared, FILE_BYTES, protection, flags | MAP_FIXED, fd, 0) != MAP_FAILED)
            (void)snprintf(file_path, sizeof file_path, "%s", path);
        status = (struct status *)(void *)shared;
        files = (struct status_file *)(void *)(shared + STATUS_FILES_AT);
        places = (_Atomic uint16_t *)(void *)(shared + FILE_BYTES);
        fill_header(&status->header);
    }
    if (fd != -1)
        (void)libc_next(close)(fd);
    errno = saved;
    return path == NULL || fd != -1;
}

bool status_lost(const void *address)
{
    uintptr_t start = (uintptr_t)status, within = (uintptr_t)address - start;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

    return files != NULL && within < SHARED_BYTES &&
           mmap(status, SHARED_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED;
}

/* ---- counting ---- */

void status_add(enum status_counter counter, uint64_t amount)
{
    atomic_fetch_add_explicit(&status->counters[counter], amount, memory_order_relaxed);
}

uint64_t status_get(enum status_counter counter)
{
    return atomic_load_explicit(&status->counters[counter], memory_order_relaxed);
}

static unsigned first_place(uint64_t device, uint64_t inode)
{
    uint64_t mixed = (inode ^ device << 32 ^ device >> 32) * 0x9e3779b97f4a7c15;

    return (unsigned)(mixed >> 40) % INDEX_PLACES;
}

/* @return NULL: not listed. The slot may change while it is looked at: it is advice. */
static struct status_file *find(uint64_t device, uint64_t inode)
{
    unsigned first = first_place(device, inode);

    for (unsigned i = 0; files != NULL && i < MOST_PROBES; i++) {
        unsigned slot =
            atomic_load_explicit(&places[(first + i) % INDEX_PLACES], memory_order_relaxed);
        if (slot == 0)
            break;
        struct status_file *file = &files[(slot - 1) % STATUS_FILES];
        if (file->identity.inode == inode && file->identity.device == device)
            return file;
    }
    return NULL;
}

struct status_identity status_identity_of(const struct stat64 *file)
{
    return (struct status_identity){.device = file->st_dev,
                                    .inode = file->st_ino,
                                    .size = (uint64_t)file->st_size,
                                    .modified = file->st_mtim.tv_sec,
                                    .modified_ns = file->st_mtim.tv_nsec};
}

void status_file_opened(const struct stat64 *opened)
{
    struct status_identity identity = status_identity_of(opened);
    struct status_file *file = find(identity.device, identity.inode);

    if (file == NULL)
        return;
    bool same = memcmp(&file->identity, &identity, sizeof identity) == 0;
    status_add(same ? STATUS_LISTED : STATUS_CHANGED, 1);
    atomic_fetch_add_explicit(&file->opened, 1, memory_order_relaxed);
}

void status_file_read(dev_t device, ino64_t inode, uint64_t bytes, uint64_t bytes_kernel)
{
    struct status_file *file = find(device, inode);

    if (file == NULL)
        return;
    atomic_fetch_add_explicit(&file->bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&file->bytes_kernel, bytes_kernel, memory_order_relaxed);
}

/* ---- the keeper ---- */

void status_keeper_is(const struct status_keeper *keeper)
{
    status->header.keeper = *keeper;
}

/* Allocate the file up to this slot. @return false: errno */
static bool allocate(unsigned slot)
{
    struct stat64 now;

    if (slot < allocated || file_path[0] == '\0')
        return true;
    int fd = ownfile_open(file_path, O_RDWR, 0);
    if (fd == -1)
        return false;
    int failure = ESTALE;
    unsigned count = (slot / SLOTS_AT_ONCE + 1) * SLOTS_AT_ONCE;
    if (fstat64(fd, &now) == 0 && now.st_dev == file_status.st_dev &&
        now.st_ino == file_status.st_ino)
        failure =
            posix_fallocate(fd, (off_t)(STATUS_FILES_AT + allocated * sizeof(struct status_file)),
                            (off_t)((count - allocated) * sizeof(struct status_file)));
    (void)libc_next(close)(fd);
    if (failure == 0)
        allocated = count;
    errno = failure;
    return failure == 0;
}

/* A path as a slot shows it. */
static void abbreviate(char *shown, const char *path)
{
    size_t length = strlen(path), size = sizeof files->path;
    bool fits = length < size;

    memset(shown, 0, size);
    (void)snprintf(shown, size, "%s%s", fits ? "" : "...",
                   path + (fits ? 0 : length - (size - sizeof "...")));
}

/* A session may write anything there. */
static unsigned slots_used(void)
{
    unsigned slots = atomic_load(&status->header.slots);

    return slots < STATUS_FILES ? slots : STATUS_FILES;
}

/* Search from the slot behind the one taken last: a list has the same order each time. */
static unsigned slot_of(const char *shown)
{
    static unsigned next;
    unsigned slots = slots_used(), unused = STATUS_NO_SLOT;

    for (unsigned i = 0; i < slots; i++) {
        unsigned slot = (next + i) % slots;
        bool used = atomic_load(&files[slot].used) != 0;
        if (used && !taken[slot] && memcmp(files[slot].path, shown, sizeof files->path) == 0) {
            next = slot + 1;
            return slot;
        }
        if (!used && !taken[slot] && unused == STATUS_NO_SLOT)
            unused = slot;
    }
    return unused != STATUS_NO_SLOT ? unused : slots;
}

unsigned status_file_take(const char *path)
{
    char shown[sizeof files->path];

    errno = ENOSPC;
    if (files == NULL)
        return STATUS_NO_SLOT;
    abbreviate(shown, path);
    unsigned slot = slot_of(shown);
    if (slot >= STATUS_FILES || !allocate(slot))
        return STATUS_NO_SLOT;
    struct status_file *file = &files[slot];
    if (atomic_load(&file->used) == 0) {
        struct status_file fresh = {.used = 0};
        memcpy(fresh.path, shown, sizeof fresh.path);
        *file = fresh;
    }
    taken[slot] = true;
    if (slot >= slots_used())
        atomic_store(&status->header.slots, slot + 1);
    return slot;
}

void status_file_set(unsigned slot, unsigned line, const struct status_identity *identity,
                     uint64_t locked, uint64_t resident)
{
    if (slot >= STATUS_FILES)
        return;
    struct status_file *file = &files[slot];
    file->line = line;
    file->identity = *identity;
    file->locked = locked;
    file->resident = resident;
    atomic_store(&file->used, 1);
}

void status_files_begin(void)
{
    memset(taken, 0, sizeof taken);
}

/* A file without a place among those that are looked at is not counted. */
static void add_to_index(uint16_t *index, unsigned slot)
{
    unsigned at = first_place(files[slot].identity.device, files[slot].identity.inode);

    for (unsigned i = 0; i < MOST_PROBES; i++, at = (at + 1) % INDEX_PLACES) {
        if (index[at] == 0) {
            index[at] = (uint16_t)(slot + 1);
            return;
        }
    }
}

void status_files_end(void)
{
    static uint16_t index[INDEX_PLACES];

    memset(index, 0, sizeof index);
    for (unsigned slot = 0; files != NULL && slot < STATUS_FILES; slot++) {
        if (taken[slot])
            add_to_index(index, slot);
        else if (slot < slots_used())
            atomic_store(&files[slot].used, 0);
    }
    /* place by place, so that what stays where it is can be found all the time */
    for (unsigned i = 0; files != NULL && i < INDEX_PLACES; i++) {
        if (atomic_load(&places[i]) != index[i])
            atomic_store(&places[i], index[i]);
    }
}
