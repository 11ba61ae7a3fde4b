#include "libc.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

/* Replace a byte by four; the rest of its character is then invalid by itself. Distinct names must
 * stay distinct, as Prometheus rejects duplicates. @return bytes written */
static size_t escape(char *at, size_t room)
{
    char escaped[sizeof "\\xHH"];
    size_t rest = strlen(at), longer = sizeof escaped - 1;

    if (rest + longer > room) {
        *at = '?';
        return 1;
    }
    (void)snprintf(escaped, sizeof escaped, "\\x%02X", (unsigned char)*at);
    memmove(at + longer, at + 1, rest);
    memcpy(at, escaped, longer);
    return longer;
}

/* Replace each byte that is not part of a printable UTF-8 character by "\xHH"; by a question mark
 * if the buffer is too small. @param size  of the buffer, bytes; the text is terminated within */
static void make_printable(char *text, size_t size)
{
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t former = uselocale(utf8 != (locale_t)0 ? utf8 : LC_GLOBAL_LOCALE);
    mbstate_t state = {0};
    wchar_t character;
    size_t length;

    text[size - 1] = '\0';
    for (char *at = text; *at != '\0'; at += length) {
        length = mbrtowc(&character, at, (size_t)(text + size - at), &state);
        if (length <= MB_LEN_MAX && iswprint((wint_t)character))
            continue;
        length = escape(at, (size_t)(text + size - at));
        memset(&state, 0, sizeof state);
    }
    (void)uselocale(former);
    if (utf8 != (locale_t)0)
        freelocale(utf8);
}

void tool_say(FILE *out, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) == -1)
        text = NULL;
    va_end(arguments);
    if (text != NULL)
        make_printable(text, strlen(text) + 1);
    (void)fprintf(out, "%s\n", text != NULL ? text : "out of memory");
    free(text);
}

/* @return the file's problem, NULL: none */
static const char *problem_of(const struct status_header *header)
{
    if (memcmp(header->name, "xfermmap", sizeof header->name) != 0)
        return "is not a status file of libxfermmap";
    if (header->version != STATUS_VERSION || header->counters != STATUS_COUNTER_COUNT ||
        header->counters_at != offsetof(struct status, counters) ||
        header->files_at != STATUS_FILES_AT || header->file_size != sizeof(struct status_file))
        return "was written by another version of the library; install library and tool of one "
               "version, and restart the server";
    return NULL;
}

static enum tool_state state_of(const struct tool_snapshot *snapshot)
{
    uint32_t keeping = snapshot->header.keeper.state;

    if (snapshot->server == PROCESS_GONE)
        return TOOL_DEAD;
    if (snapshot->server == PROCESS_UNKNOWN)
        return snapshot->header.master == 0 ? TOOL_STARTING : TOOL_CANNOT_TELL;
    if (snapshot->header.engine == 0)
        return TOOL_OFF;
    if (keeping == STATUS_KEEPS_NOTHING)
        return TOOL_ACTIVE;
    if (snapshot->keeper == PROCESS_GONE)
        return TOOL_KEEPER_GONE;
    return keeping == STATUS_READY ? TOOL_ACTIVE : TOOL_READING_IN;
}

static int by_line(const void *one, const void *other)
{
    const struct status_file *a = one, *b = other;

    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->line == STATUS_HOT && a->downloads != b->downloads)
        return a->downloads > b->downloads ? -1 : 1;
    return strcmp(a->path, b->path);
}

static void read_files(int fd, struct tool_snapshot *snapshot)
{
    struct stat status;
    const size_t size = sizeof *snapshot->files;

    if (fstat(fd, &status) == -1 || status.st_size <= STATUS_FILES_AT)
        return;
    size_t slots = (size_t)(status.st_size - STATUS_FILES_AT) / size;
    slots = slots < snapshot->header.slots ? slots : snapshot->header.slots;
    if (slots > STATUS_FILES)
        slots = STATUS_FILES;
    snapshot->files = calloc(slots, size);
    if (snapshot->files == NULL)
        return;
    for (size_t i = 0; i < slots; i++) {
        struct status_file *file = &snapshot->files[snapshot->count];
        if (pread(fd, file, size, (off_t)(STATUS_FILES_AT + i * size)) != (ssize_t)size)
            break;
        make_printable(file->path, sizeof file->path);
        if (snapshot->keeper == PROCESS_GONE) {
            file->locked = 0;
            file->resident = STATUS_UNKNOWN;
        }
        snapshot->count += file->used != 0;
    }
    qsort(snapshot->files, snapshot->count, size, by_line);
    while (snapshot->listed < snapshot->count &&
           snapshot->files[snapshot->listed].line != STATUS_HOT)
        snapshot->listed++;
}

/* @return the problem, NULL: none */
static const char *read_snapshot(int fd, struct tool_snapshot *snapshot)
{
    struct status status;

    if (pread(fd, &status, sizeof status, 0) != sizeof status)
        return "is not a status file of this version of libxfermmap";
    const char *problem = problem_of(&status.header);
    if (problem != NULL)
        return problem;
    snapshot->header = status.header;
    snapshot->server =
        status_look(fd, &status.header, status.header.master, status.header.master_since);
    snapshot->keeper =
        status_look(fd, &status.header, status.header.keeper.process, status.header.keeper.start);
    snapshot->state = state_of(snapshot);
    make_printable(snapshot->header.library, sizeof snapshot->header.library);
    make_printable(snapshot->header.directives, sizeof snapshot->header.directives);
    for (size_t i = 0; i < STATUS_COUNTER_COUNT; i++) {
        snapshot->counters[i] = status.counters[i];
        snapshot->last[i] = status.last[i];
    }
    if (snapshot->server == PROCESS_ALIVE && snapshot->last[STATUS_FILESYSTEM] != 0)
        snapshot->filesystem =
            filesystem_name(status.header.master, snapshot->last[STATUS_FILESYSTEM]);
    make_printable(snapshot->filesystem.text, sizeof snapshot->filesystem.text);
    read_files(fd, snapshot);
    return NULL;
}

bool tool_take_snapshot(const char *path, struct tool_snapshot *snapshot, char **wrong)
{
    *snapshot = (struct tool_snapshot){.taken = libc_time(CLOCK_MONOTONIC)};
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    const char *problem = strerror(errno);

    if (fd == -1) {
        const char *remedy = errno == ENOENT
                                 ? "; no running server writes to this file: see its log, and "
                                   "TransferMMapStatusFile; a server that inetd or systemd starts "
                                   "for each connection never does"
                                 : "";
        if (asprintf(wrong, "%s: %s%s", path, problem, remedy) == -1)
            *wrong = NULL;
        return false;
    }
    problem = read_snapshot(fd, snapshot);
    (void)close(fd);
    if (problem != NULL && asprintf(wrong, "%s %s", path, problem) == -1)
        *wrong = NULL;
    return problem == NULL;
}

void tool_free_snapshot(struct tool_snapshot *snapshot)
{
    free(snapshot->files);
    snapshot->files = NULL;
    snapshot->listed = snapshot->count = 0;
}

struct tool_size tool_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    struct tool_size size;
    double number = (double)bytes;
    size_t unit = 0;

    if (bytes == STATUS_UNKNOWN)
        return (struct tool_size){"?"};
    while (number >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        number /= 1024;
        unit++;
    }
    (void)snprintf(size.text, sizeof size.text, "%.*f %s", unit > 0, number, units[unit]);
    return size;
}
