/*
 * The server's transfer buffer. ProFTPD makes it as large as the send buffer of a scratch socket,
 * which it asks for with getsockopt(2) as it starts and after SIGHUP (inet.c, "tcp_xfer_bufsz"): by
 * default 16 KiB. Answering that one question with a larger number saves system calls, and leaves
 * the real sockets' buffers to the kernel's autotuning.
 *
 * A larger buffer must not be felt by a client that is slow, or is throttled (TransferRate): the
 * server pauses, hears ABOR and resets TimeoutStalled once per buffer. So its reads of a download
 * are cut to what the client takes in a moment, and to the server's own size once it has paused.
 *
 * All functions are async-signal-safe and keep errno.
 */
#ifndef READSIZE_H
#define READSIZE_H

#include <stddef.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Say what the server is to choose from now on, bytes, TransferMMapReadSize; 0: its own affair. */
void readsize_policy(off64_t bytes);

/* This is a session: the server has chosen. */
void readsize_settle(void);

/*
 * getsockopt(2) has told an option of a socket: tell the policy's size instead, if it is the send
 * buffer of the scratch socket.
 * @param value, length  what was told, as of getsockopt(2); an int is replaced only by a larger one
 */
void readsize_told(int fd, int level, int option, void *value, const socklen_t *length);

/* The transfer buffer that the server has chosen, bytes; 0: it has not asked, and takes 8 KiB. */
size_t readsize_chosen(void);

/* The transfer buffer that the server was led to choose, bytes; 0: it has its own. */
extern size_t readsize_buffer;

/* select(2) is about to be called: without descriptors it is a throttle's pause. */
void readsize_pausing(int descriptors);

/* `fd` is about to be closed. */
void readsize_closing(int fd);

/* As readsize_limit(), for a read that fills the buffer. */
size_t readsize_cut(int fd, size_t count);

/*
 * A read is about to begin: how much of it to do.
 * @param count  what the server asks for, bytes
 * @return bytes, from 1 to `count`; all but a session's reads of a download are left as they are
 */
static inline size_t readsize_limit(int fd, size_t count)
{
    /* SCP reads one byte more than the buffer: contrib/mod_sftp/scp.c */
    return readsize_buffer == 0 || count - readsize_buffer > 1 ? count : readsize_cut(fd, count);
}

#endif
