#include "config_syntax.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* In one word: the value of a variable may name that variable. */
enum { MAX_VARIABLES = 64 };

static const char spaces[] = " \t\n\v\f\r";

char *syntax_line(FILE *file, unsigned *lines, bool *binary)
{
    char *joined = NULL, *line = NULL;
    size_t used = 0, size = 0;
    ssize_t length;

    for (*lines = 0; (length = getline(&line, &size, file)) > 0;) {
        (*lines)++;
        *binary = *binary || strlen(line) != (size_t)length;
        length -= line[length - 1] == '\n';
        length -= length > 0 && line[length - 1] == '\r';
        bool continued = length > 0 && line[length - 1] == '\\';
        length -= continued;
        if (continued && line[strspn(line, spaces)] == '#') /* within a continued line, too */
            length = 0;
        char *longer = realloc(joined, used + (size_t)length + 1);
        if (longer == NULL)
            break;
        joined = longer;
        memcpy(joined + used, line, (size_t)length);
        used += (size_t)length;
        joined[used] = '\0';
        if (!continued || used == 0)
            break;
    }
    free(line);
    return joined;
}

static char *expand(struct syntax_words *words, char *word)
{
    char *start, *longer;

    for (int i = 0; (start = strstr(word, "%{env:")) != NULL; i++) {
        char *name = start + strlen("%{env:"), *end = strchr(name, '}');
        if (end == NULL)
            break;
        if (i == MAX_VARIABLES) {
            words->fault = "variables are nested too deep; take out one that names itself";
            break;
        }
        *end = '\0';
        const char *value = secure_getenv(name);
        if (asprintf(&longer, "%.*s%s%s", (int)(start - word), word, value != NULL ? value : "",
                     end + 1) == -1)
            longer = NULL;
        (void)config_list_add(&words->variables, strdup(name));
        longer = config_list_add(&words->expanded, longer);
        if (longer == NULL) {
            words->fault = "out of memory";
            break;
        }
        word = longer;
    }
    return word;
}

void syntax_split(char *text, struct syntax_words *words)
{
    *words = (struct syntax_words){.count = 0};
    for (;;) {
        text += strspn(text, spaces);
        if (*text == '\0' || *text == '#')
            break;
        if (words->count == SYNTAX_MAX_WORDS) {
            words->fault = "more than 1024 words; use several lines";
            break;
        }
        bool quoted = *text == '"';
        char *word = text += quoted, *to = word;
        while (*text != '\0' && (quoted ? *text != '"' : !isspace((unsigned char)*text))) {
            text += quoted && *text == '\\' && text[1] != '\0';
            *to++ = *text++;
        }
        if (quoted && *text == '\0')
            words->fault = "the quotation mark is not closed";
        text += *text != '\0';
        *to = '\0';
        words->items[words->count++] = expand(words, word);
    }
}

void syntax_free(struct syntax_words *words)
{
    config_list_free(&words->variables);
    config_list_free(&words->expanded);
}
