/*
 * The lines of a directive file that are no section.
 */
#ifndef CONFIG_DIRECTIVES_H
#define CONFIG_DIRECTIVES_H

#include "config_parser.h"

/*
 * Take a line's words, of which there is at least one.
 * @return false: it is none of the directives that are looked at
 */
bool directive_take(struct parser *parser, struct syntax_words *words);

#endif
