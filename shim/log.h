/*
 * The library's log: syslog, a file, or standard error, in ProFTPD's own line format. Each line
 * opens, writes and closes, because the server closes descriptors that it does not know. The
 * master, the process that starts and the keeper log; a session does not: its paths may be those of
 * its chroot, and its descriptors 0 to 2 its client's.
 *
 * Standard error is what was descriptor 2 when the library was loaded, and no socket: inetd passes
 * the client's. A server in the background has closed it, and uses the number for something else.
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>

/* The words of TransferMMapLog that are no path. */
#define LOG_TO_SYSLOG  "syslog"
#define LOG_TO_STDERR  "stderr"
#define LOG_TO_NOWHERE "none"

/* So many lines of a kind name files or mistakes; then one says that there are more. */
enum { LOG_OF_A_KIND = 20 };

/* Choose where lines go: an absolute path, or one of the words above. Copied. */
void log_to(const char *target);

/*
 * Whether lines also go to standard error: while the server starts, that is where an administrator
 * looks. The first call notes what standard error is.
 */
void log_echo(bool on);

/*
 * Whether a line could be written to this target. Makes no file.
 * @return false: errno of connect(2) for syslog, else as of ownfile_try()
 */
bool log_try(const char *target);

/* The descriptor that lines go to, for a process that closes all others; -1: they go elsewhere. */
int log_descriptor(void);

/*
 * Write one line; printf(3)'s format. Control characters become question marks. A line that its
 * target does not take goes to syslog, else to standard error; failures are not reported. Keeps
 * errno. Main flow only, not async-signal-safe. Takes 24 KiB of stack and no heap.
 */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
