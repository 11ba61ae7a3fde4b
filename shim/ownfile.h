/*
 * Opening and writing the library's own files (log, status file) safely: as the user who started
 * the server, whatever rights it has by now, by ProFTPD's rule for its own logs (src/log.c,
 * pr_log_openfile()), and without a signal.
 */
#ifndef OWNFILE_H
#define OWNFILE_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* The user to open files as: the start-up euid, which the server drops most of the time. */
void ownfile_as(uid_t user);

/*
 * Open a file by that rule: its directory belongs to root or to the user of ownfile_as(), and is
 * not writable by everyone. No link is followed at its end.
 * @param flags  of open(2); O_NOFOLLOW, O_CLOEXEC, O_NOCTTY and O_NONBLOCK are added
 * @return descriptor; -1: errno EPERM for the directory, or as of stat(2) and open(2)
 */
int ownfile_open(const char *path, int flags, mode_t mode);

/*
 * Whether ownfile_open() could open a file for writing, and make one that is not there. Makes none.
 * For the tool: of the rights, the effective ones count.
 * @return false: errno as of ownfile_open(), or access(2) for the directory
 */
bool ownfile_try(const char *path);

/*
 * Beyond RLIMIT_FSIZE it raises SIGXFSZ to write to a file or to enlarge it, and SIGPIPE to write
 * into a pipe that nobody reads. Neither is for the program to see, which it would kill: block both
 * before, and discard afterwards what was raised. Async-signal-safe; keep errno.
 * @param failure  errno of what was done in between; 0: none
 */
struct ownfile_quiet {
    sigset_t former, pending;
};
struct ownfile_quiet ownfile_quieten(void);
void ownfile_unquiet(const struct ownfile_quiet *quiet, int failure);

#endif
