/*
 * Opening the library's own files (log, status file) safely: as the user who started the server,
 * whatever rights it has by now, and by ProFTPD's rule for its own logs (src/log.c,
 * pr_log_openfile()).
 */
#ifndef OWNFILE_H
#define OWNFILE_H

#include <stdbool.h>
#include <sys/types.h>

/* The user to open files as: the start-up euid, which the server drops most of the time. */
void ownfile_as(uid_t user);

/*
 * Whether nobody but its owner and group can replace `path`: its directory is not world-writable,
 * and belongs to root or to the user of ownfile_as().
 * @return false: errno EPERM, or as of stat(2)
 */
bool ownfile_directory_safe(const char *path);

/*
 * Open a file by that rule, without following a link at its end.
 * @param flags  of open(2); O_NOFOLLOW, O_CLOEXEC, O_NOCTTY and O_NONBLOCK are added
 * @return descriptor; -1: errno EPERM for the directory, or as of stat(2) and open(2)
 */
int ownfile_open(const char *path, int flags, mode_t mode);

#endif
