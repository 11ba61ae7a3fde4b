/*
 * The directive file, in ProFTPD's syntax, as values.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include "log.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

struct config_list {
    char **items;
    size_t count;
};

/* TransferMMapMaxMemory: a size, or else a share of the machine's memory. */
struct config_memory {
    off64_t bytes;    /* 0: see percent */
    unsigned percent; /* 1 to 100 */
};

/* TransferMMapEngine of the connections to an address and port. */
struct config_binding {
    struct in6_addr address; /* IPv4 as ::ffff:a.b.c.d; in6addr_any for all addresses */
    in_port_t port;          /* in host byte order */
    bool engine;
};

/* The directive file, unless XFERMMAP_CONF names another. */
#define CONFIG_DEFAULT_PATH SYSCONFDIR "/proftpd/preload.conf"

struct config {
    bool valid;  /* false: has errors, must not be put in force */
    bool engine; /* TransferMMapEngine where no binding says otherwise: ask config_engine() */
    bool whole;  /* the file gives the server's own Port: it has all of the server's hosts */
    struct config_binding *bindings; /* in the order in which they go; none if all are the same */
    size_t binding_count;
    off64_t min_size;         /* TransferMMapMinSize, bytes */
    struct config_list files; /* TransferMMapFile: absolute paths and wildcards, in order */
    bool lock;                /* TransferMMapLock */
    struct config_memory max_memory;
    off64_t read_ahead;        /* TransferMMapReadAhead, bytes, 0: off */
    off64_t read_size;         /* TransferMMapReadSize, bytes, 0: off */
    enum log_target log;       /* TransferMMapLog */
    char *log_path;            /* with LOG_TO_FILE, else NULL */
    char *status_path;         /* TransferMMapStatusFile, NULL: none */
    struct config_list notes;  /* "file:line: what", lines that are right and have no effect */
    struct config_list errors; /* "file:line: what is wrong, and what would be right" */
};

/*
 * Read a directive file and the files that it includes. If it isn't valid, `log` and `log_path` are
 * still what the file rightly says of them, so that the errors can be told there. Each file has to
 * belong to root or to the effective user, and be writable by nobody else. May look up hosts'
 * names, and so take time; no descriptor stays open.
 * @return false: there is no such file (errno ENOENT or ENOTDIR); `config` is the defaults
 */
bool config_read(const char *path, struct config *config);

/*
 * TransferMMapEngine for a connection. Async-signal-safe.
 * @param local  the address and port that the client connected to, getsockname() of the connection;
 *               an IPv4 address may be mapped into IPv6
 */
bool config_engine(const struct config *config, const struct sockaddr *local);

/* Whether it is on for any connection at all. Async-signal-safe. */
bool config_engine_anywhere(const struct config *config);

/* Free what config_read() filled in. */
void config_free(struct config *config);

#endif
