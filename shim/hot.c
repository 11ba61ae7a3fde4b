#include "hot.h"

#include "handle.h"
#include "heat.h"
#include "libc.h"
#include "memory_limits.h"
#include "watchdog.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

/* A file becomes hot at this heat: two downloads, the first of them an hour old at most. */
enum { LEAST = HEAT_ONE + HEAT_ONE / 2 };

struct candidate {
    struct heat_file file;
    const struct listed_file *held; /* NULL: not in the hot set yet */
    uint64_t score;
};

struct choice {
    struct listed *found;
    uint64_t most, taken;        /* bytes */
    uint64_t fresh, taken_fresh; /* bytes */
    bool paced;                  /* new files have to wait for the next look */
};

/* ---- ranking ---- */

static const struct listed_file *find(const struct listed *listed, const struct heat_file *file)
{
    struct listed_file wanted = {.identity = {file->device, file->inode}};

    return listed_find(listed, &wanted);
}

/* Raise the score of a held file by a quarter and one download. Otherwise two files of equal heat
 * would replace each other at each look. @return 0: it is not hot */
static uint64_t score_of(const struct candidate *candidate)
{
    uint64_t downloads = candidate->file.downloads;

    if (candidate->held != NULL)
        return downloads > 0 ? downloads + downloads / 4 + HEAT_ONE : 0;
    return downloads >= LEAST ? downloads : 0;
}

static int by_score(const void *one, const void *other)
{
    const struct candidate *a = one, *b = other;

    return (a->score < b->score) - (a->score > b->score);
}

/* @return the candidates, the hottest first; the caller frees them. NULL: no memory */
static struct candidate *rank(const struct listed *held, size_t *count)
{
    struct heat_file *files = calloc(HEAT_FILES, sizeof *files);
    struct candidate *candidates = calloc(HEAT_FILES, sizeof *candidates);
    uint64_t all;

    *count = files != NULL && candidates != NULL ? heat_list(files, &all) : 0;
    for (size_t i = 0; i < *count; i++) {
        const struct listed_file *file = find(held, &files[i]);
        candidates[i].file = files[i];
        candidates[i].held = file != NULL && file->handle != NULL ? file : NULL;
        candidates[i].score = score_of(&candidates[i]);
    }
    if (*count > 0)
        qsort(candidates, *count, sizeof *candidates, by_score);
    free(files);
    return candidates;
}

/* ---- what a status may show ---- */

/* True if all local users may reach the file by this path, and read it. Other names and sizes are
 * not shown: a session that forges handles would learn them. */
static bool is_public(const char *path, const struct stat64 *file)
{
    struct stat64 status;
    char part[PATH_MAX];

    watchdog_touch(path);
    if (path[0] != '/' || lstat64(path, &status) == -1 || status.st_dev != file->st_dev ||
        status.st_ino != file->st_ino || (~status.st_mode & (S_IRGRP | S_IROTH)) != 0)
        return false;
    (void)snprintf(part, sizeof part, "%s", path);
    for (char *end = strrchr(part, '/'); end != NULL; end = strrchr(part, '/')) {
        end[end == part] = '\0'; /* the last is "/" */
        if (lstat64(part, &status) == -1 ||
            (~status.st_mode & (S_IRGRP | S_IXGRP | S_IROTH | S_IXOTH)) != 0)
            return false;
        if (end == part)
            break;
    }
    return true;
}

/* @param path  out: PATH_MAX bytes */
static void read_path(int fd, char *path)
{
    char link[32];

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
}

/* ---- choosing ---- */

/* @return false: there is no room for it */
static bool fits(const struct choice *choice, uint64_t size)
{
    uint64_t taken = choice->taken;

    return size <= INT64_MAX && limits_take(choice->most, &taken, (off64_t)size);
}

/* @return false: it has to wait for the next look */
static bool is_in_pace(struct choice *choice, const struct candidate *candidate, uint64_t size)
{
    if (candidate->held != NULL)
        return true;
    choice->paced =
        choice->paced || (choice->taken_fresh > 0 && choice->taken_fresh + size > choice->fresh);
    return !choice->paced;
}

static void charge(struct choice *choice, const struct candidate *candidate, off64_t size)
{
    uint64_t taken = choice->taken;

    if (candidate->held != NULL && candidate->held->problem != NULL)
        return; /* it takes no memory */
    (void)limits_take(choice->most, &choice->taken, size);
    if (candidate->held == NULL)
        choice->taken_fresh += choice->taken - taken;
}

static void take(struct choice *choice, const struct candidate *candidate, int fd,
                 const struct stat64 *status, const struct handle *handle)
{
    char path[PATH_MAX];

    read_path(fd, path);
    if (watchdog_is_hung(path) || filesystem_of(fd, status) < FILESYSTEM_MAPPED ||
        !fits(choice, (uint64_t)status->st_size) ||
        !is_in_pace(choice, candidate, (uint64_t)status->st_size))
        return;
    bool hidden = !is_public(path, status);
    if (hidden)
        (void)snprintf(path, sizeof path, "inode %" PRIu64 " of device %u:%u",
                       (uint64_t)status->st_ino, major(status->st_dev), minor(status->st_dev));
    struct listed_file *file = listed_add_hot(choice->found, path, status, handle);
    if (file == NULL)
        return;
    charge(choice, candidate, status->st_size);
    file->hidden = hidden;
    file->downloads = candidate->file.downloads;
    file->since = candidate->held != NULL ? candidate->held->since : time(NULL);
    file->order = candidate->held != NULL ? candidate->held->order : SIZE_MAX;
}

/* Open only what may be taken: each look may open thousands of files. */
static void consider(struct choice *choice, const struct candidate *candidate)
{
    const struct heat_file *file = &candidate->file;
    struct stat64 status;
    struct handle handle;
    int fd = -1;

    if (find(choice->found, file) != NULL || (candidate->held == NULL && choice->paced) ||
        !fits(choice, (uint64_t)file->pages * 4096))
        return;
    errno = ESTALE;
    if (heat_handle(file, &handle))
        fd = handle_find(&handle, file->device, file->inode, &status);
    if (fd != -1)
        take(choice, candidate, fd, &status, &handle);
    else if (errno == ESTALE)
        heat_forget(file);
    libc_close(fd);
}

static int by_order(const void *one, const void *other)
{
    const struct listed_file *a = *(struct listed_file *const *)one;
    const struct listed_file *b = *(struct listed_file *const *)other;

    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    return (a->downloads < b->downloads) - (a->downloads > b->downloads);
}

/* Keep the former order, so that an unchanged list compares equal. */
static void sort(struct listed *found)
{
    if (found->count > found->hot)
        qsort(found->files + found->hot, found->count - found->hot, sizeof(void *), by_order);
    for (size_t i = found->hot; i < found->count; i++)
        found->files[i]->order = i;
}

/* What the listed files will take. Those that could not be kept at the last look take nothing. */
static uint64_t bytes_of_listed(const struct listed *found, const struct listed *held,
                                uint64_t memory)
{
    uint64_t taken = 0;

    for (size_t i = 0; i < found->hot; i++) {
        const struct listed_file *file = found->files[i], *former = listed_find(held, file);
        if (file->problem == NULL && !file->skipped && (former == NULL || former->problem == NULL))
            (void)limits_take(memory, &taken, file->status.st_size);
    }
    return taken;
}

void hot_add(struct listed *found, const struct listed *held, const struct hot_limits *limits)
{
    uint64_t rest = limits->memory - bytes_of_listed(found, held, limits->memory);
    struct choice choice = {
        .found = found, .most = limits->hot < rest ? limits->hot : rest, .fresh = limits->fresh};
    size_t count;
    struct candidate *candidates = rank(held, &count);

    for (size_t i = 0; i < count && candidates[i].score > 0; i++)
        consider(&choice, &candidates[i]);
    free(candidates);
    sort(found);
}

void hot_update(struct listed *held, uint64_t *all)
{
    struct heat_file *files = calloc(HEAT_FILES, sizeof *files);
    size_t count = files != NULL ? heat_list(files, all) : 0;

    for (size_t i = 0; i < count; i++) {
        struct listed_file *file = (struct listed_file *)(uintptr_t)find(held, &files[i]);
        if (file != NULL && file->handle != NULL)
            file->downloads = files[i].downloads;
    }
    free(files);
}
