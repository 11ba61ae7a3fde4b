/*
 * Opening and writing the library's own files (log, status file): as the user who started the
 * server, by ProFTPD's rule for its logs (src/log.c, pr_log_openfile()), and without a signal.
 */
#ifndef SAFE_FILE_H
#define SAFE_FILE_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* The uid to open files as: the start-up euid, which the server drops most of the time. */
void safe_file_as(uid_t user);

/*
 * Open a file if its directory belongs to root or to the user of safe_file_as(), and is not
 * world-writable. No link is followed at its end.
 * @param flags  of open(2); O_NOFOLLOW, O_CLOEXEC, O_NOCTTY and O_NONBLOCK are added
 * @return descriptor; -1: errno EPERM for the directory, or of stat(2) and open(2)
 */
int safe_file_open(const char *path, int flags, mode_t mode);

/*
 * For the tool, with its effective rights: true if safe_file_open() could open a file for writing,
 * or create it. Creates none.
 * @return false: errno of safe_file_open(), or access(2) for the directory
 */
bool safe_file_try(const char *path);

/*
 * Writing beyond RLIMIT_FSIZE raises SIGXFSZ, and writing into a closed pipe SIGPIPE, which would
 * kill the program: block both before, and discard what was raised afterwards. Async-signal-safe;
 * preserve errno.
 * @param failure  errno of what was done in between; 0: none
 */
struct safe_file_signals {
    sigset_t former, pending;
};
struct safe_file_signals safe_file_block_signals(void);
void safe_file_restore_signals(const struct safe_file_signals *signals, int failure);

#endif
