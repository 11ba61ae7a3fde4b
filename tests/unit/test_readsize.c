#include "readsize.h"

#include "unit.h"

#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    OWN = 16384 /* the server's default size, bytes */,
    SIZE = 20 * OWN,
    UNTOUCHED = 1234 /* an errno that no call sets */
};

static int finish(void **state)
{
    (void)state;
    readsize_policy(0);
    return 0;
}

static int new_socket(int family, int type)
{
    int fd = socket(family, type | SOCK_CLOEXEC, 0);

    assert_int_not_equal(fd, -1);
    return fd;
}

/* Check the wrapper's result for an option; errno must not change. */
static int told(int fd, int level, int option)
{
    int value = 0;
    socklen_t length = sizeof value;

    assert_int_equal(getsockopt(fd, level, option, &value, &length), 0);
    errno = UNTOUCHED;
    readsize_enlarge(fd, level, option, &value, &length);
    assert_int_equal(errno, UNTOUCHED);
    return value;
}

/* The kernel's result, without the wrapper. */
static int true_value(int fd, int level, int option)
{
    int value = 0;
    socklen_t length = sizeof value;

    assert_int_equal(getsockopt(fd, level, option, &value, &length), 0);
    return value;
}

static void assert_told_the_truth(int fd, int level, int option)
{
    assert_int_equal(told(fd, level, option), true_value(fd, level, option));
}

static void the_scratch_socket_is_told_the_size(void **state)
{
    static const int families[] = {AF_INET, AF_INET6};

    (void)state;
    for (size_t i = 0; i < COUNT(families); i++) {
        int fd = socket(families[i], SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd == -1 && errno == EAFNOSUPPORT)
            continue;
        assert_told_the_truth(fd, SOL_SOCKET, SO_SNDBUF);
        readsize_policy(SIZE);
        assert_int_equal(told(fd, SOL_SOCKET, SO_SNDBUF), SIZE);
        assert_int_not_equal(true_value(fd, SOL_SOCKET, SO_SNDBUF), SIZE);
        readsize_policy(0);
        assert_int_equal(close(fd), 0);
    }
}

static void other_questions_are_not_answered(void **state)
{
    int fd = new_socket(AF_INET, SOCK_STREAM);
    char small[2] = {1, 2};
    socklen_t length = sizeof small;

    (void)state;
    readsize_policy(SIZE);
    assert_told_the_truth(fd, SOL_SOCKET, SO_RCVBUF);
    assert_told_the_truth(fd, IPPROTO_TCP, SO_SNDBUF); /* TCP_CORK or another of that number */
    readsize_enlarge(fd, SOL_SOCKET, SO_SNDBUF, small, &length);
    assert_int_equal(small[0], 1);
    assert_int_equal(small[1], 2);
    assert_int_equal(close(fd), 0);
}

static void other_sockets_are_told_the_truth(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listening = new_socket(AF_INET, SOCK_STREAM), connected = new_socket(AF_INET, SOCK_STREAM);
    int datagrams = new_socket(AF_INET, SOCK_DGRAM), local = new_socket(AF_UNIX, SOCK_STREAM);

    (void)state;
    readsize_policy(SIZE);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, length), 0);
    assert_told_the_truth(listening, SOL_SOCKET, SO_SNDBUF);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &length), 0);
    assert_int_equal(connect(connected, (struct sockaddr *)&address, length), 0);
    assert_told_the_truth(listening, SOL_SOCKET, SO_SNDBUF);
    assert_told_the_truth(connected, SOL_SOCKET, SO_SNDBUF);
    assert_told_the_truth(datagrams, SOL_SOCKET, SO_SNDBUF);
    assert_told_the_truth(local, SOL_SOCKET, SO_SNDBUF);
    assert_int_equal(close(listening) | close(connected) | close(datagrams) | close(local), 0);
}

static void a_smaller_size_is_no_reason(void **state)
{
    int fd = new_socket(AF_INET, SOCK_STREAM);

    (void)state;
    readsize_policy(1);
    assert_told_the_truth(fd, SOL_SOCKET, SO_SNDBUF);
    assert_int_equal(close(fd), 0);
}

/* ---- reads of a download ---- */

/* Begin a download in a session with a transfer buffer of SIZE. @return descriptor of a file */
static int begin_download(void)
{
    int scratch = new_socket(AF_INET, SOCK_STREAM), value = OWN;
    const socklen_t length = sizeof value;

    readsize_policy(SIZE);
    readsize_enlarge(scratch, SOL_SOCKET, SO_SNDBUF, &value, &length);
    assert_int_equal(value, SIZE);
    assert_int_equal(readsize_chosen(), SIZE);
    assert_int_equal(close(scratch), 0);
    return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

static void end_download(int fd)
{
    readsize_closing(fd);
    assert_int_equal(close(fd), 0);
}

static void a_download_begins_with_the_servers_own_size(void **state)
{
    int fd = begin_download();

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 8; i++) /* a quarter of the bytes sent is no larger yet */
            assert_int_equal(readsize_limit(fd, SIZE), OWN);
        readsize_closing(fd);
    }
    assert_int_equal(readsize_limit(fd, SIZE - 1), SIZE - 1); /* not the server's size */
    assert_int_equal(readsize_limit(fd, SIZE + 2), SIZE + 2);
    assert_int_equal(readsize_limit(fd, SIZE + 1), OWN); /* for SCP */
    end_download(fd);
}

/* Reads follow each other at once: the client takes all. */
static void it_grows_to_the_whole_buffer_and_meets_all_its_multiples(void **state)
{
    uint64_t sent = 0;
    size_t read = 0;
    int fd = begin_download();

    (void)state;
    while (read < SIZE) {
        read = readsize_limit(fd, SIZE);
        assert_int_equal(read % OWN, 0);
        assert_true(read == OWN || read <= sent / 4);
        assert_true(sent / SIZE == (sent + read - 1) / SIZE);
        sent += read;
    }
    end_download(fd);
}

static void download_so_much(int fd, uint64_t bytes)
{
    for (uint64_t sent = 0; sent < bytes;)
        sent += readsize_limit(fd, SIZE);
}

static void after_a_pause_of_the_servers_it_is_its_own_size_to_the_end(void **state)
{
    int fd = begin_download();

    (void)state;
    download_so_much(fd, 8 * SIZE);
    readsize_pausing(1); /* select() for a descriptor is no pause */
    download_so_much(fd, 8 * SIZE);
    readsize_pausing(0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(readsize_limit(fd, SIZE), OWN);
    end_download(fd);
}

static void a_slow_client_is_sent_the_servers_own_size(void **state)
{
    int fd = begin_download();

    (void)state;
    download_so_much(fd, 8 * SIZE);
    (void)usleep(1500000); /* for SIZE at most: so fewer than OWN bytes in 50 ms */
    assert_int_equal(readsize_limit(fd, SIZE), OWN);
    end_download(fd);
}

static void uploads_are_read_whole(void **state)
{
    int fd = begin_download(), upload = new_socket(AF_INET, SOCK_STREAM);

    (void)state;
    assert_int_equal(readsize_limit(upload, SIZE), SIZE);
    readsize_closing(upload);
    assert_int_equal(dup2(fd, upload), upload); /* the number is reused for a file */
    assert_int_equal(readsize_limit(upload, SIZE), OWN);
    end_download(upload);
    assert_int_equal(close(fd), 0);
}

/* Last: from here on this process is a session. */
static void in_a_session_a_question_is_the_kernels_and_counted(void **state)
{
    uint64_t before = status_get(STATUS_SNDBUF);
    int fd = begin_download(), scratch = new_socket(AF_INET, SOCK_STREAM);

    (void)state;
    readsize_settle();
    assert_told_the_truth(scratch, SOL_SOCKET, SO_SNDBUF);
    assert_int_equal(status_get(STATUS_SNDBUF), before + 1);
    assert_int_equal(readsize_limit(fd, SIZE), OWN);
    assert_int_equal(close(scratch), 0);
    end_download(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, finish)
    static const struct CMUnitTest tests[] = {
        TEST(the_scratch_socket_is_told_the_size),
        TEST(other_questions_are_not_answered),
        TEST(other_sockets_are_told_the_truth),
        TEST(a_smaller_size_is_no_reason),
        TEST(a_download_begins_with_the_servers_own_size),
        TEST(it_grows_to_the_whole_buffer_and_meets_all_its_multiples),
        TEST(after_a_pause_of_the_servers_it_is_its_own_size_to_the_end),
        TEST(a_slow_client_is_sent_the_servers_own_size),
        TEST(uploads_are_read_whole),
        TEST(in_a_session_a_question_is_the_kernels_and_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
