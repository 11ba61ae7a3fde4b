#include "signals.h"

#include "libc.h"
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t hooked, handled, other_handled;
static volatile bool claimed; /* the hook's result */
static siginfo_t seen;
static sigset_t mask_inside;

static bool hook(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    (void)context;
    hooked++;
    return claimed;
}

static void handler(int number)
{
    (void)number;
    handled++;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &mask_inside);
}

static void other_handler(int number)
{
    (void)number;
    other_handled++;
}

static void informed_handler(int number, siginfo_t *info, void *context)
{
    (void)context;
    seen = *info;
    handler(number);
}

/* In each test: cmocka installs handlers before it, and removes them after it. */
static void start(void)
{
    claimed = false;
    hooked = handled = other_handled = 0;
    signals_chain(SIGBUS, hook);
}

/* ---- what the program sees ---- */

static void the_disposition_from_before_is_told(void **state)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct sigaction former;

    (void)state;
    sigaddset(&action.sa_mask, SIGUSR2);
    assert_int_equal(sigaction(SIGBUS, &action, NULL), 0);
    start();
    assert_int_equal(signals_action(SIGBUS, NULL, &former), 0);
    assert_ptr_equal(former.sa_handler, handler);
    assert_true(former.sa_flags & SA_RESTART);
    assert_false(former.sa_flags & SA_SIGINFO);
    assert_int_equal(sigismember(&former.sa_mask, SIGUSR2), 1);
    assert_int_equal(sigismember(&former.sa_mask, SIGUSR1), 0);
}

/* Install each in turn for a chained signal and for another one: the reported former dispositions
 * must be the same. */
static void dispositions_are_told_as_the_kernel_does(void **state)
{
    struct sigaction actions[] = {
        {.sa_handler = handler},
        {.sa_sigaction = informed_handler, .sa_flags = SA_SIGINFO | SA_RESTART},
        {.sa_handler = SIG_IGN},
        {.sa_handler = other_handler, .sa_flags = (int)SA_RESETHAND | SA_NODEFER | SA_ONSTACK},
        {.sa_handler = SIG_DFL, .sa_flags = SA_SIGINFO},
        {.sa_handler = handler},
    };
    struct sigaction ours, kernels;

    (void)state;
    start();
    assert_int_equal(signals_action(SIGBUS, &actions[0], NULL), 0);
    assert_int_equal(sigaction(SIGUSR1, &actions[0], NULL), 0);
    sigaddset(&actions[1].sa_mask, SIGSEGV);
    sigfillset(&actions[3].sa_mask);
    for (size_t i = 1; i < COUNT(actions); i++) {
        assert_int_equal(signals_action(SIGBUS, &actions[i], &ours), 0);
        assert_int_equal(sigaction(SIGUSR1, &actions[i], &kernels), 0);
        assert_ptr_equal(ours.sa_handler, kernels.sa_handler);
        assert_int_equal(ours.sa_flags, kernels.sa_flags);
        for (int number = 1; number < NSIG; number++) {
            assert_int_equal(sigismember(&ours.sa_mask, number),
                             sigismember(&kernels.sa_mask, number));
        }
    }
    assert_ptr_not_equal(signal(SIGUSR1, SIG_DFL), SIG_ERR);
}

static void signal_tells_the_former_handler(void **state)
{
    struct sigaction former, kernels;

    (void)state;
    assert_ptr_not_equal(signal(SIGBUS, SIG_IGN), SIG_ERR);
    start();
    assert_ptr_equal(signals_signal(SIGBUS, handler, libc_next(signal)), SIG_IGN);
    assert_ptr_equal(signals_signal(SIGBUS, SIG_DFL, libc_next(signal)), handler);
    assert_ptr_equal(signals_signal(SIGBUS, other_handler, libc_next(signal)), SIG_DFL);
    assert_int_equal(signals_action(SIGBUS, NULL, &former), 0);
    assert_ptr_equal(former.sa_handler, other_handler);

    assert_ptr_not_equal(signal(SIGUSR1, other_handler), SIG_ERR);
    assert_int_equal(sigaction(SIGUSR1, NULL, &kernels), 0);
    assert_int_equal(former.sa_flags, kernels.sa_flags);
    assert_int_equal(sigismember(&former.sa_mask, SIGBUS), sigismember(&kernels.sa_mask, SIGUSR1));
    assert_ptr_not_equal(signal(SIGUSR1, SIG_DFL), SIG_ERR);
}

static void other_signals_are_left_to_libc(void **state)
{
    struct sigaction action = {.sa_handler = handler}, former;

    (void)state;
    start();
    assert_int_equal(signals_action(SIGUSR1, &action, NULL), 0);
    assert_int_equal(sigaction(SIGUSR1, NULL, &former), 0);
    assert_ptr_equal(former.sa_handler, handler);
    assert_ptr_equal(signals_signal(SIGUSR1, SIG_DFL, libc_next(signal)), handler);
    assert_int_equal(hooked, 0);
}

static void what_libc_refuses_is_refused(void **state)
{
    static const int numbers[] = {0, -1, NSIG, SIGKILL, 1000000};
    struct sigaction action = {.sa_handler = handler};

    (void)state;
    start();
    for (size_t i = 0; i < COUNT(numbers); i++) {
        errno = 0;
        assert_int_equal(signals_action(numbers[i], &action, NULL), -1);
        assert_int_equal(errno, EINVAL);
        errno = 0;
        assert_ptr_equal(signals_signal(numbers[i], handler, libc_next(signal)), SIG_ERR);
        assert_int_equal(errno, EINVAL);
    }
    assert_ptr_not_equal(signals_signal(SIGBUS, handler, libc_next(signal)), SIG_ERR);
    assert_ptr_equal(signals_signal(SIGBUS, SIG_ERR, libc_next(signal)), SIG_ERR);
    assert_ptr_equal(signals_signal(SIGBUS, handler, libc_next(signal)), handler); /* still */
}

/* ---- what the program gets ---- */

static void a_claimed_signal_stays_with_the_library(void **state)
{
    (void)state;
    start();
    assert_ptr_not_equal(signals_signal(SIGBUS, handler, libc_next(signal)), SIG_ERR);
    claimed = true;
    assert_int_equal(raise(SIGBUS), 0);
    assert_int_equal(hooked, 1);
    assert_int_equal(handled, 0);
    claimed = false;
    assert_int_equal(raise(SIGBUS), 0);
    assert_int_equal(hooked, 2);
    assert_int_equal(handled, 1);
}

static void siginfo_is_passed_on(void **state)
{
    struct sigaction action = {.sa_sigaction = informed_handler, .sa_flags = SA_SIGINFO};
    const union sigval value = {.sival_int = 4711};

    (void)state;
    if (under_valgrind())
        skip(); /* it delays a signal of sigqueue() */
    start();
    assert_int_equal(signals_action(SIGBUS, &action, NULL), 0);
    assert_int_equal(sigqueue(getpid(), SIGBUS, value), 0);
    assert_int_equal(handled, 1);
    assert_int_equal(seen.si_signo, SIGBUS);
    assert_int_equal(seen.si_code, SI_QUEUE);
    assert_int_equal(seen.si_value.sival_int, 4711);
    assert_int_equal(seen.si_pid, getpid());
}

static void a_handler_runs_under_the_program_s_mask(void **state)
{
    struct sigaction action = {.sa_handler = handler};

    (void)state;
    start();
    sigaddset(&action.sa_mask, SIGUSR2);
    assert_int_equal(signals_action(SIGBUS, &action, NULL), 0);
    assert_int_equal(raise(SIGBUS), 0);
    assert_int_equal(handled, 1);
    assert_int_equal(sigismember(&mask_inside, SIGUSR2), 1);
    assert_int_equal(sigismember(&mask_inside, SIGBUS), 1);
    assert_int_equal(sigismember(&mask_inside, SIGUSR1), 0);
    action.sa_flags = SA_NODEFER;
    sigemptyset(&action.sa_mask);
    assert_int_equal(signals_action(SIGBUS, &action, NULL), 0);
    assert_int_equal(raise(SIGBUS), 0);
    assert_int_equal(handled, 2);
    assert_int_equal(sigismember(&mask_inside, SIGUSR2), 0);
    assert_int_equal(sigismember(&mask_inside, SIGBUS), 0);
}

static char other_stack[64 * KIB];
static volatile bool on_other_stack;

/* Without the address of a variable: the sanitizer of newer compilers moves variables. */
static void note_stack(int number)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    (void)number;
    on_other_stack = here - (uintptr_t)other_stack < sizeof other_stack;
}

static void a_handler_runs_on_the_program_s_stack(void **state)
{
    struct sigaction action = {.sa_handler = note_stack, .sa_flags = SA_ONSTACK};
    const stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
    stack_t former;

    (void)state;
    start();
    assert_int_equal(sigaltstack(&stack, &former), 0);
    assert_int_equal(signals_action(SIGBUS, &action, NULL), 0);
    assert_int_equal(raise(SIGBUS), 0);
    assert_true(on_other_stack);
    action.sa_flags = 0;
    assert_int_equal(signals_action(SIGBUS, &action, NULL), 0);
    assert_int_equal(raise(SIGBUS), 0);
    assert_false(on_other_stack);
    assert_int_equal(sigaltstack(&former, NULL), 0);
}

static void an_ignored_signal_does_nothing(void **state)
{
    (void)state;
    start();
    assert_ptr_not_equal(signals_signal(SIGBUS, SIG_IGN, libc_next(signal)), SIG_ERR);
    assert_int_equal(raise(SIGBUS), 0);
    assert_int_equal(kill(getpid(), SIGBUS), 0);
    assert_int_equal(handled, 0);
}

static void raise_by_default(void)
{
    require(signals_signal(SIGBUS, SIG_DFL, libc_next(signal)) != SIG_ERR);
    (void)raise(SIGBUS);
}

static void raise_twice_with_one_call(void)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = (int)SA_RESETHAND};

    require(signals_action(SIGBUS, &action, NULL) == 0);
    require(raise(SIGBUS) == 0 && handled == 1);
    require(signals_action(SIGBUS, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    (void)raise(SIGBUS);
}

static void by_default_it_ends_the_process(void **state)
{
    int status;

    (void)state;
    start();
    status = run_in_child(raise_by_default);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = run_in_child(raise_twice_with_one_call);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

/* ---- SIGHUP ---- */

static void the_library_stands_before_a_handled_hangup_only(void **state)
{
    struct sigaction kernels;

    (void)state;
    start();
    (void)signal(SIGHUP, SIG_DFL); /* nohup(1) may have ignored it */
    signals_chain(SIGHUP, hook);
    assert_int_equal(sigaction(SIGHUP, NULL, &kernels), 0);
    assert_ptr_equal(kernels.sa_handler, SIG_DFL);
    assert_ptr_equal(signals_signal(SIGHUP, SIG_IGN, libc_next(signal)), SIG_DFL);
    assert_int_equal(sigaction(SIGHUP, NULL, &kernels), 0);
    assert_ptr_equal(kernels.sa_handler, SIG_IGN); /* an exec'ed program ignores it, too */
    assert_int_equal(raise(SIGHUP), 0);
    assert_int_equal(hooked, 0);

    assert_ptr_equal(signals_signal(SIGHUP, handler, libc_next(signal)), SIG_IGN);
    assert_int_equal(raise(SIGHUP), 0);
    assert_int_equal(hooked, 1);
    assert_int_equal(handled, 1);
    assert_ptr_equal(signals_signal(SIGHUP, SIG_DFL, libc_next(signal)), handler);
    assert_int_equal(sigaction(SIGHUP, NULL, &kernels), 0);
    assert_ptr_equal(kernels.sa_handler, SIG_DFL);
}

static bool forwarding_hook(int number, siginfo_t *info, void *context)
{
    hooked++;
    signals_forward(number, info, context);
    return true;
}

static void a_hook_forwards_by_itself(void **state)
{
    (void)state;
    start();
    signals_chain(SIGSEGV, forwarding_hook);
    assert_ptr_not_equal(signals_signal(SIGSEGV, handler, libc_next(signal)), SIG_ERR);
    assert_int_equal(raise(SIGSEGV), 0);
    assert_int_equal(hooked, 1);
    assert_int_equal(handled, 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_disposition_from_before_is_told),
        cmocka_unit_test(dispositions_are_told_as_the_kernel_does),
        cmocka_unit_test(signal_tells_the_former_handler),
        cmocka_unit_test(other_signals_are_left_to_libc),
        cmocka_unit_test(what_libc_refuses_is_refused),
        cmocka_unit_test(a_claimed_signal_stays_with_the_library),
        cmocka_unit_test(siginfo_is_passed_on),
        cmocka_unit_test(a_handler_runs_under_the_program_s_mask),
        cmocka_unit_test(a_handler_runs_on_the_program_s_stack),
        cmocka_unit_test(an_ignored_signal_does_nothing),
        cmocka_unit_test(by_default_it_ends_the_process),
        cmocka_unit_test(the_library_stands_before_a_handled_hangup_only),
        cmocka_unit_test(a_hook_forwards_by_itself),
    };

    return cmocka_run_group_tests(tests, unit_enter, unit_leave);
}
