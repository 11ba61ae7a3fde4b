/*
 * The sections of a directive file, <...> and </...>.
 */
#ifndef CONFIG_SECTIONS_H
#define CONFIG_SECTIONS_H

#include "config_parser.h"

/* Take a line that opens or closes a section: what follows the '<'. */
void section_take(struct parser *parser, char *text);

/* The file that is being read ends, and must have closed the sections that it opened. */
void section_end_file(struct parser *parser);

/* The section that decides where a line stands: conditions don't. "" outside of all. */
const char *section_around(const struct parser *parser);

#endif
