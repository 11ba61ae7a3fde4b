#include "preload.h"

#include "critical.h"
#include "libc.h"
#include "log.h"
#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The index grows inside of a critical section, where malloc(3) could wait for its own lock. */
#define uthash_malloc(size)      pages_take(size)
#define uthash_free(pages, size) pages_give(pages, size)
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
    enum preload_way way;
    struct mapping mapping;
    struct preload_kept kept;
    unsigned users; /* the index and the streams; in critical sections only */
    bool listed;    /* since preload_begin() */
    bool indexed;
    atomic_uint slot;     /* of the status file; streams count there while a new list moves it */
    struct preload *next; /* among the retired */
    UT_hash_handle hh;
};

static struct preload *files;   /* the index, a uthash; in critical sections only */
static struct preload *retired; /* out of the index, some still in use */
static atomic_bool any;    /* whether the index holds something; read outside of the sections */
static atomic_bool forked; /* off the process that mapped: see preload_mapping() */

static void *pages_take(size_t size)
{
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return pages != MAP_FAILED ? pages : NULL;
}

static void pages_give(void *pages, size_t size)
{
    (void)munmap(pages, size);
}

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

/* ---- for who opens files ---- */

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

/* What a child did not inherit may be anything there. */
static bool is_mapped_here(const struct preload *file)
{
    /* in this order: where the way may change meanwhile, nothing was forked */
    return !atomic_load_explicit(&forked, memory_order_relaxed) || file->way == PRELOAD_INHERITED;
}

const struct mapping *preload_mapping(const struct preload *file)
{
    static const struct mapping nothing;

    return is_mapped_here(file) ? &file->mapping : &nothing;
}

void preload_count(const struct preload *file, uint64_t bytes, uint64_t bytes_kernel)
{
    if (file != NULL)
        status_file_add(file->slot, 1, bytes, bytes_kernel);
}

void preload_release(struct preload *file)
{
    struct mapping unused = {.memory = NULL};

    if (file == NULL)
        return;
    struct critical section = critical_enter();
    if (--file->users == 0 && is_mapped_here(file)) {
        unused = file->mapping;
        file->mapping.memory = NULL;
    }
    critical_leave(&section);
    mapping_unmap(&unused); /* not in the section: it may take long */
}

void preload_forked(void)
{
    atomic_store(&forked, true);
}

void preload_unload(void)
{
    struct critical section = critical_enter();

    for (struct preload *file = files; file != NULL; file = file->hh.next) {
        if (is_mapped_here(file)) /* a session has few of many, and starts with this */
            preload_release(file);
    }
    atomic_store(&any, false);
    files = retired = NULL; /* their memory stays: a forked child must not free */
    atomic_store(&forked, false);
    critical_leave(&section);
}

/* ---- for who keeps them ---- */

/* In a critical section. */
static void retire(struct preload *file)
{
    HASH_DEL(files, file);
    file->next = retired;
    retired = file;
    file->users--;
}

/* Unmap and free the retired that no stream uses any more. */
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
        mapping_unmap(&file->mapping);
        free(file);
    }
}

void preload_retire(struct preload *file)
{
    struct critical section = critical_enter();

    retire(file);
    atomic_store(&any, files != NULL);
    critical_leave(&section);
    sweep();
}

void preload_retire_unlisted(void)
{
    struct critical section = critical_enter();

    for (struct preload *file = files, *following; file != NULL; file = following) {
        following = file->hh.next;
        if (!file->listed)
            retire(file);
    }
    atomic_store(&any, files != NULL);
    critical_leave(&section);
    sweep();
}

int preload_open(const char *path)
{
    struct stat64 status;
    bool regular = stat64(path, &status) == 0 && S_ISREG(status.st_mode);

    return libc_next(open64)(path,
                             (regular ? O_RDONLY | O_NONBLOCK : O_PATH) | O_CLOEXEC | O_NOCTTY);
}

const char *preload_problem(int fd, struct stat64 *status)
{
    if (fd == -1 || fstat64(fd, status) == -1)
        return log_reason(errno);
    if (!S_ISREG(status->st_mode))
        return "is no regular file";
    if (status->st_size > 0 && !mapping_is_faithful(fd, status))
        return "is on a file system that is left to the kernel, or has holes on tmpfs";
    return NULL;
}

void preload_begin(void)
{
    struct critical section = critical_enter();
    for (struct preload *file = files; file != NULL; file = file->hh.next)
        file->listed = false;
    critical_leave(&section);
}

/* In a critical section, so that no child is forked that has a mapping which it must not have. */
static bool map(struct preload *file, int fd)
{
    if ((uint64_t)file->size > SIZE_MAX) {
        errno = EFBIG;
        return false;
    }
    if (!mapping_map(&file->mapping, fd, 0, (size_t)file->size))
        return false;
    if (file->way == PRELOAD_INHERITED ||
        madvise(file->mapping.memory, file->mapping.length, MADV_DONTFORK) == 0)
        return true;
    mapping_unmap(&file->mapping);
    return false;
}

/* Whether children inherit the mapping of a file that is known and unchanged. In a critical
 * section. */
static bool change_way(struct preload *file, enum preload_way way)
{
    const int advice = way == PRELOAD_INHERITED ? MADV_DOFORK : MADV_DONTFORK;

    if (file->way == way)
        return true;
    if (file->way == PRELOAD_KNOWN || way == PRELOAD_KNOWN ||
        madvise(file->mapping.memory, file->mapping.length, advice) == -1)
        return false;
    file->way = way;
    return true;
}

/* Put a file in the place of what the index has under its identity. @return false: errno */
static bool add(struct preload *file, int fd)
{
    struct critical section = critical_enter();

    file->indexed = file->way == PRELOAD_KNOWN || map(file, fd);
    if (file->indexed) {
        struct preload *former;
        HASH_FIND(hh, files, &file->identity, sizeof file->identity, former);
        if (former != NULL)
            retire(former);
        errno = ENOMEM;
        HASH_ADD(hh, files, identity, sizeof file->identity, file);
    }
    if (!file->indexed)
        mapping_unmap(&file->mapping);
    atomic_store(&any, files != NULL);
    critical_leave(&section);
    sweep();
    return file->indexed;
}

static struct preload *new_file(const struct stat64 *status, enum preload_way way, unsigned slot)
{
    struct preload *file = calloc(1, sizeof *file);

    if (file == NULL)
        return NULL;
    file->identity = identity_of(status);
    file->size = status->st_size;
    file->modified = status->st_mtim;
    file->changed = status->st_ctim;
    file->way = way;
    file->users = 1;
    file->listed = true;
    atomic_init(&file->slot, slot);
    return file;
}

struct preload *preload_list(int fd, const struct stat64 *status, enum preload_way way,
                             unsigned slot)
{
    struct critical section = critical_enter();
    struct preload *known = indexed_file(status);
    bool again = known != NULL && known->listed;
    bool current = known != NULL && !again && unchanged(known, status) && change_way(known, way);
    if (current) {
        known->listed = true;
        atomic_store(&known->slot, slot);
    }
    critical_leave(&section);

    if (again)
        errno = EEXIST;
    if (again || current)
        return again ? NULL : known;
    struct preload *file = new_file(status, way, slot);
    if (file != NULL && !add(file, fd)) {
        free(file);
        return NULL;
    }
    return file;
}

bool preload_is_outdated(const struct stat64 *status, unsigned *slot)
{
    struct critical section = critical_enter();
    const struct preload *known = indexed_file(status);
    bool outdated = known != NULL && known->listed && !unchanged(known, status);

    if (outdated)
        *slot = known->slot;
    critical_leave(&section);
    return outdated;
}

bool preload_is(const struct preload *file, const struct stat64 *status)
{
    return file->identity.device == status->st_dev && file->identity.inode == status->st_ino &&
           unchanged(file, status);
}

bool preload_is_inherited(const struct preload *file)
{
    return file->way == PRELOAD_INHERITED;
}

struct preload_kept *preload_kept(struct preload *file)
{
    return &file->kept;
}
