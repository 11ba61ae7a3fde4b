/*
 * The rights of one thread. libc's seteuid(3) gives all threads of a process the same effective
 * user, and waits until each has taken it; the kernel knows of threads only.
 */
#ifndef RIGHTS_H
#define RIGHTS_H

#include <sys/types.h>

/*
 * seteuid(2) and setegid(2) for the calling thread alone. Async-signal-safe.
 * @return 0; -1, errno: EINVAL (no such id), EPERM
 */
int rights_set_user(uid_t user);
int rights_set_group(gid_t group);

#endif
