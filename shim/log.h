/*
 * Where the library tells what it did: syslog, or a file in ProFTPD's own line format. A line is
 * written by opening, writing and closing: the server closes descriptors that it doesn't know.
 * Only the master and the starting process log. A session's paths may be those of its chroot, and
 * its descriptors 0 to 2 its client's.
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>
#include <sys/types.h>

enum log_target { LOG_TO_SYSLOG, LOG_TO_FILE, LOG_TO_NOWHERE };

/*
 * Choose where lines go. @param path  absolute, with LOG_TO_FILE; copied
 */
void log_to(enum log_target target, const char *path);

/*
 * Write the file as this effective user, whom the server started as and will often not be.
 */
void log_as(uid_t user);

/*
 * Whether lines also go to standard error: while the server starts, that is where an administrator
 * looks. Has no effect where standard error is a socket (inetd hands the client's to the server).
 */
void log_echo(bool on);

/*
 * Write one line; printf(3)'s format. Control characters, a newline too, become question marks.
 * What can't go to the file goes to syslog. Failure to write is not reported anywhere. Keeps errno.
 * For several threads at once; not async-signal-safe. Takes 24 KiB of stack and no heap.
 */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * strerror(3), for the library's own thread. @param number  of errno
 */
const char *log_reason(int number);

/*
 * Around fork(2), with signals blocked: meanwhile no other thread's line is being dated, nor a
 * reason found. The child would find the lock of libc's time zone, or that of its catalogue of
 * messages, taken for ever. Async-signal-safe.
 */
void log_before_fork(void);
void log_after_fork(void);

/*
 * ProFTPD's rule for its own logs: whether nobody but its owner and group can put something else in
 * the place of `path`, for its directory is not writable by everyone and belongs to root
 * or to whom log_as() named.
 * @return false: errno is EPERM, or as of stat(2)
 */
bool log_directory_safe(const char *path);

/*
 * Open a file that is the library's own, by that rule, following no link at its end, and as the
 * user whom log_as() named, whoever this thread runs as.
 * @param flags  of open(2); O_NOFOLLOW, O_CLOEXEC, O_NOCTTY and O_NONBLOCK are added
 * @return descriptor; -1: errno is EPERM for the directory, or as of stat(2) and open(2)
 */
int log_open(const char *path, int flags, mode_t mode);

#endif
