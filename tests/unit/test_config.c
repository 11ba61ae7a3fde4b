#include "config_text.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void assert_files(size_t count, const char *const *paths)
{
    assert_int_equal(config.files.count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(config.files.items[i], paths[i]);
}

static void assert_file(const char *path)
{
    assert_valid();
    assert_files(1, &path);
}

/* ---- directives ---- */

static void defaults_of_an_empty_file(void **state)
{
    (void)state;
    read_text("");
    assert_valid();
    assert_false(config.engine);
    assert_int_equal(config.min_size, 4 * MIB);
    assert_int_equal(config.files.count, 0);
    assert_true(config.lock);
    assert_int_equal(config.max_memory.bytes, 0);
    assert_int_equal(config.max_memory.percent, 50);
    assert_int_equal(config.read_ahead, 8 * MIB);
    assert_int_equal(config.read_size, 256 * KIB);
    assert_string_equal(config.log, LOG_TO_SYSLOG);
    assert_string_equal(config.status_path, CONFIG_DEFAULT_STATUS_PATH);
    assert_int_equal(config.notes.count, 0);
}

static void every_directive(void **state)
{
    static const char *const paths[] = {"/srv/a", "/srv/*.iso", "/srv/b"};

    (void)state;
    read_text("TransferMMapEngine on\n"
              "TransferMMapFile /srv/a /srv/*.iso\n"
              "TransferMMapFile /srv/b\n"
              "TransferMMapMinSize 512 KB\n"
              "TransferMMapLock off\n"
              "TransferMMapMaxMemory 3 GB\n"
              "TransferMMapReadAhead 16 MB\n"
              "TransferMMapReadSize 64 KB\n"
              "TransferMMapLog /var/log/xfermmap.log\n"
              "TransferMMapStatusFile /run/xfermmap\n");
    assert_valid();
    assert_true(config.engine);
    assert_files(COUNT(paths), paths);
    assert_int_equal(config.min_size, 512 * KIB);
    assert_false(config.lock);
    assert_int_equal(config.max_memory.bytes, (off64_t)3 << 30);
    assert_int_equal(config.read_ahead, 16 * MIB);
    assert_int_equal(config.read_size, 64 * KIB);
    assert_string_equal(config.log, "/var/log/xfermmap.log");
    assert_string_equal(config.status_path, "/run/xfermmap");
    assert_int_equal(config.notes.count, 0);
}

static void log_and_status_file_can_be_none(void **state)
{
    (void)state;
    read_text("TransferMMapLog None\nTransferMMapStatusFile NONE\n");
    assert_valid();
    assert_string_equal(config.log, LOG_TO_NOWHERE);
    assert_null(config.status_path);
    read_text("TransferMMapLog Syslog\n");
    assert_valid();
    assert_string_equal(config.log, LOG_TO_SYSLOG);
}

static void names_in_any_case(void **state)
{
    (void)state;
    read_text("transfermmapENGINE on\nTRANSFERMMAPFILE /srv/A\n"
              "<ifmodule mod_xfer_mmap.c>\ntransfermmapminsize 1\n</IFMODULE>\n");
    assert_file("/srv/A");
    assert_true(config.engine);
    assert_int_equal(config.min_size, 1);
}

static void booleans(void **state)
{
    static const char *const on[] = {"on", "ON", "yes", "True", "1"};
    static const char *const off[] = {"off", "Off", "no", "FALSE", "0"};
    char text[64];

    (void)state;
    for (size_t i = 0; i < COUNT(on); i++) {
        (void)snprintf(text, sizeof text, "TransferMMapEngine %s\n", on[i]);
        read_text(text);
        assert_valid();
        assert_true(config.engine);
        (void)snprintf(text, sizeof text, "TransferMMapEngine %s\n", off[i]);
        read_text(text);
        assert_valid();
        assert_false(config.engine);
    }
}

static void sizes(void **state)
{
    static const struct {
        const char *text;
        off64_t bytes;
    } cases[] = {
        {"0", 0},
        {"65536", 65536},
        {"65536 B", 65536},
        {"16B", 16},
        {"512 KB", 512 * KIB},
        {"512kb", 512 * KIB},
        {"512K", 512 * KIB},
        {"16 MB", 16 * MIB},
        {"16 m", 16 * MIB},
        {"\"16\" \"MB\"", 16 * MIB},
        {"5 GB", (off64_t)5 << 30},
        {"3 G", (off64_t)3 << 30},
        {"2 Tb", (off64_t)2 << 40},
        {"1t", (off64_t)1 << 40},
        {"8589934591 GB", INT64_MAX - ((1 << 30) - 1)},
        {"9223372036854775807", INT64_MAX},
    };
    char text[64];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        (void)snprintf(text, sizeof text, "TransferMMapMinSize %s\n", cases[i].text);
        read_text(text);
        assert_valid();
        assert_int_equal(config.min_size, cases[i].bytes);
    }
}

static void wrong_sizes(void **state)
{
    static const char *const sizes_of_nothing[] = {
        "",
        "MB",
        "-1",
        "+1",
        "1.5 MB",
        "0x10",
        "16 PB",
        "16BB",
        "16 MBs",
        "16MB MB",
        "16 MB x",
        "1 \"\"",
        "\"\"",
        "\" 1\"",
        "18446744073709551616",
        "9223372036854775808",
        "8589934592 GB",
        "8388608 TB",
        "1KiB",
    };
    char text[64];

    (void)state;
    for (size_t i = 0; i < COUNT(sizes_of_nothing); i++) {
        (void)snprintf(text, sizeof text, "TransferMMapMinSize %s\n", sizes_of_nothing[i]);
        assert_wrong(&(struct wrong){text, 1, "TransferMMapMinSize: expected a size such as"});
        assert_int_equal(config.min_size, 4 * MIB);
    }
}

static void most_memory_as_size_or_share(void **state)
{
    (void)state;
    read_text("TransferMMapMaxMemory 1%\n");
    assert_valid();
    assert_int_equal(config.max_memory.bytes, 0);
    assert_int_equal(config.max_memory.percent, 1);
    read_text("TransferMMapMaxMemory 100%\n");
    assert_valid();
    assert_int_equal(config.max_memory.percent, 100);
    read_text("TransferMMapMaxMemory 1MB\n");
    assert_valid();
    assert_int_equal(config.max_memory.bytes, MIB);
}

static void read_ahead_and_read_size_can_be_off(void **state)
{
    (void)state;
    read_text("TransferMMapReadAhead off\nTransferMMapReadSize 0\n");
    assert_valid();
    assert_int_equal(config.read_ahead, 0);
    assert_int_equal(config.read_size, 0);
    read_text("TransferMMapReadAhead 64 KB\nTransferMMapReadSize 32768\n");
    assert_valid();
    assert_int_equal(config.read_ahead, 64 * KIB);
    assert_int_equal(config.read_size, 32768);
    read_text("TransferMMapReadAhead 1 GB\nTransferMMapReadSize 1 MB\n");
    assert_valid();
    assert_int_equal(config.read_ahead, (off64_t)1 << 30);
    assert_int_equal(config.read_size, MIB);
}

static void wrong_directives(void **state)
{
    static const struct wrong cases[] = {
        {"TransferMMapEngine\n", 1, "expected on or off"},
        {"TransferMMapEngine maybe\n", 1, "expected on or off"},
        {"TransferMMapEngine on on\n", 1, "expected on or off"},
        {"TransferMMapFile\n", 1, "one or more absolute paths"},
        {"\nTransferMMapFile srv/a\n", 2, "TransferMMapFile: 'srv/a' must be an absolute path"},
        {"TransferMMapFile ~/a\n", 1, "TransferMMapFile: '~/a' must be an absolute path"},
        {"TransferMMapLock\n", 1, "expected on or off"},
        {"TransferMMapLock 2\n", 1, "expected on or off"},
        {"TransferMMapMaxMemory\n", 1, "TransferMMapMaxMemory: expected a size of 1 MB or more"},
        {"TransferMMapMaxMemory 0\n", 1, "TransferMMapMaxMemory: expected a size of 1 MB or more"},
        {"TransferMMapMaxMemory 1048575\n", 1,
         "TransferMMapMaxMemory: expected a size of 1 MB or more"},
        {"TransferMMapMaxMemory 50 %\n", 1, "from 1% to 100%"},
        {"TransferMMapMaxMemory 0%\n", 1, "from 1% to 100%"},
        {"TransferMMapMaxMemory 101%\n", 1, "from 1% to 100%"},
        {"TransferMMapMaxMemory 18446744073709551666%\n", 1, "from 1% to 100%"},
        {"TransferMMapMaxMemory -50%\n", 1, "from 1% to 100%"},
        {"TransferMMapMaxMemory 50%%\n", 1, "from 1% to 100%"},
        {"TransferMMapMaxMemory 50% MB\n", 1, "from 1% to 100%"},
        {"TransferMMapMaxMemory %\n", 1, "from 1% to 100%"},
        {"TransferMMapMaxMemory off\n", 1, "from 1% to 100%"},
        {"TransferMMapHot on\n", 1, "TransferMMapHot: expected a size of 1 MB or more"},
        {"TransferMMapHot 1000\n", 1, "TransferMMapHot: expected a size of 1 MB or more"},
        {"TransferMMapHot 101%\n", 1, "from 1% to 100%, or off"},
        {"TransferMMapReadAhead\n", 1, "from 64 KB to 1 GB, or off"},
        {"TransferMMapReadAhead on\n", 1, "from 64 KB to 1 GB, or off"},
        {"TransferMMapReadAhead 65535\n", 1, "from 64 KB to 1 GB, or off"},
        {"TransferMMapReadAhead 1073741825\n", 1, "from 64 KB to 1 GB, or off"},
        {"TransferMMapReadSize 32767\n", 1, "from 32 KB to 1 MB, or off"},
        {"TransferMMapReadSize 1048577\n", 1, "from 32 KB to 1 MB, or off"},
        {"TransferMMapReadSize off off\n", 1, "from 32 KB to 1 MB, or off"},
        {"TransferMMapLog\n", 1, "absolute path, syslog, stderr or none"},
        {"TransferMMapLog log\n", 1, "absolute path, syslog, stderr or none"},
        {"TransferMMapLog /a /b\n", 1, "absolute path, syslog, stderr or none"},
        {"TransferMMapStatusFile\n", 1, "absolute path or none"},
        {"TransferMMapStatusFile status\n", 1, "absolute path or none"},
        {"# first\n\nTransferMMapEngin on\n", 3, "TransferMMapEngin: unknown directive"},
        {"MMapFile /a\n", 1, "TransferMMapEngine, TransferMMapFile, TransferMMapMinSize"},
        {"TransferMMapEngine on\nTransferMMapEngine on\n", 2,
         "set in preload.conf:1 already; keep one"},
        {"TransferMMapLog /a\n\nTransferMMapLog none\n", 3,
         "set in preload.conf:1 already; keep one"},
        {"<Global>\nTransferMMapEngine on\n</Global>\n<Global>\nTransferMMapEngine "
         "off\n</Global>\n",
         5, "set in preload.conf:2 already; keep one"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_wrong(&cases[i]);
}

static void errors_are_told_all_at_once(void **state)
{
    (void)state;
    read_text("TransferMMapLog /var/log/x\n"
              "TransferMMapNonsense\n"
              "TransferMMapFile a /b c\n"
              "<Global>\n"
              "TransferMMapMinSize 1\n");
    assert_false(config.valid);
    assert_int_equal(config.errors.count, 5);
    assert_message(config.errors.items[0], 2, "unknown directive");
    assert_message(config.errors.items[1], 3, "'a' must be an absolute path");
    assert_message(config.errors.items[2], 3, "'c' must be an absolute path");
    assert_message(config.errors.items[3], 5, "not allowed in <Global>; move it out");
    assert_message(config.errors.items[4], 4, "<Global>: not closed");
    /* so that the errors can be logged there */
    assert_string_equal(config.log, "/var/log/x");
}

/* ---- words and lines ---- */

static void quoted_arguments(void **state)
{
    static const char *const paths[] = {"/a b", "/c#d", "/e\"f", "/g\\h", "/i", "/j k"};

    (void)state;
    read_text("TransferMMapFile \"/a b\" \"/c#d\" \"/e\\\"f\" \"/g\\\\h\" \"/\\i\"\t\"/j k\"\n");
    assert_valid();
    assert_files(COUNT(paths), paths);
    read_text("\"TransferMMapFile\" /a\n");
    assert_file("/a");
    assert_wrong(&(struct wrong){"\nTransferMMapFile \"/a b\n", 2, "quotation mark"});
    assert_wrong(&(struct wrong){"TransferMMapFile \"/a\\\"\n", 1, "quotation mark"});
    assert_wrong(&(struct wrong){"TransferMMapFile \"\"\n", 1,
                                 "TransferMMapFile: '' must be an absolute path"});
}

static void backslashes_outside_of_quotes_stay(void **state)
{
    (void)state;
    read_text("TransferMMapFile /a\\[b\n");
    assert_file("/a\\[b");
}

static void comments(void **state)
{
    (void)state;
    read_text("# TransferMMapEngine on\n"
              "   # indented\n"
              "TransferMMapFile /a # the rest\n"
              "#\n"
              "TransferMMapMinSize 5 #6\n");
    assert_file("/a");
    assert_false(config.engine);
    assert_int_equal(config.min_size, 5);
    read_text("TransferMMapFile /a#b\n"); /* not at the start of a word */
    assert_file("/a#b");
}

static void continued_lines(void **state)
{
    static const char *const paths[] = {"/a", "/b", "/c"};

    (void)state;
    read_text("TransferMMapFile /a \\\n"
              "    /b \\\n"
              "    /c\n"
              "TransferMMapEngine on\n");
    assert_valid();
    assert_files(COUNT(paths), paths);
    assert_true(config.engine);
    read_text("TransferMMapFile /a\\\nb\n"); /* joined without a space */
    assert_file("/ab");
    read_text("TransferMMapFile /a \\"); /* and the file ends */
    assert_file("/a");
    /* a comment is not continued: neither a separate line, nor one within a continued line */
    read_text("# a comment \\\nTransferMMapEngine on\n");
    assert_valid();
    assert_true(config.engine);
    read_text("TransferMMapFile /a \\\n  # no /x \\\n/b \\\n# the end\n/x\nTransferMMapFile /c\n");
    assert_valid();
    assert_files(COUNT(paths), paths);
}

static void lines_are_counted_through_continuations(void **state)
{
    (void)state;
    read_text("TransferMMapFile /a \\\n/b \\\n/c\n"
              "MMapWrong \\\n at all\n"
              "\n"
              "MMapWrong\n");
    assert_int_equal(config.errors.count, 2);
    assert_message(config.errors.items[0], 4, "unknown directive");
    assert_message(config.errors.items[1], 7, "unknown directive");
}

static void lines_that_end_in_cr_lf(void **state)
{
    static const char *const paths[] = {"/a", "/b"};

    (void)state;
    read_text("TransferMMapEngine on\r\n\r\n"
              "TransferMMapFile /a \\\r\n/b\r\n"
              "<Global>\r\n</Global>\r\n");
    assert_valid();
    assert_true(config.engine);
    assert_files(COUNT(paths), paths);
    assert_wrong(&(struct wrong){"\r\nTransferMMapFile \\\r\nx\r\n", 2, "'x' must be an absolute"});
}

static void a_byte_order_mark(void **state)
{
    (void)state;
    read_text("\xef\xbb\xbfTransferMMapFile /a\n");
    assert_file("/a");
}

static void a_last_line_without_newline(void **state)
{
    (void)state;
    read_text("TransferMMapFile /a");
    assert_file("/a");
}

static void a_line_of_a_megabyte(void **state)
{
    static const char start[] = "TransferMMapFile /";
    char *text = malloc(MIB + 1);

    (void)state;
    assert_non_null(text);
    memset(text, 'x', MIB);
    memcpy(text, start, sizeof start - 1);
    text[MIB] = '\0';
    read_text(text);
    assert_file(text + sizeof start - 2);

    for (size_t i = sizeof start - 1; i < MIB; i++)
        text[i] = i % 2 == 0 ? ' ' : '/';
    assert_int_equal(text[MIB - 1], '/');
    assert_wrong(&(struct wrong){text, 1, "use several lines"});
    free(text);
}

/* ---- sections ---- */

static void if_module_holds(void **state)
{
    (void)state;
    read_text("<IfModule mod_xfer_mmap.c>\n  TransferMMapFile /a\n</IfModule>\n");
    assert_file("/a");
}

static void if_not_module_is_skipped(void **state)
{
    (void)state;
    read_text("<IfModule !mod_xfer_mmap.c>\n"
              "  TransferMMapEngine on\n"
              "  Nonsense \"\n"
              "  <IfModule mod_xfer_mmap.c>\n"
              "    TransferMMapEngine on\n"
              "  </IfModule>\n"
              "  TransferMMapEngine on\n"
              "</IfModule>\n"
              "TransferMMapFile /a\n");
    assert_file("/a");
    assert_false(config.engine);
    assert_wrong(&(struct wrong){"<IfModule !mod_tls.c>\n</IfModule>\nMMapWrong\n", 3, "unk"});
}

static void global_section(void **state)
{
    static const char *const paths[] = {"/a", "/b", "/c"};

    (void)state;
    read_text("TransferMMapFile /a\n"
              "<Global>\n"
              "  <IfModule mod_xfer_mmap.c>\n"
              "    TransferMMapEngine on\n"
              "    TransferMMapFile /b\n"
              "  </IfModule>\n"
              "</Global>\n"
              "TransferMMapFile /c\n");
    assert_valid();
    assert_true(config.engine);
    assert_files(COUNT(paths), paths);
}

static void server_comes_before_global(void **state)
{
    (void)state;
    read_text("TransferMMapEngine off\n<Global>\nTransferMMapEngine on\n</Global>\n");
    assert_valid();
    assert_false(config.engine);
    read_text("<Global>\nTransferMMapEngine on\n</Global>\nTransferMMapEngine off\n");
    assert_valid();
    assert_false(config.engine);
    read_text("<Global>\nTransferMMapEngine off\n</Global>\nTransferMMapEngine on\n");
    assert_valid();
    assert_true(config.engine);
}

static void wrong_sections(void **state)
{
    static const struct wrong cases[] = {
        {"<Global>\n\n", 1, "<Global>: not closed; expected </Global>"},
        {"\n<VirtualHost a>\n<IfModule mod_xfer_mmap.c>\n</IfModule>\n", 2,
         "<VirtualHost>: not closed"},
        {"</Global>\n", 1, "</Global>: closes a section that was not opened"},
        {"<Global>\n</Global>\n</Global>\n", 3, "was not opened"},
        {"<Global>\n</VirtualHost>\n</Global>\n", 2,
         "</VirtualHost>: expected </Global>, which line 1 opens"},
        {"<Global>\n<Global>\n</Global>\n</Global>\n", 2, "<Global>: not allowed in <Global>"},
        {"<Global>\n<VirtualHost a>\n</VirtualHost>\n</Global>\n", 2,
         "<VirtualHost>: not allowed in <Global>"},
        {"<Global>\n<IfModule a>\n<VirtualHost b>\n</VirtualHost>\n</IfModule>\n</Global>\n", 3,
         "<VirtualHost>: not allowed in <Global>; move it out"},
        {"<Global x>\n</Global>\n", 1, "<Global>: expected no argument"},
        {"<VirtualHost>\n</VirtualHost>\n", 1, "<VirtualHost>: expected one or more"},
        {"<IfModule>\n</IfModule>\n", 1, "<IfModule>: expected one name"},
        {"<IfDefine a b>\n</IfDefine>\n", 1, "<IfDefine>: expected one name"},
        {"<>\n", 1, "expected a section's name"},
        {"<Directory>\n", 1, "<Directory>: not closed"},
        {"<VirtualHost a>\nTransferMMapEngine maybe\n</VirtualHost>\n", 2, "expected on or off"},
        {"\n<Global\n", 2, "expected a '>' at the end"},
        {"<\n", 1, "expected a '>' at the end"},
        {"<Global>\nTransferMMapMinSize 1\n</Global>\n", 2, "not allowed in <Global>; move it out"},
        {"<Global>\nTransferMMapLog none\n</Global>\n", 2, "not allowed in <Global>; move it out"},
        {"<VirtualHost a>\nTransferMMapStatusFile none\n</VirtualHost>\n", 2, "<VirtualHost>"},
        {"<Global>\n<IfModule mod_tls.c>\nTransferMMapLock on\n</IfModule>\n</Global>\n", 3,
         "not allowed in <Global>; move it out"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_wrong(&cases[i]);
}

static void each_unclosed_section_is_told(void **state)
{
    (void)state;
    read_text("<IfModule mod_xfer_mmap.c>\n<Global>\n");
    assert_int_equal(config.errors.count, 2);
    assert_message(config.errors.items[0], 2, "<Global>: not closed");
    assert_message(config.errors.items[1], 1, "<IfModule>: not closed");
}

static void sections_nested_too_deep(void **state)
{
    char text[2048] = "";

    (void)state;
    for (int depth = 0; depth < 33; depth++)
        (void)strcat(text, "<IfModule mod_xfer_mmap.c>\n");
    read_text(text);
    assert_false(config.valid);
    assert_message(config.errors.items[0], 33, "nested more than 32 deep");
}

/* ---- the file itself ---- */

static void a_missing_file_is_no_error(void **state)
{
    (void)state;
    make_text("preload.conf", "", 0);
    assert_false(config_read("missing", &config));
    assert_int_equal(errno, ENOENT);
    assert_true(config.valid);
    assert_int_equal(config.errors.count, 0);
    config_free(&config);
    assert_false(config_read("preload.conf/missing", &config));
    assert_int_equal(errno, ENOTDIR);
}

static void a_file_that_others_may_write_is_refused(void **state)
{
    static const mode_t modes[] = {0664, 0646, 0620, 0602};
    static const char text[] = "TransferMMapEngine on\n";

    (void)state;
    for (size_t i = 0; i < COUNT(modes); i++) {
        make_text("preload.conf", text, sizeof text - 1);
        assert_int_equal(chmod("preload.conf", modes[i]), 0);
        read_file();
        assert_false(config.valid);
        assert_false(config.engine);
        assert_int_equal(config.errors.count, 1);
        assert_message(config.errors.items[0], 0, "chmod go-w");
    }
}

static void a_file_of_another_user_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    make_text("preload.conf", "TransferMMapEngine on\n", 22);
    assert_int_equal(chown("preload.conf", SOMEBODY, 0), 0);
    read_file();
    assert_false(config.valid);
    assert_false(config.engine);
    assert_message(config.errors.items[0], 0, "belongs to user 12345");
}

/* Like a server that was started without root's rights. */
static void read_as_somebody(void)
{
    require(chmod(".", 0755) == 0 && seteuid(SOMEBODY) == 0);
    require(config_read("roots", &config) && config.valid && config.engine);
    config_free(&config);
    require(config_read("own", &config) && config.valid && config.engine);
    config_free(&config);
    require(config_read("unreadable", &config) && !config.valid && config.errors.count == 1);
    require(strstr(config.errors.items[0], "unreadable:1: the file can't be opened: Perm") != NULL);
}

static void files_of_root_and_of_the_server_s_user_are_taken(void **state)
{
    static const char *const names[] = {"roots", "own", "unreadable"};

    (void)state;
    if (geteuid() != 0)
        skip();
    for (size_t i = 0; i < COUNT(names); i++)
        make_text(names[i], "TransferMMapEngine on\n", 22);
    assert_int_equal(chown("own", SOMEBODY, 0), 0);
    assert_int_equal(chmod("unreadable", 0600), 0);
    assert_int_equal(run_in_child(read_as_somebody), 0);
}

static void no_regular_file(void **state)
{
    (void)state;
    (void)unlink("preload.conf");
    assert_int_equal(mkdir("preload.conf", 0755), 0);
    read_file();
    assert_false(config.valid);
    assert_message(config.errors.items[0], 0, "is not a regular file");
    assert_int_equal(rmdir("preload.conf"), 0);

    assert_int_equal(mkfifo("preload.conf", 0644), 0);
    read_file(); /* and does not block on opening it */
    assert_false(config.valid);
    assert_message(config.errors.items[0], 0, "is not a regular file");

    assert_int_equal(unlink("preload.conf"), 0);
    assert_int_equal(symlink("preload.conf", "preload.conf"), 0);
    read_file();
    assert_false(config.valid);
    assert_message(config.errors.items[0], 0, "can't be opened");
}

static void no_text_file(void **state)
{
    static const char text[] = "TransferMMapEngine on\nTransfer\0MMapFile\nNonsense\n";

    (void)state;
    make_text("preload.conf", text, sizeof text - 1);
    read_file();
    assert_false(config.valid);
    assert_int_equal(config.errors.count, 1);
    assert_message(config.errors.items[0], 2, "a NUL byte");
}

static void a_size_or_a_share(void **state)
{
    (void)state;
    read_text("TransferMMapMaxMemory 1 MB\n");
    assert_int_equal(config_max_memory(&config, 5000), 1 << 20);
    read_text("TransferMMapMaxMemory 20%\n");
    assert_int_equal(config_max_memory(&config, 5000), 1000);
    assert_int_equal(config_hot(&config, 5000), 0);
    read_text("TransferMMapHot 2 MB\n");
    assert_int_equal(config_hot(&config, 5000), 2 << 20);
    read_text("TransferMMapHot 10%\n");
    assert_int_equal(config_hot(&config, 5000), 500);
    assert_int_equal(config_max_memory(&config, 5000), 2500);
    read_text("TransferMMapHot off\n");
    assert_true(config.valid);
    assert_int_equal(config_hot(&config, 5000), 0);
}

static void files_are_kept_with_the_engine_on(void **state)
{
    (void)state;
    read_text("TransferMMapEngine on\n");
    assert_false(config_keeps(&config));
    read_text("TransferMMapEngine on\nTransferMMapHot 1%\n");
    assert_true(config_keeps(&config));
    read_text("TransferMMapEngine on\nTransferMMapFile /a\n");
    assert_true(config_keeps(&config));
    read_text("TransferMMapHot 1%\nTransferMMapFile /a\n");
    assert_false(config_keeps(&config));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, forget_config)
    static const struct CMUnitTest tests[] = {
        TEST(defaults_of_an_empty_file),
        TEST(every_directive),
        TEST(log_and_status_file_can_be_none),
        TEST(names_in_any_case),
        TEST(booleans),
        TEST(sizes),
        TEST(wrong_sizes),
        TEST(most_memory_as_size_or_share),
        TEST(a_size_or_a_share),
        TEST(files_are_kept_with_the_engine_on),
        TEST(read_ahead_and_read_size_can_be_off),
        TEST(wrong_directives),
        TEST(errors_are_told_all_at_once),
        TEST(quoted_arguments),
        TEST(backslashes_outside_of_quotes_stay),
        TEST(comments),
        TEST(continued_lines),
        TEST(lines_are_counted_through_continuations),
        TEST(lines_that_end_in_cr_lf),
        TEST(a_byte_order_mark),
        TEST(a_last_line_without_newline),
        TEST(a_line_of_a_megabyte),
        TEST(if_module_holds),
        TEST(if_not_module_is_skipped),
        TEST(global_section),
        TEST(server_comes_before_global),
        TEST(wrong_sections),
        TEST(each_unclosed_section_is_told),
        TEST(sections_nested_too_deep),
        TEST(a_missing_file_is_no_error),
        TEST(a_file_that_others_may_write_is_refused),
        TEST(a_file_of_another_user_is_refused),
        TEST(files_of_root_and_of_the_server_s_user_are_taken),
        TEST(no_regular_file),
        TEST(no_text_file),
    };

    return cmocka_run_group_tests(tests, unit_enter, unit_leave);
}
