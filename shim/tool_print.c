#include "heat.h"
#include "tool.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

/* The fields of each listed file, in JSON and for Prometheus. */
static const struct column {
    const char *key;
    size_t member;                            /* of struct status_file */
    const char *metric, *label, *type, *help; /* NULL help: same metric as the previous row */
} columns[] = {
#define AT(member) offsetof(struct status_file, member)
    {"size", AT(identity.size), "size_bytes", "", "gauge", "Size of a listed file."},
    {"locked", AT(locked), "locked_bytes", "", "gauge", "What of it is locked in memory."},
    {"resident", AT(resident), "resident_bytes", "", "gauge",
     "What of it is in memory, where that is known."},
    {"opened", AT(opened), "opened_total", "", "counter", "How often it was opened."},
    {"bytes", AT(bytes), "bytes_total", ",source=\"memory\"", "counter",
     "Bytes read of it, where it is mapped."},
    {"bytes_kernel", AT(bytes_kernel), "bytes_total", ",source=\"kernel\"", NULL, NULL},
#undef AT
};

enum { COLUMNS = sizeof columns / sizeof columns[0] };

static uint64_t value_of(const struct status_file *file, const struct column *column)
{
    uint64_t value;

    memcpy(&value, (const char *)file + column->member, sizeof value);
    return value;
}

/* ---- JSON ---- */

static void add(struct json_object *object, const char *key, struct json_object *value)
{
    (void)json_object_object_add(object, key, value);
}

static void add_alive(struct json_object *object, enum process_state state)
{
    add(object, "alive",
        state != PROCESS_UNKNOWN ? json_object_new_boolean(state == PROCESS_ALIVE) : NULL);
}

static struct json_object *server_as_json(const struct tool_snapshot *snapshot)
{
    struct json_object *server = json_object_new_object();

    add(server, "process", json_object_new_int64(snapshot->header.master));
    add_alive(server, snapshot->server);
    add(server, "since", json_object_new_int64(snapshot->header.started));
    add(server, "library", json_object_new_string(snapshot->header.library));
    return server;
}

static struct json_object *directives_as_json(const struct tool_snapshot *snapshot)
{
    const struct status_header *header = &snapshot->header;
    struct json_object *directives = json_object_new_object();

    add(directives, "path", json_object_new_string(header->directives));
    add(directives, "read", json_object_new_int64(header->directives_read));
    add(directives, "engine", json_object_new_boolean(header->engine != 0));
    add(directives, "buffer", json_object_new_uint64(header->buffer));
    return directives;
}

static struct json_object *keeper_as_json(const struct tool_snapshot *snapshot)
{
    const struct status_keeper *keeper = &snapshot->header.keeper;

    if (keeper->state == STATUS_KEEPS_NOTHING)
        return NULL;
    struct json_object *object = json_object_new_object();
    add(object, "process", json_object_new_int64(keeper->process));
    add_alive(object, snapshot->keeper);
    add(object, "ready", json_object_new_boolean(keeper->state == STATUS_READY));
    add(object, "since", json_object_new_int64(keeper->since));
    add(object, "read_in", json_object_new_uint64(keeper->done));
    add(object, "to_read_in", json_object_new_uint64(keeper->total));
    add(object, "listed", json_object_new_uint64(keeper->files));
    add(object, "most", json_object_new_uint64(keeper->most));
    add(object, "most_hot", json_object_new_uint64(keeper->most_hot));
    return object;
}

static struct json_object *file_as_json(const struct status_file *file)
{
    struct json_object *object = json_object_new_object();

    add(object, "path", json_object_new_string(file->path));
    for (size_t i = 0; i < COLUMNS; i++) {
        uint64_t value = value_of(file, &columns[i]);
        add(object, columns[i].key, value != STATUS_UNKNOWN ? json_object_new_uint64(value) : NULL);
    }
    return object;
}

/* A path that is not public is null, and so is the size. */
static struct json_object *hot_as_json(const struct tool_snapshot *snapshot,
                                       const struct status_file *file)
{
    struct json_object *object = file_as_json(file);
    double all = (double)snapshot->header.keeper.downloads;

    if (file->identity.size == 0) {
        add(object, "path", NULL);
        add(object, "size", NULL);
    }
    add(object, "downloads", json_object_new_double((double)file->downloads / HEAT_ONE));
    add(object, "share", json_object_new_double(all > 0 ? (double)file->downloads / all : 0));
    add(object, "since", json_object_new_int64(file->since));
    return object;
}

static struct json_object *totals_as_json(const struct tool_snapshot *snapshot)
{
    static const char *const keys[] = {
#define X(name, text, key) key,
        STATUS_COUNTERS(X)
#undef X
    };
    struct json_object *totals = json_object_new_object();

    for (size_t i = 0; i < STATUS_COUNTER_COUNT; i++)
        add(totals, keys[i], json_object_new_uint64(snapshot->counters[i]));
    return totals;
}

/* @param text  "": there was none */
static void add_last(struct json_object *object, const char *key, const char *text)
{
    add(object, key, *text != '\0' ? json_object_new_string(text) : NULL);
}

static struct json_object *last_as_json(const struct tool_snapshot *snapshot)
{
    struct json_object *last = json_object_new_object();
    int failure = (int)snapshot->last[STATUS_REFUSED];

    add_last(last, "kernel_filesystem", snapshot->filesystem.text);
    add_last(last, "refused", failure != 0 ? strerror(failure) : "");
    return last;
}

void tool_print_json(const struct tool_snapshot *snapshot, FILE *out)
{
    static const char *const states[] = {
        [TOOL_ACTIVE] = "active",           [TOOL_OFF] = "off",   [TOOL_READING_IN] = "reading in",
        [TOOL_KEEPER_GONE] = "keeper gone", [TOOL_DEAD] = "dead", [TOOL_STARTING] = "starting",
        [TOOL_CANNOT_TELL] = "cannot tell"};
    const int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE;
    struct json_object *all = json_object_new_object(), *files = json_object_new_array();
    struct json_object *hot = json_object_new_array();

    for (size_t i = 0; i < snapshot->listed; i++)
        (void)json_object_array_add(files, file_as_json(&snapshot->files[i]));
    for (size_t i = snapshot->listed; i < snapshot->count; i++)
        (void)json_object_array_add(hot, hot_as_json(snapshot, &snapshot->files[i]));
    add(all, "state", json_object_new_string(states[snapshot->state]));
    add(all, "server", server_as_json(snapshot));
    add(all, "directives", directives_as_json(snapshot));
    add(all, "keeper", keeper_as_json(snapshot));
    add(all, "files", files);
    add(all, "hot", hot);
    add(all, "totals", totals_as_json(snapshot));
    add(all, "last", last_as_json(snapshot));
    (void)fprintf(out, "%s\n", json_object_to_json_string_ext(all, flags));
    (void)json_object_put(all);
}

/* ---- Prometheus' text format: prometheus.io, "Exposition formats" ---- */

static const struct metric {
    const char *name, *label, *help; /* NULL help: same metric as the previous row */
} metrics[STATUS_COUNTER_COUNT] = {
    [STATUS_MAPPED] = {"opens_total", "{way=\"mapped\"}", "Files opened, by how they are served."},
    [STATUS_SMALL] = {"opens_total", "{way=\"kernel_small\"}", NULL},
    [STATUS_FILESYSTEM] = {"opens_total", "{way=\"kernel_filesystem\"}", NULL},
    [STATUS_FULL] = {"opens_total", "{way=\"kernel_full\"}", NULL},
    [STATUS_LISTED] = {"listed_opens_total", "{state=\"unchanged\"}",
                       "Listed files opened, by whether they were as last seen."},
    [STATUS_CHANGED] = {"listed_opens_total", "{state=\"changed\"}", NULL},
    [STATUS_BYTES] = {"bytes_total", "{source=\"memory\"}", "Bytes read of files that are served."},
    [STATUS_BYTES_KERNEL] = {"bytes_total", "{source=\"kernel\"}", NULL},
    [STATUS_FAULTS] = {"faults_total", "", "Faults in mapped files survived."},
    [STATUS_REFUSED] = {"refused_total", "", "Mappings that the kernel refused."},
    [STATUS_COSTLY] = {"windows_costly_total", "",
                       "Windows left to the kernel, as mapping costs more."},
    [STATUS_SNDBUF] = {"sndbuf_transfers_total", "",
                       "Transfers whose buffer SocketOptions sndbuf decides."},
    [STATUS_SENT] = {"sent_bytes_total", "", "Bytes downloaded, with TransferMMapHot."},
    [STATUS_SENT_KEPT] = {"sent_kept_bytes_total", "",
                          "Of these, bytes of files that were kept in memory."},
};

static void print_help(FILE *out, const char *name, const char *type, const char *help)
{
    (void)fprintf(out, "# HELP xfermmap_%s %s\n# TYPE xfermmap_%s %s\n", name, help, name, type);
}

static void print_gauge(FILE *out, const char *name, const char *help, int64_t value)
{
    print_help(out, name, "gauge", help);
    (void)fprintf(out, "xfermmap_%s %" PRId64 "\n", name, value);
}

static void print_up(FILE *out, const char *name, const char *help, enum process_state state)
{
    if (state != PROCESS_UNKNOWN)
        print_gauge(out, name, help, state == PROCESS_ALIVE);
}

static void print_quoted(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            (void)fputc('\\', out);
        (void)fputc(*text, out);
    }
}

static void print_counter(const struct metric *metric, uint64_t value, FILE *out)
{
    if (metric->help != NULL)
        print_help(out, metric->name, "counter", metric->help);
    (void)fprintf(out, "xfermmap_%s%s %" PRIu64 "\n", metric->name, metric->label, value);
}

static void print_file_metric(const struct tool_snapshot *snapshot, const struct column *column,
                              FILE *out)
{
    for (size_t i = 0; i < snapshot->listed; i++) {
        uint64_t value = value_of(&snapshot->files[i], column);
        if (value == STATUS_UNKNOWN)
            continue;
        (void)fprintf(out, "xfermmap_file_%s{path=\"", column->metric);
        print_quoted(out, snapshot->files[i].path);
        (void)fprintf(out, "\"%s} %" PRIu64 "\n", column->label, value);
    }
}

static void print_file_metrics(const struct tool_snapshot *snapshot, FILE *out)
{
    char name[32];

    for (size_t i = 0; i < COLUMNS; i++) {
        (void)snprintf(name, sizeof name, "file_%s", columns[i].metric);
        if (columns[i].help != NULL)
            print_help(out, name, columns[i].type, columns[i].help);
        print_file_metric(snapshot, &columns[i], out);
    }
}

/* Only the hottest files have metrics: they come and go, and Prometheus keeps a series for each. */
enum { MOST_HOT = 20 };

static void print_hot_metrics(const struct tool_snapshot *snapshot, FILE *out)
{
    uint64_t bytes = 0;

    if (snapshot->header.keeper.most_hot == 0)
        return;
    for (size_t i = snapshot->listed; i < snapshot->count; i++)
        bytes += snapshot->files[i].identity.size;
    print_gauge(out, "hot_files", "How many files are hot.",
                (int64_t)(snapshot->count - snapshot->listed));
    print_gauge(out, "hot_bytes", "Their size, of those whose names everyone may see.",
                (int64_t)bytes);
    print_gauge(out, "hot_most_bytes", "What they may take, TransferMMapHot.",
                (int64_t)snapshot->header.keeper.most_hot);
    print_help(out, "hot_file_downloads", "gauge", "Recent downloads of the hottest files.");
    for (size_t i = snapshot->listed; i < snapshot->count && i - snapshot->listed < MOST_HOT; i++) {
        (void)fputs("xfermmap_hot_file_downloads{path=\"", out);
        print_quoted(out, snapshot->files[i].path);
        (void)fprintf(out, "\"} %.2f\n", (double)snapshot->files[i].downloads / HEAT_ONE);
    }
}

static void print_keeper_metrics(const struct tool_snapshot *snapshot, FILE *out)
{
    const struct status_keeper *keeper = &snapshot->header.keeper;

    if (keeper->state == STATUS_KEEPS_NOTHING)
        return;
    print_up(out, "keeper_up", "Whether the process that keeps the listed files runs.",
             snapshot->keeper);
    print_gauge(out, "keeper_ready", "Whether it has read in all of them.",
                keeper->state == STATUS_READY);
    print_gauge(out, "keeper_start_time_seconds", "When it was started.", keeper->since);
    print_gauge(out, "keeper_read_in_bytes", "What it has read in by its last look.",
                (int64_t)keeper->done);
    print_gauge(out, "keeper_to_read_in_bytes", "What it has found to read in by its last look.",
                (int64_t)keeper->total);
    print_gauge(out, "keeper_listed_files", "How many files are listed.", (int64_t)keeper->files);
    print_gauge(out, "keeper_most_bytes",
                "What listed and hot files may take, TransferMMapMaxMemory.",
                (int64_t)keeper->most);
}

void tool_print_prometheus_down(FILE *out)
{
    print_up(out, "up", "Whether a server runs with the library.", PROCESS_GONE);
}

void tool_print_prometheus(const struct tool_snapshot *snapshot, FILE *out)
{
    const struct status_header *header = &snapshot->header;

    print_up(out, "up", "Whether a server runs with the library.", snapshot->server);
    print_help(out, "library_info", "gauge", "The version of the library in the server.");
    (void)fputs("xfermmap_library_info{version=\"", out);
    print_quoted(out, header->library);
    (void)fputs("\"} 1\n", out);
    print_gauge(out, "start_time_seconds", "When it started to count.", header->started);
    print_gauge(out, "directives_read_time_seconds", "When the directive file was last read.",
                header->directives_read);
    print_gauge(out, "engine", "Whether TransferMMapEngine is on.", header->engine != 0);
    print_gauge(out, "transfer_buffer_bytes", "The server's transfer buffer.",
                (int64_t)header->buffer);
    for (size_t i = 0; i < STATUS_COUNTER_COUNT; i++)
        print_counter(&metrics[i], snapshot->counters[i], out);
    print_gauge(out, "last_refused_errno", "Why the last mapping was refused, 0: none was.",
                (int)snapshot->last[STATUS_REFUSED]);
    print_keeper_metrics(snapshot, out);
    print_file_metrics(snapshot, out);
    print_hot_metrics(snapshot, out);
}
