/*
 * A turn: a stretch of a download, up to a window long, that is read one way, from a mapping or by
 * the kernel. Which of them costs less depends on the machine: where page faults are dear (some
 * virtual machines), mapping takes three times as long. So some turns of each are measured, in CPU
 * time, which waiting for a disk does not change; the others go the cheaper way. What was learned
 * is shared by all sessions. A turn belongs to the holder of its stream's busy flag.
 *
 * All functions are async-signal-safe and keep errno.
 */
#ifndef TURN_H
#define TURN_H

#include "mapping.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct turn {
    off64_t start, end; /* in the file, bytes; equal: there is none */
    bool maps;          /* false: the kernel reads */
    unsigned weight;    /* of what it measures, 1/weight; 0: not measured */
    uint64_t ns, bytes; /* measured so far */
};

/* Say which way all turns go from now on, "map" or "read"; NULL or else: the cheaper one. */
void turn_policy(const char *way);

/*
 * Begin a turn, and choose its way. What is on FUSE is mapped: readahead_take_over() says why.
 * @param start, length  in the file, bytes; it may become shorter
 */
void turn_begin(struct turn *turn, off64_t start, size_t length, enum filesystem filesystem);

/* Whether all of a read falls into it. @param offset, length  in the file, bytes */
bool turn_covers(const struct turn *turn, off64_t offset, size_t length);

/* A read begins. @return what turn_add() is to be told */
uint64_t turn_clock(const struct turn *turn);

/* The read that began at `since` has given `bytes`. */
void turn_add(struct turn *turn, uint64_t since, size_t bytes);

/* End it, if there is one: unmap its window, and learn what it cost. */
void turn_end(struct turn *turn, struct mapping *window);

#endif
