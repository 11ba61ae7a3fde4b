#include "signals.h"

#include "borrowed.h"
#include "critical.h"

#include <ucontext.h>
#include <unistd.h>

struct stand {
    signals_hook *_Atomic hook; /* NULL: the library doesn't stand before this signal */
    struct sigaction program;   /* what the program asked for; changed in a critical section */
};

static struct stand stands[NSIG];

static struct stand *stand_of(int number)
{
    if (number < 1 || number >= NSIG || atomic_load(&stands[number].hook) == NULL)
        return NULL;
    return &stands[number];
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
    struct stand *stand = &stands[number];
    struct critical section = critical_enter();
    struct sigaction program = stand->program;

    if (program.sa_flags & (int)SA_RESETHAND)
        stand->program.sa_handler = SIG_DFL;
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

static void arrive(int number, siginfo_t *info, void *context)
{
    signals_hook *hook = atomic_load(&stands[number].hook);

    if (!hook(number, info, context))
        signals_forward(number, info, context);
}

/*
 * The kernel keeps to the program's flags; the handler is the library's. SIGHUP is of
 * interest only where the program handles it; else it stays as it is, for what is exec'ed, too.
 */
static struct sigaction with_arrive(int number, const struct sigaction *program)
{
    struct sigaction action = *program;

    if (number == SIGHUP && (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN))
        return action;
    action.sa_sigaction = arrive;
    sigfillset(&action.sa_mask);
    action.sa_flags = (action.sa_flags | SA_SIGINFO) & ~(int)SA_RESETHAND;
    return action;
}

void signals_stand_before(int number, signals_hook *hook)
{
    struct critical section = critical_enter();
    struct sigaction action;

    if (libc_next(sigaction)(number, NULL, &stands[number].program) == 0) {
        atomic_store(&stands[number].hook, hook);
        action = with_arrive(number, &stands[number].program);
        (void)libc_next(sigaction)(number, &action, NULL);
    }
    critical_leave(&section);
}

/* What the kernel would tell of the action that the program asked for, were it the program's. */
static struct sigaction as_told(int number, const struct sigaction *asked)
{
    const int own = SA_SIGINFO | (int)SA_RESETHAND;
    struct sigaction told = *asked;

    if (libc_next(sigaction)(number, NULL, &told) == 0) {
        told.sa_sigaction = asked->sa_sigaction;
        told.sa_mask = asked->sa_mask;
        sigdelset(&told.sa_mask, SIGKILL);
        sigdelset(&told.sa_mask, SIGSTOP);
        told.sa_flags = (told.sa_flags & ~own) | (asked->sa_flags & own);
    }
    return told;
}

int signals_action(int number, const struct sigaction *action, struct sigaction *former)
{
    struct stand *stand = stand_of(number);
    struct sigaction before, ours;
    int result = 0;

    if (stand == NULL)
        return libc_next(sigaction)(number, action, former);

    struct critical section = critical_enter();
    before = stand->program;
    if (action != NULL) {
        bool borrowed = memory_is_borrowed();
        ours = borrowed ? *action : with_arrive(number, action);
        result = libc_next(sigaction)(number, &ours, NULL);
        if (result == 0 && !borrowed)
            stand->program = as_told(number, action);
    }
    critical_leave(&section);
    if (result == 0 && former != NULL)
        *former = before;
    return result;
}

sighandler_t signals_signal(int number, sighandler_t handler, libc_signal_function *next)
{
    struct stand *stand = stand_of(number);
    sighandler_t before, result;
    struct sigaction ours;

    if (stand == NULL)
        return next(number, handler);

    struct critical section = critical_enter();
    before = stand->program.sa_handler;
    /* libc knows which flags this means today, siginterrupt(3) included: let it, then look */
    result = next(number, handler);
    if (result != SIG_ERR && memory_is_borrowed()) {
        result = before;
    } else if (result != SIG_ERR) {
        (void)libc_next(sigaction)(number, NULL, &stand->program);
        ours = with_arrive(number, &stand->program);
        (void)libc_next(sigaction)(number, &ours, NULL);
        result = before;
    }
    critical_leave(&section);
    return result;
}
