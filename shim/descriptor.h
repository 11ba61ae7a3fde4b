/*
 * Which stream a descriptor number stands for, and how long a stream lives. Looked up on every call
 * and so without a lock: streams are known by their slot in a table that never moves, and a call
 * pins the one it uses.
 */
#ifndef DESCRIPTOR_H
#define DESCRIPTOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    DESCRIPTOR_LIMIT = 65536, /* numbers from here up are left to the kernel */
    STREAM_LIMIT = 1024,      /* streams at a time */
    NO_SLOT = -1
};

extern _Atomic uint16_t descriptor_slots[DESCRIPTOR_LIMIT]; /* slot + 1; 0: no stream */

/* Whether a descriptor has a stream: all that a call on one without costs. */
static inline bool descriptor_served(int fd)
{
    return (unsigned)fd < DESCRIPTOR_LIMIT &&
           atomic_load_explicit(&descriptor_slots[fd], memory_order_relaxed) != 0;
}

/* A free slot, pinned once; NO_SLOT: all are taken, or this is the child of a vfork(2). */
int descriptor_take_slot(void);

/*
 * The slot of a descriptor's stream, pinned; NO_SLOT: it has none, or this is the child of a
 * vfork(2): the number is one of its own.
 */
int descriptor_pin(int fd);

/* Take back a pin. With the last one the stream ends. */
void descriptor_unpin(int slot);

/* The owner of the streams defines this: clean up after a stream, before its slot is free again. */
void descriptor_on_end(int slot);

/* Whether `fd` stands for this stream (still). */
bool descriptor_is(int fd, int slot);

/* Make `fd`, which has none, stand for a stream. The caller's pin becomes the table's. */
void descriptor_attach(int fd, int slot);

/* Make `fd` stand for nothing. @return true: it stood for this stream; the pin is the caller's */
bool descriptor_detach(int fd, int slot);

/* The highest descriptor that ever had a stream, -1: none. */
int descriptor_highest(void);

#endif
