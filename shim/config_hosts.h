/* TransferMMapEngine for each address and port. */
#ifndef CONFIG_HOSTS_H
#define CONFIG_HOSTS_H

#include "config_parser.h"

/* Set the bindings, once all is read. */
void hosts_settle(struct parser *parser);

#endif
