/*
 * Standing before the program's own disposition of a signal. The kernel calls this library first;
 * what the library doesn't claim goes on as the program laid it down, and the program is told of
 * its own dispositions only.
 */
#ifndef SIGNALS_H
#define SIGNALS_H

#include "libc.h"

#include <signal.h>
#include <stdbool.h>

/* Looks at a signal before the program does; true: it was the library's, and is done with. */
typedef bool signals_hook(int number, siginfo_t *info, void *context);

/*
 * Stand before a signal from now on.
 * @param number  SIGBUS, SIGSEGV or SIGHUP
 * @param hook    called in handler context, so async-signal-safe
 */
void signals_stand_before(int number, signals_hook *hook);

/* For a hook: do with the signal what the program laid down. */
void signals_forward(int number, siginfo_t *info, void *context);

/*
 * sigaction(2) and signal(2) as the program sees them. Same results and errno as libc's.
 * @param next  libc's function of the name that was called: there are several, with several flags
 */
int signals_action(int number, const struct sigaction *action, struct sigaction *former);
sighandler_t signals_signal(int number, sighandler_t handler, libc_signal_function *next);

#endif
