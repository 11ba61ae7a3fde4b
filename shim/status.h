/*
 * Counters that the master and all its sessions share. A session can write here, so the master
 * reads numbers and trusts none: nothing in it is a pointer, a length or a path.
 */
#ifndef STATUS_H
#define STATUS_H

#include <stdbool.h>
#include <stdint.h>

/* X(name, what the log says of it) */
#define STATUS_COUNTERS(X)                                                                         \
    X(LISTED, "opened from listed files")                                                          \
    X(MAPPED, "opened to be mapped")                                                               \
    X(SMALL, "opens left to the kernel as too small")                                              \
    X(BYTES, "bytes from memory")                                                                  \
    X(BYTES_KERNEL, "bytes of these files by the kernel")                                          \
    X(CHANGED, "listed files found changed")                                                       \
    X(FAULTS, "faults survived")                                                                   \
    X(REFUSED, "mappings refused")                                                                 \
    X(FULL, "opens beyond the library's tables")

enum status_counter {
#define X(name, text) STATUS_##name,
    STATUS_COUNTERS(X)
#undef X
        STATUS_COUNTER_COUNT
};

enum { STATUS_VERSION = 1 };

/* The status file: this header, then a 64-bit number for each counter, in the order above. */
struct status_header {
    char name[8];      /* "xfermmap" */
    uint32_t version;  /* STATUS_VERSION */
    uint32_t counters; /* how many follow */
};

/*
 * Share the counters with all processes forked from now on; until then each counts for itself.
 * @param path  status file to make anew, mode 0644, in a directory that not everyone may write to;
 *              NULL: none, they are shared in memory only
 * @return false: the file can't be made, they are shared in memory only. errno: EEXIST, something
 *         else than a former status file is there; EPERM, the directory; or as of open(2)
 */
bool status_share(const char *path);

/* Add to a counter. Async-signal-safe, lock-free. */
void status_add(enum status_counter counter, uint64_t amount);

/*
 * For the handler of a fault: whether the counters are what faulted, because somebody truncated the
 * status file. This process then counts for itself. Async-signal-safe.
 */
bool status_lost(const void *address);

uint64_t status_get(enum status_counter counter);

/* Log a line for each kind of trouble that sessions have met and that has not been told yet. */
void status_log_trouble(void);

#endif
