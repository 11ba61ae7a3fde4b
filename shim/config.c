#include "config.h"

#include "libc.h"
#include "status.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
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

/* What is out of these bounds is a slip of the pen, such as a forgotten unit. */
#define LEAST_MAX_MEMORY ((off64_t)1 << 20)
#define LEAST_READ_AHEAD ((off64_t)64 << 10)
#define MOST_READ_AHEAD  ((off64_t)1 << 30)
#define LEAST_READ_SIZE  ((off64_t)4 << 10)
#define MOST_READ_SIZE   ((off64_t)16 << 20)

enum { MAX_DEPTH = 16, MAX_WORDS = 1024, DEFAULT_MAX_PERCENT = 50 };

enum context { SERVER, GLOBAL, VIRTUAL_HOST, CONTEXT_COUNT };

enum directive_name {
    ENGINE,
    FILES,
    MIN_SIZE,
    LOCK,
    MAX_MEMORY,
    READ_AHEAD,
    READ_SIZE,
    LOG,
    STATUS_FILE,
    DIRECTIVE_COUNT
};

struct section {
    const char *name; /* as ProFTPD spells it */
    unsigned line;
    enum context outside; /* what to return to */
    bool was_skipped;
};

struct parser {
    const char *path;
    unsigned line;
    struct config *config; /* being filled */
    struct config unused;  /* what a <VirtualHost> says is checked, and goes here */
    enum context context;
    bool skipped; /* inside <IfModule !mod_xfer_mmap.c> */
    struct section sections[MAX_DEPTH];
    size_t depth;
    unsigned set_at[CONTEXT_COUNT][DIRECTIVE_COUNT]; /* line, 0: not set */
};

struct directive {
    const char *name;
    bool server_only; /* not in <Global> and <VirtualHost> */
    void (*take)(struct parser *parser, struct config *config, size_t count, char **arguments);
};

/* Without memory for it the item is dropped. */
static void list_add(struct config_list *list, char *item)
{
    char **items = reallocarray(list->items, list->count + 1, sizeof *items);

    if (items == NULL || item == NULL) {
        free(item);
        list->items = items != NULL ? items : list->items;
        return;
    }
    items[list->count++] = item;
    list->items = items;
}

static void list_free(struct config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct config_list){.count = 0};
}

static void say(struct config_list *list, const struct parser *parser, const char *format,
                va_list arguments)
{
    char *what = NULL, *message = NULL;

    if (vasprintf(&what, format, arguments) == -1)
        what = NULL;
    if (asprintf(&message, "%s:%u: %s", parser->path, parser->line,
                 what != NULL ? what : "out of memory") == -1)
        message = NULL;
    free(what);
    list_add(list, message);
}

__attribute__((format(printf, 2, 3))) static void error(struct parser *parser, const char *format,
                                                        ...)
{
    va_list arguments;

    parser->config->valid = false;
    va_start(arguments, format);
    say(&parser->config->errors, parser, format, arguments);
    va_end(arguments);
}

__attribute__((format(printf, 2, 3))) static void note(struct parser *parser, const char *format,
                                                       ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(&parser->config->notes, parser, format, arguments);
    va_end(arguments);
}

/* ---- values ---- */

static bool parse_boolean(const char *word, bool *value)
{
    static const char *const on[] = {"on", "yes", "true", "1"};
    static const char *const off[] = {"off", "no", "false", "0"};

    for (size_t i = 0; i < sizeof on / sizeof on[0]; i++) {
        *value = strcasecmp(word, on[i]) == 0;
        if (*value || strcasecmp(word, off[i]) == 0)
            return true;
    }
    return false;
}

/* A number and a unit as ProFTPD writes them, "16 MB", or in one word, "16MB" or "16M". */
static bool parse_size(const char *number, const char *unit, off64_t *size)
{
    static const char letters[] = "BKMG";
    char *end;

    if (!isdigit((unsigned char)*number))
        return false;
    errno = 0;
    unsigned long long value = strtoull(number, &end, 10);
    if (errno != 0 || (*end != '\0' && unit != NULL))
        return false;
    if (unit == NULL)
        unit = *end != '\0' ? end : "B";

    const char *letter = strchr(letters, toupper((unsigned char)*unit));
    bool known = *unit != '\0' && letter != NULL &&
                 (unit[1] == '\0' || (letter != letters && strcasecmp(unit + 1, "B") == 0));
    unsigned shift = known ? 10 * (unsigned)(letter - letters) : 0;
    if (!known || value > (unsigned long long)INT64_MAX >> shift)
        return false;
    *size = (off64_t)(value << shift);
    return true;
}

/* "50%", from 1 to 100. */
static bool parse_percent(const char *word, unsigned *percent)
{
    char *end;
    unsigned long value = isdigit((unsigned char)*word) ? strtoul(word, &end, 10) : 0;

    if (value < 1 || value > 100 || strcmp(end, "%") != 0)
        return false;
    *percent = (unsigned)value;
    return true;
}

/* A size within bounds, or off, which is 0. */
static bool parse_size_or_off(size_t count, char **arguments, off64_t least, off64_t most,
                              off64_t *size)
{
    bool on;
    off64_t value = 0;

    if (count == 1 && parse_boolean(arguments[0], &on) && !on) {
        *size = 0;
        return true;
    }
    if (count < 1 || count > 2 ||
        !parse_size(arguments[0], count == 2 ? arguments[1] : NULL, &value) || value < least ||
        value > most)
        return false;
    *size = value;
    return true;
}

/* ---- directives ---- */

static void take_engine(struct parser *parser, struct config *config, size_t count,
                        char **arguments)
{
    bool on;

    if (count != 1 || !parse_boolean(arguments[0], &on))
        error(parser, "TransferMMapEngine takes on or off");
    else
        config->engine = on;
}

static void take_files(struct parser *parser, struct config *config, size_t count, char **arguments)
{
    if (count == 0)
        error(parser, "TransferMMapFile takes one or more absolute paths");
    for (size_t i = 0; i < count; i++) {
        if (arguments[i][0] != '/')
            error(parser, "TransferMMapFile: '%s' is no absolute path, write it from / on",
                  arguments[i]);
        else
            list_add(&config->files, strdup(arguments[i]));
    }
}

static void take_min_size(struct parser *parser, struct config *config, size_t count,
                          char **arguments)
{
    if (count < 1 || count > 2 ||
        !parse_size(arguments[0], count == 2 ? arguments[1] : NULL, &config->min_size))
        error(parser, "TransferMMapMinSize takes a size, such as 4 MB, 512 KB or 65536");
}

static void take_lock(struct parser *parser, struct config *config, size_t count, char **arguments)
{
    bool on;

    if (count != 1 || !parse_boolean(arguments[0], &on))
        error(parser, "TransferMMapLock takes on or off");
    else
        config->lock = on;
}

static void take_max_memory(struct parser *parser, struct config *config, size_t count,
                            char **arguments)
{
    struct config_memory memory = {.bytes = 0};

    if ((count == 1 && parse_percent(arguments[0], &memory.percent)) ||
        ((count == 1 || count == 2) &&
         parse_size(arguments[0], count == 2 ? arguments[1] : NULL, &memory.bytes) &&
         memory.bytes >= LEAST_MAX_MEMORY))
        config->max_memory = memory;
    else
        error(parser, "TransferMMapMaxMemory takes a size from 1 MB on, such as 2 GB, or a share "
                      "of the machine's memory from 1%% to 100%%");
}

static void take_read_ahead(struct parser *parser, struct config *config, size_t count,
                            char **arguments)
{
    if (!parse_size_or_off(count, arguments, LEAST_READ_AHEAD, MOST_READ_AHEAD,
                           &config->read_ahead))
        error(parser, "TransferMMapReadAhead takes a size from 64 KB to 1 GB, or off");
}

static void take_read_size(struct parser *parser, struct config *config, size_t count,
                           char **arguments)
{
    if (!parse_size_or_off(count, arguments, LEAST_READ_SIZE, MOST_READ_SIZE, &config->read_size))
        error(parser, "TransferMMapReadSize takes a size from 4 KB to 16 MB, or off");
}

static void take_log(struct parser *parser, struct config *config, size_t count, char **arguments)
{
    bool path = count == 1 && arguments[0][0] == '/';

    if (count == 1 && strcasecmp(arguments[0], "none") == 0) {
        config->log = LOG_TO_NOWHERE;
    } else if (count == 1 && strcasecmp(arguments[0], "syslog") == 0) {
        config->log = LOG_TO_SYSLOG;
    } else if (path) {
        config->log = LOG_TO_FILE;
        config->log_path = strdup(arguments[0]);
    } else {
        error(parser, "TransferMMapLog takes an absolute path, syslog or none");
    }
}

static void take_status_file(struct parser *parser, struct config *config, size_t count,
                             char **arguments)
{
    bool path = count == 1 && arguments[0][0] == '/';

    if (!path && (count != 1 || strcasecmp(arguments[0], "none") != 0)) {
        error(parser, "TransferMMapStatusFile takes an absolute path or none");
        return;
    }
    free(config->status_path);
    config->status_path = path ? strdup(arguments[0]) : NULL;
}

static const struct directive directives[DIRECTIVE_COUNT] = {
    [ENGINE] = {"TransferMMapEngine", false, take_engine},
    [FILES] = {"TransferMMapFile", false, take_files},
    [MIN_SIZE] = {"TransferMMapMinSize", true, take_min_size},
    [LOCK] = {"TransferMMapLock", true, take_lock},
    [MAX_MEMORY] = {"TransferMMapMaxMemory", true, take_max_memory},
    [READ_AHEAD] = {"TransferMMapReadAhead", true, take_read_ahead},
    [READ_SIZE] = {"TransferMMapReadSize", true, take_read_size},
    [LOG] = {"TransferMMapLog", true, take_log},
    [STATUS_FILE] = {"TransferMMapStatusFile", true, take_status_file},
};

/* The server's own settings come before those of <Global>, wherever in the file they stand. */
static struct config *destination(struct parser *parser, enum directive_name name)
{
    bool shadowed = parser->context == GLOBAL && parser->set_at[SERVER][name] != 0;
    return parser->context == VIRTUAL_HOST || (shadowed && name != FILES) ? &parser->unused
                                                                          : parser->config;
}

static void take_directive(struct parser *parser, enum directive_name name, size_t count,
                           char **arguments)
{
    const struct directive *directive = &directives[name];
    unsigned *set_at = &parser->set_at[parser->context][name];

    if (directive->server_only && parser->context != SERVER) {
        error(parser, "%s belongs outside of <%s>", directive->name,
              parser->sections[parser->depth - 1].name);
        return;
    }
    if (*set_at != 0 && name != FILES) {
        error(parser, "%s is set in line %u already, keep one of them", directive->name, *set_at);
        return;
    }
    if (parser->context == VIRTUAL_HOST)
        note(parser, "%s in <VirtualHost> has no effect, write it outside", directive->name);
    *set_at = parser->line;
    directive->take(parser, destination(parser, name), count, arguments);
}

static void unknown_directive(struct parser *parser, const char *word)
{
    char known[512] = "";
    size_t used = 0;

    for (size_t i = 0; i < DIRECTIVE_COUNT && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "",
                                 directives[i].name);
    error(parser, "unknown directive '%s'; there are %s", word, known);
}

/* ---- sections ---- */

static void open_section(struct parser *parser, const char *name, size_t count, char **arguments)
{
    struct section *section = &parser->sections[parser->depth];

    if (parser->depth == MAX_DEPTH) {
        error(parser, "sections are nested more than %d deep", MAX_DEPTH);
        return;
    }
    *section = (struct section){name, parser->line, parser->context, parser->skipped};
    parser->depth++;

    if (strcmp(name, "IfModule") == 0) {
        const char *module = count == 1 ? arguments[0] : "";
        bool negated = module[0] == '!';
        if (strcmp(module + negated, "mod_xfer_mmap.c") != 0)
            error(parser, "<IfModule> can ask for mod_xfer_mmap.c only");
        parser->skipped = parser->skipped || negated;
        return;
    }
    enum context inside = strcmp(name, "Global") == 0 ? GLOBAL : VIRTUAL_HOST;
    if (parser->context != SERVER)
        error(parser, "<%s> can't stand inside of another section", name);
    if (inside == GLOBAL && count != 0)
        error(parser, "<Global> takes no argument");
    if (inside == VIRTUAL_HOST && count == 0)
        error(parser, "<VirtualHost> takes one or more addresses");
    parser->context = inside;
    memset(parser->set_at[VIRTUAL_HOST], 0, sizeof parser->set_at[VIRTUAL_HOST]);
}

static void close_section(struct parser *parser, const char *name)
{
    const struct section *section = &parser->sections[parser->depth - (parser->depth > 0)];

    if (parser->depth == 0) {
        error(parser, "</%s> closes a section that was not opened", name);
        return;
    }
    if (strcmp(section->name, name) != 0) {
        error(parser, "</%s> where </%s> is due, for line %u", name, section->name, section->line);
        return;
    }
    parser->context = section->outside;
    parser->skipped = section->was_skipped;
    parser->depth--;
}

/* ---- lines ---- */

/*
 * Split a line as ProFTPD does: a quoted argument may hold spaces, and there a backslash takes the
 * next character as it is; a word that starts with # starts a comment.
 */
static size_t split(struct parser *parser, char *text, char **words)
{
    size_t count = 0;

    for (;;) {
        while (isspace((unsigned char)*text))
            text++;
        if (*text == '\0' || *text == '#')
            return count;
        if (count == MAX_WORDS) {
            error(parser, "more than %d words, use several lines", MAX_WORDS);
            return count;
        }
        bool quoted = *text == '"';
        char *to = text += quoted;
        words[count++] = to;
        while (*text != '\0' && (quoted ? *text != '"' : !isspace((unsigned char)*text))) {
            text += quoted && *text == '\\' && text[1] != '\0';
            *to++ = *text++;
        }
        if (quoted && *text == '\0')
            error(parser, "the quotation mark is not closed");
        text += *text != '\0';
        *to = '\0';
    }
}

static void take_section(struct parser *parser, char *text)
{
    static const char *const names[] = {"IfModule", "Global", "VirtualHost"};
    char *words[MAX_WORDS];
    char *end = text + strlen(text);

    while (end > text && isspace((unsigned char)end[-1]))
        end--;
    if (end == text || end[-1] != '>') {
        error(parser, "the section's '>' is missing at the end of the line");
        return;
    }
    end[-1] = '\0';
    bool closing = *text == '/';
    size_t count = split(parser, text + closing, words);
    for (size_t i = 0; count > 0 && i < sizeof names / sizeof names[0]; i++) {
        if (strcasecmp(words[0], names[i]) != 0)
            continue;
        if (closing)
            close_section(parser, names[i]);
        else
            open_section(parser, names[i], count - 1, words + 1);
        return;
    }
    error(parser, "unknown section <%s>; there are <IfModule>, <Global>, <VirtualHost>",
          count > 0 ? words[0] : "");
}

static void take_line(struct parser *parser, char *text)
{
    char *words[MAX_WORDS];

    while (isspace((unsigned char)*text))
        text++;
    if (*text == '<') {
        take_section(parser, text + 1);
        return;
    }
    if (parser->skipped)
        return;
    size_t count = split(parser, text, words);
    if (count == 0)
        return;
    for (int name = 0; name < DIRECTIVE_COUNT; name++) {
        if (strcasecmp(words[0], directives[name].name) == 0) {
            take_directive(parser, (enum directive_name)name, count - 1, words + 1);
            return;
        }
    }
    unknown_directive(parser, words[0]);
}

/*
 * The next line with its continuations joined (a backslash before the newline), NULL at the end.
 * @param lines  out: how many lines of the file it took
 */
static char *next_line(FILE *file, unsigned *lines, bool *binary)
{
    char *joined = NULL, *line = NULL;
    size_t used = 0, size = 0;
    ssize_t length;

    for (*lines = 0; (length = getline(&line, &size, file)) > 0;) {
        (*lines)++;
        *binary = *binary || strlen(line) != (size_t)length;
        length -= line[length - 1] == '\n';
        length -= length > 0 && line[length - 1] == '\r';
        bool continued = length > 0 && line[length - 1] == '\\';
        length -= continued;
        char *longer = realloc(joined, used + (size_t)length + 1);
        if (longer == NULL)
            break;
        joined = longer;
        memcpy(joined + used, line, (size_t)length);
        used += (size_t)length;
        joined[used] = '\0';
        if (!continued)
            break;
    }
    free(line);
    return joined;
}

static void take_file(struct parser *parser, FILE *file)
{
    char *text;
    unsigned lines;
    bool binary = false;

    for (parser->line = 1; (text = next_line(file, &lines, &binary)) != NULL;
         parser->line += lines) {
        if (binary) {
            error(parser, "a NUL byte: this is no text file");
            free(text);
            return;
        }
        take_line(parser, text);
        free(text);
    }
    if (ferror(file))
        error(parser, "can't be read: %s", strerror(errno));
    while (parser->depth > 0) {
        const struct section *section = &parser->sections[--parser->depth];
        parser->line = section->line;
        error(parser, "<%s> is not closed, </%s> is missing", section->name, section->name);
    }
}

/* Whoever may write to the directive file tells a server that runs as root which files to open. */
static void check_owner(struct parser *parser, int fd)
{
    struct stat status;

    if (fstat(fd, &status) == -1)
        error(parser, "can't be read: %s", strerror(errno));
    else if (!S_ISREG(status.st_mode))
        error(parser, "is no regular file");
    else if (status.st_uid != 0 && status.st_uid != geteuid())
        error(parser,
              "belongs to user %u; it must belong to root or to user %u, who runs the server",
              status.st_uid, geteuid());
    else if (status.st_mode & (S_IWGRP | S_IWOTH))
        error(parser, "is writable by others than its owner; chmod go-w it");
}

bool config_read(const char *path, struct config *config)
{
    struct parser parser = {.path = path, .line = 1, .config = config};

    *config = (struct config){.valid = true,
                              .min_size = DEFAULT_MIN_SIZE,
                              .lock = true,
                              .max_memory = {.percent = DEFAULT_MAX_PERCENT},
                              .read_ahead = DEFAULT_READ_AHEAD,
                              .read_size = DEFAULT_READ_SIZE,
                              .log = LOG_TO_SYSLOG};
    /* O_NONBLOCK: a FIFO in the file's place would hold up the server's start */
    int fd = libc_next(open)(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd == -1 && (errno == ENOENT || errno == ENOTDIR))
        return false;
    FILE *file = fd != -1 ? libc_next(fdopen)(fd, "r") : NULL;
    if (file == NULL) {
        error(&parser, "can't be opened: %s", strerror(errno));
        if (fd != -1)
            (void)libc_next(close)(fd);
        return true;
    }
    config->status_path = strdup(STATUS_DEFAULT_PATH);
    check_owner(&parser, fd);
    if (config->valid)
        take_file(&parser, file);
    (void)fclose(file);
    config_free(&parser.unused);
    return true;
}

void config_free(struct config *config)
{
    list_free(&config->files);
    list_free(&config->notes);
    list_free(&config->errors);
    free(config->log_path);
    free(config->status_path);
    config->log_path = config->status_path = NULL;
}
