#include "libc.h"

#include <dlfcn.h>
#include <errno.h>

_Atomic(libc_any_function *) libc_found[LIBC_FUNCTION_COUNT];

static const char *const names[LIBC_FUNCTION_COUNT] = {
#define X(result, name, parameters) [LIBC_##name] = #name,
    LIBC_FUNCTIONS(X)
#undef X
};

/* Stub for functions that this libc lacks. */
static long absent(void)
{
    errno = ENOSYS;
    return -1;
}

libc_any_function *libc_find(enum libc_function function)
{
    libc_any_function *found = (libc_any_function *)absent;
    void *symbol = dlsym(RTLD_NEXT, names[function]);
    if (symbol != NULL)
        *(void **)&found = symbol; /* ISO C has no cast to a function pointer */
    atomic_store_explicit(&libc_found[function], found, memory_order_relaxed);
    return found;
}

void libc_find_all(void)
{
    for (int function = 0; function < LIBC_FUNCTION_COUNT; function++)
        (void)libc_ready((enum libc_function)function);
}
