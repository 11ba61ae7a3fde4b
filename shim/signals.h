/*
 * Signal chaining: the library's handler runs first; what it does not claim is forwarded to the
 * program's, and sigaction() keeps reporting the program's.
 */
#ifndef SIGNALS_H
#define SIGNALS_H

#include "libc.h"

#include <signal.h>
#include <stdbool.h>

/* Called before the program's handler. @return true: the signal was the library's */
typedef bool signals_hook(int number, siginfo_t *info, void *context);

/*
 * Handle a signal before the program does, from now on.
 * @param number  SIGBUS, SIGSEGV or SIGHUP
 * @param hook    called in handler context, so async-signal-safe
 */
void signals_chain(int number, signals_hook *hook);

/* For a hook: do what the program's own disposition says. */
void signals_forward(int number, siginfo_t *info, void *context);

/*
 * sigaction(2) and signal(2) as the program sees them. Same results and errno as libc's.
 * @param next  libc's function of the name that was called: there are several, with several flags
 */
int signals_action(int number, const struct sigaction *action, struct sigaction *former);
sighandler_t signals_signal(int number, sighandler_t handler, libc_signal_function *next);

#endif
