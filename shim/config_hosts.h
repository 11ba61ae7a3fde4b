/*
 * TransferMMapEngine for each address and port.
 */
#ifndef CONFIG_HOSTS_H
#define CONFIG_HOSTS_H

#include "config_parser.h"

/* Decide, once all is read, what TransferMMapEngine is for which address and port. */
void hosts_settle(struct parser *parser);

#endif
