#include "signals.h"

#include "critical.h"
#include "debug.h"
#include "vfork_child.h"

#include <ucontext.h>
#include <unistd.h>

struct chained {
    signals_hook *_Atomic hook; /* NULL: not chained */
    struct sigaction program;   /* what the program asked for; changed in a critical section */
};

static struct chained chains[NSIG];

static struct chained *chained_at(int number)
{
    if (number < 1 || number >= NSIG || atomic_load(&chains[number].hook) == NULL)
        return NULL;
    return &chains[number];
}

/* Let the kernel do what it would do without the library, once this handler has returned. */
static void leave_to_kernel(int number, const siginfo_t *info)
{
    static const struct sigaction by_default = {.sa_handler = SIG_DFL};

    (void)libc_next(sigaction)(number, &by_default, NULL);
    if (info->si_code <= 0) /* sent by a process: unlike a fault it won't come again by itself */
        (void)raise(number);
}

/*
 * The mask that the program's handler would have run with. The library's runs with all blocked: the
 * kernel may start the handler of another pending signal on top of it, before its first
 * instruction.
 */
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

/*
 * The kernel keeps to the program's flags; the handler is the library's. SIGHUP is of
 * interest only where the program handles it; else it stays as it is, for what is exec'ed, too.
 */
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

/* What the kernel would tell of the action that the program asked for, were it the program's. */
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
        bool borrowed = is_vfork_child();
        ours = borrowed ? *action : with_our_handler(number, action);
        result = libc_next(sigaction)(number, &ours, NULL);
        if (result == 0 && !borrowed)
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
    /* libc knows which flags this means today, siginterrupt(3) included: let it, then look */
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
