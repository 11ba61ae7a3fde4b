/*
 * A process's start and end, forking one that the program does not notice, and closing what it
 * inherited.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * When a process was started, in clock ticks since boot. Together with its number it identifies a
 * process. Source: proc(5), "starttime"
 * @return 0: no such process, or /proc does not show it
 */
uint64_t process_start(pid_t process);

enum process_state { PROCESS_GONE, PROCESS_ALIVE, PROCESS_UNKNOWN };

/*
 * Whether the process that had this number and start time still runs. Not known is that of one that
 * /proc does not show (hidepid, or /proc is another PID namespace's) and kill(2) finds.
 * @param process  in the PID namespace of the caller; of no process if not positive
 * @param start  as of process_start(); 0: not known
 */
enum process_state process_look(pid_t process, uint64_t start);

/* The PID namespace of the caller: its inode. @return 0: no /proc */
uint64_t process_namespace(void);

/*
 * Open a descriptor that becomes readable when a process ends, pidfd_open(2).
 * @return -1: errno ENOSYS or EPERM (refused by the kernel or a seccomp filter), ESRCH
 */
int process_open(pid_t process);

/*
 * Fork a process that is nobody's child to wait for: forked twice, it is reparented to init, or to
 * a subreaper (PR_SET_CHILD_SUBREAPER). The caller's SIGCHLD handler does not run for it. Runs the
 * handlers of pthread_atfork(3), so that the libraries of the process stay usable in the child.
 * @param body  what the orphan does, without any descriptor but `kept`; must not return
 * @param kept  0 to 2; -1: none
 * @return false: errno of fork(2)
 */
bool process_fork_orphan(void (*body)(void *argument), void *argument, int kept);

/* Close all descriptors from `first` on: close_range(2), or each of /proc/self/fd, or each up to
 * RLIMIT_NOFILE. For a process of the library's own. */
void process_close_from(int first);

#endif
