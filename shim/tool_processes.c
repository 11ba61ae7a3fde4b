#include "libc.h"
#include "tool.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

struct count {
    unsigned all, with, hidden;
};

/* True if the process runs a ProFTPD program. */
static bool is_server(const char *process)
{
    char path[64], name[32];

    (void)snprintf(path, sizeof path, "/proc/%.20s/comm", process);
    (void)libc_read_file(path, name, sizeof name);
    return strcmp(name, "proftpd\n") == 0 || strcmp(name, "in.proftpd\n") == 0;
}

static void look(const char *process, struct count *count)
{
    char path[64], *line = NULL;
    size_t size = 0;
    bool with = false;

    (void)snprintf(path, sizeof path, "/proc/%.20s/maps", process);
    FILE *maps = fopen(path, "re");
    while (maps != NULL && !with && getline(&line, &size, maps) != -1)
        with = strstr(line, "/libxfermmap.so") != NULL;
    count->all++;
    count->with += with;
    count->hidden += maps == NULL;
    free(line);
    if (maps != NULL)
        (void)fclose(maps);
}

void tool_print_processes(FILE *out)
{
    struct count count = {.all = 0};
    DIR *processes = opendir("/proc");
    const struct dirent *entry;

    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        if (isdigit((unsigned char)entry->d_name[0]) && is_server(entry->d_name))
            look(entry->d_name, &count);
    }
    if (processes != NULL)
        (void)closedir(processes);
    (void)fprintf(out, "Processes named proftpd: %u, %u of them with libxfermmap", count.all,
                  count.with);
    if (count.hidden > 0)
        (void)fprintf(out, "; %u can't be seen by this user", count.hidden);
    (void)fputc('\n', out);
}
