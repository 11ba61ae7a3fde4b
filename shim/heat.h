/*
 * How often each file was downloaded recently: a table of fixed size in shared memory. Sessions
 * count the bytes that they send. docs/design.md, "The hot set".
 *
 * A session can write to all of it. So the keeper uses a count only to compare, and a handle only
 * after the kernel has opened it and fstat(2) shows the expected file.
 *
 * The functions for sessions are async-signal-safe and lock-free, and preserve errno. In a process
 * that does not count, they test one flag.
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
    HEAT_ONE = 256,   /* one download: as many bytes as the file has */
    HEAT_FILES = 5120 /* entries of the table */
};

/* A file handle, open_by_handle_at(2). Starts with a struct file_handle. */
struct handle {
    uint32_t bytes;
    int32_t type;
    unsigned char data[MAX_HANDLE_SZ];
    int32_t mount; /* mount ID, the first field of /proc/self/mountinfo */
};

/* ---- sessions ---- */

/* Start or stop counting in this process. Call status_share() first. */
void heat_policy(bool counts);

/* A file was opened for reading. @param status  from fstat(2) */
void heat_opened(int fd, const struct stat64 *status);

/* Bytes of the file were sent, without moving the kernel's offset. */
void heat_sent(int fd, uint64_t bytes);

/* The kernel's offset was set: count what is read from there on. */
void heat_moved(int fd, off64_t offset);

/* The descriptor is about to be closed: count what was sent. */
void heat_closing(int fd);

/* The number may be another file's by now: count nothing of it. */
void heat_reused(int fd);

/* ---- the keeper ---- */

struct heat_file {
    uint64_t device, inode;
    uint32_t downloads; /* recent ones, a lower bound, in 1/HEAT_ONE */
    uint32_t pages;     /* its size in 4 KiB, as a session says */
    unsigned entry;
};

/*
 * List the files that have a handle. @param files  room for HEAT_FILES
 * @param all  out: recent downloads of all files in the table, in 1/HEAT_ONE
 * @return how many
 */
size_t heat_list(struct heat_file *files, uint64_t *all);

/* Copy the handle of a listed entry. @return false: it is half written or forged */
bool heat_handle(const struct heat_file *file, struct handle *handle);

/* Forget a file that is gone. Its inode number may belong to another file by now. */
void heat_forget(const struct heat_file *file);

/* @return the last errno of name_to_handle_at(2); 0: it has not failed */
int heat_failure(void);

#endif
