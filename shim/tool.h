/*
 * The command-line tool: its commands, and the code that they share.
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
    TOOL_TROUBLE = 1, /* done, and found a problem; or failed */
    TOOL_USAGE = 2,
    TOOL_UNKNOWN = 3 /* can't see from this environment if the server runs */
};

/*
 * The commands. @param arguments  the first is the tool's name and the command's, for messages
 * @return exit status
 */
int tool_check(int count, char **arguments);
int tool_status(int count, char **arguments);
int tool_run(int count, char **arguments);

/* Common to each command's struct argp: -h. */
extern const struct argp_child tool_children[];

/* The library's directive file: that in XFERMMAP_CONF, or CONFIG_DEFAULT_PATH. */
const char *tool_directive_file(void);

/*
 * Print for each path whether a server with these directives serves it from memory, and if not,
 * why. A directory means all files below it. May block on the disk.
 * @param paths     ended by NULL
 * @param sendfile  the server's configuration file, if it has UseSendfile on; NULL: off or unknown
 * @return true: each is served from memory, or kept there
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

struct tool_snapshot {
    uint64_t taken; /* CLOCK_MONOTONIC, ns */
    enum tool_state state;
    struct status_header header;
    enum process_state server;
    enum process_state keeper; /* if it is gone, nothing is locked, and residency is unknown */
    uint64_t counters[STATUS_COUNTER_COUNT], last[STATUS_COUNTER_COUNT];
    struct filesystem_name filesystem; /* the last one left to the kernel; "": none or unknown */
    struct status_file *files; /* allocated; used slots only: the listed ones, in list order, then
                                  the hot ones, the hottest first */
    size_t listed, count;
};

/*
 * Read a status file. Any session may have written to it, so texts are made printable and
 * terminated.
 * @param wrong  out: if false is returned, the problem and its remedy, to be freed
 */
bool tool_take_snapshot(const char *path, struct tool_snapshot *snapshot, char **wrong);

void tool_free_snapshot(struct tool_snapshot *snapshot);

/*
 * Print it as text.
 * @param former  the previous snapshot, for rates; NULL: none
 * @param rows    how many listed files, the most read first; SIZE_MAX: all of them
 */
void tool_print_text(const struct tool_snapshot *snapshot, const struct tool_snapshot *former,
                     size_t rows, FILE *out);

/*
 * Print how many ProFTPD processes run here, and how many have the library, if no status file says
 * so. Sees other users' processes only as root.
 */
void tool_print_processes(FILE *out);

/* Print the hot files as text, unless TransferMMapHot is off. */
void tool_print_hot(const struct tool_snapshot *snapshot, size_t rows, FILE *out);

/* Print the hot files as lines for the directive file. */
void tool_print_suggestion(const struct tool_snapshot *snapshot, FILE *out);

/* Print it as one JSON object, see docs/status.schema.json; or in Prometheus' format. */
void tool_print_json(const struct tool_snapshot *snapshot, FILE *out);
void tool_print_prometheus(const struct tool_snapshot *snapshot, FILE *out);

/* Print in Prometheus' format that there is no server. */
void tool_print_prometheus_down(FILE *out);

/* Print a line, with names and contents of files made printable. */
__attribute__((format(printf, 2, 3))) void tool_say(FILE *out, const char *format, ...);

/* Format a number of bytes, for example "1.5 GiB"; "?" for STATUS_UNKNOWN. */
struct tool_size {
    char text[16];
};
struct tool_size tool_size(uint64_t bytes);

#endif
