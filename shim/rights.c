#include "rights.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where an old call with 16-bit ids exists, the name is that one's. */
#ifdef SYS_setresuid32
#define SET_USERS  SYS_setresuid32
#define SET_GROUPS SYS_setresgid32
#else
#define SET_USERS  SYS_setresuid
#define SET_GROUPS SYS_setresgid
#endif

static int set_effective(long call, unsigned id)
{
    if (id == (unsigned)-1) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(call, -1, id, -1);
}

int rights_set_user(uid_t user)
{
    return set_effective(SET_USERS, user);
}

int rights_set_group(gid_t group)
{
    return set_effective(SET_GROUPS, group);
}
