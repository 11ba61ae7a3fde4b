#include "log.h"

#include "critical.h"
#include "libc.h"
#include "rights.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 8192 };

struct destination {
    enum log_target target;
    char path[PATH_MAX];
};

static struct destination chosen = {.target = LOG_TO_SYSLOG}; /* in critical sections only */
static uid_t writer;
static atomic_bool echo;
static atomic_flag in_libc = ATOMIC_FLAG_INIT; /* see log_before_fork() */

void log_to(enum log_target target, const char *path)
{
    struct critical section = critical_enter();

    chosen.target = target;
    (void)snprintf(chosen.path, sizeof chosen.path, "%s", path != NULL ? path : "");
    critical_leave(&section);
}

void log_as(uid_t user)
{
    writer = user;
}

void log_echo(bool on)
{
    struct stat64 standard_error;

    echo = on && fstat64(STDERR_FILENO, &standard_error) == 0 && !S_ISSOCK(standard_error.st_mode);
}

/* A datagram of its own instead of syslog(3), which would keep a descriptor open. */
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

bool log_directory_safe(const char *path)
{
    char copy[PATH_MAX];
    struct stat64 directory;

    (void)snprintf(copy, sizeof copy, "%s", path);
    if (stat64(dirname(copy), &directory) == -1)
        return false;
    errno = EPERM;
    return !(directory.st_mode & S_IWOTH) && (directory.st_uid == 0 || directory.st_uid == writer);
}

int log_open(const char *path, int flags, mode_t mode)
{
    const int safe = O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    struct critical section =
        critical_enter(); /* no handler of the server's runs with its rights */
    uid_t server = geteuid();
    int fd = -1;

    if (server != writer)
        (void)rights_set_user(writer);
    if (log_directory_safe(path))
        fd = libc_next(open64)(path, flags | safe, mode);
    if (server != writer)
        (void)rights_set_user(server);
    critical_leave(&section);
    return fd;
}

void log_before_fork(void)
{
    while (atomic_flag_test_and_set_explicit(&in_libc, memory_order_acquire))
        sched_yield();
}

void log_after_fork(void)
{
    atomic_flag_clear_explicit(&in_libc, memory_order_release);
}

/* No fork from here, in a handler neither. */
static void hold_forks(sigset_t *former)
{
    sigset_t all;

    sigfillset(&all);
    (void)libc_next(pthread_sigmask)(SIG_BLOCK, &all, former);
    log_before_fork();
}

static void let_fork(const sigset_t *former)
{
    log_after_fork();
    (void)libc_next(pthread_sigmask)(SIG_SETMASK, former, NULL);
}

static void format_date(char *date, size_t size, time_t now)
{
    sigset_t former;
    struct tm local;

    hold_forks(&former);
    (void)strftime(date, size, "%F %T", localtime_r(&now, &local));
    let_fork(&former);
}

const char *log_reason(int number)
{
    sigset_t former;

    hold_forks(&former);
    const char *reason = strerror(number);
    let_fork(&former);
    return reason;
}

/* Beyond RLIMIT_FSIZE writing sends a signal, which is the library's own affair: it is taken back.
 */
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
static bool write_to_file(const char *path, const char *message)
{
    char line[LINE_MAX_BYTES], host[HOST_NAME_MAX + 1] = "localhost", date[32];
    struct timespec now;
    int fd = log_open(path, O_WRONLY | O_APPEND | O_CREAT, 0640);

    if (fd == -1)
        return false;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gethostname(host, sizeof host - 1);
    format_date(date, sizeof date, now.tv_sec);
    int length =
        snprintf(line, sizeof line, "%s,%03ld %s %s[%d]: libxfermmap: %s\n", date,
                 now.tv_nsec / 1000000, host, program_invocation_short_name, getpid(), message);
    if (length > 0)
        write_line(fd, line, strnlen(line, sizeof line));
    (void)libc_next(close)(fd);
    return true;
}

/* A name with a newline would be a line of its own. */
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
    struct critical section = critical_enter();
    struct destination to = chosen;
    critical_leave(&section);

    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    make_one_line(message);
    if (to.target == LOG_TO_SYSLOG ||
        (to.target == LOG_TO_FILE && !write_to_file(to.path, message)))
        write_to_syslog(message);
    if (echo)
        (void)fprintf(stderr, "%s: libxfermmap: %s\n", program_invocation_short_name, message);
    errno = saved;
}
