#include "config_parser.h"

#include "debug.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- messages ---- */

void parser_message(struct parser *parser, struct config_list *list, struct position at,
                    const char *format, ...)
{
    char *what = NULL, *message = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&what, format, arguments) == -1)
        what = NULL;
    va_end(arguments);
    if (asprintf(&message, "%s:%u: %s", at.path, at.line, what != NULL ? what : "out of memory") ==
        -1)
        message = NULL;
    free(what);
    (void)config_list_add(list, message);
    if (list == &parser->config->errors)
        parser->config->valid = false;
}

/* ---- sections ---- */

struct host *parser_host(struct parser *parser)
{
    assert(parser->context != FOREIGN && parser->context != SKIPPED);
    if (parser->context == VIRTUAL_HOST)
        return &parser->hosts[parser->host_count - 1];
    return parser->context == GLOBAL ? &parser->global : &parser->own;
}

struct host parser_new_host(struct position at)
{
    return (struct host){.at = at, .port = UNSET, .engine = UNSET, .sendfile = UNSET};
}

const char *parser_section_around(const struct parser *parser)
{
    size_t depth = parser->depth;

    while (depth > 1 && parser->sections[depth - 1].outside == parser->context)
        depth--;
    return depth > 0 ? parser->sections[depth - 1].name : "";
}

static void open_host(struct parser *parser, size_t count, char **addresses)
{
    struct host *hosts = reallocarray(parser->hosts, parser->host_count + 1, sizeof *hosts);

    if (hosts == NULL) {
        parser_error(parser, "out of memory");
        parser->context = FOREIGN;
        return;
    }
    parser->hosts = hosts;
    struct host *host = &hosts[parser->host_count++];
    *host = parser_new_host(parser->source->at);
    config_list_copy(&host->addresses, count, addresses);
    parser->context = VIRTUAL_HOST;
}

/* The server itself can't be asked: assume that it has each module, is newer than any version, and
 * that only this file defines names. */
static bool holds(const struct parser *parser, const char *section, const char *argument)
{
    bool negated = argument[0] == '!', holds = strcasecmp(section, "IfModule") == 0;

    if (strcasecmp(section, "IfVersion") == 0)
        return argument[0] == '>';
    for (size_t i = 0; !holds && i < parser->defined.count; i++)
        holds = strcmp(parser->defined.items[i], argument + negated) == 0;
    return holds != negated;
}

static void enter(struct parser *parser, const char *name, size_t count, char **arguments)
{
    bool global = strcasecmp(name, "Global") == 0;
    bool host = strcasecmp(name, "VirtualHost") == 0;
    bool version = strcasecmp(name, "IfVersion") == 0;

    if (version || strcasecmp(name, "IfModule") == 0 || strcasecmp(name, "IfDefine") == 0) {
        if (version ? count == 0 : count != 1)
            parser_error(parser, "<%s>: expected %s", name, version ? "a version" : "one name");
        else if (!holds(parser, name, arguments[0]))
            parser->context = SKIPPED;
        return;
    }
    if ((host && parser->context != SERVER) ||
        (global && parser->context != SERVER && parser->context != VIRTUAL_HOST))
        parser_error(parser, "<%s>: not allowed in <%s>; move it out", name,
                     parser_section_around(parser));
    else if (global && count != 0)
        parser_error(parser, "<Global>: expected no argument");
    else if (host && count == 0)
        parser_error(parser, "<VirtualHost>: expected one or more addresses");
    else if (host)
        open_host(parser, count, arguments);
    else
        parser->context = global ? GLOBAL : FOREIGN;
}

static void open_section(struct parser *parser, const char *name, size_t count, char **arguments)
{
    struct section *section = &parser->sections[parser->depth];

    if (parser->depth == MAX_SECTIONS) {
        parser_error(parser, "<%s>: sections are nested more than %d deep", name, MAX_SECTIONS);
        return;
    }
    *section = (struct section){.at = parser->source->at, .outside = parser->context};
    (void)snprintf(section->name, sizeof section->name, "%s", name);
    parser->depth++;
    if (parser->context != SKIPPED)
        enter(parser, section->name, count, arguments);
}

static void close_section(struct parser *parser, const char *name)
{
    const struct section *section = &parser->sections[parser->depth - (parser->depth > 0)];

    if (parser->depth == parser->source->depth)
        parser_error(parser, "</%s>: closes a section that was not opened", name);
    else if (strncasecmp(section->name, name, sizeof section->name - 1) != 0)
        parser_error(parser, "</%s>: expected </%s>, which line %u opens", name, section->name,
                     section->at.line);
    else
        parser->context = parser->sections[--parser->depth].outside;
}

void parser_section(struct parser *parser, struct syntax_words *words)
{
    bool closing = words->items[0][1] == '/';
    char *last = words->items[words->count - 1], *name = words->items[0] + 1 + closing;
    size_t length = strlen(last);
    bool whole = length > 0 && last[length - 1] == '>';

    if (whole)
        last[length - 1] = '\0';
    words->count -= whole && length == 1;
    /* in a skipped section only its end counts, as in the server */
    if (parser->context == SKIPPED &&
        strcasecmp(name, parser->sections[parser->depth - 1].name) != 0)
        return;
    if (!whole)
        parser_error(parser, "<%s: expected a '>' at the end of the line", name);
    else if (*name == '\0')
        parser_error(parser, "<>: expected a section's name after '<'");
    else if (closing)
        close_section(parser, name);
    else
        open_section(parser, name, words->count - 1, words->items + 1);
}

void parser_end_file(struct parser *parser)
{
    while (parser->depth > parser->source->depth) {
        const struct section *section = &parser->sections[parser->depth - 1];
        parser_message(parser, &parser->config->errors, section->at,
                       "<%s>: not closed; expected </%s>", section->name, section->name);
        parser->context = parser->sections[--parser->depth].outside;
    }
}
