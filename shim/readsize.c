#include "readsize.h"

#include "config.h"
#include "debug.h"
#include "libc.h"
#include "status.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

/* How long a client may take for one buffer, unless even the server's own takes longer. */
#define MOMENT_NS ((uint64_t)50 * 1000 * 1000)

size_t readsize_buffer;
static int size;           /* what the server is to choose, bytes; 0: its own choice */
static size_t server_size; /* what it would have chosen, bytes */
static bool settled;       /* this is a session */

/* The download under way; a session has one at a time. */
static struct {
    int fd;         /* -1: none */
    bool is_file;   /* else it is an upload's socket */
    bool throttled; /* the server has paused */
    uint64_t sent;  /* bytes so far */
    size_t last;    /* of these by the last read */
    uint64_t began; /* the last read, ns */
} download = {.fd = -1};

void readsize_policy(off64_t bytes)
{
    size = (int)bytes;
}

/* True for a stream socket that is neither bound nor connected. */
static bool is_scratch(int fd)
{
    struct sockaddr_storage at = {.ss_family = AF_UNSPEC};
    int type = 0;
    socklen_t length = sizeof type, room = sizeof at;
    struct in6_addr unused;
    in_port_t port;

    return libc_next(getsockopt)(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
           type == SOCK_STREAM && getsockname(fd, (struct sockaddr *)&at, &room) == 0 &&
           config_address((const struct sockaddr *)&at, &unused, &port) && port == 0;
}

void readsize_settle(void)
{
    settled = true;
}

void readsize_enlarge(int fd, int level, int option, void *value, const socklen_t *length)
{
    int saved = errno, size_now;

    if (level != SOL_SOCKET || option != SO_SNDBUF || *length != sizeof size_now)
        return;
    memcpy(&size_now, value, sizeof size_now);
    if (settled) {
        status_add(STATUS_SNDBUF, readsize_buffer != 0); /* only with SocketOptions sndbuf */
    } else if (is_scratch(fd)) {
        server_size = (size_t)size_now;
        readsize_buffer = size_now < size ? (size_t)size : 0;
        if (size_now < size)
            memcpy(value, &size, sizeof size);
    }
    errno = saved;
}

size_t readsize_chosen(void)
{
    return readsize_buffer > 0 ? readsize_buffer : server_size;
}

/* ---- reads of a download ---- */

void readsize_pausing(int descriptors)
{
    if (descriptors == 0)
        download.throttled = true;
}

void readsize_closing(int fd)
{
    if (fd == download.fd)
        download.fd = -1;
}

static void begin(int fd)
{
    struct stat64 status;
    int saved = errno;

    memset(&download, 0, sizeof download);
    download.fd = fd;
    download.is_file = fstat64(fd, &status) == 0 && S_ISREG(status.st_mode);
    errno = saved;
}

/* How much the client takes in 50 ms, measured from the last read on. As the sockets' buffers take
 * the first bytes at once, it is at most a quarter of what was sent. */
static uint64_t taken_at_once(uint64_t since_last)
{
    uint64_t in_a_moment = since_last > 0 ? download.last * MOMENT_NS / since_last : SIZE_MAX;

    return in_a_moment < download.sent / 4 ? in_a_moment : download.sent / 4;
}

/* Multiples of the server's own size, and never across a multiple of the larger one, where a RANG
 * may end: docs/design.md, "The transfer buffer". */
size_t readsize_cut(int fd, size_t count)
{
    if (fd != download.fd)
        begin(fd);
    if (!download.is_file)
        return count;
    uint64_t time = libc_time(CLOCK_MONOTONIC);
    uint64_t cut = download.throttled ? 0 : taken_at_once(time - download.began);
    cut = cut > server_size ? cut - cut % server_size : server_size;
    uint64_t rest = readsize_buffer - download.sent % readsize_buffer;
    cut = cut < rest ? cut : rest;
    cut = cut < count ? cut : count;
    assert(cut >= 1 && cut <= count && server_size < readsize_buffer);
    download.sent += cut;
    download.last = (size_t)cut;
    download.began = time;
    return (size_t)cut;
}
