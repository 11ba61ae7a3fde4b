/*
 * The listed files, by device and inode: what the master has mapped of them, and what sessions know
 * of them and inherit.
 */
#ifndef PRELOAD_H
#define PRELOAD_H

#include "mapping.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* A listed file as it was when it was last looked at. While it is mapped, the kernel can't give its
 * inode away. */
struct preload;

/* ---- for who opens files; async-signal-safe ---- */

/*
 * The listed file that this is, if it is one and has not changed since (size, times of modification
 * and change). To be released.
 * @return NULL: not listed, or changed, which is counted
 */
struct preload *preload_find(const struct stat64 *status);

/* The whole file, valid until released; empty where this process has no mapping of it. */
const struct mapping *preload_mapping(const struct preload *file);

/*
 * Count a download of a listed file. NULL is allowed.
 * @param bytes, bytes_kernel  served from memory, and by the kernel
 */
void preload_count(const struct preload *file, uint64_t bytes, uint64_t bytes_kernel);

/* NULL is allowed. */
void preload_release(struct preload *file);

/* In a child that was just forked: only what is inherited is mapped here. */
void preload_forked(void);

/* Forget all, and unmap what was inherited. */
void preload_unload(void);

/* ---- for who keeps them: one thread of the master, or the main flow of a process without one ----
 */

/* Where a listed file is mapped. */
enum preload_way {
    PRELOAD_KNOWN,    /* nowhere: it is only known to be listed */
    PRELOAD_MAPPED,   /* in this process */
    PRELOAD_INHERITED /* in its children, too */
};

/*
 * Open a listed file to look at and to map it, past the library: a keeper's descriptors are its
 * own, and have the numbers of others. What is no regular file can only be looked at, for opening
 * it might do something to a device, or wait for a pipe's other end.
 * @return -1: errno of open(2)
 */
int preload_open(const char *path);

/*
 * Why a file can't be listed, for people to read.
 * @param fd      as preload_open() returned it, with its errno if that is -1
 * @param status  out: the file's, where it can be had
 * @return NULL: it can
 */
const char *preload_problem(int fd, struct stat64 *status);

/* Begin a new list: none of the files is listed any more. */
void preload_begin(void);

/*
 * List an open file under its present size and times. One that is known and unchanged keeps its
 * mapping, with its pages and locks, if it shall have any.
 * @param slot  of the status file, where its downloads are counted; STATUS_FILES: nowhere
 * @return NULL: errno EEXIST, listed already since preload_begin(), as it is or outdated; as of
 *         mmap(2); or ENOMEM. Otherwise the index owns it until it is retired.
 */
struct preload *preload_list(int fd, const struct stat64 *status, enum preload_way way,
                             unsigned slot);

/*
 * Whether this file is listed as it was before it changed. It may have another name by now, so
 * whoever lists it anew need not be the one who has it.
 * @param slot  out: its slot
 */
bool preload_is_outdated(const struct stat64 *status, unsigned *slot);

/* Whether this is the file, unchanged. */
bool preload_is(const struct preload *file, const struct stat64 *status);

/* Whether its mapping is inherited. */
bool preload_is_inherited(const struct preload *file);

/* What its keeper has done with it: a note of the keeper's, false at first. */
struct preload_kept {
    bool read_in, locked;
};
struct preload_kept *preload_kept(struct preload *file);

/* Take out of the index, and unmap as soon as nobody reads from it: one, or all that aren't listed.
 */
void preload_retire(struct preload *file);
void preload_retire_unlisted(void);

#endif
