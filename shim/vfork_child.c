#include "vfork_child.h"

_Thread_local pid_t vfork_parent;

void vfork_begin(void)
{
    vfork_parent = getpid();
}

void vfork_forget(void)
{
    vfork_parent = 0;
}
