/*
 * The command-line tool: looks at what the library does, or will do.
 */
#include "config.h"
#include "tool.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* libc looks for it */
__attribute__((visibility("default"))) const char *argp_program_version = "xfermmap " VERSION;

static const struct command {
    const char *name;
    int (*run)(int count, char **arguments);
} commands[] = {
    {"check", tool_check},
    {"status", tool_status},
    {"run", tool_run},
};

/* What there is before the command's name. */
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
    .args_doc = "COMMAND ...",
    .doc =
        "Operate libxfermmap, which makes a ProFTPD serve its downloads from memory."
        "\vCommands, each with a --help of its own:\n"
        "  check    read the directive file as the library would, and say what is in it\n"
        "  status   show what a running server has served, and how\n"
        "  run      run a command with the library preloaded\n\n"
        "Exit status: 0 all is well, 1 it is not, 2 the command line is wrong, 3 it can't be told.",
};

const char *tool_directive_file(void)
{
    const char *path = secure_getenv("XFERMMAP_CONF");

    return path != NULL ? path : CONFIG_DEFAULT_PATH;
}

/* @return status, or that the output could not be written, which is told */
static int said_all(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    (void)fprintf(stderr, "xfermmap: the output can't be written: %s\n", strerror(errno));
    return TOOL_TROUBLE;
}

int main(int count, char **arguments)
{
    int at = 0;

    argp_err_exit_status = TOOL_USAGE;
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
