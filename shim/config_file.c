#include "config_file.h"

#include "config_directives.h"
#include "config_hosts.h"
#include "libc.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Below this mapping a file costs more than reading it: docs/benchmarks.md. */
#define DEFAULT_MIN_SIZE ((off64_t)4 << 20)

#define DEFAULT_READ_AHEAD ((off64_t)8 << 20)
#define DEFAULT_READ_SIZE  ((off64_t)256 << 10)

#define BOM "\xef\xbb\xbf" /* of UTF-8 */

enum { MAX_INCLUDES = 16, DEFAULT_MAX_PERCENT = 50 };

/* ---- files ---- */

static FILE *open_file(const char *path)
{
    /* O_NONBLOCK: a FIFO would block the server's start */
    int fd = libc_next(open64)(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    FILE *file = fd != -1 ? libc_next(fdopen)(fd, "r") : NULL;

    if (file == NULL)
        libc_close(fd);
    return file;
}

/* The directive file says which files a server that runs as root opens. */
static bool may_be_trusted(struct parser *parser, int fd)
{
    struct stat64 status;
    size_t known = parser->config->errors.count;

    if (fstat64(fd, &status) == -1)
        parser_error(parser, "the file can't be read: %s", strerror(errno));
    else if (!S_ISREG(status.st_mode))
        parser_error(parser, "the file is not a regular file; name a text file");
    else if (status.st_uid != 0 && status.st_uid != geteuid())
        parser_error(parser,
                     "the file belongs to user %u; chown it to root, or to the server's user, %u",
                     status.st_uid, geteuid());
    else if (status.st_mode & (S_IWGRP | S_IWOTH))
        parser_error(parser, "the file is writable by others than its owner; chmod go-w it");
    parser->source->device = status.st_dev;
    parser->source->inode = status.st_ino;
    return parser->config->errors.count == known;
}

static void take_line(struct parser *parser, char *text);

static void take_lines(struct parser *parser, FILE *file)
{
    struct position *at = &parser->source->at;
    char *text;
    unsigned lines;
    bool binary = false;

    for (; (text = syntax_line(file, &lines, &binary)) != NULL; at->line += lines) {
        if (binary)
            parser_error(parser, "a NUL byte: this is not a text file");
        else
            take_line(parser, text + (at->line == 1 && strncmp(text, BOM, 3) == 0 ? 3 : 0));
        free(text);
        if (binary)
            return;
    }
    if (ferror(file))
        parser_error(parser, "the file can't be read from here on: %s", strerror(errno));
}

/* @param file  is closed; NULL: errno says why it can't be opened */
static void take_file(struct parser *parser, const char *path, FILE *file)
{
    struct source *includer = parser->source;
    struct source source = {.at = {path, 1}, .depth = parser->depth, .includer = includer};

    parser->source = &source;
    if (file == NULL)
        parser_error(parser, "the file can't be opened: %s", strerror(errno));
    else if (may_be_trusted(parser, fileno(file)))
        take_lines(parser, file);
    if (file != NULL)
        (void)fclose(file);
    parser_end_file(parser);
    parser->source = includer;
}

/* ---- Include ---- */

static void include(struct parser *parser, const char *path)
{
    const struct source *source = parser->source;
    struct stat64 status;
    unsigned depth = 0;

    if (stat64(path, &status) == -1) {
        parser_note(parser, "Include: %s: %s", path, strerror(errno));
        return;
    }
    if (S_ISDIR(status.st_mode)) /* in an included one, or a wildcard's */
        return;
    for (; source != NULL; source = source->includer, depth++) {
        if (source->device == status.st_dev && source->inode == status.st_ino) {
            parser_error(parser, "Include: %s leads back to itself; take out one of the lines",
                         path);
            return;
        }
    }
    if (depth > MAX_INCLUDES) {
        parser_error(parser, "Include: %s is nested more than %d deep", path, MAX_INCLUDES);
        return;
    }
    const char *kept = config_list_add(&parser->paths, strdup(path));
    if (kept != NULL)
        take_file(parser, kept, open_file(path));
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted by bytes, in any locale. */
static void include_matches(struct parser *parser, const char *pattern, int flags)
{
    glob_t found = {.gl_pathc = 0};

    if (libc_next(glob)(pattern, flags | GLOB_NOSORT, NULL, &found) == 0)
        qsort(found.gl_pathv, found.gl_pathc, sizeof *found.gl_pathv, by_bytes);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *name = strrchr(found.gl_pathv[i], '/') + 1;
        if (!parser->ignores_temporary_files ||
            (fnmatch("*~", name, FNM_PERIOD) != 0 && fnmatch("*.sw?", name, FNM_PERIOD) != 0))
            include(parser, found.gl_pathv[i]);
    }
    libc_next(globfree)(&found);
}

/* A file, a wildcard, or all files of a directory, hidden ones too. As in the server, a symbolic
 * link to a directory is not followed, but for a wildcard with IncludeOptions. */
static void take_include(struct parser *parser, const char *path)
{
    size_t length = strcspn(path, "*?[");
    bool wildcard = path[length] != '\0';
    struct stat64 status;
    char text[PATH_MAX], target;

    while (wildcard && length > 0 && path[length] != '/')
        length--;
    while (length > 0 && path[length - 1] == '/')
        length--;
    if (*path != '/' ||
        (size_t)snprintf(text, sizeof text, "%.*s/*", (int)length, path) >= sizeof text) {
        parser_error(parser, "Include: '%s' must be an absolute path", path);
        return;
    }
    text[length] = '\0';
    bool directory = stat64(text, &status) == 0 && S_ISDIR(status.st_mode);
    bool link = directory && readlink(text, &target, 1) == 1;
    text[length] = '/';
    if (link && !(wildcard && parser->follows_links))
        parser_note(parser, "Include: %s: ProFTPD follows no symbolic link; write where it leads",
                    path);
    else if (wildcard)
        include_matches(parser, path, 0);
    else if (directory)
        include_matches(parser, text, GLOB_PERIOD);
    else
        include(parser, path);
}

/* ---- lines ---- */

static void take_variables(struct parser *parser, const struct config_list *names)
{
    for (size_t i = 0; i < names->count; i++) {
        bool set = secure_getenv(names->items[i]) != NULL;
        parser_message(
            parser, set ? &parser->config->variables : &parser->config->notes, parser->source->at,
            "%%{env:%s} is %s", names->items[i],
            set ? "taken from this environment; the server needs the same"
                : "not set, and replaced by nothing; set it in the server's environment");
    }
}

static void take_line(struct parser *parser, char *text)
{
    struct syntax_words words;
    bool skipped = parser->context == SKIPPED, heeded = true;

    syntax_split(text, &words);
    const char *first = words.count > 0 ? words.items[0] : "";
    if (*first == '<') {
        parser_section(parser, &words);
        heeded = parser->context != FOREIGN;
    } else if (skipped || *first == '\0')
        heeded = false;
    else if (strcasecmp(first, "Include") != 0)
        heeded = directive_take(parser, &words);
    else if (parser->context != FOREIGN)
        take_include(parser, words.count > 1 ? words.items[1] : "");
    if (heeded && !skipped)
        take_variables(parser, &words.variables);
    syntax_free(&words);
}

bool config_read(const char *path, struct config *config)
{
    struct host no_directives = parser_new_host((struct position){path, 1});
    struct parser parser = {.config = config, .own = no_directives, .global = no_directives};

    *config = (struct config){.valid = true,
                              .min_size = DEFAULT_MIN_SIZE,
                              .lock = true,
                              .max_memory = {.percent = DEFAULT_MAX_PERCENT},
                              .read_ahead = DEFAULT_READ_AHEAD,
                              .read_size = DEFAULT_READ_SIZE};
    FILE *file = open_file(path);
    if (file == NULL && (errno == ENOENT || errno == ENOTDIR))
        return false;
    config->log = strdup("syslog");
    config->status_path = strdup(CONFIG_DEFAULT_STATUS_PATH);
    /* In the server's locale a Turkish I may be no capital i. "C" is not allocated. */
    locale_t former = uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
    take_file(&parser, path, file);
    (void)uselocale(former);
    hosts_settle(&parser);
    for (size_t i = 0; i < parser.host_count; i++)
        config_list_free(&parser.hosts[i].addresses);
    free(parser.hosts);
    config_list_free(&parser.own.addresses);
    config_list_free(&parser.paths);
    config_list_free(&parser.defined);
    return true;
}
