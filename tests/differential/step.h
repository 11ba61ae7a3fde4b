/*
 * A step of a random sequence, done on both twins. All of it is drawn beforehand, and valid in any
 * state of the twins: so any part of a failing sequence is a sequence, and can be shrunk.
 */
#ifndef STEP_H
#define STEP_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* X(name, weight, of 1000 or so) */
#define OPERATIONS(X)                                                                              \
    X(OPEN, 70)                                                                                    \
    X(OPEN_ODD, 8)                                                                                 \
    X(READ, 360)                                                                                   \
    X(PREAD, 90)                                                                                   \
    X(READV, 60)                                                                                   \
    X(PREADV, 40)                                                                                  \
    X(LSEEK, 80)                                                                                   \
    X(CLOSE, 15)                                                                                   \
    X(CLOSE_RANGE, 5)                                                                              \
    X(DUP, 25)                                                                                     \
    X(DUP2, 20)                                                                                    \
    X(FCNTL_DUP, 15)                                                                               \
    X(FCNTL, 15)                                                                                   \
    X(LOCKF, 4)                                                                                    \
    X(SENDFILE, 18)                                                                                \
    X(COPY_FILE_RANGE, 9)                                                                          \
    X(SPLICE, 9)                                                                                   \
    X(FDOPEN, 5)                                                                                   \
    X(WRITE, 18)                                                                                   \
    X(PIPE, 2)                                                                                     \
    X(SOCKETPAIR, 1)                                                                               \
    X(FORK, 1)                                                                                     \
    X(JOIN, 6)                                                                                     \
    X(HANG_UP, 1)                                                                                  \
    X(OUTSIDE_WRITE, 18)                                                                           \
    X(OUTSIDE_TRUNCATE, 10)                                                                        \
    X(OUTSIDE_RENAME, 4)                                                                           \
    X(OUTSIDE_UNLINK, 2)                                                                           \
    X(OUTSIDE_PUNCH, 4)

enum operation {
#define X(name, weight) name,
    OPERATIONS(X)
#undef X
        OPERATION_COUNT
};

/* Where a call reads to. */
enum buffer {
    GOOD,
    CUT_OFF, /* the caller's memory ends before the buffer does */
    READ_ONLY,
    NOT_MAPPED,
    NOWHERE,      /* NULL */
    NONCANONICAL, /* not an address */
    LAST_PAGE,    /* just beyond the end of user space */
    IN_KERNEL,
    BUFFER_COUNT
};

enum {
    LOW_SLOTS = 16,   /* numbered by open() and dup() */
    CHOSEN_SLOTS = 8, /* with numbers requested by dup2() and F_DUPFD */
    ODD_SLOTS = 3,    /* never open */
    SLOTS = LOW_SLOTS + CHOSEN_SLOTS,
    FILES = 6
};

struct step {
    uint8_t operation;
    uint8_t by_child; /* which of two processes does it, after a fork */
    uint8_t slot, other;
    uint8_t file;
    uint8_t variant;
    uint8_t buffer;
    uint8_t limited; /* with no descriptor number left */
    uint32_t flags;
    int32_t whence;
    uint32_t shift; /* of the buffer's start from its usual address, bytes */
    uint64_t count;
    int64_t offset;
    uint64_t seed; /* for what an operation draws itself */
};

/* Draw `count` steps; the same seed always gives the same steps. */
void step_draw(struct step *steps, size_t count, uint64_t seed);

/* Print a step on one line. */
void step_print(FILE *out, size_t index, const struct step *step);

/* Return the next of a sequence of random numbers (splitmix64). */
uint64_t step_random(uint64_t *state);

/* Return a random number from 0 to `limit` - 1. */
uint64_t step_below(uint64_t *state, uint64_t limit);

/* Return a size or an offset, bytes: near the boundaries that matter. */
uint64_t step_size(uint64_t *state);

#endif
