/*
 * The keeper: the process that has the listed files in memory. The master forks one when it starts
 * to listen, and another at each reload. It is no child of the server's, has no descriptor of the
 * server's, and ends with the master, on SIGTERM, or when a newer one is ready.
 *
 * For the main flow of the master.
 */
#ifndef KEEPER_H
#define KEEPER_H

#include "config.h"

#include <stdbool.h>
#include <sys/types.h>

/* Remember where the kernel has the arguments and the environment of this process, for the keeper's
 * title. As main(3) has them, before the program changes them; and the rights to start it with: the
 * present effective ones. */
void keeper_prepare(int count, char **arguments, char **environment);

/*
 * Fork a keeper for these files. The former one holds its own until the new one is ready.
 * @return false: there is none, errno as of mmap(2) or fork(2)
 */
bool keeper_start(const struct config *config);

/* End the one there is, if any. */
void keeper_end(void);

/* Whether this process has started one, and not ended it since. */
bool keeper_is_wanted(void);

/* Whether one is wanted and has ended by itself. Looks at most once a second. */
bool keeper_is_missing(void);

#endif
