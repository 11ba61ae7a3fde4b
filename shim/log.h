/*
 * The library's log, in ProFTPD's line format: syslog, a file, or standard error. Each line opens,
 * writes and closes, because the server closes descriptors that it does not know. Sessions do not
 * log: their paths may be those of a chroot, and their descriptors 0 to 2 the client's.
 *
 * Standard error is what descriptor 2 was when the library was loaded, unless that was a socket:
 * inetd passes the client's. A server in the background uses the number for something else.
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>

/* The values of TransferMMapLog that are no path. */
#define LOG_TO_SYSLOG  "syslog"
#define LOG_TO_STDERR  "stderr"
#define LOG_TO_NOWHERE "none"

/* How many lines of a kind are logged; then one line says that there are more. */
enum { LOG_OF_A_KIND = 20 };

/* Choose where lines go: an absolute path, or one of the words above. Copied. */
void log_to(const char *target);

/* From the first to the second call lines go to standard error as well: an administrator looks
 * there while the server starts. The first call notes what standard error is. */
void log_begin_echo(void);
void log_end_echo(void);

/* True if a line could be written to this target. Makes no file.
 * @return false: errno of connect(2) for syslog, else of safe_file_try() */
bool log_try(const char *target);

/* The descriptor that lines go to, for a process that closes all others; -1: none. */
int log_descriptor(void);

/*
 * Write one line, in printf(3)'s format. Control characters become question marks. A line that the
 * target refuses goes to syslog, else to standard error; failures are not reported. Preserves
 * errno. Not async-signal-safe. Takes 24 KiB of stack and no heap.
 */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
