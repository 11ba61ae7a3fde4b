#include "config_directives.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct directive {
    const char *name;
    /* @return false: the arguments are not what is expected */
    bool (*take)(struct parser *parser, size_t count, char **arguments);
    const char *expected;
    size_t member; /* of struct config, to put it into */
    off64_t least, most;
    bool anywhere; /* in <Global> and <VirtualHost>, too */
};

static void *member(const struct parser *parser)
{
    return (char *)parser->config + parser->directive->member;
}

/* ---- values ---- */

/* @return true or false, or UNSET: it is neither */
static int boolean(size_t count, char **arguments)
{
    static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "0", "1"};

    for (int i = 0; count == 1 && i < (int)(sizeof words / sizeof words[0]); i++) {
        if (strcasecmp(arguments[0], words[i]) == 0)
            return i % 2;
    }
    return UNSET;
}

static bool take_boolean(struct parser *parser, size_t count, char **arguments)
{
    int value = boolean(count, arguments);

    *(bool *)member(parser) = value == true;
    return value != UNSET;
}

/* "16 MB" as in other directives of ProFTPD, "16M" as in RLimitMemory, "16MB", or bytes alone. */
static bool take_size(struct parser *parser, size_t count, char **arguments)
{
    static const char letters[] = "BKMGT";
    char *end;

    if (count < 1 || count > 2 || !isdigit((unsigned char)arguments[0][0]))
        return false;
    errno = 0;
    unsigned long long value = strtoull(arguments[0], &end, 10);
    if (errno != 0 || (*end != '\0' && count == 2))
        return false;

    const char *unit = count == 2 ? arguments[1] : *end != '\0' ? end : "B";
    const char *letter = strchr(letters, toupper((unsigned char)*unit));
    bool known = *unit != '\0' && letter != NULL &&
                 (unit[1] == '\0' || (letter != letters && strcasecmp(unit + 1, "B") == 0));
    unsigned shift = known ? 10 * (unsigned)(letter - letters) : 0;
    if (!known || value > (unsigned long long)parser->directive->most >> shift ||
        value << shift < (unsigned long long)parser->directive->least)
        return false;
    *(off64_t *)member(parser) = (off64_t)(value << shift);
    return true;
}

static bool take_size_or_off(struct parser *parser, size_t count, char **arguments)
{
    if (boolean(count, arguments) != false)
        return take_size(parser, count, arguments);
    *(off64_t *)member(parser) = 0;
    return true;
}

static bool take_size_or_percent(struct parser *parser, size_t count, char **arguments)
{
    char *end;
    unsigned long share =
        count == 1 && isdigit((unsigned char)*arguments[0]) ? strtoul(arguments[0], &end, 10) : 0;

    if (share < 1 || share > 100 || strcmp(end, "%") != 0)
        return take_size(parser, count, arguments);
    ((struct config_memory *)member(parser))->percent = (unsigned)share;
    return true;
}

static bool take_hot(struct parser *parser, size_t count, char **arguments)
{
    return boolean(count, arguments) == false || take_size_or_percent(parser, count, arguments);
}

/* A word for the log is kept, for log_to(). */
static bool take_path(struct parser *parser, size_t count, char **arguments)
{
    static const char *const words[] = {"none", "syslog", "stderr"};
    char **text = member(parser);
    bool is_log = text == &parser->config->log;
    const char *value = count == 1 && arguments[0][0] == '/' ? arguments[0] : NULL;

    for (size_t i = 0; count == 1 && i < (is_log ? sizeof words / sizeof words[0] : 1); i++) {
        if (strcasecmp(arguments[0], words[i]) == 0)
            value = words[i];
    }
    if (value == NULL)
        return false;
    free(*text);
    *text = is_log || value != words[0] ? strdup(value) : NULL;
    return true;
}

static bool take_files(struct parser *parser, size_t count, char **arguments)
{
    for (size_t i = 0; i < count; i++) {
        if (arguments[i][0] != '/')
            parser_error(parser, "TransferMMapFile: '%s' must be an absolute path", arguments[i]);
        else if (config_list_add(&parser->config->files, strdup(arguments[i])) != NULL)
            parser_message(parser, &parser->config->files_at, parser->source->at,
                           "TransferMMapFile");
    }
    return count > 0;
}

static bool take_engine(struct parser *parser, size_t count, char **arguments)
{
    parser_host(parser)->engine = boolean(count, arguments);
    return boolean(count, arguments) != UNSET;
}

/* The bounds catch mistakes such as a forgotten unit. */
#define OURS(directive, taker, ...)                                                                \
    {                                                                                              \
        .name = directive, .take = taker, .expected = __VA_ARGS__                                  \
    }
#define AT(name) .member = offsetof(struct config, name)
static const struct directive ours[OUR_COUNT] = {
    [ENGINE] = OURS("TransferMMapEngine", take_engine, "on or off", .anywhere = true),
    [FILES] = OURS("TransferMMapFile", take_files, "one or more absolute paths", .anywhere = true),
    [MIN_SIZE] = OURS("TransferMMapMinSize", take_size, "a size such as 4 MB, 512 KB or 65536",
                      AT(min_size), .most = INT64_MAX),
    [LOCK] = OURS("TransferMMapLock", take_boolean, "on or off", AT(lock)),
    [MAX_MEMORY] = OURS("TransferMMapMaxMemory", take_size_or_percent,
                        "a size of 1 MB or more, such as 2 GB, or a share of the machine's memory "
                        "from 1% to 100%",
                        AT(max_memory), .least = 1 << 20, .most = INT64_MAX),
    [HOT] = OURS("TransferMMapHot", take_hot,
                 "a size of 1 MB or more, such as 2 GB, a share of the machine's memory from 1% to "
                 "100%, or off",
                 AT(hot), .least = 1 << 20, .most = INT64_MAX),
    [READ_AHEAD] =
        OURS("TransferMMapReadAhead", take_size_or_off, "a size from 64 KB to 1 GB, or off",
             AT(read_ahead), .least = 64 << 10, .most = 1 << 30),
    [READ_SIZE] =
        OURS("TransferMMapReadSize", take_size_or_off, "a size from 32 KB to 1 MB, or off",
             AT(read_size), .least = 32 << 10, .most = 1 << 20),
    [LOG] = OURS("TransferMMapLog", take_path, "an absolute path, syslog, stderr or none", AT(log)),
    [STATUS_FILE] =
        OURS("TransferMMapStatusFile", take_path, "an absolute path or none", AT(status_path)),
};

/* ---- the server's own directives: of two that differ the first counts, as for the server ---- */

static bool is(const char *word, const char *name)
{
    return strcasecmp(word, name) == 0;
}

/* @return false: it does not matter */
static bool take_servers(struct parser *parser, const char *name, size_t count, char **arguments)
{
    struct host *host = parser_host(parser);

    if (is(name, "Port")) {
        long port = count > 0 ? strtol(arguments[0], NULL, 10) : UNSET;
        if (host->port == UNSET && port >= 0 && port <= UINT16_MAX)
            host->port = (int)port;
    } else if (is(name, "DefaultAddress")) {
        if (host == &parser->own && host->addresses.count == 0) {
            host->at = parser->source->at;
            config_list_copy(&host->addresses, count, arguments);
        }
    } else if (is(name, "DefaultServer"))
        host->is_default = host->is_default || boolean(count, arguments) == true;
    else if (is(name, "UseSendfile")) {
        if (host->sendfile == UNSET)
            host->sendfile = boolean(count, arguments) != false; /* a size or a share is on, too */
    } else if (is(name, "SocketOptions")) {
        for (size_t i = 0; i + 1 < count; i += 2) {
            if (is(arguments[i], "sndbuf"))
                parser->config->send_buffer = strtol(arguments[i + 1], NULL, 10);
        }
    } else if (is(name, "Define"))
        config_list_copy(&parser->defined, count > 0, arguments);
    else if (is(name, "IncludeOptions")) {
        parser->ignores_temporary_files = parser->follows_links = false;
        for (size_t i = 0; i < count; i++) {
            parser->ignores_temporary_files |= strcmp(arguments[i], "IgnoreTempFiles") == 0;
            parser->follows_links |= strcmp(arguments[i], "AllowSymlinks") == 0;
        }
    } else
        return false;
    return true;
}

static void take_ours(struct parser *parser, enum directive_name name, struct syntax_words *words)
{
    const struct directive *directive = parser->directive = &ours[name];

    if (parser->context == FOREIGN || (!directive->anywhere && parser->context != SERVER)) {
        parser_error(parser, "%s: not allowed in <%s>; move it out", directive->name,
                     parser_section_around(parser));
        return;
    }
    struct position *set_at = &parser_host(parser)->set_at[name];
    if (set_at->path != NULL && name != FILES)
        parser_error(parser, "%s: set in %s:%u already; keep one of them", directive->name,
                     set_at->path, set_at->line);
    else if (words->fault != NULL)
        parser_error(parser, "%s: %s", directive->name, words->fault);
    else if (!directive->take(parser, words->count - 1, words->items + 1))
        parser_error(parser, "%s: expected %s", directive->name, directive->expected);
    *set_at = parser->source->at;
}

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
    parser_error(parser, "%s: unknown directive; expected one of %s", word, known);
}

bool directive_take(struct parser *parser, struct syntax_words *words)
{
    const char *word = words->items[0];

    for (int name = 0; name < OUR_COUNT; name++) {
        if (is(word, ours[name].name)) {
            take_ours(parser, (enum directive_name)name, words);
            return true;
        }
    }
    if (meant_for_us(word))
        unknown_directive(parser, word);
    return parser->context != FOREIGN &&
           take_servers(parser, word, words->count - 1, words->items + 1);
}
