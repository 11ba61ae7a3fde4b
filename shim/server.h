/*
 * Which process this is, and what that changes. The library starts in a constructor.
 *
 *   bystander   another program, or one without directive file: straight through to libc
 *   starting    the server before it listens; it has read its directives
 *   master      it listens on an Internet socket; it reloads after SIGHUP
 *   session     forked by a master that had accepted a connection, or started by inetd
 *
 * All functions preserve errno.
 */
#ifndef SERVER_H
#define SERVER_H

/* The program is about to open a file, in its main flow: do a reload that is due. */
void server_opening(void);

/* A connection was accepted: the next process to be forked is its session. */
void server_accepted(int connection);

/* The program listens on a socket. */
void server_listening(int fd);

/* Around fork(2). */
void server_before_fork(void);
void server_after_fork(void);
void server_in_child(void);

#endif
