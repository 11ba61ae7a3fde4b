/*
 * The listed files: mapped by the master, inherited by its sessions, known by device and inode.
 */
#ifndef PRELOAD_H
#define PRELOAD_H

#include "config.h"
#include "mapping.h"

#include <stdint.h>
#include <sys/stat.h>

/* A listed file in memory. As long as it is mapped, the kernel can't give its inode away. */
struct preload;

/*
 * Bring what is mapped up to date with a list of absolute paths and wildcards (glob(7)): unchanged
 * files stay as they are, others are mapped or let go. What can't be mapped is logged, and the
 * others load. Main flow of the master only; allocates.
 */
void preload_load(const struct config_list *paths);

/* How much is mapped now. */
struct preload_sum {
    size_t files;
    uint64_t bytes;
};
struct preload_sum preload_sum(void);

/* Unmap all. Async-signal-safe, so that a forked child can call it. */
void preload_unload(void);

/*
 * The listed file that this is, if it is one and has not changed since it was mapped (size, times
 * of modification and change). To be released. Async-signal-safe.
 * @return NULL: not listed, or changed
 */
struct preload *preload_find(const struct stat64 *status);

/* The whole file; valid until released. */
const struct mapping *preload_mapping(const struct preload *file);

/*
 * Count a download of a listed file. Async-signal-safe. NULL is allowed.
 * @param bytes, bytes_kernel  served from memory, and by the kernel
 */
void preload_count(const struct preload *file, uint64_t bytes, uint64_t bytes_kernel);

/* Async-signal-safe. NULL is allowed. */
void preload_release(struct preload *file);

#endif
