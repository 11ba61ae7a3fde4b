/*
 * An open file being served: its offset, shared by all duplicates of the descriptor, and the window
 * of the file that is in memory. All functions here take any descriptor; on one that is not served
 * they do nothing and say so. All are async-signal-safe and keep errno on success.
 *
 * While a stream is served, the kernel's own offset of the open file lags behind. Whatever the
 * library doesn't serve itself finds the kernel's offset put where the stream stands: the
 * hand-over.
 */
#ifndef STREAM_H
#define STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Instead of a place in the file: read where the stream stands, and move it. */
#define STREAM_OFFSET INT64_MIN

/*
 * Say which files are served from now on.
 * @param serve     false: none
 * @param min_size  bytes; smaller files are left to the kernel unless listed
 */
void stream_policy(bool serve, off64_t min_size);

/*
 * open(2) has given `fd`: serve it if it is a regular file that the policy wants served.
 * @param path  what it was opened as
 */
void stream_opened(int fd, const char *path, int flags);

/*
 * Read from memory, or from the kernel at the stream's place where memory can't be had.
 * @param offset  in the file, bytes; or STREAM_OFFSET
 * @param result  out: as of preadv(2), with errno
 * @return false: it is the kernel's to answer, whose offset is right
 */
bool stream_read(int fd, const struct iovec *parts, int count, off64_t offset, ssize_t *result);

/* The same with parts that are the program's: they may be nowhere, or be read into. */
bool stream_readv(int fd, const struct iovec *parts, int count, off64_t offset, ssize_t *result);

/*
 * sendfile(2), for which the disk is asked ahead as for reads. With `offset` NULL the kernel's
 * offset is put right before, for good.
 */
ssize_t stream_send(int out, int in, off64_t *offset, size_t count);

/* The kernel has sent so many bytes of it, or failed: for the counters. Keeps errno. */
void stream_sent(int fd, ssize_t bytes);

/* lseek(2). @return false: it is the kernel's to answer */
bool stream_seek(int fd, off64_t offset, int whence, off64_t *result);

/* `fd` is about to be closed: its number may come back as anything. */
void stream_closing(int fd);

/* `duplicate` stands, or is about to stand, for the same open file. @return false: not served */
bool stream_duplicated(int fd, int duplicate);

/*
 * dup2(2), before and after: `target` is let go, and follows `fd` from before the call, so that no
 * other thread finds it without its stream.
 * @param result  the call's, returned as it is
 */
bool stream_replacing(int fd, int target);
int stream_replaced(int target, bool shared, int result);

/* Hand a descriptor over to the kernel for good, its duplicates too. */
void stream_let_go(int fd);

/* The same for a range of descriptors, both ends included. */
void stream_let_go_range(unsigned first, unsigned last);

#endif
