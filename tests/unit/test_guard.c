#include "guard.h"

#include "libc.h"
#include "signals.h"
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *none; /* an inaccessible page */
static char *gone; /* two pages of a file that has only the first; see map_gone() */
static char *page; /* of zeros, readable and writable; `none` follows it */
static char buffer[PAGE * 2];

static sigjmp_buf escape;
static volatile sig_atomic_t caught; /* the signal that the program's handler caught */
static void *volatile caught_at;

/* As in all tests; memcpy() may get any address, as the guard exists for that. */
const char *__asan_default_options(void)
{
    return "handle_segv=0:handle_sigbus=0:detect_leaks=1:replace_intrin=0";
}

static void map_gone(void)
{
    make_file("gone", sizeof buffer);
    int fd = open("gone", O_RDWR | O_CLOEXEC);

    assert_int_not_equal(fd, -1);
    gone = mmap(NULL, sizeof buffer, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(gone, MAP_FAILED);
    assert_int_equal(ftruncate(fd, PAGE), 0);
    assert_int_equal(close(fd), 0);
}

static int enter(void **state)
{
    if (unit_enter(state) != 0)
        return -1;
    page = mmap(NULL, sizeof buffer, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    none = page + PAGE;
    return page != MAP_FAILED ? mprotect(none, PAGE, PROT_NONE) : -1;
}

/* In each test: cmocka installs handlers before it, and removes them after it. */
static void start(void)
{
    map_gone();
    caught = 0;
    install_guard();
    guard_mask_changed();
}

static int finish(void **state)
{
    (void)state;
    return munmap(gone, sizeof buffer);
}

static bool is_blocked(int number)
{
    sigset_t blocked;

    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &blocked), 0);
    return sigismember(&blocked, number) == 1;
}

/* ---- copying ---- */

static void what_is_there_is_copied(void **state)
{
    (void)state;
    start();
    assert_true(guard_ready());
    assert_true(guard_copy(buffer, gone, PAGE));
    assert_memory_equal(buffer, gone, PAGE);
    assert_int_equal((unsigned char)buffer[PAGE - 1], content(PAGE - 1));
    assert_true(guard_copy(buffer, none, 0));
}

static void a_truncated_source_is_told(void **state)
{
    (void)state;
    start();
    assert_false(guard_copy(buffer, gone + PAGE, 1));
    assert_false(guard_copy(buffer, gone, PAGE + 1)); /* after copying the first page */
    assert_true(guard_copy(buffer, gone, PAGE));
}

static void bad_addresses_are_told(void **state)
{
    char *const bad[] = {
        none,
        page + PAGE - 1, /* straddles the end of the page */
        NULL,
        (char *)16,
        (char *)(UINT64_C(1) << 63),          /* outside of the canonical range */
        (char *)UINT64_C(0xffff800000000000), /* the kernel's */
        (char *)UINTPTR_MAX - PAGE,
    };

    (void)state;
    if (under_valgrind())
        skip();
    start();
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(guard_copy(bad[i], gone, 64));
        assert_false(guard_copy(buffer, bad[i], 64));
        assert_false(guard_copy(bad[i], gone, PAGE));
    }
    assert_false(guard_copy(gone, buffer, 1)); /* read-only */
}

/* A buffer with a hole: bytes behind it must not change. */
static void behind_a_fault_nothing_is_written(void **state)
{
    enum { LENGTH = 8 * MIB };
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    char *to = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, flags, -1, 0);
    char *from = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, flags, -1, 0);

    (void)state;
    start();
    assert_ptr_not_equal(to, MAP_FAILED);
    assert_ptr_not_equal(from, MAP_FAILED);
    memset(from, 'x', LENGTH);
    assert_int_equal(mprotect(to + MIB, PAGE, PROT_NONE), 0);
    assert_false(guard_copy(to, from, LENGTH));
    for (size_t i = MIB + PAGE; i < LENGTH; i++)
        assert_int_equal(to[i], 0);
    assert_int_equal(munmap(to, LENGTH), 0);
    assert_int_equal(munmap(from, LENGTH), 0);
}

static void the_mask_is_as_before_a_fault(void **state)
{
    sigset_t some;

    (void)state;
    start();
    sigemptyset(&some);
    sigaddset(&some, SIGUSR1);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &some, NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_false(guard_copy(buffer, gone + PAGE, 1));
        assert_false(guard_copy(none, gone, 1));
    }
    assert_true(is_blocked(SIGUSR1));
    assert_false(is_blocked(SIGBUS));
    assert_false(is_blocked(SIGSEGV));
    assert_false(is_blocked(SIGUSR2));
    assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &some, NULL), 0);
}

/* ---- a handler interrupts a copy ---- */

enum { INTERRUPTIONS = 20, LARGE = 2 * MIB };

static volatile bool copying;
static volatile int interruptions; /* of copies */
static volatile bool all_well;

enum result { COPIED, FAULTED };

/*
 * Copy until SIGUSR1, sent often, has interrupted the copy several times. In a child.
 * @param length  more than LARGE: a page in the middle faults, which memcpy() reaches late
 */
static void copy_interrupted(sighandler_t handler, size_t length, enum result expected)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec often = {{0, 200000}, {0, 200000}};
    char *from = mmap(NULL, LARGE + 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *to = malloc(LARGE + 2 * PAGE);
    timer_t timer;

    require(from != MAP_FAILED && to != NULL && mprotect(from + LARGE, PAGE, PROT_NONE) == 0);
    require(signal(SIGUSR1, handler) != SIG_ERR);
    require(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    require(timer_settime(timer, 0, &often, NULL) == 0);
    all_well = true;
    for (interruptions = 0; interruptions < INTERRUPTIONS;) {
        copying = true;
        enum result result = guard_copy(to, from, length) ? COPIED : FAULTED;
        copying = false;
        require(result == expected);
    }
    require(all_well);
}

static void copy_in_handler(int number)
{
    (void)number;
    interruptions += copying;
    if (guard_ready())
        all_well = all_well && guard_copy(buffer, gone, PAGE) &&
                   !guard_copy(buffer, gone + PAGE, 1) && !guard_copy(none, gone, PAGE);
}

static void interrupt_by_copies(void)
{
    require(signals_signal(SIGSEGV, SIG_DFL, libc_next(signal)) != SIG_ERR);
    copy_interrupted(copy_in_handler, LARGE, COPIED);
}

static void interrupt_copies_that_fault(void)
{
    require(signals_signal(SIGSEGV, SIG_DFL, libc_next(signal)) != SIG_ERR);
    copy_interrupted(copy_in_handler, LARGE + 2 * PAGE, FAULTED);
}

/* memcpy() reads the last bytes first: so most of these signals arrive during the handling of a
 * fault, when another one would end the process. */
static void interrupt_faults(void)
{
    require(signals_signal(SIGSEGV, SIG_DFL, libc_next(signal)) != SIG_ERR);
    copy_interrupted(copy_in_handler, LARGE + 1, FAULTED);
}

static void a_handler_copies_too(void **state)
{
    (void)state;
    start();
    assert_int_equal(run_in_child(interrupt_by_copies), 0);
    assert_int_equal(run_in_child(interrupt_copies_that_fault), 0);
}

static void a_handler_copies_while_a_fault_is_dealt_with(void **state)
{
    (void)state;
    start();
    assert_int_equal(run_in_child(interrupt_faults), 0);
}

static void allow_page(int number)
{
    caught = number;
    (void)mprotect(none, PAGE, PROT_READ);
}

static void fault_in_handler(int number)
{
    (void)number;
    interruptions += copying;
    caught = 0;
    buffer[0] = *(volatile char *)none;
    all_well = all_well && caught == SIGSEGV;
    (void)mprotect(none, PAGE, PROT_NONE);
}

static void interrupt_by_faults(void)
{
    struct sigaction action = {.sa_handler = allow_page};

    require(signals_action(SIGSEGV, &action, NULL) == 0);
    copy_interrupted(fault_in_handler, LARGE, COPIED);
}

static void a_handler_s_own_fault_is_the_program_s(void **state)
{
    (void)state;
    start();
    assert_int_equal(run_in_child(interrupt_by_faults), 0);
}

/* ---- readiness ---- */

static void not_ready_while_a_fault_is_blocked(void **state)
{
    static const int numbers[] = {SIGBUS, SIGSEGV};

    (void)state;
    start();
    assert_true(guard_ready());
    for (size_t i = 0; i < COUNT(numbers); i++) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, numbers[i]);
        assert_int_equal(libc_next(pthread_sigmask)(SIG_BLOCK, &set, NULL), 0);
        guard_mask_changed();
        assert_false(guard_ready());
        assert_false(guard_ready());
        assert_int_equal(libc_next(pthread_sigmask)(SIG_UNBLOCK, &set, NULL), 0);
        guard_mask_changed();
        assert_true(guard_ready());
    }
}

static volatile bool ready_in_handler;

static void note_readiness(int number)
{
    caught = number;
    ready_in_handler = guard_ready();
    siglongjmp(escape, 1);
}

static void not_ready_in_the_program_s_handler_of_a_fault(void **state)
{
    struct sigaction action = {.sa_handler = note_readiness};

    (void)state;
    start();
    ready_in_handler = true;
    assert_int_equal(signals_action(SIGSEGV, &action, NULL), 0);
    assert_true(guard_ready());
    if (sigsetjmp(escape, 1) == 0)
        *(volatile char *)none = 1;
    assert_int_equal(caught, SIGSEGV);
    assert_false(ready_in_handler);
    assert_true(guard_ready());
}

static void note_readiness_and_return(int number)
{
    caught = number;
    ready_in_handler = guard_ready();
}

/* The kernel blocks the signals in sa_mask without the library's notice. In a child, as the guard
 * always asks from then on. */
static void run_handler_that_blocks_faults(void)
{
    struct sigaction action = {.sa_handler = note_readiness_and_return};

    sigaddset(&action.sa_mask, SIGBUS);
    require(guard_ready());
    guard_disposition(SIGUSR1, &action);
    require(signals_action(SIGUSR1, &action, NULL) == 0);
    ready_in_handler = true;
    require(raise(SIGUSR1) == 0 && caught == SIGUSR1 && !ready_in_handler);
    require(guard_ready());
}

static void not_ready_in_a_handler_that_blocks_faults(void **state)
{
    (void)state;
    start();
    assert_int_equal(run_in_child(run_handler_that_blocks_faults), 0);
}

/* ---- faults that are not the library's ---- */

static void escape_from(int number, siginfo_t *info, void *context)
{
    (void)context;
    caught = number;
    caught_at = info->si_addr;
    siglongjmp(escape, 1);
}

static void plainly_escape_from(int number)
{
    caught = number;
    siglongjmp(escape, 1);
}

static void touch(const char *address)
{
    caught = 0;
    caught_at = NULL;
    if (sigsetjmp(escape, 1) == 0)
        buffer[0] = *(const volatile char *)address;
}

static void a_handler_from_before_gets_the_program_s_faults(void **state)
{
    struct sigaction action = {.sa_sigaction = escape_from, .sa_flags = SA_SIGINFO};

    (void)state;
    assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
    assert_int_equal(sigaction(SIGBUS, &action, NULL), 0);
    start();
    for (int i = 0; i < 2; i++) {
        touch(none + 5);
        assert_int_equal(caught, SIGSEGV);
        assert_ptr_equal(caught_at, none + 5);
        touch(gone + PAGE);
        assert_int_equal(caught, SIGBUS);
        assert_ptr_equal(caught_at, gone + PAGE);
        assert_false(guard_copy(buffer, gone + PAGE, 1));
    }
}

static void a_handler_from_after_gets_the_program_s_faults(void **state)
{
    struct sigaction action = {.sa_sigaction = escape_from, .sa_flags = SA_SIGINFO};
    struct sigaction plain = {.sa_handler = plainly_escape_from};

    (void)state;
    start();
    assert_int_equal(signals_action(SIGBUS, &action, NULL), 0);
    touch(gone + PAGE);
    assert_int_equal(caught, SIGBUS);
    assert_ptr_equal(caught_at, gone + PAGE);
    assert_int_equal(signals_action(SIGBUS, &plain, NULL), 0);
    touch(gone + PAGE);
    assert_int_equal(caught, SIGBUS);
    assert_null(caught_at);
    assert_ptr_not_equal(signals_signal(SIGSEGV, plainly_escape_from, libc_next(signal)), SIG_ERR);
    touch(none);
    assert_int_equal(caught, SIGSEGV);
    caught = 0;
    assert_false(guard_copy(none, gone, 1)); /* these stay the library's faults */
    assert_false(guard_copy(buffer, gone + PAGE, 1));
    assert_int_equal(caught, 0);
}

/* ---- endings ---- */

static void fault_after(int number, sighandler_t disposition)
{
    struct sigaction action = {.sa_handler = disposition};

    install_guard();
    require(signals_action(number, &action, NULL) == 0);
    require(!guard_copy(buffer, gone + PAGE, 1) && !guard_copy(none, buffer, 1));
    buffer[0] = *(volatile char *)(number == SIGBUS ? gone + PAGE : none);
}

static void fault_by_default(void)
{
    fault_after(SIGBUS, SIG_DFL);
}

static void violate_by_default(void)
{
    fault_after(SIGSEGV, SIG_DFL);
}

static void fault_though_ignored(void)
{
    fault_after(SIGBUS, SIG_IGN);
}

static void raise_by_default(void)
{
    install_guard();
    require(signals_signal(SIGBUS, SIG_DFL, libc_next(signal)) != SIG_ERR);
    (void)raise(SIGBUS);
}

static void raise_though_ignored(void)
{
    install_guard();
    require(signals_signal(SIGBUS, SIG_IGN, libc_next(signal)) != SIG_ERR);
    require(raise(SIGBUS) == 0 && kill(getpid(), SIGBUS) == 0);
    require(!guard_copy(buffer, gone + PAGE, 1));
}

static void note(int number)
{
    caught = number;
}

static void reset_handler(void)
{
    struct sigaction action = {.sa_handler = note, .sa_flags = (int)SA_RESETHAND};

    install_guard();
    require(signals_action(SIGBUS, &action, NULL) == 0);
    require(!guard_copy(buffer, gone + PAGE, 1)); /* is not its only call */
    require(raise(SIGBUS) == 0 && caught == SIGBUS);
    require(signals_action(SIGBUS, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    require(!guard_copy(buffer, gone + PAGE, 1));
    (void)raise(SIGBUS);
}

static void assert_killed_by(int number, void (*function)(void))
{
    int status = run_in_child(function);

    if (WIFEXITED(status))
        print_error("exited with %d\n", WEXITSTATUS(status));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), number);
}

static void without_a_handler_a_fault_ends_the_process(void **state)
{
    (void)state;
    map_gone();
    assert_killed_by(SIGBUS, fault_by_default);
    assert_killed_by(SIGSEGV, violate_by_default);
    assert_killed_by(SIGBUS, raise_by_default);
    assert_killed_by(SIGBUS, reset_handler);
}

static void only_a_sent_signal_is_ignored(void **state)
{
    (void)state;
    map_gone();
    assert_int_equal(run_in_child(raise_though_ignored), 0);
    assert_killed_by(SIGBUS, fault_though_ignored);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, finish)
    static const struct CMUnitTest tests[] = {
        TEST(what_is_there_is_copied),
        TEST(a_truncated_source_is_told),
        TEST(bad_addresses_are_told),
        TEST(behind_a_fault_nothing_is_written),
        TEST(the_mask_is_as_before_a_fault),
        TEST(a_handler_copies_too),
        TEST(a_handler_copies_while_a_fault_is_dealt_with),
        TEST(a_handler_s_own_fault_is_the_program_s),
        TEST(not_ready_while_a_fault_is_blocked),
        TEST(not_ready_in_the_program_s_handler_of_a_fault),
        TEST(not_ready_in_a_handler_that_blocks_faults),
        TEST(a_handler_from_before_gets_the_program_s_faults),
        TEST(a_handler_from_after_gets_the_program_s_faults),
        TEST(without_a_handler_a_fault_ends_the_process),
        TEST(only_a_sent_signal_is_ignored),
    };

    return cmocka_run_group_tests(tests, enter, unit_leave);
}
