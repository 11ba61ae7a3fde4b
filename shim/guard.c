#include "guard.h"

#include "debug.h"
#include "libc.h"

#if defined __x86_64__ || defined __i386__
#define HAS_STRING_INSTRUCTION
#include <cpuid.h>
#endif
#include <setjmp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

enum { PAGE = 4096 /* bytes: the smallest that there is */ };

/* A copy under way. A handler may interrupt one and start another: they form a stack. */
struct copy {
    struct copy *outer;
    uintptr_t from, to;
    size_t length;
    sigjmp_buf fault;
};

static _Thread_local struct copy *volatile current;
static _Thread_local volatile sig_atomic_t known_unblocked;
static atomic_bool always_ask;

/* On arm64 the top byte of a pointer is free for the program's use, and missing in si_addr
 * (Documentation/arch/arm64/tagged-pointers.rst). */
static uintptr_t without_tag(uintptr_t address)
{
#ifdef __aarch64__
    return address & (uintptr_t)((intptr_t)(address << 8) >> 8);
#else
    return address;
#endif
}

static bool touches(const struct copy *copy, int number, const siginfo_t *info)
{
    uintptr_t address = without_tag((uintptr_t)info->si_addr);

    /* SI_KERNEL: an address outside the canonical range, which only the caller's can be */
    if (number == SIGSEGV && info->si_code == SI_KERNEL)
        return true;
    return address - copy->from < copy->length || address - copy->to < copy->length;
}

bool guard_fault(int number, siginfo_t *info, void *context)
{
    struct copy *copy = current;

    if (copy == NULL || info->si_code <= 0 || !touches(copy, number, info)) {
        guard_mask_changed(); /* the program's handler runs with this signal blocked */
        return false;
    }
    const ucontext_t *interrupted = context;
    (void)libc_next(pthread_sigmask)(SIG_SETMASK, &interrupted->uc_sigmask, NULL);
    siglongjmp(copy->fault, 1);
}

#ifdef HAS_STRING_INSTRUCTION
static bool fast_instruction;

/* "Enhanced REP MOVSB", CPUID leaf 7. */
__attribute__((constructor)) static void find_fast_instruction(void)
{
    unsigned a, b = 0, c, d;

    fast_instruction = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b >> 9 & 1) != 0;
}
#endif

static bool faults_are_unblocked(void)
{
    sigset_t blocked;

    return libc_next(pthread_sigmask)(SIG_BLOCK, NULL, &blocked) == 0 &&
           sigismember(&blocked, SIGBUS) == 0 && sigismember(&blocked, SIGSEGV) == 0;
}

bool guard_ready(void)
{
    if (known_unblocked && !atomic_load_explicit(&always_ask, memory_order_relaxed))
        return true;
    /* Set before asking: a handler that runs in between may still clear it. */
    known_unblocked = 1;
    if (!faults_are_unblocked())
        known_unblocked = 0;
    return known_unblocked;
}

void guard_mask_changed(void)
{
    known_unblocked = 0;
}

void guard_disposition(int number, const struct sigaction *action)
{
    if (action == NULL || number == SIGBUS || number == SIGSEGV)
        return;
    if (sigismember(&action->sa_mask, SIGBUS) == 1 || sigismember(&action->sa_mask, SIGSEGV) == 1)
        atomic_store(&always_ask, true);
}

static size_t to_end_of_page(const void *address)
{
    return PAGE - (uintptr_t)address % PAGE;
}

/*
 * Copy from front to back: bytes behind one that faults must not be written. memcpy() promises no
 * order (that of glibc 2.41 writes there), so it gets no more than one page at a time.
 */
static void copy_by_pages(char *to, const char *from, size_t length)
{
    while (length > 0) {
        size_t step = to_end_of_page(to) < length ? to_end_of_page(to) : length;
        step = to_end_of_page(from) < step ? to_end_of_page(from) : step;
        memcpy(to, from, step);
        to += step;
        from += step;
        length -= step;
    }
}

/* With the instruction, as the kernel copies. Below a page that costs more than it saves. */
__attribute__((noinline)) static void copy_in_order(char *to, const char *from, size_t length)
{
#ifdef HAS_STRING_INSTRUCTION
    if (length >= PAGE && fast_instruction) {
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
        return;
    }
#endif
    copy_by_pages(to, from, length);
}

bool guard_copy(void *to, const void *from, size_t length)
{
    struct copy copy;

    assert(faults_are_unblocked());
    copy.outer = current;
    copy.from = without_tag((uintptr_t)from);
    copy.to = without_tag((uintptr_t)to);
    copy.length = length;
    bool whole = sigsetjmp(copy.fault, 0) == 0;
    if (whole) {
        current = &copy;
        /* guard_fault() must see `current` from the first byte on */
        atomic_signal_fence(memory_order_seq_cst);
        copy_in_order(to, from, length);
        atomic_signal_fence(memory_order_seq_cst);
    }
    current = copy.outer;
    return whole;
}
