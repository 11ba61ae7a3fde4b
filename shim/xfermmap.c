/*
 * The command-line tool: shows what the library does, or would do.
 */
#include "config.h"
#include "tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* argp(3) reads it */
__attribute__((visibility("default"))) const char *argp_program_version = "xfermmap " VERSION;

static error_t parse_common(int key, char *argument, struct argp_state *state)
{
    (void)argument;
    if (key != 'h')
        return ARGP_ERR_UNKNOWN;
    argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
    return 0;
}

static const struct argp_option common_options[] = {
    {NULL, 'h', NULL, 0, "The same", -1},
    {NULL, 0, NULL, 0, NULL, 0},
};

static const struct argp common = {.options = common_options, .parser = parse_common};

const struct argp_child tool_children[] = {{&common, 0, NULL, 0}, {NULL, 0, NULL, 0}};

static const struct command {
    const char *name;
    int (*run)(int count, char **arguments);
} commands[] = {
    {"check", tool_check},
    {"status", tool_status},
    {"run", tool_run},
};

/* Arguments before the command's name. */
static error_t parse(int key, char *argument, struct argp_state *state)
{
    int *command = state->input;

    (void)argument;
    switch (key) {
    case ARGP_KEY_ARG:
        *command = state->next - 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .parser = parse,
    .children = tool_children,
    .args_doc = "COMMAND ...",
    .doc = "Check and monitor libxfermmap, which makes a ProFTPD serve its downloads from memory."
           "\vCommands, each with a --help of its own:\n"
           "  check    check the directive file, or how files would be served\n"
           "  status   show whether a running server serves from memory, what, and why not\n"
           "  run      run a command with the library preloaded\n"
           "  help     print the help of a command\n\n"
           "Exit status: 0 all is well, 1 it is not, 2 the command line is wrong, 3 unknown.",
};

const char *tool_directive_file(void)
{
    const char *path = secure_getenv("XFERMMAP_CONF");

    return path != NULL ? path : CONFIG_DEFAULT_PATH;
}

/* @return status, or an error if the output could not be written; prints why */
static int said_all(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    (void)fprintf(stderr, "xfermmap: the output can't be written: %s\n", strerror(errno));
    return TOOL_TROUBLE;
}

/* "help COMMAND" becomes "COMMAND --help". */
static void turn_help_around(int count, char **arguments)
{
    static char help[] = "--help";

    if (count < 2 || strcmp(arguments[1], help + 2) != 0)
        return;
    arguments[1] = count > 2 ? arguments[2] : help;
    if (count > 2)
        arguments[2] = help;
}

int main(int count, char **arguments)
{
    int at = 0;

    argp_err_exit_status = TOOL_USAGE;
    turn_help_around(count, arguments);
    if (argp_parse(&argp, count, arguments, ARGP_IN_ORDER, NULL, &at) != 0)
        return TOOL_USAGE;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(arguments[at], commands[i].name) != 0)
            continue;
        char name[32];
        (void)snprintf(name, sizeof name, "xfermmap %s", commands[i].name);
        arguments[at] = name;
        return said_all(commands[i].run(count - at, arguments + at));
    }
    (void)fprintf(stderr, "xfermmap: there is no command '%s'; see xfermmap --help\n",
                  arguments[at]);
    return TOOL_USAGE;
}
