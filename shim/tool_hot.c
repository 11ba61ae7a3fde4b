#include "heat.h"
#include "tool.h"

#include <string.h>
#include <time.h>

static double share(const struct tool_snapshot *snapshot, const struct status_file *file)
{
    double all = (double)snapshot->header.keeper.downloads;

    return all > 0 ? 100 * (double)file->downloads / all : 0;
}

static void print_file(const struct tool_snapshot *snapshot, const struct status_file *file,
                       FILE *out)
{
    bool named = file->identity.size > 0; /* else path and size are not public */
    time_t since = (time_t)file->since;
    struct tm local;
    char text[32];

    if (localtime_r(&since, &local) == NULL || strftime(text, sizeof text, "%F %H:%M", &local) == 0)
        (void)snprintf(text, sizeof text, "?");
    (void)fprintf(out, "%10s", tool_size(named ? file->identity.size : STATUS_UNKNOWN).text);
    if (snapshot->state != TOOL_DEAD)
        (void)fprintf(out, " %10s %10s", tool_size(named ? file->locked : STATUS_UNKNOWN).text,
                      tool_size(file->resident).text);
    (void)fprintf(out, " %10.1f %5.1f %%  %-16s  %s\n", (double)file->downloads / HEAT_ONE,
                  share(snapshot, file), text, file->path);
}

void tool_print_hot(const struct tool_snapshot *snapshot, size_t rows, FILE *out)
{
    if (snapshot->header.keeper.most_hot == 0)
        return;
    if (snapshot->listed == snapshot->count) {
        (void)fputs("No file is hot.\n\n", out);
        return;
    }
    (void)fprintf(out, "%10s%s %10s %7s  %-16s  %s\n", "size",
                  snapshot->state != TOOL_DEAD ? "     locked   resident" : "", "downloads",
                  "share", "since", "hot file");
    for (size_t i = snapshot->listed; i < snapshot->count && i - snapshot->listed < rows; i++)
        print_file(snapshot, &snapshot->files[i], out);
    (void)fputc('\n', out);
}

/* ---- as directives ---- */

/* Quoted for ProFTPD's syntax, and for glob(7). */
static void print_argument(const char *path, FILE *out)
{
    (void)fputc('"', out);
    for (; *path != '\0'; path++) {
        if (strchr("*?[%", *path) != NULL)
            (void)fprintf(out, "[%c]", *path);
        else if (*path == '"')
            (void)fputs("\\\"", out);
        else if (*path == '\\')
            (void)fputs("\\\\\\\\", out);
        else
            (void)fputc(*path, out);
    }
    (void)fputc('"', out);
}

void tool_print_suggestion(const struct tool_snapshot *snapshot, FILE *out)
{
    size_t left_out = 0;

    for (size_t i = snapshot->listed; i < snapshot->count; i++) {
        const struct status_file *file = &snapshot->files[i];
        /* "\xHH" stands for what can't be printed, "..." for the beginning of a long path */
        if (file->identity.size == 0 || file->path[0] != '/' || strstr(file->path, "\\x") != NULL) {
            left_out++;
            continue;
        }
        (void)fputs("TransferMMapFile ", out);
        print_argument(file->path, out);
        (void)fputc('\n', out);
    }
    if (left_out > 0)
        (void)fprintf(out,
                      "# %zu more, whose paths are not public, too long, or can't be printed\n",
                      left_out);
}
