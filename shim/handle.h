/*
 * Opening files by their handles, for the keeper: a session's path may be relative to its chroot.
 * open_by_handle_at(2).
 */
#ifndef HANDLE_H
#define HANDLE_H

#include "heat.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/*
 * Open a handle's file with O_PATH. For a child of the watchdog.
 * @param device, inode  what the file must have, as a session may have forged the handle
 * @param status  out: of the file
 * @return descriptor of a regular file; -1: ESTALE: it is deleted, or another file;
 *         EXDEV: its mount is not visible, not supported, or hung; or errno of open_by_handle_at(2)
 */
int handle_find(const struct handle *handle, uint64_t device, uint64_t inode,
                struct stat64 *status);

/* Open the file of an O_PATH descriptor for reading. @return descriptor; -1: errno of open(2) */
int handle_reopen(int fd);

/* Close the mounts that handle_find() has opened. */
void handle_close_mounts(void);

/* True if this process may open files by their handles: CAP_DAC_READ_SEARCH. */
bool handle_allowed(void);

/* True if the file has a handle. May wait for the disk. */
bool handle_exists(const char *path);

#endif
