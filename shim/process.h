/*
 * A process's start and end, forking one that the program does not notice, and closing descriptors.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * When a process was started, in clock ticks since boot (proc(5), "starttime"). With its number it
 * identifies a process.
 * @return 0: no such process, or /proc does not show it
 */
uint64_t process_start(pid_t process);

enum process_state { PROCESS_GONE, PROCESS_ALIVE, PROCESS_UNKNOWN };

/*
 * Whether the process with this number and start time still runs. Unknown if /proc does not show it
 * (hidepid, or another PID namespace's /proc) while kill(2) finds it.
 * @param process  in the PID namespace of the caller; if not positive it is gone
 * @param start  from process_start(); 0: not known
 */
enum process_state process_look(pid_t process, uint64_t start);

/* The inode of the caller's PID namespace. @return 0: no /proc */
uint64_t process_namespace(void);

/* pidfd_open(2): a descriptor that becomes readable when a process ends. @return -1: errno */
int process_open(pid_t process);

/*
 * Fork a process that is reparented to init or a subreaper, so that the caller has no child to wait
 * for and its SIGCHLD handler does not run. Runs the handlers of pthread_atfork(3), so that
 * libraries stay usable in the child.
 * @param body  run without any descriptor but `kept`; must not return
 * @param kept  0 to 2; -1: none
 * @return false: errno of fork(2)
 */
bool process_fork_orphan(void (*body)(void *argument), void *argument, int kept);

/* Close all descriptors from `first` on. */
void process_close_from(int first);

#endif
