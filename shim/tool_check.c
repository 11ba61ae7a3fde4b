#include "allowance.h"
#include "config.h"
#include "everyone.h"
#include "tool.h"

#include <argp.h>
#include <errno.h>
#include <glob.h>
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
    size_t files, missing;
    uint64_t bytes;
};

/* ---- one file ---- */

static bool is_public(const char *path, mode_t mode)
{
    char *real = realpath(path, NULL);
    bool public = real != NULL && everyone_may_read(real, mode);

    free(real);
    return public;
}

/* @return why the library could not list it; NULL: it can */
static const char *problem_of(const char *path, struct stat *status)
{
    if (stat(path, status) == -1)
        return strerror(errno);
    if (!S_ISREG(status->st_mode))
        return "is no regular file";
    return access(path, R_OK) == -1 ? strerror(errno) : NULL;
}

static void check_file(const char *path, struct sum *sum)
{
    struct stat status;
    uint64_t resident;
    const char *problem = problem_of(path, &status);

    if (problem != NULL) {
        (void)fprintf(stderr, "xfermmap: TransferMMapFile %s: %s\n", path, problem);
        sum->missing++;
        return;
    }
    if (sum->files++ == 0)
        (void)printf("%10s %10s  %-8s  %s\n", "size", "resident", "readable", "listed file");
    sum->bytes += (uint64_t)status.st_size;
    (void)printf("%10s %10s  %-8s  %s\n", tool_size((uint64_t)status.st_size).text,
                 tool_resident(path, &resident) ? tool_size(resident).text : "?",
                 is_public(path, status.st_mode) ? "by all" : "by some", path);
}

static void check_pattern(const char *pattern, struct sum *sum)
{
    glob_t found;

    if (glob(pattern, GLOB_NOCHECK, NULL, &found) != 0) {
        (void)fprintf(stderr, "xfermmap: TransferMMapFile %s: the wildcard can't be expanded\n",
                      pattern);
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

/* @return false: it does not all fit */
static bool print_memory(const struct config *config, const struct sum *sum)
{
    uint64_t memory = allowance_memory(), lock = allowance_lock();
    uint64_t most = (uint64_t)config->max_memory.bytes;
    bool fits;

    if (most == 0)
        most = memory / 100 * config->max_memory.percent;
    fits = sum->bytes <= most;
    (void)printf("\n%zu listed file%s, %s; TransferMMapMaxMemory is %s of %s%s\n", sum->files,
                 sum->files == 1 ? "" : "s", tool_size(sum->bytes).text, tool_size(most).text,
                 tool_size(memory).text, fits ? "" : ": the last ones will not be kept in memory");
    if (config->lock && lock < sum->bytes && lock < most)
        (void)printf("TransferMMapLock: this user may lock %s only; set LimitMEMLOCK=infinity in "
                     "the server's unit, or ulimit -l unlimited\n",
                     tool_size(lock).text);
    return fits;
}

static bool print_remarks(const struct config *config)
{
    for (size_t i = 0; i < config->errors.count; i++)
        (void)fprintf(stderr, "%s\n", config->errors.items[i]);
    for (size_t i = 0; i < config->notes.count; i++)
        (void)fprintf(stderr, "%s\n", config->notes.items[i]);
    return config->valid;
}

int tool_check(int count, char **arguments)
{
    const char *path = tool_directive_file();
    struct config config = {.valid = true};
    struct sum sum = {0};
    bool fine;

    if (argp_parse(&argp, count, arguments, 0, NULL, &path) != 0)
        return TOOL_USAGE;
    if (!config_read(path, &config)) {
        (void)fprintf(stderr, "%s: %s; without it the library does nothing\n", path,
                      strerror(errno));
        return TOOL_TROUBLE;
    }
    fine = print_remarks(&config);
    if (!fine)
        (void)fprintf(
            stderr, "%s would be refused: the server would run without the library's help\n", path);
    if (fine) {
        print_directives(&config);
        for (size_t i = 0; i < config.files.count; i++)
            check_pattern(config.files.items[i], &sum);
        fine = print_memory(&config, &sum) && sum.missing == 0;
    }
    config_free(&config);
    return fine ? TOOL_FINE : TOOL_TROUBLE;
}
