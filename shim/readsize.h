/*
 * The server's transfer buffer. ProFTPD makes it as large as the send buffer of a scratch socket,
 * by default 16 KiB, asked for with getsockopt(2) as it starts and after SIGHUP (inet.c,
 * "tcp_xfer_bufsz"). The library answers with a larger number, which saves system calls and leaves
 * the buffers of real sockets to the kernel's autotuning. Reads of a download are cut so that a
 * slow or throttled client notices nothing: docs/design.md, "The transfer buffer".
 *
 * All functions are async-signal-safe and preserve errno. Sizes are in bytes.
 */
#ifndef READSIZE_H
#define READSIZE_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/* The size that the server is to choose from now on, TransferMMapReadSize; 0: its own choice. */
void readsize_policy(off64_t bytes);

/* This is a session: the server has chosen. */
void readsize_settle(void);

/* getsockopt(2) has returned an option: enlarge the send buffer of a scratch socket. */
void readsize_enlarge(int fd, int level, int option, void *value, const socklen_t *length);

/* The transfer buffer that the server has chosen; 0: it has not asked, and takes 8 KiB. */
size_t readsize_chosen(void);

/* The transfer buffer if it is ours; 0: the server's own choice. */
extern size_t readsize_buffer;

/* select(2) is about to be called: without descriptors it is a throttle's pause. */
void readsize_pausing(int descriptors);

/* `fd` is about to be closed. */
void readsize_closing(int fd);

/* readsize_limit() for a read that fills the buffer. */
size_t readsize_cut(int fd, size_t count);

/* How much of a read of `count` to do: from 1 to `count`. Only a session's reads of a download are
 * cut. */
static inline size_t readsize_limit(int fd, size_t count)
{
    /* SCP reads one byte more than the buffer: contrib/mod_sftp/scp.c */
    return readsize_buffer == 0 || count - readsize_buffer > 1 ? count : readsize_cut(fd, count);
}

#endif
