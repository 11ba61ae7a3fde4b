#include "preload.h"

#include "critical.h"
#include "libc.h"
#include "log.h"
#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A failed allocation leaves the file out of the index instead of ending the server. */
#define HASH_NONFATAL_OOM         1
#define uthash_nonfatal_oom(file) ((file)->indexed = false)
#include <uthash.h>

struct identity {
    dev_t device;
    ino64_t inode;
};

_Static_assert(sizeof(struct identity) == sizeof(dev_t) + sizeof(ino64_t),
               "its bytes are compared: there may be none between the members");

struct preload {
    struct identity identity; /* the key */
    off64_t size;
    struct timespec modified, changed;
    struct mapping mapping;
    unsigned users; /* the index and the streams; in critical sections only */
    bool listed;    /* in the list that is being loaded */
    bool indexed;
    unsigned slot;        /* in the status file */
    struct preload *next; /* among the retired */
    UT_hash_handle hh;
};

static struct preload *files;   /* the index, a uthash; in critical sections only */
static struct preload *retired; /* out of the index, some still in use */
static unsigned next_slot;
static atomic_bool any; /* whether the index holds something; read outside of the sections */

static struct identity identity_of(const struct stat64 *status)
{
    return (struct identity){.device = status->st_dev, .inode = status->st_ino};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool unchanged(const struct preload *file, const struct stat64 *status)
{
    return file->size == status->st_size && same_time(&file->modified, &status->st_mtim) &&
           same_time(&file->changed, &status->st_ctim);
}

/* In a critical section. */
static struct preload *indexed_file(const struct stat64 *status)
{
    struct identity identity = identity_of(status);
    struct preload *file;

    /* The analyzer does not follow a struct into its bytes.
     * NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
    HASH_FIND(hh, files, &identity, sizeof identity, file);
    return file;
}

/* In a critical section. Unmaps at once, but leaves the freeing to the main flow: see sweep(). */
static void drop_user(struct preload *file)
{
    if (--file->users == 0)
        mapping_unmap(&file->mapping);
}

/* In a critical section. */
static void retire(struct preload *file)
{
    HASH_DEL(files, file);
    status_file_clear(file->slot);
    file->next = retired;
    retired = file;
    drop_user(file);
}

/* Free the retired that no stream uses any more. */
static void sweep(void)
{
    struct preload *unused = NULL;
    struct critical section = critical_enter();

    for (struct preload **link = &retired; *link != NULL;) {
        struct preload *file = *link;
        if (file->users > 0) {
            link = &file->next;
            continue;
        }
        *link = file->next;
        file->next = unused;
        unused = file;
    }
    critical_leave(&section);
    while (unused != NULL) {
        struct preload *file = unused;
        unused = file->next;
        free(file);
    }
}

/* Put a file that was just mapped in the place of what the index has under its identity. */
static bool add(struct preload *file)
{
    struct critical section = critical_enter();
    struct preload *former;

    HASH_FIND(hh, files, &file->identity, sizeof file->identity, former);
    if (former != NULL)
        retire(former);
    file->indexed = true;
    HASH_ADD(hh, files, identity, sizeof file->identity, file);
    critical_leave(&section);
    return file->indexed;
}

/* Map a file and index it. @return false: not possible, errno says why */
static bool load_open_file(const char *path, int fd, const struct stat64 *status)
{
    struct preload *file = calloc(1, sizeof *file);

    if (file == NULL)
        return false;
    file->identity = identity_of(status);
    file->size = status->st_size;
    file->modified = status->st_mtim;
    file->changed = status->st_ctim;
    file->users = 1;
    file->listed = true;
    bool fits = (uint64_t)status->st_size <= SIZE_MAX;
    if (!fits)
        errno = EFBIG;
    if (fits && mapping_map(&file->mapping, fd, 0, (size_t)status->st_size)) {
        if (add(file)) {
            file->slot = next_slot++;
            status_file_set(file->slot, path, (uint64_t)file->size, 0);
            return true;
        }
        mapping_unmap(&file->mapping);
        errno = ENOMEM;
    }
    free(file);
    return false;
}

/* @return NULL: loaded, or there is nothing in it to load; else what is wrong with it */
static const char *load_file_as(const char *path, int fd)
{
    struct stat64 status;

    if (fd == -1 || fstat64(fd, &status) == -1)
        return strerror(errno);
    if (!S_ISREG(status.st_mode))
        return "is no regular file";
    if (status.st_size == 0)
        return NULL;

    struct critical section = critical_enter();
    struct preload *known = indexed_file(&status);
    bool current = known != NULL && unchanged(known, &status);
    if (current)
        known->listed = true;
    critical_leave(&section);
    if (!current && !load_open_file(path, fd, &status))
        return strerror(errno);
    return NULL;
}

static void load_file(const char *path)
{
    /* O_NONBLOCK: opening a FIFO would wait for its other end */
    int fd = libc_next(open)(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    const char *wrong = load_file_as(path, fd);

    if (wrong != NULL)
        log_line("TransferMMapFile %s: %s; it is served as if it were not listed", path, wrong);
    if (fd != -1)
        (void)libc_next(close)(fd);
}

static void load_pattern(const char *pattern)
{
    glob_t found;

    if (glob(pattern, GLOB_NOCHECK, NULL, &found) != 0) {
        log_line("TransferMMapFile %s: the wildcard can't be expanded", pattern);
        return;
    }
    for (size_t i = 0; i < found.gl_pathc; i++)
        load_file(found.gl_pathv[i]);
    globfree(&found);
}

void preload_load(const struct config_list *paths)
{
    struct preload *file, *following;

    sweep();
    for (file = files; file != NULL; file = file->hh.next)
        file->listed = false;
    for (size_t i = 0; i < paths->count; i++)
        load_pattern(paths->items[i]);

    struct critical section = critical_enter();
    HASH_ITER(hh, files, file, following)
    {
        if (!file->listed)
            retire(file);
    }
    atomic_store(&any, files != NULL);
    critical_leave(&section);
}

struct preload_sum preload_sum(void)
{
    struct preload_sum sum = {0};

    for (const struct preload *file = files; file != NULL; file = file->hh.next) {
        sum.files++;
        sum.bytes += file->mapping.length;
    }
    return sum;
}

void preload_unload(void)
{
    struct critical section = critical_enter();

    for (struct preload *file = files; file != NULL; file = file->hh.next)
        drop_user(file);
    atomic_store(&any, false);
    files = NULL; /* its memory stays: a forked child must not free */
    critical_leave(&section);
}

struct preload *preload_find(const struct stat64 *status)
{
    if (!atomic_load_explicit(&any, memory_order_relaxed))
        return NULL;

    struct critical section = critical_enter();
    struct preload *file = indexed_file(status);
    bool changed = file != NULL && !unchanged(file, status);

    if (file != NULL && !changed)
        file->users++;
    critical_leave(&section);
    if (changed)
        status_add(STATUS_CHANGED, 1);
    return changed ? NULL : file;
}

const struct mapping *preload_mapping(const struct preload *file)
{
    return &file->mapping;
}

void preload_count(const struct preload *file, uint64_t bytes, uint64_t bytes_kernel)
{
    if (file != NULL)
        status_file_add(file->slot, 1, bytes, bytes_kernel);
}

void preload_release(struct preload *file)
{
    if (file == NULL)
        return;
    struct critical section = critical_enter();
    drop_user(file);
    critical_leave(&section);
}
