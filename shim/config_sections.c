#include "config_sections.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *section_around(const struct parser *parser)
{
    size_t depth = parser->depth;

    while (depth > 1 && parser->sections[depth - 1].outside == parser->context)
        depth--;
    return depth > 0 ? parser->sections[depth - 1].name : "";
}

static void open_host(struct parser *parser, size_t count, char **arguments)
{
    struct host *hosts = reallocarray(parser->hosts, parser->host_count + 1, sizeof *hosts);

    if (hosts == NULL) {
        parser_error(parser, "out of memory");
        parser->context = FOREIGN;
        return;
    }
    parser->hosts = hosts;
    struct host *host = &hosts[parser->host_count++];
    *host = (struct host){
        .at = parser->source->at, .port = UNSET, .engine = UNSET, .is_default = UNSET};
    for (size_t i = 0; i < count; i++)
        config_list_add(&host->addresses, strdup(arguments[i]));
    parser->context = VIRTUAL_HOST;
}

/* Every module is taken to be there, and nothing to be defined: neither can be seen from here. */
static bool holds(const char *section, const char *argument)
{
    bool negated = argument[0] == '!';

    return strcasecmp(section, "IfModule") == 0 ? !negated : negated;
}

static void enter(struct parser *parser, const char *name, size_t count, char **arguments)
{
    bool global = strcasecmp(name, "Global") == 0;
    bool host = strcasecmp(name, "VirtualHost") == 0;

    if (strcasecmp(name, "IfModule") == 0 || strcasecmp(name, "IfDefine") == 0) {
        if (count != 1)
            parser_error(parser, "<%s> takes one name", name);
        else
            parser->skipped = !holds(name, arguments[0]);
        return;
    }
    if ((global || host) && parser->context != SERVER)
        parser_error(parser, "<%s> can't stand inside of another section", name);
    else if (global && count != 0)
        parser_error(parser, "<Global> takes no argument");
    else if (host && count == 0)
        parser_error(parser, "<VirtualHost> takes one or more addresses");
    else if (host)
        open_host(parser, count, arguments);
    else
        parser->context = global ? GLOBAL : FOREIGN;
}

static void open_section(struct parser *parser, const char *name, size_t count, char **arguments)
{
    struct section *section = &parser->sections[parser->depth];

    if (parser->depth == MAX_SECTIONS) {
        parser_error(parser, "sections are nested more than %d deep", MAX_SECTIONS);
        return;
    }
    *section = (struct section){
        .at = parser->source->at, .outside = parser->context, .was_skipped = parser->skipped};
    (void)snprintf(section->name, sizeof section->name, "%s", name);
    parser->depth++;
    if (!parser->skipped)
        enter(parser, section->name, count, arguments);
}

static void close_section(struct parser *parser, const char *name)
{
    const struct section *section = &parser->sections[parser->depth - (parser->depth > 0)];

    if (parser->depth == parser->source->depth) {
        parser_error(parser, "</%s> closes a section that was not opened", name);
        return;
    }
    if (strncasecmp(section->name, name, sizeof section->name - 1) != 0) {
        parser_error(parser, "</%s> where </%s> is due, for line %u", name, section->name,
                     section->at.line);
        return;
    }
    parser->context = section->outside;
    parser->skipped = section->was_skipped;
    parser->depth--;
}

void section_take(struct parser *parser, char *text)
{
    struct syntax_words words;
    bool closing = *text == '/';

    syntax_split(text + closing, &words);
    char *last = words.count > 0 ? words.items[words.count - 1] : text;
    size_t length = strlen(last);
    bool whole = words.count > 0 && length > 0 && last[length - 1] == '>';
    if (whole)
        last[length - 1] = '\0';
    words.count -= whole && length == 1;
    const char *name = words.count > 0 ? words.items[0] : "";

    /* in what is passed over only the end counts, as for the server */
    if (parser->skipped && strcasecmp(name, parser->sections[parser->depth - 1].name) != 0)
        return;
    if (!whole)
        parser_error(parser, "the section's '>' is missing at the end of the line");
    else if (*name == '\0')
        parser_error(parser, "a section has to have a name");
    else if (closing)
        close_section(parser, name);
    else
        open_section(parser, name, words.count - 1, words.items + 1);
}

void section_end_file(struct parser *parser)
{
    while (parser->depth > parser->source->depth) {
        const struct section *section = &parser->sections[--parser->depth];
        parser_error_at(parser, section->at, "<%s> is not closed, </%s> is missing", section->name,
                        section->name);
        parser->context = section->outside;
        parser->skipped = section->was_skipped;
    }
}
