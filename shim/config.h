/* The directives as values. config_file.h reads them. */
#ifndef CONFIG_H
#define CONFIG_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct config_list {
    char **items;
    size_t count;
};

/* A size, or else a share of the machine's memory. */
struct config_memory {
    off64_t bytes;    /* 0: see percent */
    unsigned percent; /* 1 to 100; 0: nothing */
};

/* TransferMMapEngine of the connections to an address and port. */
struct config_binding {
    struct in6_addr address; /* IPv4 as ::ffff:a.b.c.d; in6addr_any for all addresses */
    in_port_t port;          /* in host byte order */
    bool engine;
};

/* The directive file, unless XFERMMAP_CONF names another. */
#define CONFIG_DEFAULT_PATH SYSCONFDIR "/proftpd/preload.conf"

/* The status file, unless TransferMMapStatusFile names another. */
#define CONFIG_DEFAULT_STATUS_PATH "/run/xfermmap.status"

struct config {
    bool valid;  /* false: has errors, must not be put in force */
    bool engine; /* TransferMMapEngine where no binding says otherwise: ask config_engine() */
    bool whole;  /* the file gives the server's own Port: it has all of the server's hosts */
    struct config_binding *bindings; /* in the order in which they go; none if all are the same */
    size_t binding_count;
    off64_t min_size;                /* TransferMMapMinSize, bytes */
    struct config_list files;        /* TransferMMapFile: absolute paths and wildcards, in order */
    struct config_list files_at;     /* "file:line: TransferMMapFile" of each */
    bool lock;                       /* TransferMMapLock */
    struct config_memory max_memory; /* TransferMMapMaxMemory */
    struct config_memory hot;        /* TransferMMapHot; nothing: off */
    off64_t read_ahead;              /* TransferMMapReadAhead, bytes, 0: off */
    off64_t read_size;               /* TransferMMapReadSize, bytes, 0: off */
    char *log;                       /* TransferMMapLog, for log_to() */
    char *status_path;               /* TransferMMapStatusFile, NULL: none */
    struct config_list notes;        /* "file:line: why", valid lines without effect */
    struct config_list errors;       /* "file:line: what is wrong, and what would be right" */
    struct config_list variables;    /* "file:line: %{env:NAME}" that were used */
    /* the server's own directives: */
    bool use_sendfile;
    long send_buffer; /* SocketOptions sndbuf, bytes, 0: not set */
};

/* TransferMMapEngine for a connection. Async-signal-safe. @param local  what the client connected
 * to: getsockname(2) */
bool config_engine(const struct config *config, const struct sockaddr *local);

/* True if it is on for any connection. Async-signal-safe. */
bool config_engine_anywhere(const struct config *config);

/* @return TransferMMapMaxMemory, bytes. @param machine  all memory, bytes */
uint64_t config_max_memory(const struct config *config, uint64_t machine);

/* @return TransferMMapHot, bytes, in the same way; 0: off */
uint64_t config_hot(const struct config *config, uint64_t machine);

/* True if TransferMMapHot is not off. */
bool config_is_hot(const struct config *config);

/* True if files are to be kept in memory: listed or hot ones, and TransferMMapEngine is on for any
 * connection. */
bool config_keeps(const struct config *config);

/* @return false: `from` is no Internet address */
bool config_address(const struct sockaddr *from, struct in6_addr *address, in_port_t *port);

/* Free all members. */
void config_free(struct config *config);

/* Add an item, which is freed with the list. @return item; NULL: it was NULL, or no memory */
char *config_list_add(struct config_list *list, char *item);

/* Add copies of all of them. */
void config_list_copy(struct config_list *list, size_t count, char *const *items);

void config_list_free(struct config_list *list);

#endif
