/*
 * The keeper: the process that has the listed files in memory. The master forks one when it starts
 * to listen, and another at each reload; docs/design.md, "The keeper". For the main flow of the
 * master.
 */
#ifndef KEEPER_H
#define KEEPER_H

#include "config.h"

#include <stdbool.h>

/* Note the effective user and group to run keepers as, and the memory of main()'s arguments and
 * environment, for the keeper's title. To be called before the program changes any of these. */
void keeper_prepare(int count, char **arguments, char **environment);

/* Fork a keeper for these directives. The former one holds its files until the new one is ready.
 * @return false: there is none, errno of mmap(2) or fork(2) */
bool keeper_start(const struct config *config);

/* End the keeper, if there is one. */
void keeper_end(void);

/* True if this process has started a keeper, and not ended it since. */
bool keeper_is_wanted(void);

/* True, once, if the wanted keeper died unexpectedly. Looks at most once a second. */
bool keeper_is_missing(void);

#endif
