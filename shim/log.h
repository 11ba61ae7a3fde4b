/*
 * The library's log: syslog, or a file in ProFTPD's own line format. Each line opens, writes and
 * closes, because the server closes descriptors that it does not know. The master, the process that
 * starts and the keeper log; a session does not: its paths may be those of its chroot, and its
 * descriptors 0 to 2 its client's.
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>

/* The words of TransferMMapLog that are no path. */
#define LOG_TO_SYSLOG  "syslog"
#define LOG_TO_NOWHERE "none"

/* Choose where lines go: an absolute path, or one of the words above. Copied. */
void log_to(const char *target);

/*
 * Whether lines also go to standard error: while the server starts, that is where an administrator
 * looks. Has no effect if standard error is a socket (inetd passes the client's to the server).
 */
void log_echo(bool on);

/*
 * Write one line; printf(3)'s format. Control characters become question marks. A line that cannot
 * be written to the file goes to syslog; failures are not reported. Keeps errno. Main flow only,
 * not async-signal-safe. Takes 24 KiB of stack and no heap.
 */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
