/*
 * Which process this is, and what that changes. The library starts by itself, in a constructor.
 *
 *   bystander   another program, or one without directive file: straight through to libc
 *   starting    the server before it listens; it has read its directives
 *   master      it listens on an Internet socket; it reloads after SIGHUP
 *   session     forked off a master that had accepted a connection, or started by inetd
 */
#ifndef SERVER_H
#define SERVER_H

/* The program is about to open a file: its main flow, where a reload that is due is done. */
void server_opening(void);

/* A connection was accepted, this descriptor: what is forked next is its session. */
void server_accepted(int connection);

/* The program listens on a socket. */
void server_listening(int fd);

/* Around fork(2): all that is open is handed over to the kernel, for parent and child share the
 * offsets. All three keep errno. */
void server_before_fork(void);
void server_after_fork(void);
void server_in_child(void);

#endif
