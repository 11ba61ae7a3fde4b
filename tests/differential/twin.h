/*
 * The twins: the same files in two directories, the same open descriptors under two sets of
 * numbers. One is used through libc's names, which the library wraps; the other by syscall(2),
 * which bypasses it. The working directory holds both, as a/ and b/.
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

/* A call's result. It includes errno after a success, which must not change. */
struct answer {
    int64_t value;
    int error;
};

enum { UNTOUCHED_ERRNO = 4242, MOST_PARTS = 20 };

/* Make the files, and all that the steps need. Ends the process on an error. */
void twin_make(void);

/* ---- descriptors ---- */

/* Return a slot's descriptor on one side; one that is never open if the slot is empty. */
int twin_number(enum side side, unsigned slot);

/* True if a slot is empty. */
bool twin_is_empty(unsigned slot);

/* Mark a slot's descriptor as closed. */
void twin_forget(enum side side, unsigned slot);

/* Empty a slot for a step to open: the step's, or another if its number can't be requested. */
unsigned twin_vacate(enum side side, unsigned slot);

/* Store a returned descriptor. @return its slot, which both sides can compare; -1 for -1 */
int64_t twin_keep(enum side side, unsigned slot, int fd);

/* True if a slot's number is requested by steps. The last two are never closed. */
bool twin_is_chosen(unsigned slot);

/* Return the slot of a number from F_DUPFD on the requested ones; -1: beyond them. */
int twin_chosen_slot(enum side side, int fd);

/* ---- files ---- */

/* Return "a/f3", for example. Static. */
const char *twin_path(enum side side, unsigned file);
int twin_directory(enum side side);

/* A non-blocking pipe or socket to send bytes to. */
int twin_sink(enum side side, bool socket);

/* Drain both sides' sinks. @return false: not the same bytes */
bool twin_drain(void);

/* Do an operation from outside the program. */
void twin_outside(const struct step *step);

/* True if the files are the same. */
bool twin_files_agree(void);

/* ---- buffers ---- */

/* Return the buffer of a step's call. */
void *twin_buffer(enum side side, const struct step *step);

/* Return the buffer in parts. @return the number of parts to pass to the call */
int twin_parts(enum side side, const struct step *step, struct iovec *parts);

/*
 * Compare the buffers, including bytes around and beyond those read, and reset them.
 * @param count   requested, bytes
 * @param answer  read, bytes
 */
bool twin_buffers_agree(const struct step *step, uint64_t count, int64_t answer);

#endif
