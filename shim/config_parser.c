#include "config_parser.h"

#include <stdarg.h>
#include <stdlib.h>

static void say(struct config_list *list, struct place at, const char *format, va_list arguments)
{
    char *what = NULL, *message = NULL;

    if (vasprintf(&what, format, arguments) == -1)
        what = NULL;
    const char *text = what != NULL ? what : "out of memory";
    bool whole = at.line == 0;
    if (asprintf(&message, "%s:%u: %s%s", at.path, whole ? 1 : at.line, whole ? "the file " : "",
                 text) == -1)
        message = NULL;
    free(what);
    config_list_add(list, message);
}

void parser_error_at(struct parser *parser, struct place at, const char *format, ...)
{
    va_list arguments;

    parser->config->valid = false;
    va_start(arguments, format);
    say(&parser->config->errors, at, format, arguments);
    va_end(arguments);
}

void parser_note_at(struct parser *parser, struct place at, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(&parser->config->notes, at, format, arguments);
    va_end(arguments);
}

struct host *parser_host(struct parser *parser)
{
    if (parser->context == VIRTUAL_HOST)
        return &parser->hosts[parser->host_count - 1];
    return parser->context == GLOBAL ? &parser->global : &parser->own;
}
