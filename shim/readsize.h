/*
 * The server's transfer buffer. ProFTPD makes it as large as the send buffer of a scratch socket,
 * which it asks for with getsockopt(2) as it starts and after SIGHUP (inet.c, "tcp_xfer_bufsz"): by
 * default 16 KiB. Answering that one question with a larger number saves system calls, and leaves
 * the real sockets' buffers to the kernel's autotuning.
 */
#ifndef READSIZE_H
#define READSIZE_H

#include <sys/socket.h>
#include <sys/types.h>

/* Say what the server is to choose from now on, bytes, TransferMMapReadSize; 0: its own affair. */
void readsize_policy(off64_t bytes);

/*
 * getsockopt(2) has told an option of a socket: tell the policy's size instead, if it is the send
 * buffer of the scratch socket. Keeps errno.
 * @param value, length  what was told, as of getsockopt(2); an int is replaced only by a larger one
 */
void readsize_told(int fd, int level, int option, void *value, const socklen_t *length);

#endif
