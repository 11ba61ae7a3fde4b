#include "signals.h"

#include "critical.h"
#include "debug.h"
#include "vfork_child.h"

#include <ucontext.h>

struct chained {
    signals_hook *_Atomic hook; /* NULL: not chained */
    struct sigaction program;   /* the program's; used in critical sections */
};

static struct chained chains[NSIG];

static struct chained *chained_at(int number)
{
    if (number < 1 || number >= NSIG || atomic_load(&chains[number].hook) == NULL)
        return NULL;
    return &chains[number];
}

/* Have the kernel act by the default once this handler returns. */
static void leave_to_kernel(int number, const siginfo_t *info)
{
    static const struct sigaction by_default = {.sa_handler = SIG_DFL};

    (void)libc_next(sigaction)(number, &by_default, NULL);
    if (info->si_code <= 0) /* sent by a process: unlike a fault it is not raised again */
        (void)raise(number);
}

/* Set the mask that the program's handler would have run with. The library's runs with all signals
 * blocked: docs/design.md, "Faults". */
static void set_mask_of_handler(int number, const struct sigaction *program,
                                const ucontext_t *interrupted)
{
    sigset_t mask;

    (void)sigorset(&mask, &interrupted->uc_sigmask, &program->sa_mask);
    if (!(program->sa_flags & SA_NODEFER))
        sigaddset(&mask, number);
    (void)libc_next(pthread_sigmask)(SIG_SETMASK, &mask, NULL);
}

void signals_forward(int number, siginfo_t *info, void *context)
{
    struct chained *chained = &chains[number];
    struct critical section = critical_enter();
    struct sigaction program = chained->program;

    assert(atomic_load(&chained->hook) != NULL);
    if (program.sa_flags & (int)SA_RESETHAND)
        chained->program.sa_handler = SIG_DFL;
    critical_leave(&section);

    set_mask_of_handler(number, &program, context);
    bool fault = info->si_code > 0; /* a fault can't be ignored: sigaction(2) */
    if (program.sa_handler == SIG_DFL || (program.sa_handler == SIG_IGN && fault))
        leave_to_kernel(number, info);
    else if (program.sa_handler != SIG_IGN && program.sa_flags & SA_SIGINFO)
        program.sa_sigaction(number, info, context);
    else if (program.sa_handler != SIG_IGN)
        program.sa_handler(number);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    signals_hook *hook = atomic_load(&chains[number].hook);

    if (!hook(number, info, context))
        signals_forward(number, info, context);
}

/* The program's flags with the library's handler. SIGHUP that the program does not handle stays as
 * it is: what is exec'ed inherits it. */
static struct sigaction with_our_handler(int number, const struct sigaction *program)
{
    struct sigaction action = *program;

    if (number == SIGHUP && (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN))
        return action;
    action.sa_sigaction = on_signal;
    sigfillset(&action.sa_mask);
    action.sa_flags = (action.sa_flags | SA_SIGINFO) & ~(int)SA_RESETHAND;
    return action;
}

void signals_chain(int number, signals_hook *hook)
{
    struct critical section = critical_enter();
    struct sigaction action;

    assert(number == SIGBUS || number == SIGSEGV || number == SIGHUP);
    if (libc_next(sigaction)(number, NULL, &chains[number].program) == 0) {
        atomic_store(&chains[number].hook, hook);
        action = with_our_handler(number, &chains[number].program);
        (void)libc_next(sigaction)(number, &action, NULL);
    }
    critical_leave(&section);
}

/* What sigaction(2) would report of the program's action without the library. */
static struct sigaction as_reported(int number, const struct sigaction *asked)
{
    const int own = SA_SIGINFO | (int)SA_RESETHAND;
    struct sigaction reported = *asked;

    if (libc_next(sigaction)(number, NULL, &reported) == 0) {
        reported.sa_sigaction = asked->sa_sigaction;
        reported.sa_mask = asked->sa_mask;
        sigdelset(&reported.sa_mask, SIGKILL);
        sigdelset(&reported.sa_mask, SIGSTOP);
        reported.sa_flags = (reported.sa_flags & ~own) | (asked->sa_flags & own);
    }
    return reported;
}

int signals_action(int number, const struct sigaction *action, struct sigaction *former)
{
    struct chained *chained = chained_at(number);
    struct sigaction before, ours;
    int result = 0;

    if (chained == NULL)
        return libc_next(sigaction)(number, action, former);

    struct critical section = critical_enter();
    before = chained->program;
    if (action != NULL) {
        bool vfork_child = is_vfork_child();
        ours = vfork_child ? *action : with_our_handler(number, action);
        result = libc_next(sigaction)(number, &ours, NULL);
        if (result == 0 && !vfork_child)
            chained->program = as_reported(number, action);
    }
    critical_leave(&section);
    if (result == 0 && former != NULL)
        *former = before;
    return result;
}

sighandler_t signals_signal(int number, sighandler_t handler, libc_signal_function *next)
{
    struct chained *chained = chained_at(number);
    sighandler_t before, result;
    struct sigaction ours;

    if (chained == NULL)
        return next(number, handler);

    struct critical section = critical_enter();
    before = chained->program.sa_handler;
    /* the flags depend on the function and on siginterrupt(3): let libc choose, then look */
    result = next(number, handler);
    if (result != SIG_ERR && is_vfork_child()) {
        result = before;
    } else if (result != SIG_ERR) {
        (void)libc_next(sigaction)(number, NULL, &chained->program);
        ours = with_our_handler(number, &chained->program);
        (void)libc_next(sigaction)(number, &ours, NULL);
        result = before;
    }
    critical_leave(&section);
    return result;
}
