#include "server.h"

#include "config_file.h"
#include "critical.h"
#include "debug.h"
#include "guard.h"
#include "heat.h"
#include "keeper.h"
#include "libc.h"
#include "log.h"
#include "mapping.h"
#include "readahead.h"
#include "readsize.h"
#include "safe_file.h"
#include "signals.h"
#include "status.h"
#include "stream.h"
#include "turn.h"
#include "vfork_child.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum { BYSTANDER, STARTING, MASTER, SESSION } role = BYSTANDER;

static struct config in_force;
static char config_path[PATH_MAX];
static uid_t started_as;
static int status_failure; /* errno of status_share() to be logged; 0 */
static int accepted = -1;  /* the connection accepted since the last fork, -1: none */
static atomic_bool hung_up;
static struct critical forking;

/* ---- which process this is ---- */

static bool named(const char *list, const char *program)
{
    size_t length = strlen(program);

    for (const char *name = list; *name != '\0'; name += strspn(name, ",")) {
        size_t span = strcspn(name, ",");
        if ((span == 1 && *name == '*') || (span == length && memcmp(name, program, span) == 0))
            return true;
        name += span;
    }
    return false;
}

static bool is_server(void)
{
    const char *list = secure_getenv("XFERMMAP_PROCESS");

    return named(list != NULL ? list : "proftpd,in.proftpd", program_invocation_short_name);
}

/* Whether proftpd, called like this, only answers a question: --configtest, -v and their kind. */
static bool is_question(int count, char **arguments)
{
    static const char *const questions[] = {"configtest", "version", "version-status",
                                            "settings",   "list",    "help"};

    if (!named("proftpd,in.proftpd", program_invocation_short_name))
        return false;
    for (int i = 1; i < count && strcmp(arguments[i], "--") != 0; i++) {
        const char *argument = arguments[i];
        if (argument[0] != '-')
            continue;
        for (size_t q = 0; q < sizeof questions / sizeof questions[0]; q++) {
            if (argument[1] == '-' && strcmp(argument + 2, questions[q]) == 0)
                return true;
        }
        /* short options in one word, up to the first that takes an argument */
        size_t flags = argument[1] == '-' ? 0 : strcspn(argument + 1, "DcdpS");
        if (strcspn(argument + 1, "tvVlh") < flags)
            return true;
    }
    return false;
}

/* Started for one connection, which is its standard input. */
static bool started_by_inetd(void)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof peer;

    return getpeername(STDIN_FILENO, (struct sockaddr *)&peer, &length) == 0 &&
           peer.ss_family != AF_UNIX;
}

/* ---- directives ---- */

static struct sockaddr_storage local_address(int socket)
{
    struct sockaddr_storage local = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof local;

    (void)getsockname(socket, (struct sockaddr *)&local, &length);
    return local;
}

/* TransferMMapEngine for a connection. */
static bool engine_for(int connection)
{
    struct sockaddr_storage local = local_address(connection);

    return config_engine(&in_force, (const struct sockaddr *)&local);
}

static void serve_if(bool engine)
{
    if (engine)
        stream_serve(in_force.min_size);
    else
        stream_serve_none();
}

static void log_status_failure(void)
{
    const char *path = in_force.status_path;
    int failure = status_failure;

    status_failure = 0;
    /* a plain user can't write to /run: no message about the default path */
    if (started_as == 0 || strcmp(path, CONFIG_DEFAULT_STATUS_PATH) != 0)
        log_line(
            "TransferMMapStatusFile %s: %s", path,
            failure == EBUSY || failure == EAGAIN
                ? "another running server writes to this file; give each its own, or "
                  "restart this one when that has ended"
            : failure == EPERM ? "its directory must belong to root and not be writable by everyone"
            : failure == EFBIG ? "it takes 17 MB; raise LimitFSIZE in the server's unit, ulimit -f"
            : failure == EEXIST ? "is not a status file; remove it"
                                : strerror(failure));
}

/* EAGAIN is logged once the program listens: until then it may be no server. */
static void share_status(void)
{
    status_failure = status_share(in_force.status_path) ? 0 : errno;
    if (status_failure != 0 && status_failure != EAGAIN)
        log_status_failure();
}

static void log_some(const struct config_list *lines)
{
    for (size_t i = 0; i < lines->count && i < LOG_OF_A_KIND; i++)
        log_line("%s", lines->items[i]);
    if (lines->count > LOG_OF_A_KIND)
        log_line("%s: ... and %zu more; xfermmap check names them", config_path,
                 lines->count - LOG_OF_A_KIND);
}

/*
 * Read the directive file and put it in force. With an error nothing changes.
 * @return false: there is none, or it has errors, which are logged
 */
static bool put_in_force(void)
{
    struct config config;

    if (!config_read(config_path, &config)) {
        if (secure_getenv("XFERMMAP_CONF") != NULL)
            log_line("%s: %s; name the directive file in XFERMMAP_CONF", config_path,
                     strerror(errno));
        return false;
    }
    if (config.valid || role != MASTER)
        log_to(config.log != NULL ? config.log : LOG_TO_SYSLOG);
    log_some(&config.errors);
    log_some(&config.notes);
    if (!config.valid) {
        log_line("%s is refused; %s", config_path,
                 role == MASTER ? "the previous directives stay in force"
                                : "the server runs without the library's help");
        config_free(&config);
        return false;
    }
    config_free(&in_force);
    in_force = config;
    if (role == BYSTANDER)
        share_status();
    status_set_directives(config_path, config_engine_anywhere(&in_force));
    serve_if(role == SESSION ? engine_for(STDIN_FILENO) : in_force.engine);
    readahead_policy(in_force.read_ahead);
    if (role != SESSION)
        readsize_policy(config_engine_anywhere(&in_force) ? in_force.read_size : 0);
    return true;
}

static void announce(void)
{
    if (config_engine_anywhere(&in_force))
        log_line("%s is in force: TransferMMapEngine %s, files of %.1f MiB or more are mapped when "
                 "they are opened",
                 config_path, in_force.engine ? "on" : "on for some hosts",
                 (double)in_force.min_size / (1 << 20));
    else
        log_line("%s is in force: TransferMMapEngine off, no download is served from memory",
                 config_path);
}

/* The server has chosen its transfer buffer by the time that it listens. */
static void log_buffer(void)
{
    static size_t logged = 1; /* no buffer is that small */
    size_t buffer = readsize_chosen();

    status_set_buffer(buffer);
    if (buffer == logged || in_force.read_size == 0 || !config_engine_anywhere(&in_force))
        return;
    logged = buffer;
    if (buffer > 0)
        log_line("the server's transfer buffer: %zu KB", buffer >> 10);
    else
        log_line("TransferMMapReadSize has no effect: the server has not asked for its buffer's "
                 "size, which takes /etc/protocols; install netbase");
}

static void keep_files(void)
{
    accepted = -1; /* the keeper is no session */
    if (!config_keeps(&in_force))
        keeper_end();
    else if (!keeper_start(&in_force))
        log_line("files are not kept in memory, no keeper process: %s; raise TasksMax in "
                 "the server's unit, or the limit of processes, ulimit -u",
                 strerror(errno));
}

/* Each reason once. A session may have written any number there. */
static void log_refusal(void)
{
    static bool logged[EHWPOISON + 1];
    uint64_t failure = status_last(STATUS_REFUSED);

    if (failure == 0 || failure > EHWPOISON || logged[failure])
        return;
    logged[failure] = true;
    log_line("the kernel refused to map a file (%s), which is served by read() instead; %s",
             strerror((int)failure), mapping_remedy((int)failure));
}

/* Sessions count what they meet, and do not log. The first of a kind is worth a line. */
static void log_trouble(void)
{
    static const struct {
        enum status_counter counter;
        const char *advice;
    } troubles[] = {
        {STATUS_FAULTS, "a file shrank, or its disk failed, while it was sent: the kernel answered "
                        "instead; replace files by rename(2) rather than in place"},
        {STATUS_SNDBUF, "TransferMMapReadSize has no effect: SocketOptions sndbuf in the server's "
                        "configuration decides the transfer buffer; remove one of them"},
        {STATUS_FULL, "a descriptor's number is too high to be followed: its file is served by "
                      "read()"},
    };
    static bool logged[STATUS_COUNTER_COUNT];

    for (size_t i = 0; i < sizeof troubles / sizeof troubles[0]; i++) {
        enum status_counter counter = troubles[i].counter;
        if (logged[counter] || status_get(counter) == 0)
            continue;
        logged[counter] = true;
        log_line("%s", troubles[i].advice);
    }
    log_refusal();
    if (keeper_is_missing())
        log_line("the keeper has ended, most likely because memory ran out: listed files are "
                 "served, but no longer kept in memory; reload the server to start it again, with "
                 "a lower TransferMMapMaxMemory if need be");
}

/* ---- events ---- */

void server_opening(void)
{
    /* only with the rights it started with, which the server drops most of the time */
    if (!atomic_load_explicit(&hung_up, memory_order_relaxed) || role != MASTER ||
        geteuid() != started_as || !atomic_exchange(&hung_up, false))
        return;
    int saved = errno;
    if (put_in_force()) {
        announce();
        keep_files(); /* last: the keeper's log lines are to follow */
    }
    errno = saved;
}

void server_accepted(int connection)
{
    if (role != MASTER)
        return;
    log_trouble();
    accepted = connection;
}

/* Called for several sockets, after each reload, and after the server has gone into background. */
void server_listening(int fd)
{
    if (role == BYSTANDER || role == SESSION)
        return;
    int saved = errno;
    sa_family_t family = local_address(fd).ss_family;
    /* not ftpdctl's socket: the server listens on it before it forks into the background */
    if (family == AF_INET || family == AF_INET6) {
        role = MASTER;
        status_set_master();
        if (status_failure != 0)
            log_status_failure();
        log_buffer();
        if (!keeper_is_wanted())
            keep_files();
    }
    errno = saved;
}

/* Only note it: the main flow reloads. */
static bool on_hangup(int number, siginfo_t *info, void *context)
{
    signals_forward(number, info, context);
    /* last: a file that the program's handler opens must not reload */
    atomic_store(&hung_up, true);
    return true;
}

void server_before_fork(void)
{
    struct critical section = critical_enter();

    forking = section;
    /* parent and child will share the offsets, and neither sees the other's reads */
    stream_hand_over_range(0, UINT_MAX, STREAM_FORK);
}

void server_after_fork(void)
{
    struct critical section = forking;

    assert(critical_is_entered());
    accepted = -1;
    critical_leave(&section);
}

void server_in_child(void)
{
    int saved = errno;

    vfork_forget();
    if (role == MASTER && accepted != -1) {
        bool engine = engine_for(accepted);
        role = SESSION;
        serve_if(engine);
        heat_policy(engine && config_is_hot(&in_force));
        readsize_settle();
    } else
        heat_policy(false); /* the parent counts what both have open */
    server_after_fork();
    errno = saved;
}

static bool on_fault(int number, siginfo_t *info, void *context)
{
    return (info->si_code > 0 && status_fault(info->si_addr)) || guard_fault(number, info, context);
}

static void begin(void)
{
    if (role != SESSION) {
        role = STARTING;
        signals_chain(SIGHUP, on_hangup);
    }
    signals_chain(SIGBUS, on_fault);
    signals_chain(SIGSEGV, on_fault);
    (void)pthread_atfork(server_before_fork, server_after_fork, server_in_child);
}

__attribute__((constructor)) static void start(int count, char **arguments, char **environment)
{
    int saved = errno;

    libc_find_all();
    if (!is_server() || is_question(count, arguments))
        return;
    const char *path = secure_getenv("XFERMMAP_CONF");
    (void)snprintf(config_path, sizeof config_path, "%s",
                   path != NULL ? path : CONFIG_DEFAULT_PATH);
    started_as = geteuid();
    safe_file_as(started_as);
    turn_policy(secure_getenv("XFERMMAP_WAY"));
    keeper_prepare(count, arguments, environment);
    if (started_by_inetd())
        role = SESSION;
    log_begin_echo();
    bool active = put_in_force();
    if (active)
        begin();
    else
        role = BYSTANDER;
    log_end_echo();
    if (role == STARTING)
        announce();
    errno = saved;
}
