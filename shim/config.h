/*
 * The directive file, in ProFTPD's syntax, as values.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include "log.h"

#include <stdbool.h>
#include <stddef.h>
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

struct config {
    bool valid;               /* false: has errors, must not be put in force */
    bool engine;              /* TransferMMapEngine */
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
 * Read a directive file. If it isn't valid, `log` and `log_path` are still what the file rightly
 * says of them, so that the errors can be told there.
 * The file has to belong to root or to the effective user, and be writable by nobody else.
 * @return false: there is no such file (errno ENOENT or ENOTDIR); `config` is the defaults
 */
bool config_read(const char *path, struct config *config);

/* Free what config_read() filled in. */
void config_free(struct config *config);

#endif
