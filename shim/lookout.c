#include "lookout.h"

#include "debug.h"
#include "libc.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_STUCK = 16, RETRY_SECONDS = 60 };

/* Shared with the child. */
static struct position {
    _Atomic unsigned steps;
    atomic_bool succeeds;
    char path[PATH_MAX];
} * position;

static pid_t child;
static int end = -1; /* of a pipe: it breaks when the child exits or succeeds */
static unsigned steps_seen;
static time_t moved; /* when the child was last seen to */

static struct stuck {
    char *path; /* NULL: unused; with a '/' at its end: all that is below */
    pid_t child;
    uint64_t start; /* of the child */
    time_t since;
} stuck[MOST_STUCK];
static const char *stuck_at = "";

static time_t now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

/* ---- paths that do not answer ---- */

static struct stuck *unused_entry(void)
{
    struct stuck *unused = NULL;

    for (struct stuck *entry = stuck; entry < stuck + MOST_STUCK; entry++) {
        if (entry->path != NULL && now() - entry->since >= RETRY_SECONDS &&
            process_look(entry->child, entry->start) == PROCESS_GONE) {
            free(entry->path);
            entry->path = NULL;
        }
        if (entry->path == NULL)
            unused = entry;
    }
    return unused;
}

bool lookout_is_stuck(const char *path)
{
    for (const struct stuck *entry = stuck; entry < stuck + MOST_STUCK; entry++) {
        size_t length = entry->path != NULL ? strlen(entry->path) : 0;
        bool below = length > 0 && entry->path[length - 1] == '/';
        if (length > 0 && strncmp(entry->path, path, below ? length : length + 1) == 0)
            return true;
    }
    return false;
}

static size_t directory_length(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}

/* A directory with two files that do not answer is taken for one that does not. */
static void widen(char *path)
{
    size_t length = directory_length(path);

    for (const struct stuck *entry = stuck; entry < stuck + MOST_STUCK; entry++) {
        if (entry->path != NULL && length > 1 && directory_length(entry->path) == length &&
            strncmp(entry->path, path, length) == 0)
            path[length] = '\0';
    }
}

const char *lookout_stuck_at(void)
{
    return stuck_at;
}

/* ---- the parent ---- */

/* @return false: errno */
static bool share_position(void)
{
    if (position == NULL) {
        void *shared =
            mmap(NULL, sizeof *position, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        position = shared != MAP_FAILED ? shared : NULL;
    }
    return position != NULL;
}

enum lookout_event lookout_begin(void)
{
    int ends[2];

    while (waitpid(-1, NULL, WNOHANG) > 0) { /* those that were stuck */
    }
    errno = EAGAIN;
    if (unused_entry() == NULL || !share_position() || pipe2(ends, O_CLOEXEC) == -1)
        return LOOKOUT_FAILED;
    position->path[0] = '\0';
    atomic_store(&position->succeeds, false);
    child = fork();
    int failure = errno;
    (void)libc_next(close)(ends[child == 0 ? 0 : 1]);
    end = ends[child == 0 ? 1 : 0];
    moved = now();
    if (child == 0)
        return LOOKOUT_CHILD;
    if (child > 0)
        return LOOKOUT_NOTHING;
    (void)libc_next(close)(end);
    end = -1;
    errno = failure;
    return LOOKOUT_FAILED;
}

int lookout_descriptor(void)
{
    return end;
}

static void forget_child(void)
{
    (void)libc_next(close)(end);
    end = -1;
}

void lookout_end(void)
{
    if (end == -1)
        return;
    (void)kill(child, SIGKILL); /* not waited for yet, so the number is its own */
    forget_child();
}

static enum lookout_event give_up(void)
{
    struct stuck *entry = unused_entry(); /* there is one: see lookout_begin() */

    assert(entry != NULL && end != -1);
    position->path[sizeof position->path - 1] = '\0';
    widen(position->path);
    *entry = (struct stuck){.path = strdup(position->path),
                            .child = child,
                            .start = process_start(child),
                            .since = now()};
    stuck_at = entry->path != NULL ? entry->path : "";
    forget_child();
    return LOOKOUT_STUCK;
}

enum lookout_event lookout_look(int *exit_status)
{
    assert(end != -1 && position != NULL);
    struct pollfd broken = {.fd = end};
    unsigned steps = atomic_load(&position->steps);
    int status;

    if (steps != steps_seen) {
        steps_seen = steps;
        moved = now();
    }
    if (poll(&broken, 1, 0) != 1) {
        if (now() - moved <= LOOKOUT_SECONDS)
            return LOOKOUT_NOTHING;
        (void)kill(child, SIGKILL); /* not waited for yet, so the number is its own */
        return give_up();
    }
    if (atomic_load(&position->succeeds)) {
        forget_child();
        return LOOKOUT_SUCCESSOR;
    }
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return give_up(); /* it was killed, or has crashed */
    forget_child();
    *exit_status = WEXITSTATUS(status);
    return LOOKOUT_DONE;
}

/* ---- the child ---- */

void lookout_at(const char *path)
{
    (void)snprintf(position->path, sizeof position->path, "%s", path);
    atomic_fetch_add(&position->steps, 1);
}

void lookout_succeed(void)
{
    atomic_store(&position->succeeds, true);
    forget_child();
    position = NULL; /* its own children get another one */
}
