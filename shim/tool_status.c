#include "config_file.h"
#include "tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SECONDS = 86400, SUGGEST_KEY = 256 /* no letter */ };

enum format { TEXT, JSON, PROMETHEUS, SUGGEST };

struct options {
    const char *directives;
    const char *file;   /* NULL: from the directives */
    const char *output; /* NULL: standard output */
    bool refused;       /* the directive file has errors */
    unsigned every;     /* seconds, 0: once */
    size_t rows;        /* of listed files, see tool_print_text() */
    enum format format;
};

static void take_format(struct argp_state *state, enum format format)
{
    struct options *options = state->input;

    if (options->format != TEXT && options->format != format)
        argp_error(state, "--json, --prometheus and --suggest don't go together");
    options->format = format;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    char *end = NULL;
    long number;

    switch (key) {
    case 'c':
        options->directives = argument;
        return 0;
    case 'f':
        options->file = argument;
        return 0;
    case 'j':
        take_format(state, JSON);
        return 0;
    case 'o':
        options->output = argument;
        return 0;
    case 'p':
        take_format(state, PROMETHEUS);
        return 0;
    case SUGGEST_KEY:
        take_format(state, SUGGEST);
        return 0;
    case 'w':
        number = argument != NULL ? strtol(argument, &end, 10) : 1;
        if (number < 1 || number > MAX_SECONDS || (end != NULL && *end != '\0'))
            argp_error(state, "--watch takes seconds, from 1 to %d", MAX_SECONDS);
        options->every = (unsigned)number;
        return 0;
    case 'n':
        number = strtol(argument, &end, 10);
        if (number < 1 || *end != '\0')
            argp_error(state, "--number takes how many files to show, 1 or more");
        options->rows = (size_t)number;
        return 0;
    case ARGP_KEY_END:
        if (options->every != 0 && options->output != NULL)
            argp_error(state, "--watch and --output don't go together");
        /* JSON objects can be streamed, but a Prometheus text has each metric once */
        if (options->every != 0 && options->format >= PROMETHEUS)
            argp_error(state, "--watch and --%s don't go together",
                       options->format == SUGGEST ? "suggest" : "prometheus");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option argp_options[] = {
    {"config", 'c', "FILE", 0, "the directive file, instead of XFERMMAP_CONF or the default", 0},
    {"file", 'f', "FILE", 0, "the status file, instead of the one that the directives name", 0},
    {"json", 'j', NULL, 0, "print a JSON object", 0},
    {"number", 'n', "FILES", 0,
     "in the text, show so many listed files only, the most read, and the hottest so many", 0},
    {"output", 'o', "FILE", 0, "replace FILE atomically, instead of writing to standard output", 0},
    {"prometheus", 'p', NULL, 0,
     "print Prometheus' text format, for node_exporter's textfile collector", 0},
    {"suggest", SUGGEST_KEY, NULL, 0,
     "print the hot files as TransferMMapFile lines, for a fixed list", 0},
    {"watch", 'w', "SECONDS", OPTION_ARG_OPTIONAL, "refresh every SECONDS (default 1), with rates",
     0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .children = tool_children,
    .doc = "Show what the server that runs with the library does: what is in force, the files that "
           "are kept, and what was served from memory."
           "\vExit status: 0 if the server runs, 1 if there is none, 3 if that can't be seen from "
           "here: in another PID namespace, or where /proc hides other users' processes.",
};

/*
 * @param refused  out: they have errors; the path is valid all the same
 * @return path, to be freed; NULL: there is none; prints why
 */
static char *file_of_directives(const char *directives, bool *refused)
{
    struct config config = {.valid = true};
    char *path = NULL;

    if (!config_read(directives, &config)) {
        /* a server may run without the default file, but not with a named file that is missing */
        if (strcmp(directives, CONFIG_DEFAULT_PATH) == 0)
            path = strdup(CONFIG_DEFAULT_STATUS_PATH);
        else
            (void)fprintf(stderr, "xfermmap: the directive file %s: %s\n", directives,
                          strerror(errno));
    } else if (config.status_path == NULL) {
        (void)fprintf(stderr,
                      "xfermmap: TransferMMapStatusFile is none in %s: there is nothing to show\n",
                      directives);
    } else {
        path = config.status_path;
        config.status_path = NULL;
    }
    *refused = !config.valid;
    config_free(&config);
    return path;
}

/* A running server keeps the directives that it read before. */
static void tell_refused(const struct options *options, bool running)
{
    (void)fprintf(stderr, "%s: %s has errors, see xfermmap check; %s\n",
                  running ? "xfermmap: a reload will be refused" : "refused", options->directives,
                  running ? "the server keeps the previous directives"
                          : "a server that starts with it runs WITHOUT the library");
}

/* @return true: the server runs with an earlier version of the refused directives */
static bool is_of_refused(const struct options *options, const struct tool_snapshot *snapshot)
{
    return snapshot->server == PROCESS_ALIVE &&
           strcmp(snapshot->header.directives, options->directives) == 0;
}

static void print(const struct options *options, const struct tool_snapshot *snapshot)
{
    static struct tool_snapshot former; /* for --watch; without files */

    switch (options->format) {
    case TEXT:
        tool_print_text(snapshot, former.taken > 0 ? &former : NULL, options->rows, stdout);
        break;
    case JSON:
        tool_print_json(snapshot, stdout);
        break;
    case PROMETHEUS:
        tool_print_prometheus(snapshot, stdout);
        break;
    case SUGGEST:
        tool_print_suggestion(snapshot, stdout);
        break;
    }
    former = *snapshot;
    former.files = NULL;
}

static int show(const struct options *options, const char *path)
{
    struct tool_snapshot snapshot;
    char *wrong = NULL;

    bool there = tool_take_snapshot(path, &snapshot, &wrong);
    bool refused = options->refused && !(there && is_of_refused(options, &snapshot));
    if (options->refused)
        tell_refused(options, !refused);
    else if (!there)
        (void)fprintf(stderr, "xfermmap: %s\n", wrong != NULL ? wrong : "out of memory");
    free(wrong);
    if (refused || !there) {
        tool_free_snapshot(&snapshot);
        if (options->format == TEXT)
            tool_print_processes(stderr);
        if (options->format == PROMETHEUS)
            tool_print_prometheus_down(stdout);
        return TOOL_TROUBLE;
    }
    print(options, &snapshot);
    static const int statuses[] = {[PROCESS_GONE] = TOOL_TROUBLE,
                                   [PROCESS_ALIVE] = TOOL_FINE,
                                   [PROCESS_UNKNOWN] = TOOL_UNKNOWN};
    int status = statuses[snapshot.server];
    tool_free_snapshot(&snapshot);
    return status;
}

/* Until the reader or the user ends it. */
static int watch(const struct options *options, const char *path)
{
    static const char clear_screen[] = "\033[H\033[2J";
    int status = TOOL_FINE;

    while (!ferror(stdout)) {
        if (options->format == TEXT && isatty(STDOUT_FILENO))
            (void)fputs(clear_screen, stdout);
        status = show(options, path);
        (void)fflush(stdout);
        (void)sleep(options->every);
    }
    return status;
}

/* Replace the file atomically: a reader such as node_exporter sees the old one or the new one. */
static int show_in_file(const struct options *options, const char *path)
{
    char *made = NULL;

    if (asprintf(&made, "%s.%d", options->output, getpid()) != -1 &&
        freopen(made, "we", stdout) != NULL) {
        int status = show(options, path);
        if (fflush(stdout) == 0 && !ferror(stdout) && rename(made, options->output) == 0) {
            free(made);
            return status;
        }
    }
    (void)fprintf(stderr, "xfermmap: --output %s: %s\n", options->output, strerror(errno));
    if (made != NULL)
        (void)unlink(made);
    free(made);
    return TOOL_TROUBLE;
}

int tool_status(int count, char **arguments)
{
    struct options options = {.directives = tool_directive_file(), .rows = SIZE_MAX};
    char *path = NULL;

    if (argp_parse(&argp, count, arguments, 0, NULL, &options) != 0)
        return TOOL_USAGE;
    if (options.file == NULL) {
        path = file_of_directives(options.directives, &options.refused);
        options.file = path;
    }
    if (options.file == NULL)
        return TOOL_TROUBLE;
    int status = options.every != 0       ? watch(&options, options.file)
                 : options.output != NULL ? show_in_file(&options, options.file)
                                          : show(&options, options.file);
    free(path);
    return status;
}
