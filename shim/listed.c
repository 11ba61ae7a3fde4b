#include "listed.h"

#include "debug.h"
#include "handle.h"
#include "libc.h"
#include "memory_limits.h"
#include "status.h"
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <glob.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of vm.max_map_count, for libraries, heap and stacks. */
enum { OTHER_MAPPINGS = 256 };

static struct listed_file *add(struct listed *listed, const char *path, unsigned line)
{
    struct listed_file *file = calloc(1, sizeof *file);

    if (listed->count == listed->room) {
        size_t more = listed->room > 0 ? 2 * listed->room : 64;
        struct listed_file **longer = reallocarray(listed->files, more, sizeof(void *));
        if (longer == NULL) {
            free(file);
            return NULL;
        }
        listed->files = longer;
        listed->room = more;
    }
    char *copy = strdup(path);
    if (file == NULL || copy == NULL) {
        free(file);
        free(copy);
        return NULL;
    }
    file->path = copy;
    file->line = line;
    listed->files[listed->count++] = file;
    return file;
}

/* @return false */
__attribute__((format(printf, 2, 3))) static bool fail(struct listed_file *file, const char *format,
                                                       ...)
{
    va_list arguments;

    va_start(arguments, format);
    free(file->problem);
    if (vasprintf(&file->problem, format, arguments) == -1)
        file->problem = NULL; /* no memory */
    va_end(arguments);
    return false;
}

static void remove_last(struct listed *listed)
{
    struct listed_file *file = listed->files[--listed->count];

    free(file->problem);
    free(file->handle);
    free(file->path);
    free(file);
}

/* @return false: the file is listed already, or empty */
static bool is_worth_listing(struct listed *listed, struct listed_file *file)
{
    struct listed_file *other;

    if (file->problem != NULL)
        return true;
    file->identity.device = file->status.st_dev;
    file->identity.inode = file->status.st_ino;
    HASH_FIND(hh, listed->by_identity, &file->identity, sizeof file->identity, other);
    if (other != NULL || file->status.st_size == 0)
        return false;
    HASH_ADD(hh, listed->by_identity, identity, sizeof file->identity, file);
    return true;
}

static const char *describe(int failure)
{
    return failure == EACCES && geteuid() == 0
               ? "root may not read it: NFS with root_squash, FUSE without allow_root, or a server "
                 "without CAP_DAC_OVERRIDE"
           : failure == EWOULDBLOCK
               ? "another process holds a lease on it (Samba, NFS); the next look tries again"
               : strerror(failure);
}

/* @param status  NULL: not known, for the reason `failure`, an errno */
static void add_file(struct listed *listed, const char *path, unsigned line,
                     const struct stat64 *status, int failure)
{
    struct listed_file *file = add(listed, path, line);

    if (file == NULL)
        return;
    if (status == NULL)
        fail(file, "%s", describe(failure));
    else
        file->status = *status;
    if (status != NULL && !S_ISREG(status->st_mode))
        fail(file, "is not a regular file");
    if (!is_worth_listing(listed, file))
        remove_last(listed);
}

static void add_skipped(struct listed *listed, const char *path, unsigned line)
{
    struct listed_file *file = add(listed, path, line);

    if (file == NULL)
        return;
    file->skipped = true;
    if (listed->skipped_count < LISTED_MOST_SKIPPED)
        listed->skipped[listed->skipped_count++] = line;
}

/* ---- one argument ---- */

static int by_name(const FTSENT64 **a, const FTSENT64 **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void add_entry(struct listed *listed, FTS64 *tree, FTSENT64 *entry, unsigned line)
{
    bool answers = !watchdog_is_hung(entry->fts_path);

    watchdog_touch(entry->fts_path);
    switch (entry->fts_info) {
    case FTS_D: /* the next fts_read() reads it */
        if (!answers && fts64_set(tree, entry, FTS_SKIP) == 0)
            add_skipped(listed, entry->fts_path, line);
        break;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        add_file(listed, entry->fts_path, line, NULL, entry->fts_errno);
        break;
    case FTS_F:
        if (!answers)
            add_skipped(listed, entry->fts_path, line);
        else
            add_file(listed, entry->fts_path, line, entry->fts_statp, 0);
        break;
    default: /* links, devices, and a directory that is left */
        break;
    }
}

static void add_tree(struct listed *listed, const char *path, unsigned line)
{
    char *paths[] = {(char *)(uintptr_t)path, NULL};
    FTS64 *tree = fts64_open(paths, FTS_COMFOLLOW | FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    FTSENT64 *entry;

    while (tree != NULL && (entry = fts64_read(tree)) != NULL)
        add_entry(listed, tree, entry, line);
    if (tree != NULL)
        (void)fts64_close(tree);
}

static void add_path(struct listed *listed, const char *path, unsigned line)
{
    struct stat64 status;

    if (watchdog_is_hung(path)) {
        add_skipped(listed, path, line);
        return;
    }
    watchdog_touch(path);
    if (stat64(path, &status) == -1)
        add_file(listed, path, line, NULL, errno);
    else if (S_ISDIR(status.st_mode))
        add_tree(listed, path, line);
    else
        add_file(listed, path, line, &status, 0);
}

static void add_argument(struct listed *listed, const char *argument, unsigned line)
{
    glob_t found = {.gl_pathc = 0};

    if (watchdog_is_hung(argument)) {
        add_skipped(listed, argument, line);
        return;
    }
    watchdog_touch(argument);
    if (libc_next(glob)(argument, GLOB_NOCHECK, NULL, &found) != 0)
        add_file(listed, argument, line, NULL, ENOMEM);
    for (size_t i = 0; i < found.gl_pathc; i++)
        add_path(listed, found.gl_pathv[i], line);
    libc_next(globfree)(&found);
}

/* ---- the list ---- */

void listed_expand(struct listed *listed, const struct config_list *arguments)
{
    for (size_t i = 0; i < arguments->count; i++)
        add_argument(listed, arguments->items[i], (unsigned)i);
    listed->hot = listed->count;
}

void listed_add(struct listed *listed, const char *path)
{
    add_path(listed, path, 0);
}

struct listed_file *listed_add_hot(struct listed *listed, const char *path,
                                   const struct stat64 *status, const struct handle *handle)
{
    struct listed_file *file = add(listed, path, STATUS_HOT);

    if (file == NULL)
        return NULL;
    file->status = *status;
    file->handle = malloc(sizeof *handle);
    if (file->handle == NULL || !is_worth_listing(listed, file)) {
        remove_last(listed);
        return NULL;
    }
    *file->handle = *handle;
    return file;
}

const struct listed_file *listed_find(const struct listed *listed, const struct listed_file *file)
{
    struct listed_file *found;

    HASH_FIND(hh, listed->by_identity, &file->identity, sizeof file->identity, found);
    return found;
}

void listed_free(struct listed *listed)
{
    HASH_CLEAR(hh, listed->by_identity);
    while (listed->count > 0)
        remove_last(listed);
    free(listed->files);
    *listed = (struct listed){.count = 0};
}

/* ---- comparing ---- */

/* A change of permissions, and so of ctime, matters for a file that could not be opened. */
static bool is_same_file(const struct listed_file *held, const struct listed_file *found)
{
    const struct stat64 *a = &held->status, *b = &found->status;

    /* a hot file has any of its names */
    bool same =
        held->handle != NULL ? held->hidden == found->hidden : strcmp(held->path, found->path) == 0;
    return same && held->skipped == found->skipped && !held->leased && a->st_dev == b->st_dev &&
           a->st_ino == b->st_ino && a->st_size == b->st_size &&
           filesystem_same_time(&a->st_mtim, &b->st_mtim) &&
           (held->problem == NULL || filesystem_same_time(&a->st_ctim, &b->st_ctim));
}

/* The next file whose argument has no file that `found` has skipped. */
static size_t next_known(const struct listed *listed, size_t at, const struct listed *found)
{
    for (; at < listed->count; at++) {
        size_t i = 0;
        while (i < found->skipped_count && found->skipped[i] != listed->files[at]->line)
            i++;
        if (i == found->skipped_count)
            break;
    }
    return at;
}

bool listed_is_same(const struct listed *held, const struct listed *found)
{
    size_t i = next_known(held, 0, found), j = next_known(found, 0, found);

    while (i < held->count && j < found->count) {
        if (!is_same_file(held->files[i], found->files[j]))
            return false;
        i = next_known(held, i + 1, found);
        j = next_known(found, j + 1, found);
    }
    return i == held->count && j == found->count;
}

/* ---- having them in memory ---- */

static bool fail_by_filesystem(struct listed_file *file, int fd, enum filesystem kind)
{
    struct filesystem_name name = filesystem_name(getpid(), filesystem_mount(fd));

    return fail(file, "is on %s, which is left to the kernel%s", name.text,
                kind == FILESYSTEM_HOLES ? " where a file has holes" : "");
}

/* @return descriptor; -1: errno */
static int open_hot(const struct listed_file *file)
{
    struct stat64 status;
    int found = handle_find(file->handle, file->identity.device, file->identity.inode, &status);

    watchdog_touch(file->path); /* not the mount's fault from here on */
    int fd = found != -1 ? handle_reopen(found) : -1;
    libc_close(found);
    return fd;
}

/* O_NONBLOCK: it may be a FIFO or a device by now, or leased. @return false: it can't be kept */
static bool open_file(struct listed_file *file, int *fd, enum filesystem *kind)
{
    watchdog_touch(file->path);
    *fd = file->handle != NULL
              ? open_hot(file)
              : libc_next(open64)(file->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    file->leased = *fd == -1 && errno == EWOULDBLOCK;
    if (*fd == -1 || fstat64(*fd, &file->status) == -1)
        return fail(file, "%s", describe(errno));
    if (!S_ISREG(file->status.st_mode))
        return fail(file, "is not a regular file");
    *kind = filesystem_of(*fd, &file->status);
    if (*kind < FILESYSTEM_MAPPED)
        return fail_by_filesystem(file, *fd, *kind);
    if ((uint64_t)file->status.st_size > SIZE_MAX)
        return fail(file, "%s", strerror(EFBIG));
    watchdog_touch(file->path); /* mmap(2) may be a round trip, too */
    return true;
}

/* @return false: it can't be kept */
static bool map_file(struct listed_file *file, uint64_t memory, uint64_t *taken, uint64_t mappings)
{
    enum filesystem kind = FILESYSTEM_UNMAPPED;
    int fd;
    bool mapped = open_file(file, &fd, &kind);

    if (mapped && mappings <= OTHER_MAPPINGS)
        mapped = fail(file, "more files are listed than vm.max_map_count allows");
    if (mapped && !limits_take(memory, taken, file->status.st_size))
        mapped = fail(file, "no room for it in TransferMMapMaxMemory");
    if (mapped && !residency_map(&file->memory, fd, kind, &file->status))
        mapped = fail(file, "can't be mapped (%s): %s", strerror(errno), mapping_remedy(errno));
    file->memory.gently = mapped && file->handle != NULL;
    libc_close(fd);
    return mapped;
}

void listed_map(struct listed *listed, uint64_t memory)
{
    uint64_t taken = 0, mappings = limits_mappings();

    for (size_t i = 0; i < listed->count; i++) {
        struct listed_file *file = listed->files[i];
        if (file->problem != NULL || file->skipped)
            continue;
        mappings -= map_file(file, memory, &taken, mappings);
        assert(taken <= memory && (file->problem == NULL || file->memory.mapping.memory == NULL));
    }
    handle_close_mounts();
}

void listed_read_in(struct listed *listed, enum residency_mode mode, residency_progress *on_piece)
{
    struct residency **files = calloc(listed->count + 1, sizeof(void *));

    for (size_t i = 0; files != NULL && i < listed->count; i++)
        files[i] = &listed->files[i]->memory;
    if (files != NULL)
        residency_read_in(files, listed->count, mode, on_piece);
    free(files);
    for (size_t i = 0; i < listed->count; i++) {
        struct listed_file *file = listed->files[i];
        if (file->memory.error == 0)
            continue;
        fail(file, "could not be read in: Input/output error");
        mapping_unmap(&file->memory.mapping);
        file->memory.locked = 0;
    }
}
