#include "sending.h"

#include "critical.h"
#include "guard.h"
#include "heat.h"
#include "libc.h"
#include "stream.h"

#include <errno.h>
#include <signal.h>

/* A send of at least so many bytes is cut into steps, between which the disk is asked. */
#define LARGE_SEND ((size_t)1 << 20)

/* What one call sends at most, bytes: sendfile(2). */
#define MOST_BYTES ((size_t)0x7ffff000)

/* Ask ahead of the next send. @return how much to send in the next step, bytes */
static size_t ask_ahead(int fd, const off64_t *offset, size_t left)
{
    struct stream *stream = stream_enter(fd);
    size_t step = left;
    off64_t from;

    if (stream == NULL)
        return left;
    if (guard_ready() && guard_copy(&from, offset, sizeof from) && from >= 0 &&
        from < stream->size && !atomic_flag_test_and_set(&stream->busy)) {
        bool begins = from == 0 || from != stream->reader.next;
        if (begins && stream->filesystem == FILESYSTEM_FUSE)
            readahead_take_over(fd, from, stream->size);
        size_t rest = (uint64_t)(stream->size - from) < left ? (size_t)(stream->size - from) : left;
        size_t stride = readahead_stride(&stream->reader, fd, from, rest);
        step = stride < rest ? stride : left;
        (void)readahead_follow(&stream->reader, fd, from, step, stream->size);
        atomic_flag_clear(&stream->busy);
    }
    stream_leave(stream);
    return step;
}

/* A blocked signal is pending even if it is ignored. */
static bool is_ignored(int number)
{
    struct sigaction action;

    if (libc_next(sigaction)(number, NULL, &action) == -1 || action.sa_handler == SIG_IGN)
        return true;
    return action.sa_handler == SIG_DFL &&
           (number == SIGCHLD || number == SIGCONT || number == SIGURG || number == SIGWINCH);
}

/* The same between two steps, where a signal ends the call as it would in the kernel.
 * @return 0: a signal has arrived */
static size_t ask_ahead_between(int fd, const off64_t *offset, size_t left)
{
    sigset_t former, pending;

    critical_block_signals(&former);
    size_t step = ask_ahead(fd, offset, left);
    (void)sigpending(&pending);
    for (int number = 1; number < NSIG; number++) {
        if (sigismember(&pending, number) == 1 && sigismember(&former, number) == 0 &&
            !is_ignored(number))
            step = 0;
    }
    (void)libc_next(pthread_sigmask)(SIG_SETMASK, &former, NULL);
    return step;
}

static ssize_t send_and_ask_ahead(int out, int in, off64_t *offset, size_t count)
{
    int saved = errno;
    size_t sent = 0, step;

    count = count < MOST_BYTES ? count : MOST_BYTES;
    step = ask_ahead(in, offset, count);
    do {
        errno = saved;
        ssize_t result = libc_next(sendfile64)(out, in, offset, step);
        if (result == -1 && sent == 0)
            return -1;
        sent += result > 0 ? (size_t)result : 0;
        if (result < (ssize_t)step || sent == count)
            break;
        step = ask_ahead_between(in, offset, count - sent);
    } while (step > 0);
    errno = saved;
    return (ssize_t)sent;
}

void sending_count(int fd, ssize_t bytes)
{
    struct stream *stream = bytes > 0 ? stream_enter(fd) : NULL;

    if (stream != NULL) {
        stream_count_kernel(stream, bytes);
        stream_leave(stream);
    } else if (bytes > 0)
        heat_sent(fd, (uint64_t)bytes);
}

ssize_t sending_send(int out, int in, off64_t *offset, size_t count)
{
    if (offset == NULL)
        stream_hand_over(in, STREAM_SEND);
    bool asks = stream_is_served(in) && readahead_wanted() && count >= LARGE_SEND;
    ssize_t sent = asks ? send_and_ask_ahead(out, in, offset, count)
                        : libc_next(sendfile64)(out, in, offset, count);
    sending_count(in, sent);
    return sent;
}
