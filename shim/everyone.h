/*
 * What everybody may do, told from permissions.
 */
#ifndef EVERYONE_H
#define EVERYONE_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Whether everybody could open a file for reading, whoever it is: by its mode, those of all
 * directories above it, and their access control lists, acl(5). Where a file system may have other
 * rules than these, on the network and in user space, the answer is no. Source: path_resolution(7)
 * @param path  absolute, without symbolic links
 * @param mode  of the file, as of stat(2)
 */
bool everyone_may_read(const char *path, mode_t mode);

#endif
