/* ProFTPD's syntax: lines and words. */
#ifndef CONFIG_SYNTAX_H
#define CONFIG_SYNTAX_H

#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { SYNTAX_MAX_WORDS = 1024 };

struct syntax_words {
    char *items[SYNTAX_MAX_WORDS]; /* in the text that was split, or expanded */
    size_t count;
    const char *fault; /* NULL, or what is wrong with the line; items is what can be read */
    struct config_list variables; /* the NAME of each %{env:NAME} */
    struct config_list expanded;
};

/*
 * The next line with its continuations (a backslash before the newline) joined, to be freed. As in
 * ProFTPD, a comment is never continued.
 * @param lines   out: how many lines of the file it took
 * @param binary  set if there is a NUL byte in it, else unchanged
 * @return NULL: end of file, or no memory
 */
char *syntax_line(FILE *file, unsigned *lines, bool *binary);

/*
 * Split a line, in place, as ProFTPD does. In "quoted arguments" a backslash escapes the next
 * character; a word that starts with # starts a comment; %{env:NAME} is replaced by that
 * environment variable, or by nothing.
 */
void syntax_split(char *text, struct syntax_words *words);

/* Free what syntax_split() allocated. */
void syntax_free(struct syntax_words *words);

#endif
