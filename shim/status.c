#include "status.h"

#include "debug.h"
#include "libc.h"
#include "safe_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NAME "xfermmap"

/* How many slots of the file are allocated at a time. */
enum { SLOTS_AT_ONCE = 128 };

/* Behind the slots, and not in the file: device and inode -> slot, a hash table with open
 * addressing. A bucket holds a slot's number plus 1; 0: empty. Behind that, the table of heat.h. */
enum { BUCKETS = 2 * STATUS_FILES, MOST_PROBES = 64 };

#define FILE_BYTES   (STATUS_FILES_AT + STATUS_FILES * sizeof(struct status_file))
#define INDEX_BYTES  (BUCKETS * sizeof(uint16_t))
#define SHARED_BYTES (FILE_BYTES + INDEX_BYTES + STATUS_HEAT_BYTES)

_Static_assert(sizeof(struct status) <= STATUS_FILES_AT, "the slots follow");
_Static_assert(sizeof(struct status_file) == 512 && offsetof(struct status_file, path) == 104 &&
                   offsetof(struct status, counters) % sizeof(uint64_t) == 0,
               "the same for 32 and 64 bits");

static struct status of_this_process;
static struct status *status = &of_this_process;
static struct status_file *files; /* NULL until it is shared */
static _Atomic uint16_t *buckets; /* the index */
static char file_path[PATH_MAX];  /* "" without a file */
static struct stat64 file_status;
static bool taken[STATUS_FILES]; /* by this process, the keeper */
static unsigned allocated;       /* slots of the file */

/* ---- the master ---- */

void status_set_master(void)
{
    /* what the server opens while it starts is no download */
    for (size_t i = 0; status->header.master == 0 && i < STATUS_COUNTER_COUNT; i++)
        status->counters[i] = status->last[i] = 0;
    status->header.pid_namespace = process_namespace();
    status->header.master_since = process_start(getpid());
    status->header.master = getpid();
}

void status_set_directives(const char *path, bool engine)
{
    (void)snprintf(status->header.directives, sizeof status->header.directives, "%s", path);
    status->header.directives_read = time(NULL);
    status->header.engine = engine;
}

void status_set_buffer(size_t bytes)
{
    status->header.buffer = bytes;
}

/* ---- is another server using the file? ---- */

static enum process_state look(const struct status_header *header, pid_t process, uint64_t start)
{
    bool here = header->pid_namespace != 0 && header->pid_namespace == process_namespace();

    return here && process > 0 ? process_look(process, start) : PROCESS_UNKNOWN;
}

static bool is_locked(int fd)
{
    if (flock(fd, LOCK_SH | LOCK_NB) == -1)
        return errno == EWOULDBLOCK;
    (void)flock(fd, LOCK_UN);
    return false;
}

enum process_state status_look(int fd, const struct status_header *header, pid_t process,
                               uint64_t start)
{
    enum process_state state = look(header, process, start);

    return state == PROCESS_UNKNOWN && header->lock_lasts != 0 && !is_locked(fd) ? PROCESS_GONE
                                                                                 : state;
}

/* Locks the file, so that no other server replaces it at the same time. Sessions of a server that
 * is gone may still hold its lock. @return false: errno EEXIST, EBUSY or EAGAIN */
static bool may_be_replaced(int fd)
{
    struct status_header header;

    errno = EEXIST;
    if (libc_next(read)(fd, &header, sizeof header) != sizeof header ||
        memcmp(header.name, NAME, sizeof header.name) != 0)
        return false;
    bool unused = flock(fd, LOCK_EX | LOCK_NB) == 0;
    enum process_state master = look(&header, header.master, header.master_since);
    errno = header.master == 0 ? EAGAIN : EBUSY;
    return header.version != STATUS_VERSION || master == PROCESS_GONE ||
           (master == PROCESS_UNKNOWN && unused);
}

static bool is_at(int fd, const char *path)
{
    struct stat64 file, there;

    return fstat64(fd, &file) == 0 && lstat64(path, &there) == 0 && file.st_dev == there.st_dev &&
           file.st_ino == there.st_ino;
}

/* Give a file its name. @return false: errno of status_share() */
static bool publish(const char *made, const char *path)
{
    /* by link(2) where the file system lacks the flag; maps(5) then shows a deleted file */
    if (renameat2(AT_FDCWD, made, AT_FDCWD, path, RENAME_NOREPLACE) == 0 ||
        (errno != EEXIST && link(made, path) == 0 && unlink(made) == 0))
        return true;
    if (errno != EEXIST)
        return false;
    int former = libc_next(open)(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (former == -1) {
        errno = EEXIST;
        return false;
    }
    bool replaced = may_be_replaced(former) && is_at(former, path) && rename(made, path) == 0;
    libc_close(former);
    return replaced;
}

/* ---- creating it ---- */

/* @return false: errno */
static bool fill_file(int fd)
{
    struct safe_file_signals signals = safe_file_block_signals();
    /* allocated: writing to a hole on a full disk faults */
    int failure = fchmod(fd, 0644) == -1 ? errno : posix_fallocate(fd, 0, STATUS_FILES_AT);

    if (failure == 0 && (ftruncate(fd, FILE_BYTES) == -1 || fstat64(fd, &file_status) == -1))
        failure = errno;
    safe_file_restore_signals(&signals, failure);
    errno = failure;
    return failure == 0;
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
    (void)snprintf(header->library, sizeof header->library, "%s", VERSION);
}

/* @param fd  -1: in memory only. @return false: errno of mmap(2) */
static bool map(char *shared, int fd)
{
    const int flags = MAP_SHARED | MAP_NORESERVE | MAP_FIXED | (fd == -1 ? MAP_ANONYMOUS : 0);

    if (mmap(shared, FILE_BYTES, PROT_READ | PROT_WRITE, flags, fd, 0) == MAP_FAILED)
        return false;
    fill_header((struct status_header *)(void *)shared);
    return true;
}

/* True if the mapping holds the lock after the descriptor is closed: not on overlayfs. */
static bool lock_lasts(const char *path)
{
    int fd = safe_file_open(path, O_RDONLY, 0);
    bool lasts = fd != -1 && is_locked(fd);

    libc_close(fd);
    return lasts;
}

/* Name the file only when it is complete: another server may look at it any time. */
static bool make_file(char *shared, const char *path)
{
    const int flags = O_RDWR | O_CREAT | O_EXCL;
    char made[PATH_MAX + 32];

    (void)snprintf(made, sizeof made, "%s.%d-%x", path, getpid(), (unsigned)process_namespace());
    int fd = safe_file_open(made, flags, 0644);
    if (fd == -1 && errno == EEXIST && unlink(made) == 0) /* a process was killed here */
        fd = safe_file_open(made, flags, 0644);
    if (fd == -1)
        return false;
    bool whole = fill_file(fd) && map(shared, fd);
    if (whole)
        (void)flock(fd, LOCK_EX | LOCK_NB);
    libc_close(fd);
    if (whole) {
        ((struct status_header *)(void *)shared)->lock_lasts = lock_lasts(made);
        if (publish(made, path))
            return true;
    }
    int failure = errno;
    (void)unlink(made);
    errno = failure;
    return false;
}

bool status_share(const char *path)
{
    const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;
    char *shared = mmap(NULL, SHARED_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);

    if (shared == MAP_FAILED)
        return path == NULL;
    bool made = path != NULL && make_file(shared, path);
    int failure = errno;
    if (made)
        (void)snprintf(file_path, sizeof file_path, "%s", path);
    else
        (void)map(shared, -1);
    status = (struct status *)(void *)shared;
    files = (struct status_file *)(void *)(shared + STATUS_FILES_AT);
    buckets = (_Atomic uint16_t *)(void *)(shared + FILE_BYTES);
    errno = failure;
    return made || path == NULL;
}

bool status_fault(const void *address)
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

struct status_costs *status_costs(void)
{
    return &status->costs;
}

void status_note(enum status_counter counter, uint64_t detail)
{
    atomic_store_explicit(&status->last[counter], detail, memory_order_relaxed);
    status_add(counter, 1);
}

uint64_t status_last(enum status_counter counter)
{
    return atomic_load_explicit(&status->last[counter], memory_order_relaxed);
}

static unsigned first_bucket(uint64_t device, uint64_t inode)
{
    uint64_t mixed = (inode ^ device << 32 ^ device >> 32) * 0x9e3779b97f4a7c15;

    return (unsigned)(mixed >> 40) % BUCKETS;
}

/* @return NULL: not listed. The slot may change at any time: it is advice. */
static struct status_file *find(uint64_t device, uint64_t inode)
{
    unsigned first = first_bucket(device, inode);

    for (unsigned i = 0; files != NULL && i < MOST_PROBES; i++) {
        unsigned slot = atomic_load_explicit(&buckets[(first + i) % BUCKETS], memory_order_relaxed);
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
    bool same =
        file->identity.size == 0 || memcmp(&file->identity, &identity, sizeof identity) == 0;
    status_add(same ? STATUS_LISTED : STATUS_CHANGED, 1);
    atomic_fetch_add_explicit(&file->opened, 1, memory_order_relaxed);
}

bool status_file_is_kept(dev_t device, ino64_t inode)
{
    return find(device, inode) != NULL;
}

void *status_heat(void)
{
    return files != NULL ? (char *)status + FILE_BYTES + INDEX_BYTES : NULL;
}

void status_file_read(dev_t device, ino64_t inode, uint64_t bytes, uint64_t bytes_kernel)
{
    struct status_file *file = find(device, inode);

    if (file == NULL || file->identity.size == 0) /* hidden: its bytes would tell its size */
        return;
    atomic_fetch_add_explicit(&file->bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&file->bytes_kernel, bytes_kernel, memory_order_relaxed);
}

/* ---- the keeper ---- */

void status_set_keeper(const struct status_keeper *keeper)
{
    status->header.keeper = *keeper;
}

/* Allocate the file up to this slot. @return false: errno */
static bool allocate(unsigned slot)
{
    struct stat64 now;

    if (slot < allocated || file_path[0] == '\0')
        return true;
    int fd = safe_file_open(file_path, O_RDWR, 0);
    if (fd == -1)
        return false;
    struct safe_file_signals signals = safe_file_block_signals();
    int failure = ESTALE;
    unsigned count = (slot / SLOTS_AT_ONCE + 1) * SLOTS_AT_ONCE;
    if (fstat64(fd, &now) == 0 && now.st_dev == file_status.st_dev &&
        now.st_ino == file_status.st_ino)
        failure =
            posix_fallocate(fd, (off_t)(STATUS_FILES_AT + allocated * sizeof(struct status_file)),
                            (off_t)((count - allocated) * sizeof(struct status_file)));
    safe_file_restore_signals(&signals, failure);
    libc_close(fd);
    if (failure == 0)
        allocated = count;
    errno = failure;
    return failure == 0;
}

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

/* Start at the slot after the last one taken: a list has the same order each time. */
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
    assert(taken[slot] && (file_path[0] == '\0' || slot < allocated));
    file->line = line;
    file->identity = *identity;
    file->locked = locked;
    file->resident = resident;
    atomic_store(&file->used, 1);
}

void status_file_set_heat(unsigned slot, uint64_t downloads, int64_t since)
{
    if (slot >= STATUS_FILES)
        return;
    files[slot].downloads = downloads;
    files[slot].since = since;
}

void status_files_begin(void)
{
    memset(taken, 0, sizeof taken);
}

/* A file that finds no bucket is not counted. */
static void add_to_index(uint16_t *index, unsigned slot)
{
    unsigned at = first_bucket(files[slot].identity.device, files[slot].identity.inode);

    for (unsigned i = 0; i < MOST_PROBES; i++, at = (at + 1) % BUCKETS) {
        if (index[at] == 0) {
            index[at] = (uint16_t)(slot + 1);
            return;
        }
    }
}

void status_files_end(void)
{
    static uint16_t index[BUCKETS];

    memset(index, 0, sizeof index);
    for (unsigned slot = 0; files != NULL && slot < STATUS_FILES; slot++) {
        if (taken[slot])
            add_to_index(index, slot);
        else if (slot < slots_used())
            atomic_store(&files[slot].used, 0);
    }
    /* one by one, so that an entry that does not move is found all the time */
    for (unsigned i = 0; files != NULL && i < BUCKETS; i++) {
        if (atomic_load(&buckets[i]) != index[i])
            atomic_store(&buckets[i], index[i]);
    }
}
