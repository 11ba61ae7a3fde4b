/*
 * The directive file under libFuzzer: whatever is in it, it is read to its end, and what is refused
 * is refused with a message that names the file and the line.
 *
 * What is fuzzed is two files: an input is cut in two at its first line of "%%", and the second
 * part is the file that a line of "Include /proc/self/fd/101" in the first includes.
 */
#include "config_file.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <glob.h>
#include <netdb.h>
#include <regex.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAIN_FILE = 100, INCLUDED_FILE = 101 /* descriptors */ };

static const char main_path[] = "/proc/self/fd/100";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds, const char *what)
{
    if (holds)
        return;
    (void)fprintf(stderr, "not so: %s\n", what);
    abort();
}

/* No network: what is not an address is not found. */
int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found)
{
    typedef int function(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    static function *next;
    struct addrinfo numeric = *hints;

    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    numeric.ai_flags |= AI_NUMERICHOST;
    return next(name, service, &numeric, found);
}

/* No other files than the two: /proc alone has some that have no end. */
int glob(const char *restrict pattern, int flags, int (*on_error)(const char *, int),
         glob_t *restrict found)
{
    typedef int function(const char *, int, int (*)(const char *, int), glob_t *);
    static function *next;

    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "glob");
    if (strncmp(pattern, main_path, strlen(main_path) - 1) != 0)
        return GLOB_NOMATCH;
    return next(pattern, flags, on_error, found);
}

static void make_file(int number, const uint8_t *data, size_t size)
{
    int fd = memfd_create("directives", 0);

    expect(fd != -1 && fchmod(fd, 0600) == 0 && dup2(fd, number) == number && close(fd) == 0,
           "a file in memory");
    expect(pwrite(number, data, size, 0) == (ssize_t)size, "it is written");
}

/* "file:line: what", or a note or error that a line has to do with. */
static void check_messages(const struct config_list *messages)
{
    static regex_t form;
    static bool ready;

    if (!ready)
        expect(regcomp(&form, "^/.*:[1-9][0-9]*: .", REG_EXTENDED | REG_NOSUB) == 0, "regcomp");
    ready = true;
    for (size_t i = 0; i < messages->count; i++) {
        expect(regexec(&form, messages->items[i], 0, NULL, 0) == 0, messages->items[i]);
        expect(strchr(messages->items[i], '\n') == NULL, "a message is one line");
    }
}

static void check_values(const struct config *config)
{
    expect(config->min_size >= 0 && config->read_ahead >= 0 && config->read_size >= 0, "sizes");
    expect(config->max_memory.bytes > 0 ||
               (config->max_memory.percent >= 1 && config->max_memory.percent <= 100),
           "a share of the memory");
    expect(config->log != NULL && config->log[0] != '\0', "where it logs");
    for (size_t i = 0; i < config->files.count; i++)
        expect(config->files.items[i][0] == '/', "listed paths are absolute");
}

static void ask_for_engine(const struct config *config)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(21)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(2121)};
    struct sockaddr other = {.sa_family = AF_UNIX};
    bool any = config_engine_anywhere(config);

    four.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
    expect(any || !config_engine(config, (const struct sockaddr *)&four), "on somewhere");
    expect(any || !config_engine(config, (const struct sockaddr *)&six), "on somewhere");
    (void)config_engine(config, &other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = memmem(data, size, "\n%%\n", 4);
    size_t first = cut != NULL ? (size_t)(cut - data) + 1 : size;
    size_t second = cut != NULL ? first + 3 : size;
    struct config config;

    make_file(MAIN_FILE, data, first);
    make_file(INCLUDED_FILE, data + second, size - second);
    expect(config_read(main_path, &config), "it is there");
    expect(config.valid == (config.errors.count == 0), "what is refused, is refused for a reason");
    check_messages(&config.errors);
    check_messages(&config.notes);
    if (config.valid) {
        check_values(&config);
        ask_for_engine(&config);
    }
    config_free(&config);
    return 0;
}
