#include "status.h"

#include "libc.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME "xfermmap"

/* The file grows by so many slots. */
enum { SLOTS_AT_ONCE = 128 };

#define MAPPED_BYTES (STATUS_FILES_AT + STATUS_FILES * sizeof(struct status_file))

_Static_assert(sizeof(struct status) <= STATUS_FILES_AT, "the slots follow");
_Static_assert(sizeof(struct status_file) == 512 && offsetof(struct status_file, path) == 48 &&
                   offsetof(struct status, counters) % sizeof(uint64_t) == 0,
               "the same for 32 and 64 bits");

static struct status of_this_process;
static struct status *status = &of_this_process;
static struct status_file *files; /* NULL until it is shared */
static _Atomic unsigned slots;    /* that can be written to */
static char file_path[PATH_MAX];  /* "" without a file */
static struct stat64 file_status;

static const struct trouble {
    enum status_counter counter;
    const char *advice;
} troubles[] = {
    {STATUS_FAULTS, "a file shrank, or its disk failed, while it was sent: the kernel answered "
                    "instead; replace files by rename(2) rather than in place"},
    {STATUS_REFUSED, "the kernel refused to map a file, which is served by read() instead; see "
                     "ulimit -v and vm.max_map_count"},
    {STATUS_FULL, "more files open at once than the library follows; these are served by read()"},
};

/* ---- the server that a status file is of ---- */

uint64_t status_process_start(pid_t process)
{
    enum { FIELDS_BETWEEN = 20 }; /* from the name, which may hold anything, to "starttime" */
    char path[32], line[1024];

    (void)snprintf(path, sizeof path, "/proc/%d/stat", process);
    int fd = libc_next(open)(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return 0;
    ssize_t length = libc_next(read)(fd, line, sizeof line - 1);
    (void)libc_next(close)(fd);
    line[length > 0 ? length : 0] = '\0';

    const char *field = strrchr(line, ')');
    for (int i = 0; field != NULL && i < FIELDS_BETWEEN; i++)
        field = strchr(field + 1, ' ');
    return field != NULL ? strtoull(field, NULL, 10) : 0;
}

bool status_is_alive(const struct status_header *header)
{
    return header->master > 0 && header->master_since != 0 &&
           status_process_start(header->master) == header->master_since;
}

void status_serving(void)
{
    /* what the server has opened while it started are no downloads */
    for (size_t i = 0; status->header.master == 0 && i < STATUS_COUNTER_COUNT; i++)
        atomic_store(&status->counters[i], 0);
    status->header.master_since = status_process_start(getpid());
    status->header.master = getpid();
}

void status_directives(const char *path, bool engine)
{
    (void)snprintf(status->header.directives, sizeof status->header.directives, "%s", path);
    status->header.directives_read = time(NULL);
    status->header.engine = engine;
}

/* ---- the file ---- */

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
    if (header.version == STATUS_VERSION && status_is_alive(&header))
        return false;
    /* anew: the sessions of a server that is gone may still count in it */
    return unlink(path) == 0;
}

/* @return descriptor, -1: errno */
static int create_file(const char *path)
{
    if (!log_directory_safe(path) || !remove_former(path))
        return -1;
    int fd = log_open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
    if (fd == -1)
        return -1;
    /* allocated, for a file with holes on a full disk faults when it is written to */
    int failure = fchmod(fd, 0644) == -1 ? errno : posix_fallocate(fd, 0, STATUS_FILES_AT);
    if (failure == 0 && fstat64(fd, &file_status) == -1)
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
    int fd = path != NULL ? create_file(path) : -1;
    int anonymous = fd == -1 ? MAP_ANONYMOUS : 0;
    int saved = errno;
    void *shared = mmap(NULL, MAPPED_BYTES, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_NORESERVE | anonymous, fd, 0);

    if (shared != MAP_FAILED) {
        status = shared;
        files = (struct status_file *)((char *)shared + STATUS_FILES_AT);
        fill_header(&status->header);
        atomic_store(&slots, fd == -1 ? STATUS_FILES : 0);
        if (fd != -1)
            (void)snprintf(file_path, sizeof file_path, "%s", path);
    }
    if (fd != -1)
        (void)libc_next(close)(fd);
    errno = saved;
    return path == NULL || fd != -1;
}

/* Have the file grow to hold `count` slots. @return false: errno */
static bool grow(unsigned count)
{
    struct stat64 now;
    unsigned before = atomic_load(&slots);
    int fd = log_open(file_path, O_RDWR, 0);

    if (fd == -1)
        return false;
    int failure = ESTALE;
    if (fstat64(fd, &now) == 0 && now.st_dev == file_status.st_dev &&
        now.st_ino == file_status.st_ino)
        failure =
            posix_fallocate(fd, (off_t)(STATUS_FILES_AT + before * sizeof(struct status_file)),
                            (off_t)((count - before) * sizeof(struct status_file)));
    (void)libc_next(close)(fd);
    errno = failure;
    return failure == 0;
}

/* @return false: the slot can't be written to */
static bool make_room(unsigned slot)
{
    static bool told;

    if (slot >= STATUS_FILES || files == NULL)
        return false;
    if (slot < atomic_load(&slots))
        return true;
    if (told)
        return false;
    unsigned count = (slot / SLOTS_AT_ONCE + 1) * SLOTS_AT_ONCE;
    if (!grow(count)) {
        told = true;
        log_line("TransferMMapStatusFile %s: %s; it shows %u of the listed files only", file_path,
                 log_reason(errno), atomic_load(&slots));
        return false;
    }
    atomic_store(&slots, count);
    return true;
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

void status_file_set(unsigned slot, const char *path, uint64_t size, uint64_t locked)
{
    char shown[sizeof files->path];
    size_t length = strlen(path);
    bool fits = length < sizeof shown;

    if (!make_room(slot))
        return;
    struct status_file *file = &files[slot];
    (void)snprintf(shown, sizeof shown, "%s%s", fits ? "" : "...",
                   path + (fits ? 0 : length - (sizeof shown - sizeof "...")));
    if (atomic_load(&file->used) == 0 || strncmp(file->path, shown, sizeof shown) != 0) {
        atomic_store(&file->used, 0);
        atomic_store(&file->downloads, 0);
        atomic_store(&file->bytes, 0);
        atomic_store(&file->bytes_kernel, 0);
        memcpy(file->path, shown, sizeof shown);
    }
    file->size = size;
    file->locked = locked;
    atomic_store(&file->used, 1);
}

void status_file_clear(unsigned slot)
{
    if (slot < atomic_load(&slots))
        atomic_store(&files[slot].used, 0);
}

void status_file_add(unsigned slot, uint64_t downloads, uint64_t bytes, uint64_t bytes_kernel)
{
    if (slot >= atomic_load_explicit(&slots, memory_order_relaxed))
        return;
    struct status_file *file = &files[slot];
    atomic_fetch_add_explicit(&file->downloads, downloads, memory_order_relaxed);
    atomic_fetch_add_explicit(&file->bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&file->bytes_kernel, bytes_kernel, memory_order_relaxed);
}

bool status_lost(const void *address)
{
    uintptr_t start = (uintptr_t)status, within = (uintptr_t)address - start;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

    return files != NULL && within < MAPPED_BYTES &&
           mmap(status, MAPPED_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED;
}

void status_log_trouble(void)
{
    static bool told[STATUS_COUNTER_COUNT];

    for (size_t i = 0; i < sizeof troubles / sizeof troubles[0]; i++) {
        enum status_counter counter = troubles[i].counter;
        if (told[counter] || status_get(counter) == 0)
            continue;
        told[counter] = true;
        log_line("%s", troubles[i].advice);
    }
}
