/*
 * The differential tester: do random sequences of calls through the library on one file and by the
 * kernel on its twin, and compare everything that a program could observe.
 *
 *     differential --seeds 1-1000 --steps 10000 --jobs 2 build/libxfermmap.so
 *     differential --seeds 7-7 --steps 10000 --only 3,17,99 build/libxfermmap.so
 *
 * Each seed's sequence runs in a separate process and directory. A failing sequence is shrunk to
 * the steps that it needs, and printed.
 */
#include "run.h"
#include "status.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
    uint64_t first, last; /* seeds */
    size_t steps;
    double seconds; /* 0: until all seeds are done */
    unsigned jobs, enough;
    bool as_is;
    const char *only, *library, *worker; /* worker: the directory to run one sequence in */
    const char *scarce;                  /* preloaded after the library in some processes */
} asked = {.first = 1, .last = 20, .steps = 10000, .jobs = 1, .enough = 3};

/* Totals of all jobs. */
static struct totals {
    atomic_uint seeds, differences;
    _Atomic uint64_t steps, from_memory, by_kernel, listed, mapped, refused;
} * totals;

enum { MOST_SHOWN = 30 /* steps */ };

static char scratch[1024];

static void give_up(const char *what)
{
    perror(what);
    exit(2);
}

static double now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- one sequence ---- */

/* Keep the steps whose numbers are in a list, "3,17,99". @return their count */
static size_t keep_only(struct step *steps, size_t count, const char *list)
{
    size_t kept = 0;
    char *end;

    for (const char *next = list; *next != '\0'; next = *end == ',' ? end + 1 : end) {
        size_t index = strtoul(next, &end, 10);
        if (end == next || index >= count)
            break;
        steps[kept++] = steps[index];
    }
    return kept;
}

static struct record *map_record(const char *directory)
{
    char path[PATH_MAX];
    struct record *record;

    (void)snprintf(path, sizeof path, "%s/record", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd == -1 || ftruncate(fd, sizeof *record) != 0)
        give_up(path);
    record = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (record == MAP_FAILED || close(fd) != 0)
        give_up(path);
    return record;
}

/* In the process with the library preloaded. */
static int work(void)
{
    struct step *steps = calloc(asked.steps, sizeof *steps);
    struct record *record = map_record(asked.worker);
    size_t count = asked.steps;

    if (steps == NULL || chdir(asked.worker) != 0)
        give_up(asked.worker);
    step_draw(steps, count, asked.first);
    if (asked.only != NULL)
        count = keep_only(steps, count, asked.only);
    return run_steps(steps, count, asked.first, record);
}

static void write_text(const char *directory, const char *name, const char *text, size_t length)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd == -1 || write(fd, text, length) != (ssize_t)length || close(fd) != 0)
        give_up(path);
}

/* List half of the files, and create them before the program starts. */
static void make_directory(const char *directory, uint64_t seed)
{
    static char content[200000];
    char text[4 * PATH_MAX], path[PATH_MAX];
    uint64_t state = seed;
    int length;

    if (mkdir(directory, 0755) != 0)
        give_up(directory);
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (char)step_random(&state);
    write_text(directory, "watched", content, sizeof content);
    length = snprintf(text, sizeof text,
                      "TransferMMapEngine on\nTransferMMapMinSize 1\nTransferMMapLog none\n"
                      "TransferMMapStatusFile %s/status\n",
                      directory);
    if (run_role(seed) != ORDINARY) {
        for (int side = 0; side < 2; side++) {
            (void)snprintf(path, sizeof path, "%s/%c", directory, "ab"[side]);
            if (mkdir(path, 0755) != 0)
                give_up(path);
            write_text(path, "f3", content, 70001);
            write_text(path, "f5", content, sizeof content);
        }
        length += snprintf(text + length, sizeof text - (size_t)length,
                           "TransferMMapFile %s/a/f3 %s/a/f5 %s/watched\n", directory, directory,
                           directory);
    }
    write_text(directory, "directives", text, (size_t)length);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static void remove_directory(const char *path)
{
    (void)nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void exec_worker(const char *directory, uint64_t seed, const char *only)
{
    static const struct rlimit no_core = {0, 0};
    char text[3][PATH_MAX + 32];

    (void)snprintf(text[0], sizeof text[0], "--seeds=%" PRIu64 "-%" PRIu64, seed, seed);
    (void)snprintf(text[1], sizeof text[1], "--steps=%zu", asked.steps);
    (void)snprintf(text[2], sizeof text[2], "--worker=%s", directory);
    char *arguments[] = {(char *)"differential", text[0], text[1], text[2], NULL, NULL, NULL};
    if (only != NULL) {
        arguments[4] = (char *)"--only";
        arguments[5] = (char *)(uintptr_t)only;
    }
    char path[PATH_MAX], preload[2 * PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/directives", directory);
    bool scarce = asked.scarce != NULL && run_is_scarce(seed);
    (void)snprintf(preload, sizeof preload, "%s%s%s", asked.library, scarce ? ":" : "",
                   scarce ? asked.scarce : "");
    (void)setrlimit(RLIMIT_CORE, &no_core);
    if (setenv("LD_PRELOAD", preload, 1) != 0 || setenv("XFERMMAP_PROCESS", "*", 1) != 0 ||
        setenv("XFERMMAP_CONF", path, 1) != 0)
        give_up("setenv");
    (void)execv("/proc/self/exe", arguments);
    give_up("exec");
}

static void add_counters(const char *directory)
{
    char path[PATH_MAX];
    uint64_t values[STATUS_COUNTER_COUNT] = {0};

    (void)snprintf(path, sizeof path, "%s/status", directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1 || pread(fd, values, sizeof values, offsetof(struct status, counters)) <= 0)
        give_up(path);
    (void)close(fd);
    atomic_fetch_add(&totals->from_memory, values[STATUS_BYTES]);
    atomic_fetch_add(&totals->by_kernel, values[STATUS_BYTES_KERNEL]);
    atomic_fetch_add(&totals->listed, values[STATUS_LISTED]);
    atomic_fetch_add(&totals->mapped, values[STATUS_MAPPED]);
    atomic_fetch_add(&totals->refused, values[STATUS_REFUSED]);
}

/* The result of a sequence. */
struct verdict {
    bool differs;
    unsigned done; /* steps before the difference */
    char text[256];
};

static struct verdict try(uint64_t seed, const char *only)
{
    char directory[sizeof scratch + 40];
    struct verdict verdict = {.differs = false};
    int status = 0;

    (void)snprintf(directory, sizeof directory, "%s/%d-%" PRIu64, scratch, getpid(), seed);
    make_directory(directory, seed);
    struct record *record = map_record(directory);
    pid_t worker = fork();
    if (worker == -1)
        give_up("fork");
    if (worker == 0)
        exec_worker(directory, seed, only);
    if (waitpid(worker, &status, 0) != worker)
        give_up("waitpid");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
        exit(2); /* the tester failed, and has printed why */
    verdict.done = atomic_load(&record->done);
    verdict.differs = status != 0;
    if (WIFSIGNALED(status))
        (void)snprintf(verdict.text, sizeof verdict.text, "ended by signal %d (%s)",
                       WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        (void)snprintf(verdict.text, sizeof verdict.text, "%s", record->difference);
    if (!verdict.differs)
        add_counters(directory);
    (void)munmap(record, sizeof *record);
    remove_directory(directory);
    return verdict;
}

/* ---- shrinking ---- */

struct list {
    size_t *items;
    size_t count;
};

static char *spelled(const struct list *list, size_t from, size_t to)
{
    char *text = malloc(12 * list->count + 1), *end = text;

    if (text == NULL)
        give_up("memory");
    *text = '\0';
    for (size_t i = 0; i < list->count; i++) {
        if (i < from || i >= to)
            end += sprintf(end, "%s%zu", end == text ? "" : ",", list->items[i]);
    }
    return text;
}

/* Leave out parts while the sequence still fails: halves first, single steps last. */
static void shrink(uint64_t seed, struct list *list, struct verdict *verdict)
{
    for (size_t part = list->count / 2; part > 0; part /= 2) {
        for (size_t from = 0; from < list->count;) {
            size_t to = from + part < list->count ? from + part : list->count;
            char *rest = spelled(list, from, to);
            struct verdict tried = try(seed, rest);
            free(rest);
            if (!tried.differs) {
                from = to;
                continue;
            }
            *verdict = tried;
            memmove(list->items + from, list->items + to, (list->count - to) * sizeof *list->items);
            list->count -= to - from;
        }
    }
}

static void shrink_and_print(uint64_t seed, struct verdict verdict)
{
    struct step *steps = calloc(asked.steps, sizeof *steps);
    struct list list = {calloc(verdict.done + 1, sizeof(size_t)), verdict.done + 1};

    if (steps == NULL || list.items == NULL)
        give_up("memory");
    for (size_t i = 0; i < list.count; i++)
        list.items[i] = i;
    step_draw(steps, asked.steps, seed);
    if (asked.only == NULL && list.count <= asked.steps)
        shrink(seed, &list, &verdict);
    char *only = asked.only != NULL ? strdup(asked.only) : spelled(&list, 0, 0);
    printf("  shrunk to %zu steps: %s\n  again: --seeds %" PRIu64 "-%" PRIu64
           " --steps %zu --only %s\n",
           list.count, verdict.text, seed, seed, asked.steps, only);
    for (size_t i = 0; i < list.count && i < MOST_SHOWN && asked.only == NULL; i++)
        step_print(stdout, list.items[i], &steps[list.items[i]]);
    (void)fflush(stdout);
    free(only);
    free(list.items);
    free(steps);
}

/* ---- all seeds ---- */

static void run_job(unsigned job, double until)
{
    for (uint64_t seed = asked.first + job; seed <= asked.last; seed += asked.jobs) {
        if (until > 0 && now() >= until)
            return;
        struct verdict verdict = try(seed, asked.only);
        atomic_fetch_add(&totals->seeds, 1);
        atomic_fetch_add(&totals->steps, verdict.done);
        if (!verdict.differs)
            continue;
        atomic_fetch_add(&totals->differences, 1);
        printf("seed %" PRIu64 ": after %u steps: %s\n", seed, verdict.done, verdict.text);
        (void)fflush(stdout);
        if (!asked.as_is)
            shrink_and_print(seed, verdict);
        if (atomic_load(&totals->differences) >= asked.enough)
            return;
    }
}

static int run_jobs(void)
{
    double start = now(), until = asked.seconds > 0 ? start + asked.seconds : 0;
    const char *parent = getenv("TMPDIR");
    int status, worst = 0;

    totals = mmap(NULL, sizeof *totals, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    (void)snprintf(scratch, sizeof scratch, "%s/differential.XXXXXX",
                   parent != NULL ? parent : "/tmp");
    if (totals == MAP_FAILED || mkdtemp(scratch) == NULL || chmod(scratch, 0755) != 0)
        give_up(scratch);
    for (unsigned job = 0; job < asked.jobs; job++) {
        pid_t pid = fork();
        if (pid == -1)
            give_up("fork");
        if (pid == 0) {
            run_job(job, until);
            exit(0);
        }
    }
    while (wait(&status) > 0) {
        if (status != 0)
            worst = 2;
    }
    remove_directory(scratch);
    double took = now() - start;
    printf("%u seeds, %" PRIu64 " steps, %u differences; %.1f s, %.0f steps/s\n", totals->seeds,
           totals->steps, totals->differences, took, (double)totals->steps / took);
    printf("%" PRIu64 " MiB read from memory, %" PRIu64 " MiB by the kernel; opened to be served: "
           "%" PRIu64 " mapped, %" PRIu64 " listed; %" PRIu64 " mappings refused\n",
           totals->from_memory >> 20, totals->by_kernel >> 20, totals->mapped, totals->listed,
           totals->refused);
    if (worst == 0 && totals->differences > 0)
        worst = 1;
    return worst;
}

/* ---- options ---- */

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    char *end;

    switch (key) {
    case 's':
        asked.first = asked.last = strtoull(argument, &end, 10);
        if (*end == '-')
            asked.last = strtoull(end + 1, &end, 10);
        if (*end != '\0' || asked.first == 0 || asked.last < asked.first)
            argp_error(state, "--seeds takes FROM-TO, from 1 on");
        return 0;
    case 'n':
        asked.steps = strtoull(argument, &end, 10);
        if (*end != '\0' || asked.steps == 0)
            argp_error(state, "--steps takes a number");
        return 0;
    case 't':
        asked.seconds = strtod(argument, &end);
        if (*end != '\0' || asked.seconds <= 0)
            argp_error(state, "--seconds takes a number");
        return 0;
    case 'j':
        asked.jobs = (unsigned)strtoul(argument, &end, 10);
        if (*end != '\0' || asked.jobs == 0)
            argp_error(state, "--jobs takes a number");
        return 0;
    case 'e':
        asked.enough = (unsigned)strtoul(argument, &end, 10);
        if (*end != '\0' || asked.enough == 0)
            argp_error(state, "--enough takes a number");
        return 0;
    case 'a':
        asked.as_is = true;
        return 0;
    case 'c':
        asked.scarce = realpath(argument, NULL);
        if (asked.scarce == NULL)
            argp_failure(state, 2, errno, "%s", argument);
        return 0;
    case 'o':
        asked.only = argument;
        return 0;
    case 'w':
        asked.worker = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            argp_usage(state);
        asked.library = realpath(argument, NULL);
        if (asked.library == NULL)
            argp_failure(state, 2, errno, "%s", argument);
        return 0;
    case ARGP_KEY_END:
        if (asked.library == NULL && asked.worker == NULL)
            argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int count, char **arguments)
{
    static const struct argp_option options[] = {
        {"seeds", 's', "FROM-TO", 0, "the seeds to try (1-20)", 0},
        {"steps", 'n', "N", 0, "how many steps each (10000)", 0},
        {"seconds", 't', "N", 0, "begin no seed after this time", 0},
        {"jobs", 'j', "N", 0, "how many at a time (1)", 0},
        {"enough", 'e', "N", 0, "stop after so many that differ (3)", 0},
        {"as-is", 'a', NULL, 0, "do not shrink what differs", 0},
        {"scarce", 'c', "LIBRARY", 0, "have this one refuse mappings and locks, in every other run",
         0},
        {"only", 'o', "LIST", 0, "these steps of the sequence alone", 0},
        {"worker", 'w', "DIRECTORY", OPTION_HIDDEN, NULL, 0},
        {NULL, 0, NULL, 0, NULL, 0},
    };
    static const struct argp argp = {
        options,   take_option,
        "LIBRARY", "Do random sequences of calls through LIBRARY and by the kernel, and compare.",
        NULL,      NULL,
        NULL};

    if (argp_parse(&argp, count, arguments, 0, NULL, NULL) != 0)
        return 2;
    return asked.worker != NULL ? work() : run_jobs();
}
