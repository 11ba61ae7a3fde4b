#include "log.h"

#include "libc.h"
#include "safe_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 8192 };

static char target[PATH_MAX] = LOG_TO_SYSLOG;
static bool echo;
static struct stat64 standard_error; /* as log_begin_echo() found it; mode 0: none */

static bool is(const char *chosen, const char *word)
{
    return strcmp(chosen, word) == 0;
}

static bool is_file(const char *chosen)
{
    return !is(chosen, LOG_TO_SYSLOG) && !is(chosen, LOG_TO_STDERR) && !is(chosen, LOG_TO_NOWHERE);
}

void log_to(const char *chosen)
{
    (void)snprintf(target, sizeof target, "%s", chosen);
}

static bool has_standard_error(void)
{
    struct stat64 now;

    return fstat64(STDERR_FILENO, &now) == 0 &&
           ((now.st_mode ^ standard_error.st_mode) & S_IFMT) == 0 &&
           now.st_dev == standard_error.st_dev && now.st_ino == standard_error.st_ino;
}

void log_begin_echo(void)
{
    if (standard_error.st_mode == 0 && fstat64(STDERR_FILENO, &standard_error) == 0 &&
        S_ISSOCK(standard_error.st_mode))
        standard_error.st_mode = 0;
    echo = true;
}

void log_end_echo(void)
{
    echo = false;
}

/* @return descriptor, -1: errno */
static int open_syslog(void)
{
    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd == -1 || connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    libc_close(fd);
    return -1;
}

/* Not by syslog(3), which would keep a descriptor open. @return false: no syslog */
static bool write_to_syslog(const char *message)
{
    char datagram[LINE_MAX_BYTES];
    int length = snprintf(datagram, sizeof datagram, "<%d>%s[%d]: libxfermmap: %s",
                          LOG_FTP | LOG_NOTICE, program_invocation_short_name, getpid(), message);
    int fd = open_syslog();

    if (fd == -1)
        return false;
    if (length > 0)
        (void)send(fd, datagram, strnlen(datagram, sizeof datagram), MSG_NOSIGNAL);
    libc_close(fd);
    return true;
}

static void write_line(int fd, const char *message)
{
    char line[LINE_MAX_BYTES], host[HOST_NAME_MAX + 1] = "localhost", date[32];
    struct timespec now;
    struct tm local;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gethostname(host, sizeof host - 1);
    (void)strftime(date, sizeof date, "%F %T", localtime_r(&now.tv_sec, &local));
    int length =
        snprintf(line, sizeof line, "%s,%03ld %s %s[%d]: libxfermmap: %s\n", date,
                 now.tv_nsec / 1000000, host, program_invocation_short_name, getpid(), message);
    if (length <= 0)
        return;
    struct safe_file_signals signals = safe_file_block_signals();
    safe_file_restore_signals(&signals,
                              write(fd, line, strnlen(line, sizeof line)) != -1 ? 0 : errno);
}

/* @return false: the file can't be opened */
static bool write_to_file(const char *message)
{
    int fd = safe_file_open(target, O_WRONLY | O_APPEND | O_CREAT, 0640);

    if (fd == -1)
        return false;
    write_line(fd, message);
    libc_close(fd);
    return true;
}

/* Without waiting: a pipe may be full. @return false: no standard error */
static bool write_to_standard_error(const char *message)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (!has_standard_error())
        return false;
    if (poll(&ready, 1, 0) == 1)
        write_line(STDERR_FILENO, message);
    return true;
}

bool log_try(const char *chosen)
{
    if (!is(chosen, LOG_TO_SYSLOG))
        return !is_file(chosen) || safe_file_try(chosen);
    int fd = open_syslog();
    libc_close(fd);
    return fd != -1;
}

int log_descriptor(void)
{
    bool used = is(target, LOG_TO_STDERR) || (!log_try(target) && !log_try(LOG_TO_SYSLOG));

    return used && has_standard_error() ? STDERR_FILENO : -1;
}

static void make_one_line(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
    }
}

void log_line(const char *format, ...)
{
    char message[LINE_MAX_BYTES / 2];
    int saved = errno;
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    make_one_line(message);
    bool shown = (echo || is(target, LOG_TO_STDERR)) && write_to_standard_error(message);
    bool written = is(target, LOG_TO_NOWHERE) || (is(target, LOG_TO_STDERR) && shown) ||
                   (is_file(target) && write_to_file(message)) || write_to_syslog(message);
    if (!written && !shown)
        (void)write_to_standard_error(message);
    errno = saved;
}
