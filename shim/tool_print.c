#include "tool.h"

#include <ctype.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>
#include <time.h>

/* ---- for people ---- */

static const char *local_time(int64_t seconds, char *text, size_t size)
{
    time_t time = (time_t)seconds;
    struct tm local;

    if (localtime_r(&time, &local) == NULL || strftime(text, size, "%F %T", &local) == 0)
        return "?";
    return text;
}

static void print_server(const struct tool_snapshot *snapshot, FILE *out)
{
    const struct status_header *header = &snapshot->header;
    char since[32], read_at[32];

    if (snapshot->alive)
        (void)fprintf(out, "Server: process %" PRId32 ", ", header->master);
    else if (header->master != 0)
        (void)fprintf(out, "Server: process %" PRId32 ", which is gone, ", header->master);
    else
        (void)fputs("Server: none that listens yet, ", out);
    (void)fprintf(out, "counting since %s\n", local_time(header->started, since, sizeof since));
    (void)fprintf(out, "Directives: %s, read %s; TransferMMapEngine %s\n\n", header->directives,
                  local_time(header->directives_read, read_at, sizeof read_at),
                  header->engine != 0 ? "on" : "off");
}

static void print_files(const struct tool_snapshot *snapshot, FILE *out)
{
    static const char row[] = "%10s %10s %10s %10s %12s %12s  %s\n";

    if (snapshot->count == 0) {
        (void)fputs("No file is listed.\n\n", out);
        return;
    }
    (void)fprintf(out, row, "size", "locked", "resident", "downloads", "from memory", "by kernel",
                  "listed file");
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct status_file *file = &snapshot->files[i];
        char downloads[24];
        uint64_t resident;
        bool told = tool_resident(file->path, &resident);

        (void)snprintf(downloads, sizeof downloads, "%" PRIu64, file->downloads);
        (void)fprintf(out, row, tool_size(file->size).text, tool_size(file->locked).text,
                      told ? tool_size(resident).text : "?", downloads, tool_size(file->bytes).text,
                      tool_size(file->bytes_kernel).text, file->path);
    }
    (void)fputc('\n', out);
}

static void print_counters(const struct tool_snapshot *snapshot, FILE *out)
{
    static const char *const texts[] = {
#define X(name, text) text,
        STATUS_COUNTERS(X)
#undef X
    };

    for (size_t i = 0; i < STATUS_COUNTER_COUNT; i++) {
        bool bytes = i == STATUS_BYTES || i == STATUS_BYTES_KERNEL;
        (void)fprintf(out, "%16" PRIu64 "  %s", snapshot->counters[i], texts[i]);
        if (bytes && snapshot->counters[i] >= 1024)
            (void)fprintf(out, " (%s)", tool_size(snapshot->counters[i]).text);
        (void)fputc('\n', out);
    }
}

void tool_print_text(const struct tool_snapshot *snapshot, FILE *out)
{
    print_server(snapshot, out);
    print_files(snapshot, out);
    print_counters(snapshot, out);
}

/* ---- JSON ---- */

static void add_number(struct json_object *object, const char *key, uint64_t number)
{
    (void)json_object_object_add(object, key, json_object_new_uint64(number));
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
    (void)json_object_object_add(object, key, json_object_new_string(text));
}

static struct json_object *server_as_json(const struct tool_snapshot *snapshot)
{
    struct json_object *server = json_object_new_object();

    (void)json_object_object_add(server, "process", json_object_new_int64(snapshot->header.master));
    (void)json_object_object_add(server, "alive", json_object_new_boolean(snapshot->alive));
    (void)json_object_object_add(server, "since", json_object_new_int64(snapshot->header.started));
    return server;
}

static struct json_object *directives_as_json(const struct tool_snapshot *snapshot)
{
    const struct status_header *header = &snapshot->header;
    struct json_object *directives = json_object_new_object();

    add_text(directives, "path", header->directives);
    (void)json_object_object_add(directives, "read",
                                 json_object_new_int64(header->directives_read));
    (void)json_object_object_add(directives, "engine",
                                 json_object_new_boolean(header->engine != 0));
    return directives;
}

static struct json_object *file_as_json(const struct status_file *file)
{
    struct json_object *object = json_object_new_object();
    uint64_t resident;

    add_text(object, "path", file->path);
    add_number(object, "size", file->size);
    add_number(object, "locked", file->locked);
    (void)json_object_object_add(
        object, "resident",
        tool_resident(file->path, &resident) ? json_object_new_uint64(resident) : NULL);
    add_number(object, "downloads", file->downloads);
    add_number(object, "bytes", file->bytes);
    add_number(object, "bytes_kernel", file->bytes_kernel);
    return object;
}

static struct json_object *totals_as_json(const struct tool_snapshot *snapshot)
{
    static const char *const names[] = {
#define X(name, text) #name,
        STATUS_COUNTERS(X)
#undef X
    };
    struct json_object *totals = json_object_new_object();

    for (size_t i = 0; i < STATUS_COUNTER_COUNT; i++) {
        char key[32];
        size_t length = strlen(names[i]);
        for (size_t at = 0; at <= length; at++)
            key[at] = (char)tolower((unsigned char)names[i][at]);
        add_number(totals, key, snapshot->counters[i]);
    }
    return totals;
}

void tool_print_json(const struct tool_snapshot *snapshot, FILE *out)
{
    const int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE;
    struct json_object *all = json_object_new_object(), *files = json_object_new_array();

    for (size_t i = 0; i < snapshot->count; i++)
        (void)json_object_array_add(files, file_as_json(&snapshot->files[i]));
    (void)json_object_object_add(all, "server", server_as_json(snapshot));
    (void)json_object_object_add(all, "directives", directives_as_json(snapshot));
    (void)json_object_object_add(all, "files", files);
    (void)json_object_object_add(all, "totals", totals_as_json(snapshot));
    (void)fprintf(out, "%s\n", json_object_to_json_string_ext(all, flags));
    (void)json_object_put(all);
}

/* ---- Prometheus' text format: prometheus.io, "Exposition formats" ---- */

static const struct metric {
    const char *name, *label, *help; /* without help: as the one before */
} metrics[STATUS_COUNTER_COUNT] = {
    [STATUS_LISTED] = {"opens_total", "{way=\"listed\"}", "Files opened, by how they are served."},
    [STATUS_MAPPED] = {"opens_total", "{way=\"mapped\"}", NULL},
    [STATUS_SMALL] = {"opens_total", "{way=\"kernel_small\"}", NULL},
    [STATUS_ODD] = {"opens_total", "{way=\"kernel_filesystem\"}", NULL},
    [STATUS_FULL] = {"opens_total", "{way=\"kernel_full\"}", NULL},
    [STATUS_BYTES] = {"bytes_total", "{source=\"memory\"}", "Bytes read of files that are served."},
    [STATUS_BYTES_KERNEL] = {"bytes_total", "{source=\"kernel\"}", NULL},
    [STATUS_CHANGED] = {"changed_total", "", "Listed files found changed as they were opened."},
    [STATUS_FAULTS] = {"faults_total", "", "Faults in mapped files survived."},
    [STATUS_REFUSED] = {"refused_total", "", "Mappings that the kernel refused."},
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

static void print_of_file(FILE *out, const char *name, const char *label, const char *path,
                          uint64_t value)
{
    (void)fprintf(out, "xfermmap_file_%s{path=\"", name);
    print_quoted(out, path);
    (void)fprintf(out, "\"%s} %" PRIu64 "\n", label, value);
}

/* @param member  where in struct status_file the number is */
static void print_of_files(const struct tool_snapshot *snapshot, FILE *out, const char *name,
                           const char *label, size_t member)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct status_file *file = &snapshot->files[i];
        uint64_t value;
        memcpy(&value, (const char *)file + member, sizeof value);
        print_of_file(out, name, label, file->path, value);
    }
}

static void print_resident(const struct tool_snapshot *snapshot, FILE *out)
{
    uint64_t resident;

    for (size_t i = 0; i < snapshot->count; i++) {
        const char *path = snapshot->files[i].path;
        if (tool_resident(path, &resident))
            print_of_file(out, "resident_bytes", "", path, resident);
    }
}

static void print_file_metrics(const struct tool_snapshot *snapshot, FILE *out)
{
    print_help(out, "file_size_bytes", "gauge", "Size of a listed file.");
    print_of_files(snapshot, out, "size_bytes", "", offsetof(struct status_file, size));
    print_help(out, "file_locked_bytes", "gauge", "What of it is locked in memory.");
    print_of_files(snapshot, out, "locked_bytes", "", offsetof(struct status_file, locked));
    print_help(out, "file_resident_bytes", "gauge",
               "What of it is in memory, where that can be told.");
    print_resident(snapshot, out);
    print_help(out, "file_downloads_total", "counter", "How often it was opened, and is closed.");
    print_of_files(snapshot, out, "downloads_total", "", offsetof(struct status_file, downloads));
    print_help(out, "file_bytes_total", "counter", "Bytes read of it.");
    print_of_files(snapshot, out, "bytes_total", ",source=\"memory\"",
                   offsetof(struct status_file, bytes));
    print_of_files(snapshot, out, "bytes_total", ",source=\"kernel\"",
                   offsetof(struct status_file, bytes_kernel));
}

void tool_print_prometheus_down(FILE *out)
{
    print_gauge(out, "up", "Whether a server runs with the library.", 0);
}

void tool_print_prometheus(const struct tool_snapshot *snapshot, FILE *out)
{
    const struct status_header *header = &snapshot->header;

    print_gauge(out, "up", "Whether a server runs with the library.", snapshot->alive);
    print_gauge(out, "start_time_seconds", "When it started to count.", header->started);
    print_gauge(out, "directives_read_time_seconds", "When the directive file was last read.",
                header->directives_read);
    print_gauge(out, "engine", "Whether TransferMMapEngine is on.", header->engine != 0);
    for (size_t i = 0; i < STATUS_COUNTER_COUNT; i++)
        print_counter(&metrics[i], snapshot->counters[i], out);
    print_file_metrics(snapshot, out);
}
