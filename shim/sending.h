/*
 * sendfile(2) of served descriptors.
 */
#ifndef SENDING_H
#define SENDING_H

#include <sys/types.h>

/*
 * sendfile(2), with the disk asked ahead as for reads. With `offset` NULL the descriptor is handed
 * over before.
 */
ssize_t sending_send(int out, int in, off64_t *offset, size_t count);

/* The kernel has sent so many bytes of it, or failed: for the counters. Keeps errno. */
void sending_sent(int fd, ssize_t bytes);

#endif
