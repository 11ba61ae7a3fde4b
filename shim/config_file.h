/* Reading the directive file, in ProFTPD's syntax. */
#ifndef CONFIG_FILE_H
#define CONFIG_FILE_H

#include "config.h"

/*
 * Read a directive file and the files that it includes. Each must belong to root or to the
 * effective user, and be writable by nobody else. If there are errors, `log` is still set, to log
 * them there. May look up hosts' names, and so take time. No descriptor stays open.
 * @return false: no such file (errno ENOENT or ENOTDIR); `config` has the defaults
 */
bool config_read(const char *path, struct config *config);

#endif
