/*
 * How often each file was downloaded of late, as far as sessions send its bytes: a table of fixed
 * size in memory that all processes share. docs/design.md, "The hot set".
 *
 * A session can write all of it. So what is read from it is only a number to compare, or checked by
 * the kernel: a handle, and the identity of the file that it leads to.
 *
 * The functions for sessions are async-signal-safe, lock-free and preserve errno, and do nothing
 * but look at a flag unless this process counts.
 */
#ifndef HEAT_H
#define HEAT_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

enum {
    HEAT_ONE = 256,      /* one download: all bytes of a file, be it in pieces */
    HEAT_FILES = 5120,   /* files that are counted at a time */
    HEAT_BYTES = 1 << 20 /* of the table, at most */
};

/* A file handle, open_by_handle_at(2). It starts with a struct file_handle. */
struct handle {
    uint32_t bytes;
    int32_t type;
    unsigned char data[MAX_HANDLE_SZ];
    int32_t mount; /* its number in /proc/self/mountinfo */
};

/* ---- sessions ---- */

/* Whether this process counts from now on. Not before status_share(). */
void heat_policy(bool counts);

/* A file, from fstat(2), was opened for reading. */
void heat_opened(int fd, const struct stat64 *status);

/* Bytes of it were sent. Not for what read(2) moves the kernel's offset over. */
void heat_sent(int fd, uint64_t bytes);

/* The kernel's offset was set: what is read from there on counts. */
void heat_moved(int fd, off64_t offset);

/* It is about to be closed: count what was sent. */
void heat_closing(int fd);

/* ---- the keeper ---- */

struct heat_file {
    uint64_t device, inode;
    uint32_t downloads; /* of late, and no estimate, in 1/HEAT_ONE */
    unsigned entry;
};

/*
 * List the files that have a handle. @param files  room for HEAT_FILES
 * @param all  out: downloads of all files in the table, in 1/HEAT_ONE
 * @return how many
 */
size_t heat_list(struct heat_file *files, uint64_t *all);

/* The handle of a listed entry. @return false: it is half written, or a lie */
bool heat_handle(const struct heat_file *file, struct handle *handle);

/* Have the next session ask for the handle again, as this one leads nowhere: the inode may be that
 * of another file by now. */
void heat_ask_again(const struct heat_file *file);

/* @return why a file has no handle, errno of name_to_handle_at(2); 0: each has one */
int heat_failure(void);

#endif
