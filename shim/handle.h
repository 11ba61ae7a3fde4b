/*
 * Opening files by their handles, as the keeper does: the path that a session knows may be that of
 * its chroot. open_by_handle_at(2).
 */
#ifndef HANDLE_H
#define HANDLE_H

#include "heat.h"

#include <stdbool.h>

/*
 * Find a handle's file. For a child of the watchdog.
 * @return descriptor for O_PATH; -1: there is no such file, its mount is not seen or can't be used,
 *         or see handle_allowed()
 */
int handle_find(const struct handle *handle);

/* Open for reading what an O_PATH descriptor refers to. @return -1: errno of open(2) */
int handle_reopen(int fd);

/* Close what handle_find() has opened of mounts. */
void handle_close_mounts(void);

/* True if this process may open files by their handles: CAP_DAC_READ_SEARCH. */
bool handle_allowed(void);

/* True if the file has a handle. May wait for a disk. */
bool handle_exists(const char *path);

#endif
