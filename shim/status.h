/*
 * What the library counts, in memory that the master and all its sessions share, and in a file that
 * an administrator's tool reads. A session can write here, so the master trusts nothing of it: it
 * reads numbers, to tell of trouble, and takes no pointer, length or path from it.
 */
#ifndef STATUS_H
#define STATUS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* X(name, what the log and the tool say of it) */
#define STATUS_COUNTERS(X)                                                                         \
    X(LISTED, "opened from listed files")                                                          \
    X(MAPPED, "opened to be mapped")                                                               \
    X(SMALL, "opens left to the kernel as too small")                                              \
    X(ODD, "opens left to the kernel for the file system they are on")                             \
    X(FULL, "opens left to the kernel as too many at once")                                        \
    X(BYTES, "bytes from memory")                                                                  \
    X(BYTES_KERNEL, "bytes of these files by the kernel")                                          \
    X(CHANGED, "listed files found changed")                                                       \
    X(FAULTS, "faults survived")                                                                   \
    X(REFUSED, "mappings refused")

enum status_counter {
#define X(name, text) STATUS_##name,
    STATUS_COUNTERS(X)
#undef X
        STATUS_COUNTER_COUNT
};

enum {
    STATUS_VERSION = 2,
    STATUS_FILES = 32768, /* slots for listed files; what is listed beyond has none */
    STATUS_FILES_AT = 8192
};

/* Where the status file is unless a directive says otherwise. */
#define STATUS_DEFAULT_PATH "/run/xfermmap.status"

/* Numbers are the machine's own, and stand at the same places for 32 and 64 bits. */
struct status_header {
    char name[8];          /* "xfermmap" */
    uint32_t version;      /* STATUS_VERSION */
    uint32_t counters;     /* STATUS_COUNTER_COUNT */
    uint32_t counters_at;  /* where they start in the file, bytes */
    uint32_t files_at;     /* where the slots start, bytes: STATUS_FILES_AT */
    uint32_t file_size;    /* of a slot, bytes */
    int32_t master;        /* process that listens; 0: none does yet */
    uint64_t master_since; /* its start, as of status_process_start() */
    int64_t started;       /* seconds since the Epoch */
    int64_t directives_read;
    uint32_t engine; /* 0: off everywhere */
    uint32_t unused;
    char directives[PATH_MAX]; /* the directive file */
};

/* A listed file. */
struct status_file {
    _Atomic uint32_t used; /* 0: this slot stands for no file */
    uint32_t unused;
    uint64_t size;   /* bytes */
    uint64_t locked; /* bytes, of these */
    _Atomic uint64_t downloads, bytes, bytes_kernel;
    char path[464]; /* of one that is longer the end, after "..." */
};

/* The file starts with this. The slots follow, at STATUS_FILES_AT, as many as were ever used. */
struct status {
    struct status_header header;
    _Atomic uint64_t counters[STATUS_COUNTER_COUNT];
};

/*
 * Share what is counted with all processes forked from now on; until then each counts for itself.
 * @param path  status file to make anew, mode 0644, in a directory that not everyone may write to;
 *              NULL: none, it is shared in memory only
 * @return false: the file can't be made, it is shared in memory only. errno: EBUSY, it is that of a
 *         server at work; EEXIST, it is something else than a status file; EPERM, the directory; or
 *         as of open(2), posix_fallocate(3)
 */
bool status_share(const char *path);

/*
 * The master is this process, and what is counted starts from 0. Main flow; again, but counting on,
 * after the server has forked into the background.
 */
void status_serving(void);

/*
 * The directive file was read now. Main flow of the master.
 * @param path    absolute
 * @param engine  whether any host serves from memory
 */
void status_directives(const char *path, bool engine);

/* Add to a counter. Async-signal-safe, lock-free. */
void status_add(enum status_counter counter, uint64_t amount);

uint64_t status_get(enum status_counter counter);

/*
 * Say what a slot stands for. What was counted in it starts from 0, unless the path is the same.
 * Master only, one thread at a time; not async-signal-safe.
 * @param slot    from STATUS_FILES on, and where the disk is full: the file is not shown
 * @param size    bytes
 * @param locked  bytes that are locked in memory
 */
void status_file_set(unsigned slot, const char *path, uint64_t size, uint64_t locked);

/* A slot stands for no file any more. Master only; async-signal-safe. */
void status_file_clear(unsigned slot);

/*
 * Add to what was counted of a listed file. Async-signal-safe, lock-free.
 * @param slot          one that stands for no file, or is out of range: nothing is done
 * @param bytes         served from memory
 * @param bytes_kernel  served by the kernel
 */
void status_file_add(unsigned slot, uint64_t downloads, uint64_t bytes, uint64_t bytes_kernel);

/*
 * For the handler of a fault: whether what is shared here is what faulted, because somebody
 * truncated the status file. This process then counts for itself. Async-signal-safe.
 */
bool status_lost(const void *address);

/* Log a line for each kind of trouble that sessions have met and that has not been told yet. */
void status_log_trouble(void);

/*
 * When a process was started, in clock ticks since the system was: with its number it names one
 * process for good. proc(5).
 * @return 0: there is no such process, or no /proc
 */
uint64_t status_process_start(pid_t process);

/* Whether the process that a status file names as its server is alive. */
bool status_is_alive(const struct status_header *header);

#endif
