#include "keeper.h"

#include "debug.h"
#include "handle.h"
#include "heat.h"
#include "hot.h"
#include "libc.h"
#include "listed.h"
#include "log.h"
#include "memory_limits.h"
#include "process.h"
#include "signals.h"
#include "status.h"
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* The least pause between two looks at the files, seconds, and how many times as long as the last
 * look: so looking takes 3 % of a processor at most. */
enum { LEAST_SECONDS = 3, REST = 30 };

/* How much a look may read in of TransferMMapHot: this, or a share if that is more. */
#define LEAST_FRESH ((uint64_t)64 << 20)
enum { FRESH_SHARE = 8 };

/* Mapped by the master and its keepers only. Keepers are numbered; keeper_end() uses up a number.
 */
static struct shared {
    atomic_uint newest;     /* the last one started */
    atomic_uint ready;      /* the last one that has read in its files */
    _Atomic pid_t process;  /* of the newest, or of its successor */
    _Atomic uint64_t start; /* from process_start() */
} * shared;

/* In the master. */
static pid_t master; /* the process that `shared` was made for */
static bool wanted;
static uid_t user;
static gid_t group;
static char *title; /* where the kernel looks for the arguments of the process */
static size_t title_size;

/* In the keeper. */
static const struct config *config;
static unsigned number;
static int master_pidfd = -1; /* readable when the master ends; -1: none */
static struct listed held;
static double look_took; /* seconds */
static struct status_keeper state;
static bool handles_work;
static bool follows;       /* another keeper, which holds its files until this one is ready */
static double piece_since; /* seconds */

/* ---- what ends a keeper ---- */

static bool master_has_ended(void)
{
    struct pollfd end = {.fd = master_pidfd, .events = POLLIN};

    return master_pidfd != -1 ? poll(&end, 1, 0) == 1 : kill(master, 0) == -1 && errno == ESRCH;
}

static bool goes_on(void)
{
    unsigned newest = atomic_load(&shared->newest), ready = atomic_load(&shared->ready);

    return ready <= number && (newest <= number || ready == number) && !master_has_ended();
}

/* True if a newer keeper runs, which the status is to show. */
static bool is_replaced(void)
{
    return atomic_load(&shared->newest) > number &&
           process_look(atomic_load(&shared->process), atomic_load(&shared->start)) != PROCESS_GONE;
}

/* ---- log and status ---- */

static bool is_in_memory(const struct listed_file *file)
{
    return file->memory.mapping.memory != NULL;
}

static void log_problems(void)
{
    size_t named = 0;

    for (size_t i = 0; i < held.hot && named <= LOG_OF_A_KIND; i++) {
        const struct listed_file *file = held.files[i];
        if (file->problem == NULL)
            continue;
        if (named++ < LOG_OF_A_KIND)
            log_line("TransferMMapFile %s: %s; it is not kept in memory", file->path,
                     file->problem);
        else
            log_line("TransferMMapFile: ... and more listed files (not named here)");
    }
}

static void log_unlocked(int failure)
{
    uint64_t allowed = limits_lock();

    if (allowed != UINT64_MAX)
        log_line("not all listed files are locked, for this user may lock %.1f MiB; they are read "
                 "in; set LimitMEMLOCK=infinity in the server's unit, or ulimit -l unlimited",
                 (double)allowed / (1 << 20));
    else
        log_line("not all listed files are locked (%s); they are read in; in a user namespace "
                 "CAP_IPC_LOCK does not count: set LimitMEMLOCK=infinity, or ulimit -l unlimited, "
                 "where the container is started",
                 strerror(failure));
}

struct sum {
    size_t files;
    uint64_t bytes, locked;
    int failure;
};

/* The files in memory from one index to another, that one not included. */
static struct sum sum_up(size_t from, size_t to)
{
    struct sum sum = {.files = 0};

    for (size_t i = from; i < to; i++) {
        const struct residency *memory = &held.files[i]->memory;
        sum.files += is_in_memory(held.files[i]);
        sum.bytes += memory->mapping.length;
        sum.locked += memory->locked;
        sum.failure = memory->lock_error != 0 ? memory->lock_error : sum.failure;
    }
    return sum;
}

static void log_listed(double took)
{
    static unsigned times; /* a successor counts on: it is a child */
    struct sum sum = sum_up(0, held.hot);

    if (times++ > LOG_OF_A_KIND)
        return;
    if (times == 1)
        log_problems();
    if (times == 1 && sum.failure != 0)
        log_unlocked(sum.failure);
    log_line("listed files%s: %zu in memory (%.1f MiB) after %.1f s, %.1f MiB locked; %zu not in "
             "memory%s",
             times > 1 ? " have changed" : "", sum.files, (double)sum.bytes / (1 << 20), took,
             (double)sum.locked / (1 << 20), held.hot - sum.files,
             times > LOG_OF_A_KIND ? "; further changes are not logged" : "");
}

static void log_hot_problem(void)
{
    static bool logged;

    for (size_t i = held.hot; i < held.count && !logged; i++) {
        const struct listed_file *file = held.files[i];
        if (file->problem == NULL)
            continue;
        logged = true;
        log_line("TransferMMapHot: %s: %s; it is not kept in memory (no more such files are named)",
                 file->path, file->problem);
    }
}

/* Log the first ones only: the hot set changes all the time. */
static void log_hot(void)
{
    static bool logged;
    struct sum sum = sum_up(held.hot, held.count);

    log_hot_problem();
    if (logged || sum.files == 0)
        return;
    logged = true;
    log_line("hot files: %zu in memory (%.1f MiB), %.1f MiB locked; xfermmap status shows which, "
             "and changes are not logged",
             sum.files, (double)sum.bytes / (1 << 20), (double)sum.locked / (1 << 20));
}

/* A session may have written any number as the errno. */
static void log_no_handle(void)
{
    static bool logged;
    int failure = config_is_hot(config) ? heat_failure() : 0;

    if (logged || failure <= 0 || failure > EHWPOISON)
        return;
    logged = true;
    log_line("TransferMMapHot: some downloaded files have no file handles (%s), as on overlayfs, "
             "and are not kept; list them instead",
             strerror(failure));
}

static void show_file(const struct listed_file *file)
{
    struct status_identity identity = status_identity_of(&file->status);
    uint64_t resident = STATUS_UNKNOWN, locked = file->memory.locked;

    if (file->hidden) {
        identity.size = 0;
        identity.modified = identity.modified_ns = 0;
        locked = 0;
    } else if (!watchdog_is_hung(file->path) && is_in_memory(file))
        resident = file->memory.locked == file->memory.mapping.length
                       ? file->memory.locked
                       : residency_bytes(&file->memory);
    status_file_set(file->slot, file->line, &identity, locked, resident);
    status_file_set_heat(file->slot, file->downloads, file->since);
}

static void show_list(void)
{
    static bool logged;

    status_files_begin();
    for (size_t i = 0; i < held.count; i++) {
        struct listed_file *file = held.files[i];
        file->slot = STATUS_NO_SLOT;
        if (file->problem != NULL)
            continue;
        file->slot = status_file_take(file->path);
        if (file->slot == STATUS_NO_SLOT && !logged) {
            logged = true;
            log_line("TransferMMapStatusFile: %s; it does not show all listed files",
                     strerror(errno));
        }
        show_file(file);
    }
    status_files_end();
}

static void become_keeper(enum status_keeping keeping)
{
    state.process = getpid();
    state.start = process_start(state.process);
    state.state = keeping;
    status_set_keeper(&state);
    atomic_store(&shared->start, state.start);
    atomic_store(&shared->process, state.process);
}

/* ---- looking at the files ---- */

static double seconds(clockid_t clock)
{
    return (double)libc_time(clock) / NS_PER_SECOND;
}

/* Rest as long as the last piece took: clients have the disk half of the time. */
static void pause_reading(void)
{
    double took = seconds(CLOCK_MONOTONIC) - piece_since;
    const struct timespec time = {.tv_nsec = (long)((took < 0.9 ? took : 0.9) * 1e9)};

    (void)nanosleep(&time, NULL);
}

static bool on_piece(size_t file, uint64_t bytes)
{
    watchdog_touch(held.files[file]->path);
    if (file < held.hot) {
        state.done = bytes;
        status_set_keeper(&state);
    } else
        pause_reading();
    piece_since = seconds(CLOCK_MONOTONIC);
    return goes_on();
}

static void read_in(void)
{
    assert(number > atomic_load(&shared->ready) || state.state == STATUS_READY);
    state.most = config_max_memory(config, limits_memory());
    state.files = held.hot;
    listed_map(&held, state.most);
    state.state = STATUS_READING_IN;
    state.total = 0;
    /* without hot files, whose sizes may not be public */
    for (size_t i = 0; i < held.hot; i++)
        state.total += held.files[i]->memory.mapping.length;
    piece_since = seconds(CLOCK_MONOTONIC);
    listed_read_in(&held, config->lock ? RESIDENCY_LOCK : RESIDENCY_READ, on_piece);
}

/* @param first  take all at once if the former keeper has them in memory */
static void add_hot(struct listed *found, bool first)
{
    uint64_t machine = limits_memory();
    struct hot_limits limits = {.hot = config_hot(config, machine),
                                .memory = config_max_memory(config, machine)};
    uint64_t part = limits.hot / FRESH_SHARE;

    state.most_hot = limits.hot;
    limits.fresh = first && follows ? UINT64_MAX : part > LEAST_FRESH ? part : LEAST_FRESH;
    if (handles_work && limits.hot > 0)
        hot_add(found, &held, &limits);
}

/* Compare the listed files only, not the hot ones. */
static bool is_listed_same(struct listed former, struct listed found)
{
    former.count = former.hot;
    found.count = found.hot;
    return listed_is_same(&former, &found);
}

/* In the child: exit if no file has changed, else become the keeper of the files as they are. */
static void succeed(double since)
{
    struct listed found = {.count = 0}, former = held;
    bool first = state.state != STATUS_READY;

    listed_expand(&found, &config->files);
    add_hot(&found, first);
    bool listed_changed = first || !is_listed_same(former, found);
    /* while something hangs, its pages are kept: a list without it is for changes of listed files
     */
    if (!listed_changed && (watchdog_has_hung() || listed_is_same(&held, &found)))
        _exit(0);
    held = found;
    read_in();
    if (!goes_on() || is_replaced())
        _exit(0);
    show_list();
    state.done = state.total;
    become_keeper(STATUS_READY);
    watchdog_replace_parent();
    atomic_store(&shared->ready, number);
    if (listed_changed)
        log_listed(seconds(CLOCK_MONOTONIC) - since);
    log_hot();
    listed_free(&former);
    look_took = first ? 0 : seconds(CLOCK_PROCESS_CPUTIME_ID);
}

/* Wait a second, or until an event of the child, or until the master ends. */
static void wait_a_second(void)
{
    struct pollfd ends[] = {{.fd = master_pidfd, .events = POLLIN},
                            {.fd = watchdog_descriptor(), .events = POLLIN}};

    (void)poll(ends, sizeof ends / sizeof ends[0], 1000);
}

/* Wait for an event of the child. @return WATCHDOG_RUNNING: this keeper is to end */
static enum watchdog_event watch(void)
{
    enum watchdog_event event = WATCHDOG_RUNNING;
    int unused;

    while (event == WATCHDOG_RUNNING && goes_on()) {
        wait_a_second();
        event = watchdog_poll(&unused);
    }
    return event;
}

static void log_hung(void)
{
    static unsigned named; /* a successor counts on */

    if (named++ == LOG_OF_A_KIND)
        log_line("TransferMMapFile: ... no answer from more (not named here)");
    else if (named <= LOG_OF_A_KIND)
        log_line("TransferMMapFile %s: no answer for %d s, or what looked at it was killed; it is "
                 "skipped, and tried again after a minute",
                 watchdog_hung_path(), WATCHDOG_SECONDS);
    status_set_keeper(&state);
}

/* Look at all files. @return false: this keeper is to end */
static bool look(void)
{
    static bool logged;
    double since = seconds(CLOCK_MONOTONIC), last = since;
    enum watchdog_event event = WATCHDOG_HUNG;

    while (event == WATCHDOG_HUNG) {
        last = seconds(CLOCK_MONOTONIC);
        event = watchdog_fork();
        if (event == WATCHDOG_CHILD) {
            succeed(since);
            return true;
        }
        if (event == WATCHDOG_RUNNING)
            event = watch();
        if (event == WATCHDOG_HUNG)
            log_hung();
    }
    look_took = seconds(CLOCK_MONOTONIC) - last;
    if (event == WATCHDOG_FAILED && !logged)
        log_line("the listed files can't be looked at: %s", strerror(errno));
    logged = logged || event == WATCHDOG_FAILED;
    return event == WATCHDOG_EXITED || event == WATCHDOG_FAILED;
}

/* @return false: this keeper is to end */
static bool rest(void)
{
    double least = look_took * REST > LEAST_SECONDS ? look_took * REST : LEAST_SECONDS;
    double until = seconds(CLOCK_MONOTONIC) + least;

    while (seconds(CLOCK_MONOTONIC) < until) {
        if (!goes_on())
            return false;
        wait_a_second();
    }
    return true;
}

static void show_heat(void)
{
    if (state.most_hot == 0)
        return;
    hot_update(&held, &state.downloads);
    status_set_keeper(&state);
    log_no_handle();
}

static void keep(void)
{
    do {
        if (is_replaced())
            continue;
        if (!look())
            break;
        show_heat();
        for (size_t i = 0; i < held.count; i++) /* pages that are not locked come and go */
            show_file(held.files[i]);
    } while (rest());
    watchdog_kill();
}

/* ---- becoming a process apart from the master ---- */

static void reset_signals(void)
{
    static const int ignored[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE};
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int signal = 1; signal < NSIG; signal++)
        (void)signals_action(signal, &action, NULL);
    action.sa_handler = SIG_IGN;
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        (void)signals_action(ignored[i], &action, NULL);
    sigemptyset(&none);
    (void)libc_next(pthread_sigmask)(SIG_SETMASK, &none, NULL);
}

/* Open descriptors 0 to 2, but for one that the log uses, so that no file gets these numbers. */
static void open_standard_descriptors(void)
{
    int fd;

    while ((fd = libc_next(open)("/dev/null", O_RDWR)) != -1 && fd <= STDERR_FILENO) {
    }
    libc_close(fd);
}

static void take_rights(void)
{
    if (seteuid(user) == -1 || setegid(group) == -1)
        log_line("the keeper runs as user %u: %s", geteuid(), strerror(errno));
}

static void name_process(void)
{
    const char *zone = getenv("TZ");
    char *copy = zone != NULL ? strdup(zone) : NULL;

    (void)prctl(PR_SET_NAME, "xfermmap");
    if (title_size > 0) {
        (void)clearenv(); /* it may be in this memory */
        memset(title, 0, title_size);
        (void)snprintf(title, title_size, "xfermmap: keeper of proftpd %d", master);
    }
    if (copy != NULL)
        (void)setenv("TZ", copy, 1);
    free(copy);
}

/* Be the OOM killer's first choice, before the server. */
static void raise_oom_score(void)
{
    static const char highest[] = "1000";
    int fd = libc_next(open)("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd == -1)
        return;
    if (write(fd, highest, sizeof highest - 1) == -1)
        log_line("the keeper's oom_score_adj: %s", strerror(errno));
    libc_close(fd);
}

static void run(void *directives)
{
    config = directives;
    take_rights();
    open_standard_descriptors();
    master_pidfd = process_open(master);
    reset_signals();
    name_process();
    raise_oom_score();
    if (chdir("/") == -1) /* do not keep a file system busy */
        log_line("the keeper's working directory: %s", strerror(errno));
    (void)setlocale(LC_ALL, "C"); /* wildcards are matched byte by byte */
    state.since = time(NULL);
    state.most_hot = config_hot(config, limits_memory());
    handles_work = state.most_hot > 0 && handle_allowed();
    follows =
        process_look(atomic_load(&shared->process), atomic_load(&shared->start)) == PROCESS_ALIVE;
    if (state.most_hot > 0 && !handles_work)
        log_line("TransferMMapHot: the keeper may not open files by their handles, and keeps the "
                 "listed files only; it needs CAP_DAC_READ_SEARCH");
    become_keeper(STATUS_READING_IN);
    keep();
    _exit(0);
}

/* ---- in the master ---- */

/* A title may extend into the environment: proc(5), "cmdline". */
void keeper_prepare(int count, char **arguments, char **environment)
{
    char *end = count > 0 ? arguments[0] : NULL;

    user = geteuid();
    group = getegid();
    title = end;
    for (int i = 0; i < count && arguments[i] == end; i++)
        end += strlen(arguments[i]) + 1;
    for (; *environment != NULL && *environment == end; environment++)
        end += strlen(*environment) + 1;
    title_size = (size_t)(end - title);
}

/* @return false: errno of mmap(2) */
static bool share(void)
{
    if (master == getpid())
        return true;
    void *page =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    (void)madvise(page, sizeof *shared, MADV_DONTFORK);
    shared = page;
    master = getpid();
    return true;
}

bool keeper_start(const struct config *directives)
{
    if (!share())
        return false;
    wanted = true;
    number = atomic_load(&shared->newest) + 1;
    (void)madvise(shared, sizeof *shared, MADV_DOFORK);
    bool forked = process_fork_orphan(run, (void *)(uintptr_t)directives, log_descriptor());
    int failure = errno;
    (void)madvise(shared, sizeof *shared, MADV_DONTFORK);
    if (forked)
        atomic_store(&shared->newest, number);
    errno = failure;
    return forked;
}

void keeper_end(void)
{
    if (!keeper_is_wanted())
        return;
    wanted = false;
    atomic_store(&shared->ready, atomic_fetch_add(&shared->newest, 1) + 1);
    status_files_begin(); /* no files */
    status_files_end();
    status_set_keeper(&(struct status_keeper){.state = STATUS_KEEPS_NOTHING});
}

bool keeper_is_wanted(void)
{
    return wanted && master == getpid();
}

bool keeper_is_missing(void)
{
    static time_t looked;
    static pid_t missed;
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    if (!keeper_is_wanted() || time.tv_sec == looked)
        return false;
    looked = time.tv_sec;
    pid_t process = atomic_load(&shared->process);
    if (process == 0 || process == missed ||
        process_look(process, atomic_load(&shared->start)) != PROCESS_GONE)
        return false;
    missed = process;
    return true;
}
