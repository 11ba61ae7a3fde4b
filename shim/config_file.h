/*
 * Reading the directive file, in ProFTPD's syntax.
 */
#ifndef CONFIG_FILE_H
#define CONFIG_FILE_H

#include "config.h"

/*
 * Read a directive file and the files that it includes. If it isn't valid, `log` is still what the
 * file rightly says of it, so that the errors can be logged there. Each file must belong to root or
 * to the effective user, and be writable by nobody else. May look up hosts' names, and so take
 * time; no descriptor stays open.
 * @return false: there is no such file (errno ENOENT or ENOTDIR); `config` is the defaults
 */
bool config_read(const char *path, struct config *config);

#endif
