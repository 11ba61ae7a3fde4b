/*
 * The state of reading a directive file: its sections and its messages. config_file.c reads files
 * and lines, config_directives.c takes directives, and config_hosts.c settles hosts.
 */
#ifndef CONFIG_PARSER_H
#define CONFIG_PARSER_H

#include "config.h"
#include "config_syntax.h"

#include <sys/types.h>

enum { MAX_SECTIONS = 32, SECTION_NAME_SIZE = 32 };

/* FOREIGN: in <Directory>, <Anonymous> and others that can't have our directives. SKIPPED: by
 * <IfModule>, <IfDefine> or <IfVersion>. */
enum context { SERVER, GLOBAL, VIRTUAL_HOST, FOREIGN, SKIPPED };

/* Our directives. */
enum directive_name {
    ENGINE,
    FILES,
    MIN_SIZE,
    LOCK,
    MAX_MEMORY,
    HOT,
    READ_AHEAD,
    READ_SIZE,
    LOG,
    STATUS_FILE,
    OUR_COUNT
};

struct position {
    const char *path; /* NULL: nowhere */
    unsigned line;
};

struct source {
    struct position at;
    dev_t device;
    ino64_t inode;
    size_t depth; /* of the sections around it */
    struct source *includer;
};

struct section {
    char name[SECTION_NAME_SIZE];
    struct position at;
    enum context outside; /* what to return to */
};

enum { UNSET = -1 };

/* The directives of a <VirtualHost>, of <Global>, or, outside of both, of the server itself. */
struct host {
    struct position at;
    struct config_list addresses;
    int port, engine, sendfile; /* UNSET: no directive */
    bool is_default;
    struct position set_at[OUR_COUNT];
    struct config_binding first; /* of its addresses; port 0: it is not served */
};

struct parser {
    struct source *source;             /* being read */
    struct config *config;             /* being filled */
    const struct directive *directive; /* of ours, being taken */
    struct config_list paths;          /* of the included files, for positions to point to */
    struct config_list defined;        /* by Define */
    struct host own, global, *hosts;
    size_t host_count;
    enum context context;
    bool ignores_temporary_files, follows_links; /* IncludeOptions */
    struct section sections[MAX_SECTIONS];
    size_t depth;
};

/* Add "path:line: message" to one of parser->config's lists. An error makes the file invalid. */
__attribute__((format(printf, 4, 5))) void parser_message(struct parser *parser,
                                                          struct config_list *list,
                                                          struct position at, const char *format,
                                                          ...);

/* The same for the line that is being read. */
#define parser_error(parser, ...)                                                                  \
    parser_message(parser, &(parser)->config->errors, (parser)->source->at, __VA_ARGS__)
#define parser_note(parser, ...)                                                                   \
    parser_message(parser, &(parser)->config->notes, (parser)->source->at, __VA_ARGS__)

/* The host that a line is about. Not in FOREIGN. */
struct host *parser_host(struct parser *parser);

/* A host without directives. */
struct host parser_new_host(struct position at);

/* Take the words of a line that opens or closes a section. The first starts with '<'. */
void parser_section(struct parser *parser, struct syntax_words *words);

/* The file ends: it must have closed the sections that it opened. */
void parser_end_file(struct parser *parser);

/* The innermost section that is no condition; "" outside of all. */
const char *parser_section_around(const struct parser *parser);

#endif
