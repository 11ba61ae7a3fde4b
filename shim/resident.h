/*
 * Keeping the listed files in memory. The process that listens has a thread for it, which maps,
 * reads in and locks them while the server serves, and takes in those that change.
 */
#ifndef RESIDENT_H
#define RESIDENT_H

#include "config.h"

#include <stdbool.h>
#include <sys/types.h>

/*
 * Say what is to be kept from now on: files, lock and max_memory of the directives, which are
 * copied. The thread does it when it comes to it; what is kept already and stays is not touched.
 * Main flow; allocates.
 */
void resident_want(const struct config *config);

/* Whether this process has the thread: a forked child has not, whatever its parent has. */
bool resident_runs(void);

/*
 * Start the thread, unless it runs, for what is wanted by then. In a forked child that has to
 * be said anew: what the parent's thread had taken up is gone.
 * @param user  whose rights it has, the effective ones the server was started with
 * @return false: errno of pthread_create(3)
 */
bool resident_start(uid_t user);

/* In a child that was just forked: there is no thread here. Async-signal-safe. */
void resident_forked(void);

/*
 * Whether the calling thread has no company but the library's: then what it does to its rights
 * concerns itself alone, and need not wait until the other one has followed. Keeps errno.
 */
bool resident_is_only_company(void);

/*
 * Only learn which files are listed: for a process that serves one connection and keeps nothing.
 */
void resident_know(const struct config_list *paths);

#endif
