/* All of it takes a user who may become others. */
#include "rights.h"

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int enter(void **state)
{
    if (unit_enter(state) != 0)
        return -1;
    make_file("secret", PAGE);
    return chmod("secret", 0600) == 0 && chmod(".", 0711) == 0 ? 0 : -1;
}

static bool may_read_the_secret(void)
{
    int fd = open("secret", O_RDONLY | O_CLOEXEC);

    if (fd == -1)
        return false;
    (void)close(fd);
    return true;
}

static bool has_users(uid_t real, uid_t effective, uid_t saved)
{
    uid_t users[3] = {0};

    return syscall(SYS_getresuid, &users[0], &users[1], &users[2]) == 0 && users[0] == real &&
           users[1] == effective && users[2] == saved;
}

static bool has_groups(gid_t real, gid_t effective, gid_t saved)
{
    gid_t groups[3] = {0};

    return syscall(SYS_getresgid, &groups[0], &groups[1], &groups[2]) == 0 && groups[0] == real &&
           groups[1] == effective && groups[2] == saved;
}

/* ---- two threads ---- */

static pthread_barrier_t changed, seen;

/* @return NULL: all as it should be */
static void *keep_rights(void *argument)
{
    (void)pthread_barrier_wait(&changed);
    bool kept = has_users(0, 0, 0) && has_groups(0, 0, 0) && may_read_the_secret();
    (void)pthread_barrier_wait(&seen);
    return kept ? NULL : argument;
}

static void the_other_thread_keeps_its_rights(void **state)
{
    pthread_t other;
    void *failure;

    if (geteuid() != 0)
        skip();
    assert_int_equal(pthread_barrier_init(&changed, NULL, 2), 0);
    assert_int_equal(pthread_barrier_init(&seen, NULL, 2), 0);
    assert_int_equal(pthread_create(&other, NULL, keep_rights, state), 0);
    assert_int_equal(rights_set_group(SOMEBODY), 0);
    assert_int_equal(rights_set_user(SOMEBODY), 0);
    assert_true(has_users(0, SOMEBODY, 0));
    assert_true(has_groups(0, SOMEBODY, 0));
    assert_false(may_read_the_secret());
    (void)pthread_barrier_wait(&changed);
    (void)pthread_barrier_wait(&seen);
    assert_int_equal(rights_set_user(0), 0);
    assert_int_equal(rights_set_group(0), 0);
    assert_true(has_users(0, 0, 0));
    assert_true(has_groups(0, 0, 0));
    assert_true(may_read_the_secret());
    assert_int_equal(pthread_join(other, &failure), 0);
    assert_null(failure);
}

static void no_id_is_an_error(void **state)
{
    (void)state;
    errno = 0;
    assert_int_equal(rights_set_user((uid_t)-1), -1);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_int_equal(rights_set_group((gid_t)-1), -1);
    assert_int_equal(errno, EINVAL);
}

static void try_to_rise(void)
{
    if (geteuid() == 0)
        become_somebody();
    errno = 0;
    in_story(rights_set_user(0) == -1 && errno == EPERM);
    errno = 0;
    in_story(rights_set_group(0) == -1 && errno == EPERM);
    in_story(rights_set_user(geteuid()) == 0 && rights_set_group(getegid()) == 0);
}

static void who_has_none_gets_none(void **state)
{
    (void)state;
    assert_int_equal(ending_of(try_to_rise), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_other_thread_keeps_its_rights),
        cmocka_unit_test(no_id_is_an_error),
        cmocka_unit_test(who_has_none_gets_none),
    };

    return cmocka_run_group_tests(tests, enter, unit_leave);
}
