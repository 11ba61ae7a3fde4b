#include "resident.h"

#include "allowance.h"
#include "critical.h"
#include "everyone.h"
#include "keep.h"
#include "keeper.h"
#include "libc.h"
#include "log.h"
#include "notice.h"
#include "preload.h"
#include "rights.h"
#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <linux/close_range.h>
#include <locale.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* docs/design.md has the measurements for these. */
enum {
    KEPT_HERE = 256,        /* files in the master; each costs every fork 0.35 us */
    INHERITED = 64,         /* files whose mapping sessions have, too */
    RECHECK_SECONDS = 3,    /* between two looks at the files while sessions find some changed */
    IDLE_SECONDS = 60,      /* between two looks at them, and at the keeper, while nobody does */
    NAMED_IN_LOG = 20,      /* files that the log names for one and the same reason */
    STACK_BYTES = 512 << 10 /* of the thread */
};

/* Larger files are not inherited: a window costs next to nothing beside their download, and has a
 * session build page tables for that window only. */
#define INHERITED_BYTES ((off64_t)4 << 20)

struct wanted {
    char **patterns;
    size_t count;
    bool lock;
    uint64_t max_memory; /* bytes */
};

struct listed {
    char *path;
    unsigned flag;        /* of notice.h */
    struct preload *file; /* NULL: it can't be had */
    off64_t size;
    bool here; /* mapped by this process, else by the keeper */
    bool keep; /* in memory: it fits */
    bool lock;
    bool crowded; /* it doesn't fit, which was told */
    bool failed;
};

/* Of how many files the log has told, each time that the list is looked through. */
struct told {
    size_t unlisted, crowded, failed;
};

/* All of these are the thread's own, but for `pending` and `running`. */
static struct wanted *_Atomic pending;
static atomic_bool running;
static struct wanted *current;
static struct listed *list;
static size_t count, room, here, inherited;
static struct told told;
static struct keeper keeper = KEEPER_NONE; /* holds what is not `here` */
static uid_t rights;

static bool superseded(void)
{
    return atomic_load_explicit(&pending, memory_order_relaxed) != NULL;
}

/* The log names some files and not all of a long list. */
static bool worth_a_line(size_t *files)
{
    if (++*files == NAMED_IN_LOG + 1)
        log_line("so it is with more of the listed files, which are not named");
    return *files <= NAMED_IN_LOG;
}

/* ---- one file ---- */

static bool is_kept(const struct listed *item)
{
    return item->file != NULL && item->keep && !item->failed;
}

/* What the status file shows of it. */
static void show(const struct listed *item)
{
    unsigned slot = (unsigned)(item - list);

    if (item->file == NULL)
        status_file_clear(slot);
    else
        status_file_set(slot, item->path, (uint64_t)item->size,
                        is_kept(item) && item->lock ? (uint64_t)item->size : 0);
}

/* Whether any session could have opened this file. */
static bool is_public(int fd, const struct stat64 *status)
{
    char link[64], path[PATH_MAX];

    /* thread-self: the thread's descriptors are not those of the process */
    (void)snprintf(link, sizeof link, "/proc/thread-self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    return everyone_may_read(path, status->st_mode);
}

static enum preload_way way_for(const struct listed *item, int fd, const struct stat64 *status)
{
    if (!item->here)
        return PRELOAD_KNOWN;
    if (inherited < INHERITED && status->st_size <= INHERITED_BYTES && is_public(fd, status))
        return PRELOAD_INHERITED;
    return PRELOAD_MAPPED;
}

static void let_go(struct listed *item)
{
    if (item->file == NULL)
        return;
    here -= item->here;
    inherited -= preload_is_inherited(item->file);
    preload_retire(item->file);
    item->file = NULL;
}

/* @return NULL: it is listed, or there is nothing in it to list; else what is wrong with it */
static const char *take_open_file(struct listed *item, int fd)
{
    struct stat64 status;
    unsigned other;

    const char *problem = preload_problem(fd, &status);
    if (problem != NULL || status.st_size == 0)
        return problem;
    if (preload_is_outdated(&status, &other))
        let_go(&list[other]); /* it was renamed, say: what is there now is seen when it is opened */
    item->file = preload_list(fd, &status, way_for(item, fd, &status), (unsigned)(item - list));
    if (item->file == NULL)
        return errno == EEXIST ? NULL : log_reason(errno);
    item->size = status.st_size;
    here += item->here;
    inherited += preload_is_inherited(item->file);
    return NULL;
}

static void tell_problem(const struct listed *item, const char *wrong)
{
    if (wrong != NULL && worth_a_line(&told.unlisted))
        log_line("TransferMMapFile %s: %s; it is served as if it were not listed", item->path,
                 wrong);
}

static const char *take(struct listed *item)
{
    int fd = preload_open(item->path);
    const char *wrong = take_open_file(item, fd);

    if (fd != -1)
        (void)libc_next(close)(fd);
    return wrong;
}

/* ---- the list ---- */

static void add_to_list(const char *path)
{
    if (count == room) {
        size_t more = room > 0 ? 2 * room : 64;
        struct listed *longer = reallocarray(list, more, sizeof *list);
        if (longer == NULL)
            return;
        list = longer;
        room = more;
    }
    char *copy = strdup(path);
    if (copy != NULL)
        list[count++] = (struct listed){.path = copy, .flag = notice_flag(copy)};
}

static void clear_list(void)
{
    while (count > 0)
        free(list[--count].path);
}

static void expand(const char *pattern)
{
    glob_t found;

    if (libc_next(glob)(pattern, GLOB_NOCHECK, NULL, &found) != 0) {
        log_line("TransferMMapFile %s: the wildcard can't be expanded", pattern);
        return;
    }
    for (size_t i = 0; i < found.gl_pathc; i++)
        add_to_list(found.gl_pathv[i]);
    libc_next(globfree)(&found);
}

/* Bring the index up to date with what is wanted. @return false: something else is wanted by now */
static bool take_list(void)
{
    size_t former = count;

    clear_list();
    for (size_t i = 0; i < current->count && !superseded(); i++)
        expand(current->patterns[i]);
    preload_begin();
    here = inherited = 0;
    uint64_t most = allowance_mappings();
    most = most < KEPT_HERE ? most : KEPT_HERE;
    for (size_t i = 0; i < count && !superseded(); i++) {
        list[i].here = here < most;
        tell_problem(&list[i], take(&list[i]));
    }
    if (superseded())
        return false;
    preload_retire_unlisted();
    notice_watch_none();
    for (size_t i = 0; i < count; i++) {
        notice_watch(list[i].flag);
        show(&list[i]);
    }
    for (size_t i = count; i < former; i++)
        status_file_clear((unsigned)i);
    return true;
}

/* ---- memory ---- */

static void tell_crowded(struct listed *item)
{
    if (!item->keep && !item->crowded && worth_a_line(&told.crowded))
        log_line("TransferMMapFile %s: no room for it in TransferMMapMaxMemory (%.1f MiB); it is "
                 "mapped, but not kept in memory",
                 item->path, (double)current->max_memory / (1 << 20));
    item->crowded = !item->keep;
}

static void tell_unlocked(size_t files, uint64_t lockable)
{
    static bool before;

    if (files > 0 && !before)
        log_line("%zu listed files are read in but not locked, for this user may lock %.1f MiB; "
                 "set LimitMEMLOCK=infinity in the server's unit, or ulimit -l unlimited",
                 files, (double)lockable / (1 << 20));
    before = before || files > 0;
}

/* Which files fit into the memory that they may take, in the order of the list. */
static void choose(void)
{
    uint64_t lockable = allowance_lock(), taken = 0, taken_here = 0, taken_there = 0;
    size_t unlocked = 0;

    for (size_t i = 0; i < count; i++) {
        struct listed *item = &list[i];
        uint64_t *locked = item->here ? &taken_here : &taken_there;
        if (item->file == NULL)
            continue;
        item->keep = allowance_take(current->max_memory, &taken, item->size);
        item->lock = item->keep && current->lock && allowance_take(lockable, locked, item->size);
        unlocked += item->keep && current->lock && !item->lock;
        tell_crowded(item);
    }
    tell_unlocked(unlocked, lockable);
}

/* What may be locked, if only in part, and should not be: the directives or the order have changed.
 */
static void unlock(void)
{
    for (size_t i = 0; i < count; i++) {
        const struct mapping *mapping = list[i].file != NULL ? preload_mapping(list[i].file) : NULL;
        if (mapping == NULL || mapping->memory == NULL || list[i].lock)
            continue;
        (void)munlock(mapping->memory, mapping->length);
        preload_kept(list[i].file)->locked = false;
    }
}

static void tell_failure(struct listed *item, int error)
{
    item->failed = true;
    if (worth_a_line(&told.failed))
        log_line(
            "TransferMMapFile %s: %s while it was read in; it is served, but not kept in memory",
            item->path, log_reason(error));
}

/* What there is to do, here or for the keeper. @return how many, with `todo` to be freed */
static size_t collect(bool by_keeper, struct kept **todo)
{
    size_t found = 0;

    *todo = calloc(count > 0 ? count : 1, sizeof **todo);
    for (size_t i = 0; i < count; i++) {
        struct listed *item = &list[i];
        if (item->file == NULL || item->here == by_keeper || !item->keep)
            continue;
        const struct preload_kept *kept = preload_kept(item->file);
        if (!by_keeper && kept->read_in && (kept->locked || !item->lock))
            continue;
        item->failed = false;
        if (*todo == NULL)
            tell_failure(item, ENOMEM);
        else
            (*todo)[found++] = (struct kept){.index = i,
                                             .path = item->path,
                                             .mapping = *preload_mapping(item->file),
                                             .lock = item->lock};
    }
    return found;
}

/* @return false: something else is wanted by now */
static bool keep_here(void)
{
    struct kept *todo;
    size_t found = collect(false, &todo);
    bool whole = keep_files(todo, found, superseded);

    for (size_t i = 0; whole && i < found; i++) {
        struct listed *item = &list[todo[i].index];
        *preload_kept(item->file) = (struct preload_kept){
            .read_in = todo[i].error == 0, .locked = todo[i].error == 0 && todo[i].lock};
        if (todo[i].error != 0)
            tell_failure(item, todo[i].error);
    }
    free(todo);
    return whole;
}

/* Without it, what it should hold is not in memory. */
static void tell_no_keeper(const char *why)
{
    size_t files = 0;

    for (size_t i = 0; i < count; i++) {
        struct listed *item = &list[i];
        bool its = item->file != NULL && !item->here && item->keep;
        item->failed = item->failed || its;
        files += its;
    }
    log_line("%zu listed files are served, but not kept in memory, for want of a process: %s",
             files, why);
}

/* @return false: something else is wanted by now */
static bool hear(struct keeper *next, struct kept *todo, size_t found)
{
    if (!keeper_hear(next, todo, found, superseded)) {
        if (errno == ECANCELED)
            return false;
        keeper_dismiss(next);
        tell_no_keeper("it has ended");
        return true;
    }
    for (size_t i = 0; i < found; i++) {
        if (todo[i].error != 0)
            tell_failure(&list[todo[i].index], todo[i].error);
    }
    return true;
}

/* ---- all of it ---- */

static double seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void announce(double since)
{
    uint64_t bytes = 0, locked = 0;
    size_t files = 0, left = 0;

    for (size_t i = 0; i < count; i++) {
        const struct listed *item = &list[i];
        bool kept = is_kept(item);
        show(item);
        files += kept;
        left += !kept;
        bytes += kept ? (uint64_t)item->size : 0;
        locked += kept && item->lock ? (uint64_t)item->size : 0;
    }
    log_line(
        "listed files: %zu in memory (%.1f MiB) after %.1f s, %.1f MiB locked; %zu not in memory",
        files, (double)bytes / (1 << 20), seconds() - since, (double)locked / (1 << 20), left);
}

/* Have in memory what fits. @param there  whether what the keeper holds has changed */
static void settle(bool there, double since)
{
    struct kept *todo = NULL;
    struct keeper next = KEEPER_NONE;

    choose();
    unlock();
    size_t found = there ? collect(true, &todo) : 0;
    if (found > 0 && !keeper_employ(&next, todo, found))
        tell_no_keeper(log_reason(errno));
    bool whole = keep_here() && (next.line == -1 || hear(&next, todo, found));
    if (there) { /* not before the next one holds what stays */
        keeper_dismiss(whole ? &keeper : &next);
        keeper = whole ? next : keeper;
    }
    free(todo);
    if (whole)
        announce(since);
}

/* Nobody employs another one: it was the memory, most likely, for want of which it had to go. */
static void look_after_keeper(void)
{
    if (!keeper_has_ended(&keeper))
        return;
    tell_no_keeper(
        "it was killed, for want of memory perhaps; have it again by reloading the server, "
        "with less in TransferMMapMaxMemory if need be");
    for (size_t i = 0; i < count; i++)
        show(&list[i]);
}

/* @return whether it is another file by now, or was changed, or is gone */
static bool look_again(struct listed *item)
{
    bool had = item->file != NULL;
    struct stat64 status;

    if (had && stat64(item->path, &status) == 0 && preload_is(item->file, &status))
        return false;
    let_go(item);
    item->failed = false;
    const char *wrong = take(item);
    tell_problem(item, had ? wrong : NULL); /* the first time only */
    if (item->file != NULL)
        log_line("TransferMMapFile %s has changed and is taken in anew", item->path);
    return had || item->file != NULL;
}

/* Look again at all, as sessions have found some changed, or as none may ever open what is gone.
 * @return whether there was anything */
static bool recheck(void)
{
    bool any = false, there = false;
    double since = seconds();

    told = (struct told){.unlisted = 0};
    for (size_t i = 0; i < count; i++)
        (void)notice_take(list[i].flag);
    for (size_t i = 0; i < count && !superseded(); i++) {
        if (!look_again(&list[i]))
            continue;
        there = there || !list[i].here;
        any = true;
    }
    if (any)
        settle(there, since);
    return any;
}

/* ---- the thread ---- */

static void forget_wanted(struct wanted *wanted)
{
    for (size_t i = 0; wanted != NULL && i < wanted->count; i++)
        free(wanted->patterns[i]);
    if (wanted != NULL)
        free(wanted->patterns);
    free(wanted);
}

static void take_wanted(struct wanted *wanted)
{
    double since = seconds();

    forget_wanted(current);
    current = wanted;
    told = (struct told){.unlisted = 0};
    if (take_list() && (count > 0 || keeper.line != -1))
        settle(true, since);
}

/*
 * Descriptors of its own: the server closes those that it doesn't know, and a session must not find
 * a file open in there that its user may not read. (__NR_ in place of SYS_, which glibc 2.31 has
 * not.)
 */
static bool part_from_descriptors(void)
{
    return syscall(__NR_close_range, 0, UINT_MAX, CLOSE_RANGE_UNSHARE) == 0;
}

static void *work(void *unused)
{
    double looked = 0;

    (void)prctl(PR_SET_NAME, "xfermmap");
    /* Wildcards in any other take libc's lock of locales, which a fork may catch taken. The child
     * would wait for it for ever, as it sends its greeting. */
    (void)uselocale(newlocale(LC_ALL_MASK, "C", NULL));
    if (!part_from_descriptors()) {
        log_line("listed files are not kept in memory: close_range(2): %s", log_reason(errno));
        return unused;
    }
    (void)rights_set_user(rights);
    for (;;) {
        struct wanted *wanted = atomic_exchange(&pending, NULL);
        bool due = wanted != NULL || seconds() - looked >= RECHECK_SECONDS, busy = true;
        if (wanted != NULL)
            take_wanted(wanted);
        else if (due) {
            look_after_keeper();
            busy = recheck();
        }
        if (due)
            looked = seconds();
        /* after a look that found nothing, whoever knocks next is answered at once */
        double wait = looked + RECHECK_SECONDS - seconds();
        int idle = count > 0 ? 1000 * IDLE_SECONDS : -1;
        notice_wait(busy ? (int)(1000 * (wait > 0 ? wait : 0)) + 1 : idle);
    }
}

/* What the thread of a parent left here: the fork has caught it at any step. */
static void forget_parent(void)
{
    current = NULL;
    list = NULL;
    count = room = here = inherited = 0;
    keeper = (struct keeper)KEEPER_NONE; /* the line is no descriptor of this process */
    preload_unload();
}

bool resident_start(uid_t user)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, former;

    if (atomic_exchange(&running, true)) /* another thread listens, too */
        return true;
    if (!notice_share()) {
        atomic_store(&running, false);
        return false;
    }
    forget_parent();
    rights = user;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* signals are for the server's own thread, but for faults of this one */
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    (void)libc_next(pthread_sigmask)(SIG_SETMASK, &all, &former);
    int failure = pthread_create(&thread, &attributes, work, NULL);
    (void)libc_next(pthread_sigmask)(SIG_SETMASK, &former, NULL);
    (void)pthread_attr_destroy(&attributes);
    atomic_store(&running, failure == 0);
    errno = failure;
    return failure == 0;
}

void resident_forked(void)
{
    atomic_store(&running, false);
    preload_forked();
}

bool resident_runs(void)
{
    return atomic_load(&running);
}

bool resident_is_only_company(void)
{
    struct stat64 tasks;
    int saved = errno;

    /* two directories above and in it, and one for each thread */
    bool only = atomic_load_explicit(&running, memory_order_relaxed) &&
                stat64("/proc/self/task", &tasks) == 0 && tasks.st_nlink == 2 + 2;
    errno = saved;
    return only;
}

void resident_want(const struct config *config)
{
    struct wanted *wanted = calloc(1, sizeof *wanted);

    if (wanted == NULL)
        return;
    wanted->lock = config->lock;
    wanted->max_memory = allowance_listed(&config->max_memory);
    wanted->patterns = calloc(config->files.count + 1, sizeof *wanted->patterns);
    for (size_t i = 0; wanted->patterns != NULL && i < config->files.count; i++) {
        wanted->patterns[wanted->count] = strdup(config->files.items[i]);
        wanted->count += wanted->patterns[wanted->count] != NULL;
    }
    forget_wanted(atomic_exchange(&pending, wanted));
    notice_wake();
}

void resident_know(const struct config_list *paths)
{
    struct stat64 status;

    for (size_t i = 0; i < paths->count; i++)
        expand(paths->items[i]);
    for (size_t i = 0; i < count; i++) {
        if (stat64(list[i].path, &status) == 0 && S_ISREG(status.st_mode))
            (void)preload_list(-1, &status, PRELOAD_KNOWN, STATUS_FILES);
    }
    clear_list();
}
