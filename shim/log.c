#include "log.h"

#include "libc.h"
#include "ownfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

void log_to(const char *chosen)
{
    (void)snprintf(target, sizeof target, "%s", chosen);
}

void log_echo(bool on)
{
    struct stat64 standard_error;

    echo = on && fstat64(STDERR_FILENO, &standard_error) == 0 && !S_ISSOCK(standard_error.st_mode);
}

/* A datagram of our own: syslog(3) would keep a descriptor open. */
static void write_to_syslog(const char *message)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    char datagram[LINE_MAX_BYTES];
    int length = snprintf(datagram, sizeof datagram, "<%d>%s[%d]: libxfermmap: %s",
                          LOG_FTP | LOG_NOTICE, program_invocation_short_name, getpid(), message);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd == -1)
        return;
    if (length > 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        (void)send(fd, datagram, strnlen(datagram, sizeof datagram), MSG_NOSIGNAL);
    (void)libc_next(close)(fd);
}

/* Beyond RLIMIT_FSIZE a write raises SIGXFSZ, which is not for the program to see. */
static void write_line(int fd, const char *line, size_t length)
{
    const struct timespec at_once = {0};
    sigset_t one, former, pending;

    sigemptyset(&one);
    sigaddset(&one, SIGXFSZ);
    (void)libc_next(pthread_sigmask)(SIG_BLOCK, &one, &former);
    (void)sigpending(&pending);
    if (write(fd, line, length) == -1 && errno == EFBIG && sigismember(&pending, SIGXFSZ) == 0)
        (void)sigtimedwait(&one, NULL, &at_once);
    (void)libc_next(pthread_sigmask)(SIG_SETMASK, &former, NULL);
}

/* @return false: the file can't be opened */
static bool write_to_file(const char *message)
{
    char line[LINE_MAX_BYTES], host[HOST_NAME_MAX + 1] = "localhost", date[32];
    struct timespec now;
    struct tm local;
    int fd = ownfile_open(target, O_WRONLY | O_APPEND | O_CREAT, 0640);

    if (fd == -1)
        return false;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gethostname(host, sizeof host - 1);
    (void)strftime(date, sizeof date, "%F %T", localtime_r(&now.tv_sec, &local));
    int length =
        snprintf(line, sizeof line, "%s,%03ld %s %s[%d]: libxfermmap: %s\n", date,
                 now.tv_nsec / 1000000, host, program_invocation_short_name, getpid(), message);
    if (length > 0)
        write_line(fd, line, strnlen(line, sizeof line));
    (void)libc_next(close)(fd);
    return true;
}

/* A name with a newline would make a line of its own. */
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
    if (strcmp(target, LOG_TO_SYSLOG) == 0 ||
        (strcmp(target, LOG_TO_NOWHERE) != 0 && !write_to_file(message)))
        write_to_syslog(message);
    if (echo)
        (void)fprintf(stderr, "%s: libxfermmap: %s\n", program_invocation_short_name, message);
    errno = saved;
}
