/*
 * A turn: a stretch of a download, up to a window long, that is read one way, from a mapping or by
 * the kernel. Some turns of each way are measured, the others take the cheaper one: docs/design.md,
 * "Windows". A turn belongs to the holder of its stream's busy flag.
 *
 * All functions are async-signal-safe and preserve errno. Offsets and lengths are in bytes.
 */
#ifndef TURN_H
#define TURN_H

#include "mapping.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct turn {
    off64_t start, end; /* in the file; equal: no turn */
    bool maps;          /* false: the kernel reads */
    unsigned weight;    /* of what it measures, 1/weight; 0: not measured */
    uint64_t ns, bytes; /* measured so far */
};

/* Which way all turns take from now on: "map" or "read"; else the cheaper one. */
void turn_policy(const char *way);

/* Begin a turn, which may become shorter than `length`, and choose its way. Files on FUSE are
 * always mapped: a read by the kernel would disturb read-ahead. */
void turn_begin(struct turn *turn, off64_t start, size_t length, enum filesystem filesystem);

/* True if a read is within the turn. */
bool turn_covers(const struct turn *turn, off64_t offset, size_t length);

/* A read begins. @return for turn_add() */
uint64_t turn_clock(const struct turn *turn);

/* The read that began at `since` has returned `bytes`. */
void turn_add(struct turn *turn, uint64_t since, size_t bytes);

/* End the turn, if there is one: unmap its window, and learn its cost. */
void turn_end(struct turn *turn, struct mapping *window);

#endif
