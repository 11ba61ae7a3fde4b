#include "config_syntax.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- lines and words ---- */

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
        char *longer = realloc(joined, used + (size_t)length + 1);
        if (longer == NULL)
            break;
        joined = longer;
        memcpy(joined + used, line, (size_t)length);
        used += (size_t)length;
        joined[used] = '\0';
        if (!continued)
            break;
    }
    free(line);
    return joined;
}

void syntax_split(char *text, struct syntax_words *words)
{
    words->count = 0;
    words->too_many = words->unclosed = false;
    for (;;) {
        while (isspace((unsigned char)*text))
            text++;
        if (*text == '\0' || *text == '#')
            return;
        words->too_many = words->count == SYNTAX_MAX_WORDS;
        if (words->too_many)
            return;
        bool quoted = *text == '"';
        char *to = text += quoted;
        words->items[words->count++] = to;
        while (*text != '\0' && (quoted ? *text != '"' : !isspace((unsigned char)*text))) {
            text += quoted && *text == '\\' && text[1] != '\0';
            *to++ = *text++;
        }
        words->unclosed = words->unclosed || (quoted && *text == '\0');
        text += *text != '\0';
        *to = '\0';
    }
}

/* ---- values ---- */

bool syntax_boolean(const char *word, bool *value)
{
    static const char *const on[] = {"on", "yes", "true", "1"};
    static const char *const off[] = {"off", "no", "false", "0"};

    for (size_t i = 0; i < sizeof on / sizeof on[0]; i++) {
        *value = strcasecmp(word, on[i]) == 0;
        if (*value || strcasecmp(word, off[i]) == 0)
            return true;
    }
    return false;
}

bool syntax_size(size_t count, char **arguments, off64_t *size)
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
    if (!known || value > (unsigned long long)INT64_MAX >> shift)
        return false;
    *size = (off64_t)(value << shift);
    return true;
}

bool syntax_size_or_off(size_t count, char **arguments, off64_t least, off64_t most, off64_t *size)
{
    bool on;
    off64_t value;

    if (count == 1 && syntax_boolean(arguments[0], &on) && !on) {
        *size = 0;
        return true;
    }
    if (!syntax_size(count, arguments, &value) || value < least || value > most)
        return false;
    *size = value;
    return true;
}

bool syntax_percent(const char *word, unsigned *percent)
{
    char *end;
    unsigned long value = isdigit((unsigned char)*word) ? strtoul(word, &end, 10) : 0;

    if (value < 1 || value > 100 || strcmp(end, "%") != 0)
        return false;
    *percent = (unsigned)value;
    return true;
}
