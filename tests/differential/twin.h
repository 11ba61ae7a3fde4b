/*
 * The twins: the same files in two directories, the same open descriptors under two sets of
 * numbers. One is used through libc's names, before which the library stands; the other by
 * syscall(2), which it can't see. The working directory holds both, as a/ and b/.
 */
#ifndef TWIN_H
#define TWIN_H

#include "step.h"

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

enum side { LIBRARY, KERNEL, SIDES };

#define RAW(name, ...) syscall(SYS_##name, __VA_ARGS__)

/* The same call on either side. */
#define BOTH(side, by_library, by_kernel) ((side) == LIBRARY ? (by_library) : (by_kernel))

/* What a call gave. errno is part of it after a success, too: it has to stay what it was. */
struct answer {
    int64_t value;
    int error;
};

enum { UNTOUCHED_ERRNO = 4242, MOST_PARTS = 20 };

/* Make the files, and everything that is not a step's. Ends the process where that fails. */
void twin_make(void);

/* ---- descriptors ---- */

/* The number that a slot has, on one side; one that is never open where there is none. */
int twin_number(enum side side, unsigned slot);

/* Whether a slot has none. */
bool twin_is_empty(unsigned slot);

/* Its descriptor is closed. */
void twin_forget(enum side side, unsigned slot);

/* A slot for what a step opens, made empty: the step's own, or one whose number can't be chosen. */
unsigned twin_vacate(enum side side, unsigned slot);

/* A descriptor that was given. @return its slot, so that the sides can be compared; -1 for -1 */
int64_t twin_keep(enum side side, unsigned slot, int fd);

/* Whether a slot's number is asked for, not given. The last two are never closed. */
bool twin_is_chosen(unsigned slot);

/* The slot of a number that F_DUPFD has given from the chosen ones on; -1: beyond them. */
int twin_chosen_slot(enum side side, int fd);

/* ---- files ---- */

/* "a/f3". Static. */
const char *twin_path(enum side side, unsigned file);
int twin_directory(enum side side);

/* Where bytes can be sent to, not blocking: a pipe or a socket. */
int twin_sink(enum side side, bool socket);

/* What came out of both. Empties them. @return false: not the same bytes */
bool twin_drain(void);

/* The operations that come from outside of the program. */
void twin_outside(const struct step *step);

/* Whether the files are the same. */
bool twin_files_agree(void);

/* ---- buffers ---- */

/* Where a step's call reads to or writes from. */
void *twin_buffer(enum side side, const struct step *step);

/* The same in parts. @return how many parts the call is to be told */
int twin_parts(enum side side, const struct step *step, struct iovec *parts);

/*
 * Compare the buffers, around and beyond what was read too, and make them as new.
 * @param count   what was asked for, bytes
 * @param answer  how much was read, bytes
 */
bool twin_buffers_agree(const struct step *step, uint64_t count, int64_t answer);

#endif
