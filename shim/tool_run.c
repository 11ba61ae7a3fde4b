#include "tool.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Exit statuses of env(1) if it can't run the command. */
enum { NOT_EXECUTABLE = 126, NOT_FOUND = 127 };

struct options {
    const char *directives;
    char **command;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'c':
        options->directives = argument;
        return 0;
    case ARGP_KEY_ARG:
        options->command = state->argv + state->next - 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option argp_options[] = {
    {"config", 'c', "FILE", 0, "the directive file, as in XFERMMAP_CONF", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .children = tool_children,
    .args_doc = "[--] COMMAND [ARGUMENT...]",
    .doc = "Run a command with the library preloaded. The library acts in the programs that "
           "XFERMMAP_PROCESS names, proftpd and in.proftpd if it is not set."
           "\vExit status: the command's; 127 if it is not found, 126 if it can't be run.",
};

/* Look beside this program, where make puts it; in the installed place; or leave it to the loader.
 * */
static const char *library(void)
{
    static char path[PATH_MAX];
    static const char name[] = "libxfermmap.so";
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof name);

    while (length > 0 && path[length - 1] != '/')
        length--;
    memcpy(path + (length > 0 ? length : 0), name, sizeof name);
    if (length > 0 && access(path, R_OK) == 0)
        return path;
    return access(LIBDIR "/libxfermmap.so", R_OK) == 0 ? LIBDIR "/libxfermmap.so" : name;
}

/* Put it first in LD_PRELOAD. @return false: errno */
static bool preload(const char *path)
{
    const char *others = getenv("LD_PRELOAD");
    char *list = NULL;

    if (asprintf(&list, "%s%s%s", path, others != NULL ? ":" : "", others != NULL ? others : "") ==
        -1)
        return false;
    bool set = setenv("LD_PRELOAD", list, 1) == 0;
    free(list);
    return set;
}

/* Make the path absolute, as the server changes its directory. @return false: errno */
static bool name_directives(const char *path)
{
    char *absolute = realpath(path, NULL);
    bool set = absolute != NULL && setenv("XFERMMAP_CONF", absolute, 1) == 0;

    free(absolute);
    return set;
}

/* True if LD_PRELOAD, a list, can name the path. */
static bool can_be_named(const char *path)
{
    if (strpbrk(path, " :") == NULL)
        return true;
    (void)fprintf(
        stderr,
        "xfermmap: %s: LD_PRELOAD takes no path with a space or a colon; make install, or "
        "move it\n",
        path);
    return false;
}

int tool_run(int count, char **arguments)
{
    struct options options = {.directives = NULL};

    if (argp_parse(&argp, count, arguments, ARGP_IN_ORDER, NULL, &options) != 0)
        return TOOL_USAGE;
    if (options.directives != NULL && !name_directives(options.directives)) {
        (void)fprintf(stderr, "xfermmap: the directive file %s: %s\n", options.directives,
                      strerror(errno));
        return TOOL_TROUBLE;
    }
    const char *path = library();
    if (!can_be_named(path))
        return TOOL_TROUBLE;
    if (preload(path))
        (void)execvp(options.command[0], options.command);
    int failure = errno;
    (void)fprintf(stderr, "xfermmap: %s: %s\n", options.command[0], strerror(failure));
    return failure == ENOENT ? NOT_FOUND : NOT_EXECUTABLE;
}
