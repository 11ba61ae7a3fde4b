/*
 * ProFTPD's syntax: lines, words and values. What they mean is config.c's business.
 */
#ifndef CONFIG_SYNTAX_H
#define CONFIG_SYNTAX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

enum { SYNTAX_MAX_WORDS = 1024 };

struct syntax_words {
    char *items[SYNTAX_MAX_WORDS]; /* in the text that was split */
    size_t count;
    bool too_many; /* the rest of the line is not in items */
    bool unclosed; /* a quotation mark is */
};

/*
 * The next line with its continuations joined (a backslash before the newline), to be freed; NULL
 * at the end, and without memory for it.
 * @param lines   out: how many lines of the file it took
 * @param binary  set if there is a NUL byte in it, else left as it is
 */
char *syntax_line(FILE *file, unsigned *lines, bool *binary);

/*
 * Split a line, in place, as ProFTPD does: a quoted argument may hold spaces, and there a backslash
 * takes the next character as it is; a word that starts with # starts a comment.
 */
void syntax_split(char *text, struct syntax_words *words);

/* on, yes, true, 1 or their opposites. @return false: it is none of them; `value` is garbage */
bool syntax_boolean(const char *word, bool *value);

/*
 * A number and a unit as ProFTPD's directives have them, "16 MB" or, as RLimitMemory, "16M"; or
 * "16MB", or bytes alone.
 * @param count  of the arguments: only 1 and 2 are right
 * @param size   out: bytes
 * @return false: it is no size, and `size` is left as it is
 */
bool syntax_size(size_t count, char **arguments, off64_t *size);

/* The same, within bounds (bytes), or off, which is 0. */
bool syntax_size_or_off(size_t count, char **arguments, off64_t least, off64_t most, off64_t *size);

/* "50%", from 1 to 100. @return false: it isn't, and `percent` is left as it is */
bool syntax_percent(const char *word, unsigned *percent);

#endif
