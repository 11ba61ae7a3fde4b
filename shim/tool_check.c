#include "config_file.h"
#include "handle.h"
#include "listed.h"
#include "log.h"
#include "memory_limits.h"
#include "residency.h"
#include "safe_file.h"
#include "tool.h"
#include "watchdog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERVER_DEFAULT_PATH SYSCONFDIR "/proftpd/proftpd.conf"

struct options {
    const char *directives;
    bool named;         /* by -c */
    const char *server; /* the server's configuration, NULL: the default path */
    char **paths;       /* ended by NULL; NULL: all listed files */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    if (key == 'c') {
        options->directives = argument;
        options->named = true;
    } else if (key == 's')
        options->server = argument;
    else if (key == ARGP_KEY_ARGS)
        options->paths = state->argv + state->next;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static const struct argp_option argp_options[] = {
    {"config", 'c', "FILE", 0, "the directive file, instead of XFERMMAP_CONF or the default", 0},
    {"server-config", 's', "FILE", 0,
     "the server's configuration, instead of " SERVER_DEFAULT_PATH
     "; not needed if that is the directive file",
     0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .children = tool_children,
    .args_doc = "[PATH...]",
    .doc =
        "Read the directive file as the library would. Say what is wrong with it, what each "
        "directive is then, which files would be listed, how much of them is in memory now, "
        "whether they fit into the memory that they may take, and which of the server's own "
        "directives keep downloads from being served. With PATH, say whether each of these files, "
        "or of those below a directory, would be served from memory, and why not. Run it as the "
        "user who starts the server, in most cases root."
        "\vExit status: 0 if the server would start with all of it, and serve each PATH from "
        "memory or keep it there; 1 if not.",
};

struct sum {
    size_t files, wrong;
    uint64_t bytes;
};

/* ---- the listed files, in the watchdog's child ---- */

static void print_file(const struct config *config, const struct listed_file *file, struct sum *sum)
{
    const char *at = file->line < config->files_at.count ? config->files_at.items[file->line] : "";
    const char *wrong = file->skipped ? "no answer" : file->problem;

    sum->wrong += wrong != NULL;
    if (wrong != NULL)
        tool_say(stderr, "%s %s: %s", at, file->path, wrong);
    if (wrong != NULL && !file->skipped)
        return;
    if (sum->files++ == 0)
        (void)printf("%10s %10s  %s\n", "size", "resident", "listed file");
    sum->bytes += file->memory.mapping.length;
    tool_say(stdout, "%10s %10s  %s",
             tool_size(file->skipped ? STATUS_UNKNOWN : file->memory.mapping.length).text,
             tool_size(file->skipped ? STATUS_UNKNOWN : residency_bytes(&file->memory)).text,
             file->path);
}

static void print_memory(const struct config *config, const struct sum *sum)
{
    uint64_t lock = limits_lock(), machine = limits_memory();
    uint64_t most = config_max_memory(config, machine), hot = config_hot(config, machine);
    uint64_t rest = most > sum->bytes ? most - sum->bytes : 0;

    (void)printf("\n%zu listed file%s, %s; TransferMMapMaxMemory is %s of %s\n", sum->files,
                 sum->files == 1 ? "" : "s", tool_size(sum->bytes).text, tool_size(most).text,
                 tool_size(machine).text);
    if (hot > rest) {
        (void)printf("TransferMMapHot: hot files get %s in place of %s, which is what the listed "
                     "files leave of TransferMMapMaxMemory; raise that\n",
                     tool_size(rest).text, tool_size(hot).text);
        hot = rest;
    }
    if (config->lock && lock < sum->bytes + hot)
        (void)printf("TransferMMapLock: this user may lock %s only; set LimitMEMLOCK=infinity in "
                     "the server's unit, or ulimit -l unlimited\n",
                     tool_size(lock).text);
}

static bool check_handles(const struct config *config)
{
    bool fine = !config_is_hot(config) || handle_allowed();

    if (!fine)
        tool_say(stderr,
                 "xfermmap: TransferMMapHot: this user may not open files by their handles, "
                 "and as this user the keeper would keep the listed files only; it needs "
                 "CAP_DAC_READ_SEARCH");
    return fine;
}

/* @return true: all of them would be kept */
static bool print_files(const struct config *config)
{
    struct listed listed = {.count = 0};
    struct sum sum = {.files = 0};

    listed_expand(&listed, &config->files);
    listed_map(&listed, config_max_memory(config, limits_memory()));
    for (size_t i = 0; i < listed.count; i++)
        print_file(config, listed.files[i], &sum);
    print_memory(config, &sum);
    return sum.wrong == 0 && fflush(stdout) == 0;
}

/* ---- the parent ---- */

/* @return true: all of them would be kept; with paths, as tool_print_paths() */
static bool check_files(const struct config *config, char *const *paths, const char *sendfile)
{
    enum watchdog_event event = WATCHDOG_HUNG;
    int exit_status = TOOL_TROUBLE;

    if (fflush(stdout) == EOF)
        return false; /* errno: main() prints it */
    while (event == WATCHDOG_HUNG || event == WATCHDOG_RUNNING) {
        struct pollfd child = {.fd = watchdog_descriptor(), .events = POLLIN};
        if (event == WATCHDOG_RUNNING)
            (void)poll(&child, 1, 1000);
        event = event == WATCHDOG_HUNG ? watchdog_fork() : watchdog_poll(&exit_status);
    }
    if (event == WATCHDOG_CHILD)
        exit((paths != NULL ? tool_print_paths(config, paths, sendfile) : print_files(config))
                 ? TOOL_FINE
                 : TOOL_TROUBLE);
    if (event == WATCHDOG_FAILED)
        tool_say(stderr, "xfermmap: the files can't be looked at: %s", strerror(errno));
    return event == WATCHDOG_EXITED && exit_status == TOOL_FINE;
}

/* ---- the directives ---- */

/* Print a size in the largest unit that shows it exactly. @param none  printed for 0 */
static void print_size(const char *directive, off64_t size, const char *none)
{
    static const char units[][3] = {"B", "KB", "MB", "GB", "TB"};
    size_t unit = 0;

    for (; size > 0 && size % 1024 == 0 && unit + 1 < sizeof units / sizeof units[0]; unit++)
        size /= 1024;
    if (size > 0)
        (void)printf("%s %" PRId64 " %s\n", directive, (int64_t)size, units[unit]);
    else
        (void)printf("%s %s\n", directive, none);
}

static void print_binding(const struct config_binding *binding)
{
    char address[INET6_ADDRSTRLEN] = "any address";

    if (IN6_IS_ADDR_V4MAPPED(&binding->address))
        (void)inet_ntop(AF_INET, &binding->address.s6_addr[12], address, sizeof address);
    else if (!IN6_IS_ADDR_UNSPECIFIED(&binding->address))
        (void)inet_ntop(AF_INET6, &binding->address, address, sizeof address);
    (void)printf("  %s for %s, port %u\n", binding->engine ? "on" : "off", address,
                 (unsigned)binding->port);
}

static void print_engine(const struct config *config)
{
    bool somewhere = config_engine_anywhere(config);
    size_t on = 0;

    for (size_t i = 0; i < config->binding_count; i++)
        on += config->bindings[i].engine;
    (void)printf("TransferMMapEngine %s", somewhere ? "on" : "off");
    if (somewhere && config->binding_count > 0)
        (void)printf(" for %zu of %zu addresses, and %s for others", on, config->binding_count,
                     config->engine ? "on" : "off");
    (void)printf("%s\n", somewhere ? "" : "; no download is served from memory");
    for (size_t i = 0; somewhere && i < config->binding_count; i++)
        print_binding(&config->bindings[i]);
}

static void print_directives(const struct config *config)
{
    char share[16];

    print_engine(config);
    for (size_t i = 0; i < config->files.count; i++)
        tool_say(stdout, "TransferMMapFile %s", config->files.items[i]);
    print_size("TransferMMapMinSize", config->min_size, "0");
    (void)printf("TransferMMapLock %s\n", config->lock ? "on" : "off");
    (void)snprintf(share, sizeof share, "%u%%", config->max_memory.percent);
    print_size("TransferMMapMaxMemory", config->max_memory.bytes, share);
    (void)snprintf(share, sizeof share, "%u%%", config->hot.percent);
    print_size("TransferMMapHot", config->hot.bytes, config->hot.percent > 0 ? share : "off");
    print_size("TransferMMapReadAhead", config->read_ahead, "off");
    print_size("TransferMMapReadSize", config->read_size, "off");
    tool_say(stdout, "TransferMMapLog %s", config->log);
    tool_say(stdout, "TransferMMapStatusFile %s",
             config->status_path != NULL ? config->status_path : "none");
    for (size_t i = 0; i < config->variables.count; i++)
        tool_say(stdout, "%s", config->variables.items[i]);
}

/*
 * Read the server's configuration.
 * @param path    out: its path
 * @param server  out: to be freed
 * @return false: it can't be read; prints an error if the user named it
 */
static bool read_server(const struct config *config, const struct options *options,
                        const char **path, struct config *server)
{
    *path = options->server != NULL ? options->server
            : config->whole         ? options->directives
                                    : SERVER_DEFAULT_PATH;
    bool there = config_read(*path, server), fine = there && server->valid;
    if (!fine && options->server != NULL)
        tool_say(stderr, "%s",
                 there ? server->errors.items[0] : "xfermmap: --server-config: no such file");
    return fine;
}

/* @return false: the server configuration that the user named can't be read */
static bool check_server(const struct config *config, const struct options *options)
{
    const char *path;
    struct config server;
    bool fine = read_server(config, options, &path, &server);

    if (fine && server.use_sendfile && config_engine_anywhere(config))
        tool_say(stdout,
                 "%s: UseSendfile is on (the default): the kernel sends plain FTP, which takes "
                 "less CPU time than the library, and nothing of it counts as from memory",
                 path);
    if (fine && server.send_buffer > 0)
        tool_say(stdout,
                 "%s: SocketOptions sndbuf %ld is the transfer buffer's size, and "
                 "TransferMMapReadSize has no effect; take sndbuf out",
                 path, server.send_buffer);
    if (config->read_size > 0 && getprotobyname("tcp") == NULL)
        tool_say(stdout, "/etc/protocols does not know tcp, so the server will not ask for its "
                         "transfer buffer's size, and TransferMMapReadSize has no effect; install "
                         "netbase");
    config_free(&server);
    return fine || options->server == NULL;
}

/* @return true: each path is served from memory or kept there, where the engine is on */
static bool check_paths(const struct config *config, const struct options *options)
{
    const char *path;
    struct config server;
    bool readable = read_server(config, options, &path, &server);

    if (config->binding_count > 0)
        print_engine(config);
    bool fine = check_files(config, options->paths, readable && server.use_sendfile ? path : NULL);
    config_free(&server);
    return fine && (readable || options->server == NULL);
}

/* @return false: the running server uses another directive file, which the user may have meant */
static bool check_running(const struct config *config, const struct options *options)
{
    struct tool_snapshot snapshot = {.count = 0};
    struct stat64 file;
    char *wrong = NULL;
    bool other = false;

    if (!options->named && config->status_path != NULL &&
        tool_take_snapshot(config->status_path, &snapshot, &wrong))
        other = snapshot.server == PROCESS_ALIVE &&
                strcmp(snapshot.header.directives, options->directives) != 0;
    if (other)
        tool_say(stderr,
                 "xfermmap: this is %s, but the running server, process %" PRId32
                 ", uses %s; check that one with -c",
                 options->directives, snapshot.header.master, snapshot.header.directives);
    else if (snapshot.server == PROCESS_ALIVE && stat64(options->directives, &file) == 0 &&
             file.st_mtim.tv_sec > snapshot.header.directives_read)
        tool_say(stdout,
                 "%s: changed since the running server, process %" PRId32
                 ", read it; reload the server",
                 options->directives, snapshot.header.master);
    free(wrong);
    tool_free_snapshot(&snapshot);
    return !other;
}

/* Check a path that the library would write to. @return false: it could not; prints why */
static bool check_place(const char *directive, const char *path)
{
    if (path == NULL || log_try(path))
        return true;
    (void)fprintf(stderr, "xfermmap: %s %s: %s\n", directive, path,
                  path[0] != '/'   ? "/dev/log does not answer, so lines go to standard error, and "
                                     "are lost once the server is in the background; name a file, "
                                     "or, for a server that runs with -n, stderr"
                  : errno == EPERM ? "its directory must belong to root, or to the user who "
                                     "runs the server, and not be writable by everyone"
                  : errno == ENOENT ? "its directory is not there; make it"
                  : errno == ELOOP  ? "is a link, and no link is followed; name what it leads to, "
                                      "or use TransferMMapLog stderr"
                                    : strerror(errno));
    return path[0] != '/'; /* no failure: the server may run with -n */
}

/* @return true: the directives would work as written */
static bool check_valid(const struct config *config, const struct options *options)
{
    bool fine = config->notes.count == 0;

    if (options->paths != NULL)
        return check_paths(config, options);
    fine = check_place("TransferMMapLog", config->log) && fine;
    fine = check_place("TransferMMapStatusFile", config->status_path) && fine;
    print_directives(config);
    fine = check_server(config, options) && fine;
    fine = check_handles(config) && fine;
    return check_files(config, NULL, NULL) && fine;
}

static bool print_remarks(const struct config *config)
{
    for (size_t i = 0; i < config->errors.count; i++)
        tool_say(stderr, "%s", config->errors.items[i]);
    for (size_t i = 0; i < config->notes.count; i++)
        tool_say(stderr, "%s", config->notes.items[i]);
    return config->valid;
}

int tool_check(int count, char **arguments)
{
    struct options options = {.directives = tool_directive_file()};
    struct config config = {.valid = true};
    bool fine;

    if (argp_parse(&argp, count, arguments, 0, NULL, &options) != 0)
        return TOOL_USAGE;
    if (!config_read(options.directives, &config)) {
        (void)fprintf(stderr, "%s: %s; without it the library does nothing\n", options.directives,
                      strerror(errno));
        return TOOL_TROUBLE;
    }
    safe_file_as(geteuid());
    fine = print_remarks(&config);
    if (!fine)
        (void)fprintf(stderr,
                      "%s would be refused: the server would run without the library's help\n",
                      options.directives);
    else
        fine = check_valid(&config, &options);
    fine = check_running(&config, &options) && fine;
    config_free(&config);
    return fine ? TOOL_FINE : TOOL_TROUBLE;
}
