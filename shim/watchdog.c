#include "watchdog.h"

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
#include <unistd.h>

enum { MOST_HUNG = 16, RETRY_SECONDS = 60 };

/* Shared with the child. */
static struct progress {
    _Atomic unsigned steps;
    atomic_bool replaces_parent;
    char path[PATH_MAX];
} * progress;

static pid_t child;
static int pipe_end = -1; /* the pipe breaks when the child exits or replaces its parent */
static unsigned steps_seen;
static time_t moved; /* when `steps` last changed, seconds */

static struct hung {
    char *path; /* NULL: unused; with a '/' at the end: all that is below */
    pid_t child;
    uint64_t start; /* of the child */
    time_t since;
} hung[MOST_HUNG];
static const char *hung_path = "";

static time_t now(void)
{
    return (time_t)(libc_time(CLOCK_MONOTONIC) / NS_PER_SECOND);
}

/* ---- paths where a child hung ---- */

static struct hung *unused_entry(void)
{
    struct hung *unused = NULL;

    for (struct hung *entry = hung; entry < hung + MOST_HUNG; entry++) {
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

bool watchdog_is_hung(const char *path)
{
    for (const struct hung *entry = hung; entry < hung + MOST_HUNG; entry++) {
        size_t length = entry->path != NULL ? strlen(entry->path) : 0;
        bool below = length > 0 && entry->path[length - 1] == '/';
        if (length > 0 && strncmp(entry->path, path, below ? length : length + 1) == 0)
            return true;
    }
    return false;
}

bool watchdog_has_hung(void)
{
    for (const struct hung *entry = hung; entry < hung + MOST_HUNG; entry++) {
        if (entry->path != NULL)
            return true;
    }
    return false;
}

static size_t directory_length(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}

/* Pass over a whole directory if another path in it hung before. */
static void widen(char *path)
{
    size_t length = directory_length(path);

    for (const struct hung *entry = hung; entry < hung + MOST_HUNG; entry++) {
        if (entry->path != NULL && length > 1 && directory_length(entry->path) == length &&
            strncmp(entry->path, path, length) == 0)
            path[length] = '\0';
    }
}

const char *watchdog_hung_path(void)
{
    return hung_path;
}

/* ---- the parent ---- */

/* @return false: errno */
static bool share_progress(void)
{
    if (progress == NULL) {
        void *shared =
            mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        progress = shared != MAP_FAILED ? shared : NULL;
    }
    return progress != NULL;
}

enum watchdog_event watchdog_fork(void)
{
    int ends[2];

    while (waitpid(-1, NULL, WNOHANG) > 0) { /* those that hung */
    }
    errno = EAGAIN;
    if (unused_entry() == NULL || !share_progress() || pipe2(ends, O_CLOEXEC) == -1)
        return WATCHDOG_FAILED;
    progress->path[0] = '\0';
    atomic_store(&progress->replaces_parent, false);
    child = fork();
    libc_close(ends[child == 0 ? 0 : 1]);
    pipe_end = ends[child == 0 ? 1 : 0];
    moved = now();
    if (child == 0)
        return WATCHDOG_CHILD;
    if (child > 0)
        return WATCHDOG_RUNNING;
    libc_close(pipe_end);
    pipe_end = -1;
    return WATCHDOG_FAILED;
}

int watchdog_descriptor(void)
{
    return pipe_end;
}

static void forget_child(void)
{
    libc_close(pipe_end);
    pipe_end = -1;
}

void watchdog_kill(void)
{
    if (pipe_end == -1)
        return;
    (void)kill(child, SIGKILL); /* not waited for, so the number is still the child's */
    forget_child();
}

static enum watchdog_event pass_over(void)
{
    struct hung *entry = unused_entry(); /* there is one: see watchdog_fork() */

    assert(entry != NULL && pipe_end != -1);
    progress->path[sizeof progress->path - 1] = '\0';
    widen(progress->path);
    *entry = (struct hung){.path = strdup(progress->path),
                           .child = child,
                           .start = process_start(child),
                           .since = now()};
    hung_path = entry->path != NULL ? entry->path : "";
    forget_child();
    return WATCHDOG_HUNG;
}

enum watchdog_event watchdog_poll(int *exit_status)
{
    assert(pipe_end != -1 && progress != NULL);
    struct pollfd broken = {.fd = pipe_end};
    unsigned steps = atomic_load(&progress->steps);
    int status;

    if (steps != steps_seen) {
        steps_seen = steps;
        moved = now();
    }
    if (poll(&broken, 1, 0) != 1) {
        if (now() - moved <= WATCHDOG_SECONDS)
            return WATCHDOG_RUNNING;
        (void)kill(child, SIGKILL);
        return pass_over();
    }
    if (atomic_load(&progress->replaces_parent)) {
        forget_child();
        return WATCHDOG_REPLACED;
    }
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return pass_over(); /* killed, or crashed */
    forget_child();
    *exit_status = WEXITSTATUS(status);
    return WATCHDOG_EXITED;
}

/* ---- the child ---- */

void watchdog_touch(const char *path)
{
    (void)snprintf(progress->path, sizeof progress->path, "%s", path);
    atomic_fetch_add(&progress->steps, 1);
}

void watchdog_replace_parent(void)
{
    atomic_store(&progress->replaces_parent, true);
    forget_child();
    progress = NULL; /* its own children share another one */
}
