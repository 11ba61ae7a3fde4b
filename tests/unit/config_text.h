/*
 * Write, read and inspect a directive file, for the tests of config.
 */
#ifndef CONFIG_TEXT_H
#define CONFIG_TEXT_H

#include "config_file.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static struct config config;

static inline void read_file(void)
{
    config_free(&config);
    assert_true(config_read("preload.conf", &config));
}

static inline void read_text(const char *text)
{
    make_text("preload.conf", text, strlen(text));
    read_file();
}

static inline void assert_valid(void)
{
    for (size_t i = 0; i < config.errors.count; i++)
        print_error("%s\n", config.errors.items[i]);
    assert_int_equal(config.errors.count, 0);
    assert_true(config.valid);
}

/* @param line  0: about the whole file */
static inline void assert_message(const char *message, unsigned line, const char *fragment)
{
    char place[32] = "preload.conf:1: the file ";

    if (line > 0)
        (void)snprintf(place, sizeof place, "preload.conf:%u: ", line);
    if (strncmp(message, place, strlen(place)) != 0 || strstr(message, fragment) == NULL)
        fail_msg("\"%s\" where \"%s...%s...\" is due", message, place, fragment);
}

struct wrong {
    const char *text;
    unsigned line;
    const char *fragment; /* of the message */
};

/* A text with this error, and no other. */
static inline void assert_wrong(const struct wrong *wrong)
{
    read_text(wrong->text);
    if (config.errors.count != 1)
        print_error("in: %s\n", wrong->text);
    assert_int_equal(config.errors.count, 1);
    assert_message(config.errors.items[0], wrong->line, wrong->fragment);
    assert_false(config.valid);
}

static inline int forget_config(void **state)
{
    (void)state;
    config_free(&config);
    return 0;
}

#endif
