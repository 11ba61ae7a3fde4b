#include "hot.h"

#include "handle.h"
#include "heat.h"
#include "libc.h"
#include "memory_limits.h"
#include "watchdog.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

/* A file becomes hot at this heat: two downloads within half an hour. */
enum { LEAST = HEAT_ONE + HEAT_ONE / 2 };

/* Stop after so many files that do not fit. */
enum { MOST_MISFITS = 64 };

struct candidate {
    struct heat_file file;
    const struct listed_file *held; /* NULL: not in the hot set yet */
    uint64_t score;
};

struct choice {
    struct listed *found;
    uint64_t most, taken;        /* bytes */
    uint64_t fresh, taken_fresh; /* bytes */
    unsigned misfits;
    bool paced; /* new files have to wait for the next look */
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

/* True if all local users may reach the file by this path, and read it: else a session that forges
 * handles would learn names and sizes. */
static bool is_public(const char *path, const struct stat64 *file)
{
    struct stat64 status;
    char part[PATH_MAX];

    watchdog_touch(path);
    if (path[0] != '/' || lstat64(path, &status) == -1 || status.st_dev != file->st_dev ||
        status.st_ino != file->st_ino || (status.st_mode & S_IROTH) == 0)
        return false;
    (void)snprintf(part, sizeof part, "%s", path);
    for (char *end = strrchr(part, '/'); end != NULL; end = strrchr(part, '/')) {
        end[end == part] = '\0'; /* the last is "/" */
        if (lstat64(part, &status) == -1 || (~status.st_mode & (S_IROTH | S_IXOTH)) != 0)
            return false;
        if (end == part)
            break;
    }
    return true;
}

/* @param path  out: PATH_MAX bytes; if the path is not public, device and inode
 * @return true: it is public */
static bool name_file(int fd, const struct stat64 *status, char *path)
{
    char link[32];

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
    if (is_public(path, status))
        return true;
    (void)snprintf(path, PATH_MAX, "inode %" PRIu64 " of device %u:%u", (uint64_t)status->st_ino,
                   major(status->st_dev), minor(status->st_dev));
    return false;
}

/* ---- choosing ---- */

/* @return false: no room for it, or not at this look */
static bool fits(struct choice *choice, const struct candidate *candidate, off64_t size)
{
    uint64_t taken = choice->taken;
    bool fresh = candidate->held == NULL;

    if (!limits_take(choice->most, &taken, size)) {
        choice->misfits++;
        return false;
    }
    uint64_t taken_fresh = choice->taken_fresh + (fresh ? taken - choice->taken : 0);
    if (fresh && choice->taken_fresh > 0 && taken_fresh > choice->fresh)
        choice->paced = true;
    if (fresh && choice->paced)
        return false;
    choice->taken = taken;
    choice->taken_fresh = taken_fresh;
    return true;
}

/* A session may have forged the handle: check that it is a file of that identity. */
static bool is_file(int fd, const struct heat_file *file, struct stat64 *status)
{
    return fd != -1 && fstat64(fd, status) == 0 && S_ISREG(status->st_mode) &&
           status->st_nlink > 0 && status->st_dev == file->device && status->st_ino == file->inode;
}

static void take(struct choice *choice, const struct candidate *candidate, int fd,
                 const struct stat64 *status, const struct handle *handle)
{
    char path[PATH_MAX];
    bool is_shown = name_file(fd, status, path);

    if (watchdog_is_hung(path) || filesystem_of(fd, status) < FILESYSTEM_MAPPED ||
        !fits(choice, candidate, status->st_size))
        return;
    struct listed_file *file = listed_add_hot(choice->found, path, status, handle);
    if (file == NULL)
        return;
    file->hidden = !is_shown;
    file->downloads = candidate->file.downloads;
    file->since = candidate->held != NULL ? candidate->held->since : time(NULL);
    file->order = candidate->held != NULL ? candidate->held->order : SIZE_MAX;
}

static void consider(struct choice *choice, const struct candidate *candidate)
{
    struct stat64 status;
    struct handle handle;

    if (find(choice->found, &candidate->file) != NULL)
        return;
    int fd = heat_handle(&candidate->file, &handle) ? handle_find(&handle) : -1;
    if (is_file(fd, &candidate->file, &status))
        take(choice, candidate, fd, &status, &handle);
    else
        heat_ask_again(&candidate->file);
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

static uint64_t bytes_of_listed(const struct listed *found, uint64_t memory)
{
    uint64_t taken = 0;

    for (size_t i = 0; i < found->hot; i++) {
        if (found->files[i]->problem == NULL && !found->files[i]->skipped)
            (void)limits_take(memory, &taken, found->files[i]->status.st_size);
    }
    return taken;
}

void hot_add(struct listed *found, const struct listed *held, const struct hot_limits *limits)
{
    uint64_t rest = limits->memory - bytes_of_listed(found, limits->memory);
    struct choice choice = {
        .found = found, .most = limits->hot < rest ? limits->hot : rest, .fresh = limits->fresh};
    size_t count;
    struct candidate *candidates = rank(held, &count);

    for (size_t i = 0; i < count && candidates[i].score > 0 && choice.misfits < MOST_MISFITS; i++)
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
