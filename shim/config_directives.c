#include "config_directives.h"

#include "config_sections.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What is out of these bounds is a slip of the pen, such as a forgotten unit. */
#define LEAST_MAX_MEMORY ((off64_t)1 << 20)
#define LEAST_READ_AHEAD ((off64_t)64 << 10)
#define MOST_READ_AHEAD  ((off64_t)1 << 30)
#define LEAST_READ_SIZE  ((off64_t)32 << 10)
#define MOST_READ_SIZE   ((off64_t)1 << 20)

struct directive {
    const char *name;
    bool server_only; /* not in <Global> and <VirtualHost> */
    void (*take)(struct parser *parser, size_t count, char **arguments);
};

static void take_engine(struct parser *parser, size_t count, char **arguments)
{
    bool on;

    if (count != 1 || !syntax_boolean(arguments[0], &on))
        parser_error(parser, "TransferMMapEngine takes on or off");
    else
        parser_host(parser)->engine = on;
}

static void take_files(struct parser *parser, size_t count, char **arguments)
{
    if (count == 0)
        parser_error(parser, "TransferMMapFile takes one or more absolute paths");
    for (size_t i = 0; i < count; i++) {
        if (arguments[i][0] != '/')
            parser_error(parser, "TransferMMapFile: '%s' is no absolute path, write it from / on",
                         arguments[i]);
        else
            config_list_add(&parser->config->files, strdup(arguments[i]));
    }
}

static void take_min_size(struct parser *parser, size_t count, char **arguments)
{
    if (!syntax_size(count, arguments, &parser->config->min_size))
        parser_error(parser, "TransferMMapMinSize takes a size, such as 4 MB, 512 KB or 65536");
}

static void take_lock(struct parser *parser, size_t count, char **arguments)
{
    bool on;

    if (count != 1 || !syntax_boolean(arguments[0], &on))
        parser_error(parser, "TransferMMapLock takes on or off");
    else
        parser->config->lock = on;
}

static void take_max_memory(struct parser *parser, size_t count, char **arguments)
{
    struct config_memory memory = {.bytes = 0};

    if ((count == 1 && syntax_percent(arguments[0], &memory.percent)) ||
        (syntax_size(count, arguments, &memory.bytes) && memory.bytes >= LEAST_MAX_MEMORY))
        parser->config->max_memory = memory;
    else
        parser_error(parser,
                     "TransferMMapMaxMemory takes a size from 1 MB on, such as 2 GB, or a share "
                     "of the machine's memory from 1%% to 100%%");
}

static void take_read_ahead(struct parser *parser, size_t count, char **arguments)
{
    if (!syntax_size_or_off(count, arguments, LEAST_READ_AHEAD, MOST_READ_AHEAD,
                            &parser->config->read_ahead))
        parser_error(parser, "TransferMMapReadAhead takes a size from 64 KB to 1 GB, or off");
}

static void take_read_size(struct parser *parser, size_t count, char **arguments)
{
    if (!syntax_size_or_off(count, arguments, LEAST_READ_SIZE, MOST_READ_SIZE,
                            &parser->config->read_size))
        parser_error(parser, "TransferMMapReadSize takes a size from 32 KB to 1 MB, or off");
}

/* Kept as it is: log_to() knows the words. */
static void take_log(struct parser *parser, size_t count, char **arguments)
{
    static const char *const words[] = {"syslog", "stderr", "none"};
    const char *target = count == 1 && arguments[0][0] == '/' ? arguments[0] : NULL;

    for (size_t i = 0; count == 1 && i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(arguments[0], words[i]) == 0)
            target = words[i];
    }
    if (target == NULL) {
        parser_error(parser, "TransferMMapLog takes an absolute path, syslog, stderr or none");
        return;
    }
    free(parser->config->log);
    parser->config->log = strdup(target);
}

static void take_status_file(struct parser *parser, size_t count, char **arguments)
{
    bool path = count == 1 && arguments[0][0] == '/';

    if (!path && (count != 1 || strcasecmp(arguments[0], "none") != 0)) {
        parser_error(parser, "TransferMMapStatusFile takes an absolute path or none");
        return;
    }
    free(parser->config->status_path);
    parser->config->status_path = path ? strdup(arguments[0]) : NULL;
}

static const struct directive ours[OUR_COUNT] = {
    [ENGINE] = {"TransferMMapEngine", false, take_engine},
    [FILES] = {"TransferMMapFile", false, take_files},
    [MIN_SIZE] = {"TransferMMapMinSize", true, take_min_size},
    [LOCK] = {"TransferMMapLock", true, take_lock},
    [MAX_MEMORY] = {"TransferMMapMaxMemory", true, take_max_memory},
    [READ_AHEAD] = {"TransferMMapReadAhead", true, take_read_ahead},
    [READ_SIZE] = {"TransferMMapReadSize", true, take_read_size},
    [LOG] = {"TransferMMapLog", true, take_log},
    [STATUS_FILE] = {"TransferMMapStatusFile", true, take_status_file},
};

static void take_ours(struct parser *parser, enum directive_name name, struct syntax_words *words)
{
    const struct directive *directive = &ours[name];

    if (parser->context == FOREIGN || (directive->server_only && parser->context != SERVER)) {
        parser_error(parser, "%s belongs outside of <%s>", directive->name, section_around(parser));
        return;
    }
    struct place *set_at = &parser_host(parser)->set_at[name];
    if (set_at->path != NULL && name != FILES)
        parser_error(parser, "%s is set in %s:%u already, keep one of them", directive->name,
                     set_at->path, set_at->line);
    else if (words->too_many)
        parser_error(parser, "more than %d words, use several lines", SYNTAX_MAX_WORDS);
    else if (words->unclosed)
        parser_error(parser, "the quotation mark is not closed");
    else
        directive->take(parser, words->count - 1, words->items + 1);
    *set_at = parser->source->at;
}

/* ---- the server's own directives: of two that differ the first counts, as for the server ---- */

static void take_port(struct parser *parser, size_t count, char **arguments)
{
    struct host *host = parser_host(parser);
    char *end = NULL;
    unsigned long port = count > 0 ? strtoul(arguments[0], &end, 10) : 0;

    if (host->port == UNSET && end != NULL && *end == '\0' && port <= UINT16_MAX)
        host->port = (int)port;
}

static void take_default_address(struct parser *parser, size_t count, char **arguments)
{
    if (parser->context != SERVER || parser->own.addresses.count > 0)
        return;
    parser->own.at = parser->source->at;
    for (size_t i = 0; i < count; i++)
        config_list_add(&parser->own.addresses, strdup(arguments[i]));
}

static void take_default_server(struct parser *parser, size_t count, char **arguments)
{
    struct host *host = parser_host(parser);
    bool on;

    if (host->is_default == UNSET && count > 0 && syntax_boolean(arguments[0], &on))
        host->is_default = on;
}

static const struct {
    const char *name;
    void (*take)(struct parser *parser, size_t count, char **arguments);
} servers[] = {
    {"Port", take_port},
    {"DefaultAddress", take_default_address},
    {"DefaultServer", take_default_server},
};

/* ---- slips of the pen, all the rest ---- */

/* The server's own directives are none of these: TransferLog, TransferOptions, TransferRate, ... */
static bool meant_for_us(const char *word)
{
    return strcasestr(word, "mmap") != NULL || strcasestr(word, "mapfile") != NULL ||
           strncasecmp(word, "TransferM", strlen("TransferM")) == 0;
}

static void unknown_directive(struct parser *parser, const char *word)
{
    char known[512] = "";
    size_t used = 0;

    for (size_t i = 0; i < OUR_COUNT && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "",
                                 ours[i].name);
    parser_error(parser, "unknown directive '%s'; there are %s", word, known);
}

void directive_take(struct parser *parser, struct syntax_words *words)
{
    const char *word = words->items[0];

    for (int name = 0; name < OUR_COUNT; name++) {
        if (strcasecmp(word, ours[name].name) == 0) {
            take_ours(parser, (enum directive_name)name, words);
            return;
        }
    }
    for (size_t i = 0; i < sizeof servers / sizeof servers[0]; i++) {
        if (strcasecmp(word, servers[i].name) == 0) {
            if (parser->context != FOREIGN)
                servers[i].take(parser, words->count - 1, words->items + 1);
            return;
        }
    }
    if (meant_for_us(word))
        unknown_directive(parser, word);
}
