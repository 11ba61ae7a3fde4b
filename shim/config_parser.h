/*
 * The state of reading a directive file, and its messages. config_file.c reads files and lines,
 * config_sections.c keeps the sections around a line, config_directives.c takes what a line says,
 * and config_hosts.c what that means for the hosts.
 */
#ifndef CONFIG_PARSER_H
#define CONFIG_PARSER_H

#include "config.h"
#include "config_syntax.h"

#include <sys/types.h>

enum { MAX_SECTIONS = 32, SECTION_NAME_SIZE = 32 };

/* FOREIGN: <Directory>, <Anonymous> and all the others that have nothing of ours in them. */
enum context { SERVER, GLOBAL, VIRTUAL_HOST, FOREIGN };

/* Our directives. */
enum directive_name {
    ENGINE,
    FILES,
    MIN_SIZE,
    LOCK,
    MAX_MEMORY,
    READ_AHEAD,
    READ_SIZE,
    LOG,
    STATUS_FILE,
    OUR_COUNT
};

struct place {
    const char *path; /* NULL: nowhere */
    unsigned line;    /* 0: the file as a whole */
};

struct source {
    struct place at;
    dev_t device;
    ino64_t inode;
    size_t depth; /* of the sections around it */
    struct source *includer;
};

struct section {
    char name[SECTION_NAME_SIZE];
    struct place at;
    enum context outside; /* what to return to */
    bool was_skipped;
};

enum { UNSET = -1 };

/* What the file says of a <VirtualHost>, of <Global>, or, outside of both, of the server itself. */
struct host {
    struct place at;
    struct config_list addresses;
    int port, engine, is_default; /* UNSET where it doesn't say */
    struct place set_at[OUR_COUNT];
    struct config_binding first; /* of its addresses; port 0: it is not served */
};

struct parser {
    struct source *source;    /* being read */
    struct config *config;    /* being filled */
    struct config_list paths; /* of the included files, for places to point to */
    struct host own, global, *hosts;
    size_t host_count;
    enum context context;
    bool skipped; /* by <IfModule !...> or <IfDefine ...> */
    struct section sections[MAX_SECTIONS];
    size_t depth;
};

/* Say "path:line: what", or "path:1: the file what" of one as a whole. After an error the file is
 * not valid. */
__attribute__((format(printf, 3, 4))) void parser_error_at(struct parser *parser, struct place at,
                                                           const char *format, ...);
__attribute__((format(printf, 3, 4))) void parser_note_at(struct parser *parser, struct place at,
                                                          const char *format, ...);

#define parser_error(parser, ...) parser_error_at(parser, (parser)->source->at, __VA_ARGS__)

/* The host that a line speaks of: outside of FOREIGN. */
struct host *parser_host(struct parser *parser);

#endif
