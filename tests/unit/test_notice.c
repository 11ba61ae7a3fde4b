#include "notice.h"

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { UNTOUCHED = 1234 /* an errno that no call sets */ };

static int enter(void **state)
{
    (void)alarm(60); /* who is not woken is ended */
    errno = UNTOUCHED;
    notice_send("a"); /* nobody shares anything yet */
    notice_wake();
    (void)state;
    return errno == UNTOUCHED && notice_share() ? 0 : -1;
}

static int begin(void **state)
{
    (void)state;
    notice_watch_none();
    (void)notice_take(notice_flag("a"));
    (void)notice_take(notice_flag("b"));
    (void)notice_take(notice_flag("c"));
    notice_wake();
    notice_wait(-1);
    return 0;
}

static double waited(int milliseconds)
{
    struct timespec from, to;

    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    notice_wait(milliseconds);
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    return (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
}

/* ---- flags ---- */

static void a_flag_stands_for_the_last_component(void **state)
{
    (void)state;
    assert_int_equal(notice_flag("/srv/ftp/a.iso"), notice_flag("a.iso"));
    assert_int_equal(notice_flag("/a.iso"), notice_flag("../pub/a.iso"));
    assert_int_not_equal(notice_flag("a.iso"), notice_flag("b.iso"));
    assert_int_not_equal(notice_flag("/a.iso"), notice_flag("/a.iso/"));
    assert_int_not_equal(notice_flag("a"), notice_flag("aa"));
}

static void only_what_is_watched_is_told(void **state)
{
    (void)state;
    notice_watch(notice_flag("a"));
    errno = UNTOUCHED;
    notice_send("/anywhere/a");
    notice_send("b");
    assert_int_equal(errno, UNTOUCHED);
    assert_false(notice_take(notice_flag("b")));
    assert_true(notice_take(notice_flag("a")));
    assert_false(notice_take(notice_flag("a"))); /* once */
    notice_send("a");
    assert_true(notice_take(notice_flag("a")));
    notice_watch_none();
    notice_send("a");
    assert_false(notice_take(notice_flag("a")));
}

/* Names that differ by a bit in their flags stand in the same byte of what is watched. */
static void flags_are_independent(void **state)
{
    char name[16];
    unsigned flags[256], told = 0;

    (void)state;
    for (unsigned i = 0; i < COUNT(flags); i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        flags[i] = notice_flag(name);
        if (i % 2 == 0)
            notice_watch(flags[i]);
    }
    for (unsigned i = 0; i < COUNT(flags); i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        notice_send(name);
    }
    for (unsigned i = 0; i < COUNT(flags); i++)
        told += notice_take(flags[i]);
    assert_int_equal(told, COUNT(flags) / 2);
}

/* ---- waiting ---- */

static void who_waits_goes_on_after_a_while(void **state)
{
    (void)state;
    assert_true(waited(30) >= 30);
    assert_true(waited(1100) >= 1100);
    assert_true(waited(0) >= 0);
}

static void who_was_woken_before_does_not_wait(void **state)
{
    (void)state;
    notice_watch(notice_flag("a"));
    notice_send("a");
    notice_wait(-1);
    for (int i = 0; i < 5; i++)
        notice_wake();
    notice_wait(-1); /* for all of them */
    assert_true(waited(30) >= 30);
    notice_send("a"); /* told before and not looked at yet: nothing new */
    assert_true(waited(30) >= 30);
}

/* ---- processes ---- */

static void send_twice(void)
{
    (void)usleep(20000);            /* so that the other does wait, if it all goes as usual */
    notice_watch(notice_flag("b")); /* its own idea of what is watched */
    notice_send("/chroot/a");
    notice_send("b");
    notice_send("c");
}

static pid_t start_child(void (*story)(void))
{
    pid_t child = fork();

    assert_int_not_equal(child, -1);
    if (child == 0) {
        story();
        _exit(0);
    }
    return child;
}

static void await(pid_t child)
{
    int status;

    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_session_wakes_the_master(void **state)
{
    pid_t child;

    (void)state;
    notice_watch(notice_flag("a"));
    child = start_child(send_twice);
    notice_wait(-1);
    assert_true(notice_take(notice_flag("a")));
    await(child);
    assert_false(notice_take(notice_flag("c")));
}

static void share_again(void)
{
    in_story(notice_share());
    notice_send("a");
}

static void a_child_shares_what_its_parent_does(void **state)
{
    (void)state;
    notice_watch(notice_flag("a"));
    assert_int_equal(ending_of(share_again), 0);
    assert_true(notice_take(notice_flag("a")));
}

/* ---- a session that means harm ---- */

static void scribble(void)
{
    char line[PAGE];
    size_t written = 0;
    FILE *maps = fopen("/proc/self/maps", "re");

    in_story(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        if (strstr(line, " rw-s ") == NULL || strstr(line, "/dev/zero") == NULL ||
            sscanf(line, "%lx-%lx", &from, &to) != 2)
            continue;
        for (uintptr_t at = from; at < to; at++)
            *(volatile unsigned char *)at = (unsigned char)(0x81 + 37 * (at - from));
        written += to - from;
    }
    (void)fclose(maps);
    in_story(written > 0);
}

static void whatever_a_session_writes_the_master_lives(void **state)
{
    (void)state;
    assert_int_equal(ending_of(scribble), 0);
    notice_wait(-1);
    (void)waited(10);
    notice_wake();
    notice_wait(-1);
    (void)notice_take(notice_flag("a"));
    notice_watch(notice_flag("a"));
    notice_send("a");
    assert_true(notice_take(notice_flag("a")));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, begin)
    static const struct CMUnitTest tests[] = {
        TEST(a_flag_stands_for_the_last_component),
        TEST(only_what_is_watched_is_told),
        TEST(flags_are_independent),
        TEST(who_waits_goes_on_after_a_while),
        TEST(who_was_woken_before_does_not_wait),
        TEST(a_session_wakes_the_master),
        TEST(a_child_shares_what_its_parent_does),
        TEST(whatever_a_session_writes_the_master_lives),
    };

    return cmocka_run_group_tests(tests, enter, NULL);
}
