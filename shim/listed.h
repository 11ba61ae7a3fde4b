/*
 * The listed files: those that TransferMMapFile names, which of them fit, and having these in
 * memory. The hot files (hot.h) follow them in the same list. For a child of the watchdog, as each
 * function may wait for a disk.
 */
#ifndef LISTED_H
#define LISTED_H

#include "config.h"
#include "filesystem.h"
#include "heat.h"
#include "residency.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <uthash.h>

struct listed_file {
    char *path;
    unsigned line; /* which argument of TransferMMapFile, counted from 0; STATUS_HOT */
    struct stat64 status;
    char *problem; /* why it is not kept, for the log; allocated */
    bool leased;   /* another process holds a lease: try again */
    bool skipped;  /* it does not answer: nothing is known of it, nor of what is below it */
    struct residency memory;
    unsigned slot; /* for the keeper: where the status shows it */
    /* of a hot file: */
    struct handle *handle; /* NULL: a listed file, opened by its path */
    bool hidden;           /* path and size are not public: the path is device and inode */
    uint64_t downloads;    /* recent ones, in 1/HEAT_ONE */
    int64_t since;         /* when it became hot, seconds since the Epoch */
    size_t order;          /* for hot.c */
    struct {
        uint64_t device, inode;
    } identity; /* hashed and compared as bytes, so it must have no padding */
    UT_hash_handle hh;
};

enum { LISTED_MOST_SKIPPED = 16 };

struct listed {
    struct listed_file **files; /* in the order of the list */
    size_t count, room;
    size_t hot;                            /* where the hot files start */
    unsigned skipped[LISTED_MOST_SKIPPED]; /* arguments that have such files */
    size_t skipped_count;
    struct listed_file *by_identity;
};

/*
 * Find all files of a list. An argument is a path, a wildcard of glob(7), or a directory, which
 * stands for the regular files below it; links in there are not followed. A file that is listed
 * again, or empty, is left out.
 */
void listed_expand(struct listed *listed, const struct config_list *arguments);

/* Find the files of one path, which is no wildcard, in the same way. */
void listed_add(struct listed *listed, const char *path);

/* Add a hot file. @return NULL: it is listed, or empty; or no memory */
struct listed_file *listed_add_hot(struct listed *listed, const char *path,
                                   const struct stat64 *status, const struct handle *handle);

/* The same file of another list. @return NULL: it is not listed there */
const struct listed_file *listed_find(const struct listed *listed, const struct listed_file *file);

/*
 * Whether two lists have the same files with the same data (size, mtime). Of arguments that have
 * files which do not answer, nothing is known, and they count as the same.
 */
bool listed_is_same(const struct listed *held, const struct listed *found);

/* Map the files that can be kept, in their order, as far as they fit into `memory` bytes. */
void listed_map(struct listed *listed, uint64_t memory);

/* Read in, and lock, what is mapped. @param on_piece  see residency_read_in() */
void listed_read_in(struct listed *listed, enum residency_mode mode, residency_progress *on_piece);

void listed_free(struct listed *listed);

#endif
