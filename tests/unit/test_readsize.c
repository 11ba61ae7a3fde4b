#include "readsize.h"

#include "unit.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 12345678, UNTOUCHED = 1234 /* an errno that no call sets */ };

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

/* What a program is told of an option by the wrapper; its errno stays. */
static int told(int fd, int level, int option)
{
    int value = 0;
    socklen_t length = sizeof value;

    assert_int_equal(getsockopt(fd, level, option, &value, &length), 0);
    errno = UNTOUCHED;
    readsize_told(fd, level, option, &value, &length);
    assert_int_equal(errno, UNTOUCHED);
    return value;
}

/* What the kernel says of the same, without the wrapper. */
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
    readsize_told(fd, SOL_SOCKET, SO_SNDBUF, small, &length);
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

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, finish)
    static const struct CMUnitTest tests[] = {
        TEST(the_scratch_socket_is_told_the_size),
        TEST(other_questions_are_not_answered),
        TEST(other_sockets_are_told_the_truth),
        TEST(a_smaller_size_is_no_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
