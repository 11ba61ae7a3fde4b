/*
 * An open file that is served: its offset, and the window of the file that is mapped. One
 * descriptor has one stream. All functions take any descriptor, and do nothing on one that is not
 * served. All are async-signal-safe and preserve errno on success.
 *
 * While a stream is served, the kernel's own offset lags behind. The hand-over sets it to the
 * stream's before the kernel uses it: docs/design.md.
 */
#ifndef STREAM_H
#define STREAM_H

#include "filesystem.h"
#include "mapping.h"
#include "readahead.h"
#include "turn.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { STREAM_LIMIT = 4096 /* descriptors from here up are left to the kernel */ };

/* X(name, text): why a file is left to the kernel as it is opened, or handed over later. */
#define STREAM_REASONS(X)                                                                          \
    X(OFF, "engine off")                                                                           \
    X(MODE, "not opened for reading only")                                                         \
    X(TYPE, "not a regular file, or empty")                                                        \
    X(SMALL, "smaller than TransferMMapMinSize")                                                   \
    X(FILESYSTEM, "file system")                                                                   \
    X(NUMBER, "descriptor number too high, or in use")                                             \
    X(FORK, "fork")                                                                                \
    X(EXEC, "exec")                                                                                \
    X(DUP, "dup")                                                                                  \
    X(STDIO, "fdopen")                                                                             \
    X(DIRECT, "O_DIRECT")                                                                          \
    X(SEND, "sendfile or splice at the descriptor's offset")                                       \
    X(ODD, "odd request")                                                                          \
    X(BLOCKED, "SIGBUS or SIGSEGV blocked")                                                        \
    X(FAULT, "fault")                                                                              \
    X(CHANGED, "file changed")                                                                     \
    X(REFUSED, "mapping refused")                                                                  \
    X(CLOSE, "close")                                                                              \
    X(REUSED, "descriptor number reused")

enum stream_reason {
    STREAM_NO_REASON, /* it is served */
#define X(name, text) STREAM_##name,
    STREAM_REASONS(X)
#undef X
};

/* A stream's offset while it can't be read from. */
enum {
    STREAM_BUSY = -1,     /* another thread hands it over or seeks, in a critical section */
    STREAM_RELEASED = -2, /* no longer served; the kernel's offset is authoritative */
    STREAM_CLOSED = -3    /* the descriptor is closed, or about to be */
};

struct stream {
    atomic_bool served;
    _Atomic uint32_t users; /* calls under way, and 1 more while it is served; 0: unused */
    _Atomic off64_t offset; /* where the next read starts, bytes; or one of the above */
    off64_t kernel_offset;  /* the lagging one; in critical sections only */

    /* Held by the call that copies, and never waited for: a second one asks the kernel. The holder
     * alone uses the members up to `bytes`. */
    atomic_flag busy;
    enum filesystem filesystem;
    struct mapping window;
    struct turn turn;
    off64_t size;                      /* of the file, as last seen, bytes */
    struct timespec modified, changed; /* its mtime and ctime as it was opened */
    struct readahead reader;
    bool zero_ended; /* the last read of the kernel's ended in a zero byte; see reading.c */
    uint64_t bytes;  /* served from the window so far */

    _Atomic uint64_t bytes_kernel; /* served by the kernel so far */
    dev_t device;
    ino64_t inode;
};

/* By descriptor. The table never moves, so that a call can look without a lock. */
extern struct stream streams[STREAM_LIMIT];

static inline int stream_fd(const struct stream *stream)
{
    return (int)(stream - streams);
}

/* Whether a descriptor is served: all that a call on one that is not served costs. */
static inline bool stream_is_served(int fd)
{
    return (unsigned)fd < STREAM_LIMIT &&
           atomic_load_explicit(&streams[fd].served, memory_order_relaxed);
}

/* ---- beginning and end ---- */

/* Serve files of at least `min_size` bytes as they are opened from now on; serve none. */
void stream_serve(off64_t min_size);
void stream_serve_none(void);

/* open(2) has returned `fd`: serve it if the policy is to. */
void stream_opened(int fd, int flags);

/* `fd` is new, and not served: its number was closed by a direct system call. */
void stream_forget(int fd);

/* `fd` is about to be closed: its number may come back as anything. */
void stream_closing(int fd);

/* Hand a descriptor over to the kernel for the rest of its life. */
void stream_hand_over(int fd, enum stream_reason reason);

/* The same for a range of descriptors, both ends included. */
void stream_hand_over_range(unsigned first, unsigned last, enum stream_reason reason);

/* lseek(2). @return false: the kernel is to answer */
bool stream_seek(int fd, off64_t offset, int whence, off64_t *result);

/* ---- for calls under way: reading.c, sending.c ---- */

/*
 * Keep a descriptor's stream from being unmapped or used again until stream_leave().
 * @return NULL: it has none, or this is the child of a vfork(2), whose descriptors are its own
 */
struct stream *stream_enter(int fd);
void stream_leave(struct stream *stream);

/* Where the stream's next read starts, or STREAM_RELEASED or STREAM_CLOSED. */
off64_t stream_offset(const struct stream *stream);

/* Count what the kernel has read or sent of it. */
void stream_count_kernel(struct stream *stream, ssize_t bytes);

#endif
