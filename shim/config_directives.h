/* The lines of a directive file that are no section. */
#ifndef CONFIG_DIRECTIVES_H
#define CONFIG_DIRECTIVES_H

#include "config_parser.h"

/* Take a line of at least one word. @return false: it is no directive that matters */
bool directive_take(struct parser *parser, struct syntax_words *words);

#endif
