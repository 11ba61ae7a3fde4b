#include "libc.h"
#include "mapping.h"
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *local_time(int64_t seconds, char *text, size_t size)
{
    time_t time = (time_t)seconds;
    struct tm local;

    if (localtime_r(&time, &local) == NULL || strftime(text, size, "%F %T", &local) == 0)
        return "?";
    return text;
}

/* ---- the verdict ---- */

/* Percentage, rounded down: 100 only for all of it. A session may have written any numbers. */
static double share(uint64_t part, double whole)
{
    double tenths = whole > 0 ? 1000 * (double)part / whole : 0;

    return (double)(unsigned)(tenths < 1000 ? tenths : 1000) / 10;
}

static void print_served(const struct tool_snapshot *snapshot, FILE *out)
{
    uint64_t memory = snapshot->counters[STATUS_BYTES];
    uint64_t kernel = snapshot->counters[STATUS_BYTES_KERNEL];

    if (memory == 0 && kernel == 0)
        (void)fputs("active: nothing was read yet", out);
    else
        (void)fprintf(out, "active: %.1f %% of %s from memory",
                      share(memory, (double)memory + (double)kernel),
                      tool_size(memory + kernel).text);
    if (kernel > memory && snapshot->counters[STATUS_COSTLY] > 0)
        (void)fputs(" (mapping costs more on this machine)", out);
    else if (kernel > 0 && memory == 0)
        (void)fputs(" (is UseSendfile on? see xfermmap check)", out);
}

/* From one index to another, that one not included. @param locked  out: files that are, wholly
 * @return bytes locked */
static uint64_t sum_locked(const struct tool_snapshot *snapshot, size_t from, size_t to,
                           size_t *locked)
{
    uint64_t bytes = 0;

    *locked = 0;
    for (size_t i = from; i < to; i++) {
        const struct status_file *file = &snapshot->files[i];
        *locked += file->locked > 0 && file->locked >= file->identity.size;
        bytes += file->locked;
    }
    return bytes;
}

static void print_kept(const struct tool_snapshot *snapshot, FILE *out)
{
    const struct status_keeper *keeper = &snapshot->header.keeper;
    size_t locked;
    uint64_t bytes = sum_locked(snapshot, 0, snapshot->listed, &locked);

    if (keeper->files == 0)
        (void)fputs("; no file is listed", out);
    else
        (void)fprintf(out, "; %zu of %" PRIu64 " listed files locked, %s of at most %s", locked,
                      keeper->files, tool_size(bytes).text, tool_size(keeper->most).text);
    size_t hot = snapshot->count - snapshot->listed;
    bytes = sum_locked(snapshot, snapshot->listed, snapshot->count, &locked);
    if (keeper->most_hot > 0)
        (void)fprintf(out, "; %zu hot file%s, %s of at most %s locked", hot, hot == 1 ? "" : "s",
                      tool_size(bytes).text, tool_size(keeper->most_hot).text);
    (void)fputc('\n', out);
}

static void print_verdict(const struct tool_snapshot *snapshot, FILE *out)
{
    const struct status_header *header = &snapshot->header;
    const struct status_keeper *keeper = &header->keeper;
    char since[32];

    switch (snapshot->state) {
    case TOOL_ACTIVE:
        print_served(snapshot, out);
        print_kept(snapshot, out);
        break;
    case TOOL_OFF:
        (void)fputs("off: no download is served from memory, TransferMMapEngine is off\n", out);
        break;
    case TOOL_READING_IN:
        (void)fprintf(out,
                      "reading in: %s of %s of the listed files (%.0f %%); downloads are served\n",
                      tool_size(keeper->done).text, tool_size(keeper->total).text,
                      share(keeper->done, (double)keeper->total));
        break;
    case TOOL_KEEPER_GONE:
        (void)fputs("keeper gone: downloads are served, but no listed file is kept in memory; "
                    "reload the server\n",
                    out);
        break;
    case TOOL_DEAD:
        (void)fprintf(out, "dead: no server runs; the last was process %" PRId32 ", started %s\n",
                      header->master, local_time(header->started, since, sizeof since));
        tool_print_processes(out);
        break;
    case TOOL_STARTING:
        (void)fputs("starting: no server listens yet\n", out);
        break;
    case TOOL_CANNOT_TELL:
        (void)fprintf(out,
                      "cannot tell: process %" PRId32 " is in another PID namespace, or /proc "
                      "hides it\n",
                      header->master);
        break;
    }
}

/* ---- the evidence ---- */

static const char *const state_in_words[] = {[PROCESS_GONE] = ", which is gone",
                                             [PROCESS_ALIVE] = "",
                                             [PROCESS_UNKNOWN] = ", which can't be seen from here"};

static void print_server(const struct tool_snapshot *snapshot, FILE *out)
{
    const struct status_header *header = &snapshot->header;
    char since[32], read_at[32];

    if (header->master != 0)
        (void)fprintf(out, "Server: process %" PRId32 "%s, ", header->master,
                      state_in_words[snapshot->server]);
    else
        (void)fputs("Server: none that listens yet, ", out);
    (void)fprintf(out, "with libxfermmap %s, counting since %s\n", header->library,
                  local_time(header->started, since, sizeof since));
    (void)fprintf(out, "Directives: %s, read %s; TransferMMapEngine %s\n", header->directives,
                  local_time(header->directives_read, read_at, sizeof read_at),
                  header->engine != 0 ? "on" : "off");
    (void)fprintf(out, "Transfer buffer: %s\n",
                  header->buffer > 0 ? tool_size(header->buffer).text : "the server's own");
}

static void print_keeper(const struct tool_snapshot *snapshot, FILE *out)
{
    const struct status_keeper *keeper = &snapshot->header.keeper;
    char since[32];

    if (keeper->state == STATUS_KEEPS_NOTHING || snapshot->state == TOOL_DEAD)
        return;
    (void)fprintf(out, "Keeper: process %" PRId32 "%s, since %s, ", keeper->process,
                  state_in_words[snapshot->keeper], local_time(keeper->since, since, sizeof since));
    if (snapshot->keeper == PROCESS_GONE)
        (void)fputs("listed files are served, but not kept in memory\n", out);
    else if (keeper->state == STATUS_READY)
        (void)fputs("ready\n", out);
    else
        (void)fprintf(out, "reading in: %s of %s\n", tool_size(keeper->done).text,
                      tool_size(keeper->total).text);
}

static void print_rate(const struct tool_snapshot *snapshot, const struct tool_snapshot *former,
                       FILE *out)
{
    static const enum status_counter counters[] = {STATUS_BYTES, STATUS_BYTES_KERNEL};
    const double seconds = (double)(snapshot->taken - former->taken) / NS_PER_SECOND;
    uint64_t rates[2];

    for (size_t i = 0; i < 2; i++) {
        uint64_t now = snapshot->counters[counters[i]], then = former->counters[counters[i]];
        if (seconds <= 0 || now < then) /* another server counts from 0 */
            return;
        rates[i] = (uint64_t)((double)(now - then) / seconds);
    }
    (void)fprintf(out, "Now: %s/s from memory, %s/s by the kernel\n", tool_size(rates[0]).text,
                  tool_size(rates[1]).text);
}

/* ---- the listed files ---- */

static void print_file(const struct tool_snapshot *snapshot, const struct status_file *file,
                       FILE *out)
{
    (void)fprintf(out, "%10s", tool_size(file->identity.size).text);
    if (snapshot->state != TOOL_DEAD)
        (void)fprintf(out, " %10s %10s", tool_size(file->locked).text,
                      tool_size(file->resident).text);
    (void)fprintf(out, " %10" PRIu64 " %12s %12s  %s\n", file->opened, tool_size(file->bytes).text,
                  tool_size(file->bytes_kernel).text, file->path);
}

static void print_sum(const struct tool_snapshot *snapshot, FILE *out)
{
    struct status_file sum = {.line = 0};

    for (size_t i = 0; i < snapshot->listed; i++) {
        const struct status_file *file = &snapshot->files[i];
        sum.identity.size += file->identity.size;
        sum.locked += file->locked;
        sum.resident = sum.resident != STATUS_UNKNOWN && file->resident != STATUS_UNKNOWN
                           ? sum.resident + file->resident
                           : STATUS_UNKNOWN;
        sum.opened += file->opened;
        sum.bytes += file->bytes;
        sum.bytes_kernel += file->bytes_kernel;
    }
    (void)snprintf(sum.path, sizeof sum.path, "total of %zu files", snapshot->listed);
    print_file(snapshot, &sum, out);
}

static int by_bytes(const void *one, const void *other)
{
    const struct status_file *a = one, *b = other;
    uint64_t of_a = a->bytes + a->bytes_kernel, of_b = b->bytes + b->bytes_kernel;

    return of_a != of_b ? (of_a < of_b) - (of_a > of_b) : (a->line > b->line) - (a->line < b->line);
}

/* @param rows  SIZE_MAX: all of them, in list order; else so many, the most read first */
static void print_files(const struct tool_snapshot *snapshot, size_t rows, FILE *out)
{
    bool dead = snapshot->state == TOOL_DEAD;

    if (snapshot->listed == 0) {
        (void)fputs("No file is listed.\n\n", out);
        return;
    }
    if (rows < SIZE_MAX)
        qsort(snapshot->files, snapshot->listed, sizeof *snapshot->files, by_bytes);
    (void)fprintf(out, "%10s%s %10s %12s %12s  %s\n", "size", dead ? "" : "     locked   resident",
                  "opened", "from memory", "by kernel", "listed file");
    for (size_t i = 0; i < snapshot->listed && i < rows; i++)
        print_file(snapshot, &snapshot->files[i], out);
    if (snapshot->listed > 1)
        print_sum(snapshot, out);
    (void)fputc('\n', out);
}

/* ---- the counters ---- */

static void print_counter(const struct tool_snapshot *snapshot, size_t counter, const char *text,
                          FILE *out)
{
    uint64_t count = snapshot->counters[counter], last = snapshot->last[counter];

    if (count == 0)
        return;
    (void)fprintf(out, "%16" PRIu64 "  %s", count, text);
    if ((counter == STATUS_BYTES || counter == STATUS_BYTES_KERNEL || counter == STATUS_SENT) &&
        count >= 1024)
        (void)fprintf(out, " (%s)", tool_size(count).text);
    if (counter == STATUS_SENT_KEPT)
        (void)fprintf(out, " (%s, %.1f %%)", tool_size(count).text,
                      share(count, (double)snapshot->counters[STATUS_SENT]));
    if (counter == STATUS_FILESYSTEM && snapshot->filesystem.text[0] != '\0')
        (void)fprintf(out, " (the last: %s)", snapshot->filesystem.text);
    if (counter == STATUS_REFUSED && last != 0)
        (void)fprintf(out, " (the last: %s; %s)", strerror((int)last), mapping_remedy((int)last));
    (void)fputc('\n', out);
}

void tool_print_text(const struct tool_snapshot *snapshot, const struct tool_snapshot *former,
                     size_t rows, FILE *out)
{
    static const char *const texts[] = {
#define X(name, text, key) text,
        STATUS_COUNTERS(X)
#undef X
    };

    print_verdict(snapshot, out);
    print_server(snapshot, out);
    print_keeper(snapshot, out);
    if (former != NULL)
        print_rate(snapshot, former, out);
    (void)fputc('\n', out);
    print_files(snapshot, rows, out);
    tool_print_hot(snapshot, rows, out);
    for (size_t i = 0; i < STATUS_COUNTER_COUNT; i++)
        print_counter(snapshot, i, texts[i], out);
}
