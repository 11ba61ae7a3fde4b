#include "config_file.h"

#include "config_directives.h"
#include "config_hosts.h"
#include "config_sections.h"
#include "libc.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* From bench/: below this, mapping a file costs more than reading it. */
#define DEFAULT_MIN_SIZE ((off64_t)4 << 20)

#define DEFAULT_READ_AHEAD ((off64_t)8 << 20)
#define DEFAULT_READ_SIZE  ((off64_t)256 << 10)

enum { MAX_INCLUDES = 16, DEFAULT_MAX_PERCENT = 50 };

/* ---- files ---- */

static FILE *open_file(const char *path)
{
    /* O_NONBLOCK: a FIFO in the file's place would hold up the server's start */
    int fd = libc_next(open64)(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    FILE *file = fd != -1 ? libc_next(fdopen)(fd, "r") : NULL;

    if (file == NULL && fd != -1)
        (void)libc_next(close)(fd);
    return file;
}

/* Whoever may write to the directive file tells a server that runs as root which files to open. */
static bool may_be_trusted(struct parser *parser, int fd)
{
    struct stat64 status;
    size_t known = parser->config->errors.count;

    if (fstat64(fd, &status) == -1)
        parser_error(parser, "can't be read: %s", strerror(errno));
    else if (!S_ISREG(status.st_mode))
        parser_error(parser, "is no regular file; name a text file");
    else if (status.st_uid != 0 && status.st_uid != geteuid())
        parser_error(parser,
                     "belongs to user %u; chown it to root, or to who runs the server, user %u",
                     status.st_uid, geteuid());
    else if (status.st_mode & (S_IWGRP | S_IWOTH))
        parser_error(parser, "is writable by others than its owner; chmod go-w it");
    parser->source->device = status.st_dev;
    parser->source->inode = status.st_ino;
    return parser->config->errors.count == known;
}

static void take_line(struct parser *parser, char *text);

static void take_lines(struct parser *parser, FILE *file)
{
    struct place *at = &parser->source->at;
    char *text;
    unsigned lines;
    bool binary = false;

    for (at->line = 1; (text = syntax_line(file, &lines, &binary)) != NULL; at->line += lines) {
        if (binary)
            parser_error(parser, "a NUL byte: this is no text file");
        else
            take_line(parser, text);
        free(text);
        if (binary)
            return;
    }
    if (ferror(file))
        parser_error(parser, "the file can't be read from here on: %s", strerror(errno));
}

/* @param file  is closed; NULL: it couldn't be opened, for the reason in errno */
static void take_file(struct parser *parser, const char *path, FILE *file)
{
    struct source *includer = parser->source;
    struct source source = {.at = {path, 0}, .depth = parser->depth, .includer = includer};

    parser->source = &source;
    if (file == NULL)
        parser_error(parser, "can't be opened: %s", strerror(errno));
    else if (may_be_trusted(parser, fileno(file)))
        take_lines(parser, file);
    if (file != NULL)
        (void)fclose(file);
    section_end_file(parser);
    parser->source = includer;
}

/* ---- Include ---- */

static void include(struct parser *parser, const char *path)
{
    const struct source *source = parser->source;
    struct stat64 status;
    unsigned depth = 0;

    if (stat64(path, &status) == -1) {
        parser_note_at(parser, source->at, "Include: %s: %s", path, strerror(errno));
        return;
    }
    if (S_ISDIR(status.st_mode)) /* in an included one, or what a wildcard means */
        return;
    for (; source != NULL; source = source->includer, depth++) {
        if (source->device == status.st_dev && source->inode == status.st_ino) {
            parser_error(parser, "Include: %s leads back to itself, take out one of the lines",
                         path);
            return;
        }
    }
    if (depth > MAX_INCLUDES) {
        parser_error(parser, "Include: %s is nested more than %d deep", path, MAX_INCLUDES);
        return;
    }
    size_t known = parser->paths.count;
    config_list_add(&parser->paths, strdup(path));
    if (parser->paths.count > known)
        take_file(parser, parser->paths.items[known], open_file(path));
}

static void include_matches(struct parser *parser, const char *pattern, int flags)
{
    glob_t found = {.gl_pathc = 0};

    if (libc_next(glob)(pattern, flags, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            include(parser, found.gl_pathv[i]);
    }
    libc_next(globfree)(&found);
}

/* A file, what a wildcard means, or all files of a directory: hidden ones too, as for the server.
 */
static void take_include(struct parser *parser, const struct syntax_words *words)
{
    const char *path = words->count > 1 ? words->items[1] : "";
    struct stat64 status;
    char *all = NULL;

    if (*path == '\0')
        parser_error(parser, "Include takes an absolute path");
    else if (*path != '/')
        parser_error(parser, "Include: '%s' is no absolute path, write it from / on", path);
    else if (stat64(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        if (asprintf(&all, "%s%s*", path, path[strlen(path) - 1] == '/' ? "" : "/") != -1)
            include_matches(parser, all, GLOB_PERIOD);
        free(all);
    } else if (strpbrk(path, "*?[") != NULL)
        include_matches(parser, path, 0);
    else
        include(parser, path);
}

static void take_line(struct parser *parser, char *text)
{
    struct syntax_words words;

    while (isspace((unsigned char)*text))
        text++;
    if (*text == '<') {
        section_take(parser, text + 1);
        return;
    }
    if (parser->skipped)
        return;
    syntax_split(text, &words);
    if (words.count == 0)
        return;
    if (strcasecmp(words.items[0], "Include") != 0)
        directive_take(parser, &words);
    else if (parser->context != FOREIGN)
        take_include(parser, &words);
}

bool config_read(const char *path, struct config *config)
{
    struct host nothing_said = {
        .at = {path, 1}, .port = UNSET, .engine = UNSET, .is_default = UNSET};
    struct parser parser = {.config = config, .own = nothing_said, .global = nothing_said};

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
    take_file(&parser, path, file);
    hosts_settle(&parser);
    for (size_t i = 0; i < parser.host_count; i++)
        config_list_free(&parser.hosts[i].addresses);
    free(parser.hosts);
    config_list_free(&parser.own.addresses);
    config_list_free(&parser.paths);
    return true;
}
