#include "tool.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

struct count {
    unsigned all, with, hidden;
};

/* Open a file of a process in /proc. @return NULL: errno of fopen(3) */
static FILE *open_of(const char *process, const char *name)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%.20s/%s", process, name);
    return fopen(path, "re");
}

/* True if the process runs a ProFTPD program. */
static bool is_server(const char *process)
{
    char name[32] = "";
    FILE *comm = open_of(process, "comm");

    if (comm == NULL)
        return false;
    if (fgets(name, sizeof name, comm) == NULL)
        name[0] = '\0';
    (void)fclose(comm);
    return strcmp(name, "proftpd\n") == 0 || strcmp(name, "in.proftpd\n") == 0;
}

static void look(const char *process, struct count *count)
{
    char *line = NULL;
    size_t size = 0;
    bool with = false;
    FILE *maps = open_of(process, "maps");

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
