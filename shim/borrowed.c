#include "borrowed.h"

_Thread_local pid_t memory_lender;

void memory_lend(void)
{
    memory_lender = getpid();
}

void memory_own(void)
{
    memory_lender = 0;
}
