/* sendfile(2) of served descriptors. */
#ifndef SENDING_H
#define SENDING_H

#include <sys/types.h>

/* sendfile(2) with the disk asked ahead. With `offset` NULL the descriptor is handed over first. */
ssize_t sending_send(int out, int in, off64_t *offset, size_t count);

/* Count the result of a call in which the kernel sent from a descriptor. Preserves errno. */
void sending_count(int fd, ssize_t bytes);

#endif
