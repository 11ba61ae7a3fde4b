#include "allowance.h"
#include "config.h"
#include "everyone.h"
#include "log.h"
#include "preload.h"
#include "tool.h"

#include <argp.h>
#include <errno.h>
#include <glob.h>
#include <search.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error_t parse(int key, char *argument, struct argp_state *state)
{
    const char **directives = state->input;

    if (key != 'c')
        return ARGP_ERR_UNKNOWN;
    *directives = argument;
    return 0;
}

static const struct argp_option argp_options[] = {
    {"config", 'c', "FILE", 0, "the directive file, instead of XFERMMAP_CONF or the default", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc =
        "Read the directive file as the library would. Say what is wrong with it, which files "
        "would "
        "be listed, how much of them is in memory now, and whether they fit into the memory that "
        "they may take. Run it as the user who starts the server, in most cases root."
        "\vExit status: 0 if the server would start with all of it, 1 if something is wrong.",
};

struct sum {
    uint64_t most; /* bytes, TransferMMapMaxMemory */
    size_t files, missing, crowded;
    uint64_t bytes, taken; /* of all; and of those that fit, whole pages */
    void *seen;            /* tsearch(3): a file may have several names */
};

/* A line that has in it what somebody has named a file, or written into one. */
__attribute__((format(printf, 2, 3))) static void say(FILE *out, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) == -1)
        text = NULL;
    va_end(arguments);
    if (text != NULL)
        tool_make_printable(text, strlen(text) + 1);
    (void)fprintf(out, "%s\n", text != NULL ? text : "out of memory");
    free(text);
}

/* ---- one file ---- */

static bool is_public(const char *path, mode_t mode)
{
    char *real = realpath(path, NULL);
    bool public = real != NULL && everyone_may_read(real, mode);

    free(real);
    return public;
}

/* @return why the library could not list it; NULL: it can */
static const char *problem_of(const char *path, struct stat64 *status)
{
    int fd = preload_open(path);
    const char *problem = preload_problem(fd, status);

    if (fd != -1)
        (void)close(fd);
    return problem;
}

static int compare_files(const void *one, const void *other)
{
    const struct stat64 *a = one, *b = other;

    if (a->st_dev != b->st_dev)
        return a->st_dev < b->st_dev ? -1 : 1;
    return (a->st_ino > b->st_ino) - (a->st_ino < b->st_ino);
}

/* @return whether it was seen before, by another name or the same */
static bool seen_before(const struct stat64 *status, struct sum *sum)
{
    struct stat64 *copy = malloc(sizeof *copy);

    if (copy == NULL)
        return false;
    *copy = *status;
    struct stat64 *const *first = tsearch(copy, &sum->seen, compare_files);
    bool seen = first != NULL && *first != copy;
    if (seen)
        free(copy);
    return seen;
}

static void check_file(const char *path, struct sum *sum)
{
    struct stat64 status = {.st_size = 0};
    uint64_t resident;
    const char *problem = problem_of(path, &status);

    if (problem != NULL) {
        say(stderr, "xfermmap: TransferMMapFile %s: %s", path, problem);
        sum->missing++;
        return;
    }
    if (seen_before(&status, sum))
        return;
    if (!allowance_take(sum->most, &sum->taken, status.st_size)) {
        say(stderr,
            "xfermmap: TransferMMapFile %s: no room for it in TransferMMapMaxMemory; it would "
            "be mapped, but not kept in memory",
            path);
        sum->crowded++;
    }
    if (sum->files++ == 0)
        (void)printf("%10s %10s  %-8s  %s\n", "size", "resident", "readable", "listed file");
    sum->bytes += (uint64_t)status.st_size;
    say(stdout, "%10s %10s  %-8s  %s", tool_size((uint64_t)status.st_size).text,
        tool_resident(path, &resident) ? tool_size(resident).text : "?",
        is_public(path, status.st_mode) ? "by all" : "by some", path);
}

static void check_pattern(const char *pattern, struct sum *sum)
{
    glob_t found;

    if (glob(pattern, GLOB_NOCHECK, NULL, &found) != 0) {
        say(stderr, "xfermmap: TransferMMapFile %s: the wildcard can't be expanded", pattern);
        sum->missing++;
        return;
    }
    for (size_t i = 0; i < found.gl_pathc; i++)
        check_file(found.gl_pathv[i], sum);
    globfree(&found);
}

/* ---- the directives ---- */

static void print_directives(const struct config *config)
{
    bool somewhere = config_engine_anywhere(config);
    size_t on = 0;

    (void)printf("TransferMMapEngine %s", somewhere ? "on" : "off");
    for (size_t i = 0; i < config->binding_count; i++)
        on += config->bindings[i].engine;
    if (somewhere && config->binding_count > 0)
        (void)printf(" for %zu of %zu addresses, and %s for others", on, config->binding_count,
                     config->engine ? "on" : "off");
    if (!somewhere)
        (void)printf("; no download is served from memory\n");
    else
        (void)printf("; files of %s and more are mapped as they are opened\n",
                     tool_size((uint64_t)config->min_size).text);
}

static void print_memory(const struct config *config, const struct sum *sum)
{
    uint64_t lock = allowance_lock();

    (void)printf("\n%zu listed file%s, %s; TransferMMapMaxMemory is %s of %s\n", sum->files,
                 sum->files == 1 ? "" : "s", tool_size(sum->bytes).text, tool_size(sum->most).text,
                 tool_size(allowance_memory()).text);
    if (config->lock && lock < sum->taken)
        (void)printf("TransferMMapLock: this user may lock %s only; set LimitMEMLOCK=infinity in "
                     "the server's unit, or ulimit -l unlimited\n",
                     tool_size(lock).text);
}

/* Where the library would write a file of its own. @return false: it could not */
static bool check_place(const char *directive, const char *path)
{
    if (path == NULL || log_directory_safe(path))
        return true;
    (void)fprintf(stderr, "xfermmap: %s %s: %s\n", directive, path,
                  errno == EPERM    ? "its directory has to be root's, or that of who runs the "
                                      "server, and not writable by everyone"
                  : errno == ENOENT ? "its directory is not there; make it"
                                    : strerror(errno));
    return false;
}

/* @return whether all of it would be as it says */
static bool check_valid(const struct config *config)
{
    struct sum sum = {.most = allowance_listed(&config->max_memory)};
    bool fine = config->notes.count == 0;

    fine = check_place("TransferMMapLog", config->log_path) && fine;
    fine = check_place("TransferMMapStatusFile", config->status_path) && fine;
    print_directives(config);
    for (size_t i = 0; i < config->files.count; i++)
        check_pattern(config->files.items[i], &sum);
    print_memory(config, &sum);
    tdestroy(sum.seen, free);
    return fine && sum.missing == 0 && sum.crowded == 0;
}

static bool print_remarks(const struct config *config)
{
    for (size_t i = 0; i < config->errors.count; i++)
        say(stderr, "%s", config->errors.items[i]);
    for (size_t i = 0; i < config->notes.count; i++)
        say(stderr, "%s", config->notes.items[i]);
    return config->valid;
}

int tool_check(int count, char **arguments)
{
    const char *path = tool_directive_file();
    struct config config = {.valid = true};
    bool fine;

    if (argp_parse(&argp, count, arguments, 0, NULL, &path) != 0)
        return TOOL_USAGE;
    if (!config_read(path, &config)) {
        (void)fprintf(stderr, "%s: %s; without it the library does nothing\n", path,
                      strerror(errno));
        return TOOL_TROUBLE;
    }
    log_as(geteuid());
    fine = print_remarks(&config);
    if (!fine)
        (void)fprintf(
            stderr, "%s would be refused: the server would run without the library's help\n", path);
    else
        fine = check_valid(&config);
    config_free(&config);
    return fine ? TOOL_FINE : TOOL_TROUBLE;
}
