/*
 * Signal chaining: the library's handler runs first; what it does not claim is forwarded to the
 * program's, and sigaction() keeps reporting the program's.
 */
#ifndef SIGNALS_H
#define SIGNALS_H

#include "libc.h"

#include <signal.h>
#include <stdbool.h>

/* Called before the program's handler, in handler context. @return true: the signal is handled */
typedef bool signals_hook(int number, siginfo_t *info, void *context);

/* Call `hook` for a signal from now on. @param number  SIGBUS, SIGSEGV or SIGHUP */
void signals_chain(int number, signals_hook *hook);

/* For a hook: act by the program's own disposition. */
void signals_forward(int number, siginfo_t *info, void *context);

/*
 * sigaction(2) and signal(2) as the program sees them. Same results and errno as libc's.
 * @param next  libc's function of the name that was called: each has its own flags
 */
int signals_action(int number, const struct sigaction *action, struct sigaction *former);
sighandler_t signals_signal(int number, sighandler_t handler, libc_signal_function *next);

#endif
