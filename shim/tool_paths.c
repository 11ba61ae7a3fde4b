#include "handle.h"
#include "listed.h"
#include "memory_limits.h"
#include "tool.h"

#include <stdlib.h>

/* What the answers depend on. */
struct terms {
    const struct config *config;
    const char *sendfile; /* see tool_print_paths() */
    struct listed listed; /* as the keeper would list it */
};

/* Print whether a session would map the file, and if not, why. @return true: it would */
static bool print_way(const struct terms *terms, const struct listed_file *file, FILE *out)
{
    (void)fprintf(out, "%s: ", file->path);
    if (file->skipped || file->problem != NULL)
        (void)fprintf(out, "not from memory: %s", file->skipped ? "no answer" : file->problem);
    else if (!config_engine_anywhere(terms->config))
        (void)fputs("not from memory: TransferMMapEngine is off", out);
    else if (file->status.st_size < terms->config->min_size)
        (void)fprintf(out, "not from memory: smaller than TransferMMapMinSize (%s)",
                      tool_size((uint64_t)terms->config->min_size).text);
    else
        return fputs("from memory", out) != EOF;
    return false;
}

/* @return true: it is kept in memory */
static bool print_listed(const struct terms *terms, const struct listed_file *file, FILE *out)
{
    const struct listed_file *kept = listed_find(&terms->listed, file);
    bool engine = config_engine_anywhere(terms->config);

    if (kept == NULL)
        (void)fprintf(out, "; not listed%s",
                      config_is_hot(terms->config) && !handle_exists(file->path)
                          ? ", nor kept when it is hot: its file system has no file handles"
                          : "");
    else if (kept->problem != NULL)
        (void)fprintf(out, "; listed, but not kept in memory: %s", kept->problem);
    else
        (void)fprintf(out, "; listed%s", engine ? ", to be kept in memory" : "");
    return engine && kept != NULL && kept->problem == NULL;
}

/* @return true: the file is served from memory, or kept there */
static bool print_answer(const struct terms *terms, const struct listed_file *file, FILE *out)
{
    bool mapped = print_way(terms, file, out), kept = false;

    if (file->memory.mapping.memory != NULL) {
        kept = print_listed(terms, file, out);
        (void)fprintf(out, "; %s of %s are in memory now",
                      tool_size(residency_bytes(&file->memory)).text,
                      tool_size(file->memory.mapping.length).text);
    }
    if (mapped && terms->sendfile != NULL)
        (void)fprintf(out, "; but plain FTP by sendfile: UseSendfile is on in %s", terms->sendfile);
    return mapped || kept;
}

static bool say_answer(const struct terms *terms, const struct listed_file *file)
{
    char *line = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&line, &length);

    if (out == NULL)
        return false;
    bool fine = print_answer(terms, file, out);
    (void)fclose(out);
    tool_say(stdout, "%s", line);
    free(line);
    return fine;
}

static bool say_answers(const struct terms *terms, const char *path)
{
    struct listed found = {.count = 0};
    bool fine = true;

    listed_add(&found, path);
    listed_map(&found, UINT64_MAX);
    for (size_t i = 0; i < found.count; i++)
        fine = say_answer(terms, found.files[i]) && fine;
    if (found.count == 0) {
        tool_say(stdout, "%s: not from memory: is empty, or has no regular file in it", path);
        fine = false;
    }
    listed_free(&found);
    return fine;
}

bool tool_print_paths(const struct config *config, char *const *paths, const char *sendfile)
{
    struct terms terms = {.config = config, .sendfile = sendfile};
    bool fine = true;

    listed_expand(&terms.listed, &config->files);
    listed_map(&terms.listed, config_max_memory(config, limits_memory()));
    for (; *paths != NULL; paths++)
        fine = say_answers(&terms, *paths) && fine;
    return fflush(stdout) == 0 && fine;
}
