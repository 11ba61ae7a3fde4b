/*
 * Counters in memory that the master, the keeper and all sessions share, and in a file that the
 * tool reads. A session can write all of it. So what is read from it is only a number to show or to
 * add to, or an index that is checked: no pointer, no path, no process to signal.
 *
 * Functions for counting are async-signal-safe, lock-free and preserve errno.
 */
#ifndef STATUS_H
#define STATUS_H

#include "process.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* X(name, what the tool says of it, its key in JSON) */
#define STATUS_COUNTERS(X)                                                                         \
    X(MAPPED, "files opened to be mapped", "mapped")                                               \
    X(SMALL, "left to the kernel: smaller than TransferMMapMinSize", "kernel_small")               \
    X(FILESYSTEM, "left to the kernel: unsupported file system", "kernel_filesystem")              \
    X(FULL, "left to the kernel: too many files open", "kernel_full")                              \
    X(LISTED, "kept files opened, unchanged since they were read in", "listed")                    \
    X(CHANGED, "kept files opened, changed since they were read in", "changed")                    \
    X(BYTES, "bytes read from memory", "bytes")                                                    \
    X(BYTES_KERNEL, "bytes read by the kernel (sendfile, fallback)", "bytes_kernel")               \
    X(FAULTS, "I/O faults recovered", "faults")                                                    \
    X(REFUSED, "mmap() failures", "refused")                                                       \
    X(COSTLY, "windows left to the kernel: mapping costs more on this machine", "costly")          \
    X(SNDBUF, "transfers whose buffer SocketOptions sndbuf decides", "sndbuf")                     \
    X(SENT, "bytes downloaded, with TransferMMapHot", "sent")                                      \
    X(SENT_KEPT, "of these, bytes of files kept in memory", "sent_kept")

enum status_counter {
#define X(name, text, key) STATUS_##name,
    STATUS_COUNTERS(X)
#undef X
        STATUS_COUNTER_COUNT
};

enum {
    STATUS_VERSION = 6,
    STATUS_FILES = 32768, /* slots for listed files; what is listed beyond has none */
    STATUS_FILES_AT = 8192,
    STATUS_NO_SLOT = STATUS_FILES
};

/* The `line` of a hot file. */
#define STATUS_HOT UINT32_MAX

/* A number of bytes that is not known. */
#define STATUS_UNKNOWN UINT64_MAX

/* What the keeper does. */
enum status_keeping { STATUS_KEEPS_NOTHING, STATUS_READING_IN, STATUS_READY };

struct status_keeper {
    int32_t process;
    uint32_t state;       /* enum status_keeping */
    uint64_t start;       /* from process_start() */
    int64_t since;        /* seconds since the Epoch */
    uint64_t done, total; /* bytes read in, and to be read in */
    uint64_t files, most; /* how many are listed, and the bytes that all kept files may take */
    uint64_t most_hot;    /* the bytes that hot files may take; 0: TransferMMapHot is off */
    uint64_t downloads;   /* recent ones of all counted files: heat.h */
};

/* Numbers are the machine's own, at the same offsets for 32 and 64 bits. */
struct status_header {
    char name[8];           /* "xfermmap" */
    uint32_t version;       /* STATUS_VERSION */
    uint32_t counters;      /* STATUS_COUNTER_COUNT */
    uint32_t counters_at;   /* where they start in the file, bytes */
    uint32_t files_at;      /* where the slots start, bytes: STATUS_FILES_AT */
    uint32_t file_size;     /* of a slot, bytes */
    int32_t master;         /* process that listens; 0: none does yet */
    uint64_t master_since;  /* its start, from process_start() */
    uint64_t pid_namespace; /* in which it has that number, from process_namespace() */
    uint64_t lock_lasts;    /* 1: flock(2)ed as long as a process maps the file */
    int64_t started;        /* seconds since the Epoch */
    int64_t directives_read;
    uint32_t engine;        /* 0: off everywhere */
    _Atomic uint32_t slots; /* at least as many as have been used */
    uint64_t buffer;        /* the server's transfer buffer, bytes; 0: it has not asked for one */
    struct status_keeper keeper;
    char library[16];          /* its version */
    char directives[PATH_MAX]; /* the directive file */
};

/* A file's identity and state as the keeper last saw it: fstat(2). */
struct status_identity {
    uint64_t device, inode, size; /* bytes */
    int64_t modified, modified_ns;
};

/* A listed or hot file. */
struct status_file {
    _Atomic uint32_t used; /* 0: a free slot */
    uint32_t line;         /* its TransferMMapFile argument, counted from 0; STATUS_HOT */
    struct status_identity identity;
    uint64_t locked;   /* bytes of it that are locked */
    uint64_t resident; /* bytes of it that are in memory; STATUS_UNKNOWN */
    _Atomic uint64_t opened, bytes, bytes_kernel;
    uint64_t downloads; /* recent ones, of a hot file: heat.h */
    int64_t since;      /* when it became one, seconds since the Epoch */
    char path[408];     /* of a longer one "..." and the end */
};

/* What turns have cost so far, picoseconds a byte: turn.h. */
struct status_costs {
    _Atomic uint64_t turns, mapped, read;
};

/* The file starts with this. The slots follow, at STATUS_FILES_AT. */
struct status {
    struct status_header header;
    struct status_costs costs;
    _Atomic uint64_t counters[STATUS_COUNTER_COUNT];
    _Atomic uint64_t last[STATUS_COUNTER_COUNT]; /* details of status_note(); 0: none */
};

/* ---- the master: main flow ---- */

/*
 * Share the counters with all processes forked from now on. Until then each counts for itself.
 * @param path  status file to create anew, mode 0644, in a directory that is not world-writable;
 *              NULL: none, in memory only
 * @return false: the file can't be created, the counters are shared in memory only. errno: EBUSY,
 *         it is that of a server that may still run; EAGAIN, of a process that starts; EEXIST, it
 *         is no status file; EPERM, the directory; or of mmap(2), open(2), posix_fallocate(3),
 *         rename(2)
 */
bool status_share(const char *path);

/* This process is the master now. The first call sets the counters to 0; called again after the
 * server has forked into the background. */
void status_set_master(void);

/* The directive file was read. @param engine  true if any host serves from memory */
void status_set_directives(const char *path, bool engine);

/* The server has chosen its transfer buffer, bytes; 0: none. */
void status_set_buffer(size_t bytes);

/* ---- counting ---- */

void status_add(enum status_counter counter, uint64_t amount);

uint64_t status_get(enum status_counter counter);

/* What reading has cost all sessions. */
struct status_costs *status_costs(void);

/* Add 1 with a detail. STATUS_REFUSED: errno of mmap(2); STATUS_FILESYSTEM: from filesystem_mount()
 */
void status_note(enum status_counter counter, uint64_t detail);

/* @return the last detail; 0: none */
uint64_t status_last(enum status_counter counter);

/* A file, from fstat(2), was opened: count that if it is listed. */
void status_file_opened(const struct stat64 *file);

/* True if the keeper has this file. */
bool status_file_is_kept(dev_t device, ino64_t inode);

/* The table of heat.h, which has this size; NULL: nothing is shared. */
enum { STATUS_HEAT_BYTES = 1 << 20 };
void *status_heat(void);

/* Add what was read from a mapping, and by the kernel, if the file is kept. */
void status_file_read(dev_t device, ino64_t inode, uint64_t bytes, uint64_t bytes_kernel);

/* ---- the keeper: one process at a time, or two for a moment when a newer one takes over ---- */

void status_set_keeper(const struct status_keeper *keeper);

/* Begin, and end, a list: files whose slots are not taken in between are no longer listed. */
void status_files_begin(void);
void status_files_end(void);

/* Take the slot that has this path, so that its counters continue, or else a free one.
 * @return its number; STATUS_NO_SLOT: all are taken, or errno of posix_fallocate(3) */
unsigned status_file_take(const char *path);

/* Set what is known of a file. With STATUS_NO_SLOT it does nothing.
 * @param identity  with a size of 0 it is hidden, and matches any */
void status_file_set(unsigned slot, unsigned line, const struct status_identity *identity,
                     uint64_t locked, uint64_t resident);

/* Set what is known of a hot file: its members in struct status_file. */
void status_file_set_heat(unsigned slot, uint64_t downloads, int64_t since);

/* The identity of a file, from fstat(2). */
struct status_identity status_identity_of(const struct stat64 *file);

/* ---- others ---- */

/* Whether a process runs that a status file, open for reading as `fd`, names as master or keeper.
 */
enum process_state status_look(int fd, const struct status_header *header, pid_t process,
                               uint64_t start);

/* For the handler of a fault: true if the shared memory faulted, because the status file was
 * truncated. This process then counts for itself. Async-signal-safe. */
bool status_fault(const void *address);

#endif
