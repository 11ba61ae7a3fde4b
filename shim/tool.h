/*
 * What the command-line tool consists of: its commands, and what they have in common.
 */
#ifndef TOOL_H
#define TOOL_H

#include "config.h"
#include "filesystem.h"
#include "status.h"

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit statuses, of every command. */
enum {
    TOOL_FINE = 0,
    TOOL_TROUBLE = 1, /* what was asked for was done, and found wrong; or can't be done */
    TOOL_USAGE = 2,
    TOOL_UNKNOWN = 3 /* whether the server runs can't be seen from here */
};

/*
 * The commands. @param arguments  the first is the tool's name and the command's, for messages
 * @return exit status
 */
int tool_check(int count, char **arguments);
int tool_status(int count, char **arguments);
int tool_run(int count, char **arguments);

/* For each command's struct argp: what all of them have, -h. */
extern const struct argp_child tool_children[];

/* The directive file that the library would take: that in XFERMMAP_CONF, or CONFIG_DEFAULT_PATH. */
const char *tool_directive_file(void);

/*
 * Say of each path whether a server with these directives serves it from memory, and why not. A
 * directory stands for the files below it. May wait for a disk.
 * @param paths     ended by NULL
 * @param sendfile  the server's configuration, if UseSendfile is on in it; NULL: it is off, or
 *                  that is not known
 * @return whether each is served from memory, or kept there
 */
bool tool_print_paths(const struct config *config, char *const *paths, const char *sendfile);

/* ---- what the status file says ---- */

enum tool_state {
    TOOL_ACTIVE,
    TOOL_OFF,
    TOOL_READING_IN,
    TOOL_KEEPER_GONE,
    TOOL_DEAD,
    TOOL_STARTING,
    TOOL_CANNOT_TELL
};

/* As it is in JSON. */
const char *tool_state_name(enum tool_state state);

struct tool_snapshot {
    double taken; /* seconds of CLOCK_MONOTONIC */
    enum tool_state state;
    struct status_header header;
    enum process_state server;
    enum process_state keeper; /* if that is gone, nothing is locked, nor known to be resident */
    uint64_t counters[STATUS_COUNTER_COUNT], last[STATUS_COUNTER_COUNT];
    struct filesystem_name odd; /* the last that was left to the kernel; "": none, or not known */
    struct status_file *files;  /* allocated; those in use only, in the order of the list */
    size_t count;
};

/*
 * Read a status file. What is in it may have been written by anybody who had a session, so that
 * texts come out printable and ended.
 * @param wrong  out: where false is returned, what is wrong and what to do, to be freed
 */
bool tool_take_snapshot(const char *path, struct tool_snapshot *snapshot, char **wrong);

void tool_free_snapshot(struct tool_snapshot *snapshot);

/*
 * Print it for people.
 * @param former  the one printed before, for rates; NULL: none
 * @param rows    how many listed files, those that most was read of; SIZE_MAX: all of them
 */
void tool_print_text(const struct tool_snapshot *snapshot, const struct tool_snapshot *former,
                     size_t rows, FILE *out);

/*
 * Print how many processes of ProFTPD run here, and how many have the library: for where no status
 * file says so. Sees other users' processes only as root.
 */
void tool_print_processes(FILE *out);

/* Print it as one JSON object as of docs/status.schema.json; in Prometheus' format. */
void tool_print_json(const struct tool_snapshot *snapshot, FILE *out);
void tool_print_prometheus(const struct tool_snapshot *snapshot, FILE *out);

/* In Prometheus' format, that there is no server. */
void tool_print_prometheus_down(FILE *out);

/*
 * Put "\xHH" in the place of each byte of what is no printable character in UTF-8; a question mark
 * where the buffer is too small.
 * @param size  of the buffer, bytes; the text ends within
 */
void tool_make_printable(char *text, size_t size);

/* Print a line, and make printable what files' names and contents have brought into it. */
__attribute__((format(printf, 2, 3))) void tool_say(FILE *out, const char *format, ...);

/* A number of bytes for people, as in "1.5 GiB"; "?" of STATUS_UNKNOWN. */
struct tool_size {
    char text[16];
};
struct tool_size tool_size(uint64_t bytes);

#endif
