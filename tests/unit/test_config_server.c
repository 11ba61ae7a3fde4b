#include "config_text.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The engine for a connection to this address and port. */
static bool engine(const char *address, in_port_t port)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    if (inet_pton(AF_INET, address, &four.sin_addr) == 1)
        return config_engine(&config, (const struct sockaddr *)(const void *)&four);
    assert_int_equal(inet_pton(AF_INET6, address, &six.sin6_addr), 1);
    return config_engine(&config, (const struct sockaddr *)(const void *)&six);
}

static void read_valid(const char *text)
{
    read_text(text);
    assert_valid();
    for (size_t i = 0; i < config.notes.count; i++)
        print_error("%s\n", config.notes.items[i]);
    assert_int_equal(config.notes.count, 0);
}

/* ---- virtual hosts ---- */

static void a_plain_file_is_for_all_hosts(void **state)
{
    static const struct sockaddr local = {.sa_family = AF_UNIX};

    (void)state;
    read_valid("TransferMMapEngine on\n");
    assert_true(engine("192.0.2.1", 21));
    assert_true(engine("::1", 2121));
    assert_true(config_engine(&config, &local));
    assert_true(config_engine_anywhere(&config));
    read_valid("");
    assert_false(engine("192.0.2.1", 21));
    assert_false(config_engine_anywhere(&config));
}

static void one_host_by_address_and_port(void **state)
{
    (void)state;
    read_valid("<VirtualHost 192.0.2.2>\nPort 2121\nTransferMMapEngine on\n</VirtualHost>\n"
               "<VirtualHost 192.0.2.3>\nPort 2121\n</VirtualHost>\n");
    assert_true(engine("192.0.2.2", 2121));
    assert_true(engine("::ffff:192.0.2.2", 2121));
    assert_false(engine("192.0.2.2", 21));
    assert_false(engine("192.0.2.3", 2121));
    assert_false(engine("192.0.2.4", 2121));
    assert_true(config_engine_anywhere(&config));

    read_valid("TransferMMapEngine on\n"
               "<VirtualHost 192.0.2.2>\nTransferMMapEngine off\n</VirtualHost>\n");
    assert_false(engine("192.0.2.2", 21)); /* the port of a host without a directive */
    assert_true(engine("192.0.2.2", 2121));
    assert_true(engine("192.0.2.3", 21));
    assert_true(config_engine_anywhere(&config));
}

static void a_host_of_several_addresses(void **state)
{
    (void)state;
    read_valid("<VirtualHost 192.0.2.2 2001:db8::2 [2001:db8::3]>\nTransferMMapEngine on\n"
               "</VirtualHost>\n");
    assert_true(engine("192.0.2.2", 21));
    assert_true(engine("2001:db8::2", 21));
    assert_true(engine("2001:db8::3", 21));
    assert_false(engine("2001:db8::4", 21));
    assert_false(engine("192.0.2.3", 21));
}

static void host_comes_before_server_and_server_before_global(void **state)
{
    (void)state;
    read_valid("<VirtualHost 192.0.2.2>\nTransferMMapEngine off\n</VirtualHost>\n"
               "<VirtualHost 192.0.2.3>\n</VirtualHost>\n"
               "<Global>\nTransferMMapEngine on\n</Global>\n");
    assert_false(engine("192.0.2.2", 21));
    assert_true(engine("192.0.2.3", 21));
    assert_true(engine("192.0.2.4", 21));

    /* directives outside of sections are the server's, and no defaults for its hosts */
    read_valid("TransferMMapEngine off\n"
               "<VirtualHost 192.0.2.3>\n</VirtualHost>\n"
               "<Global>\nTransferMMapEngine on\n</Global>\n");
    assert_true(engine("192.0.2.3", 21));
    assert_false(engine("192.0.2.4", 21));
    read_valid("TransferMMapEngine on\n<VirtualHost 192.0.2.3>\n</VirtualHost>\n");
    assert_false(engine("192.0.2.3", 21));
    assert_true(engine("192.0.2.4", 21));
}

static void files_of_all_contexts_are_one_list(void **state)
{
    (void)state;
    read_valid("TransferMMapFile /a\n"
               "<VirtualHost 192.0.2.2>\nTransferMMapFile /b\n</VirtualHost>\n"
               "<VirtualHost 192.0.2.3>\nTransferMMapFile /c\nTransferMMapFile /d\n</VirtualHost>\n"
               "<Global>\nTransferMMapFile /e\n</Global>\n");
    assert_int_equal(config.files.count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(config.files.items[i][1], 'a' + (int)i);
}

static void ports(void **state)
{
    (void)state;
    read_valid("<VirtualHost 192.0.2.2>\nTransferMMapEngine on\nport 2122\nPort 2123\n"
               "</VirtualHost>\n");
    assert_true(engine("192.0.2.2", 2122)); /* the first of two, as for the server */
    assert_false(engine("192.0.2.2", 2123));

    read_valid("<VirtualHost 192.0.2.2>\nTransferMMapEngine on\n</VirtualHost>\n"
               "<VirtualHost 192.0.2.3>\nTransferMMapEngine on\nPort 2122\n</VirtualHost>\n"
               "<Global>\nPort 2124\n</Global>\n"
               "Port 2125\n");
    assert_true(engine("192.0.2.2", 2124));
    assert_false(engine("192.0.2.2", 2125));
    assert_true(engine("192.0.2.3", 2122));

    read_valid("<VirtualHost 192.0.2.2>\nTransferMMapEngine on\nPort 0\n</VirtualHost>\n");
    assert_false(engine("192.0.2.2", 21)); /* 0: not served */
    assert_false(engine("192.0.2.2", 0));
    read_valid("<VirtualHost 192.0.2.2>\nTransferMMapEngine on\nPort -1\nPort\nPort 65536\n"
               "</VirtualHost>\n");
    assert_true(engine("192.0.2.2", 21));
}

static void wildcard_addresses(void **state)
{
    static const char *const any[] = {"0.0.0.0", "::", "[::]"};
    char text[256];

    (void)state;
    for (size_t i = 0; i < COUNT(any); i++) {
        (void)snprintf(text, sizeof text,
                       "<VirtualHost %s>\nTransferMMapEngine on\nPort 2122\n</VirtualHost>\n"
                       "<VirtualHost 192.0.2.2>\nPort 2122\n</VirtualHost>\n",
                       any[i]);
        read_valid(text);
        assert_true(engine("192.0.2.1", 2122));
        assert_true(engine("2001:db8::1", 2122));
        assert_false(engine("192.0.2.1", 2121));
        assert_false(engine("192.0.2.2", 2122)); /* an exact address has priority */
    }
}

static void default_server(void **state)
{
    (void)state;
    read_valid("Port 2121\nDefaultAddress 192.0.2.1\n"
               "<VirtualHost 192.0.2.2>\n"
               "DefaultServer on\nPort 2122\nTransferMMapEngine on\n"
               "</VirtualHost>\n"
               "<VirtualHost 192.0.2.3 192.0.2.4>\nPort 2123\n</VirtualHost>\n");
    assert_true(engine("192.0.2.9", 2122));
    assert_true(engine("192.0.2.9", 2123));
    assert_false(engine("192.0.2.3", 2123));
    assert_false(engine("192.0.2.1", 2121));
    assert_false(engine("192.0.2.9", 2121)); /* the one host on that port */
}

static void the_servers_own_address(void **state)
{
    (void)state;
    read_valid("Port 2121\nDefaultAddress 192.0.2.1 192.0.2.5\nTransferMMapEngine on\n"
               "<VirtualHost 0.0.0.0>\nPort 2121\n</VirtualHost>\n"
               "<VirtualHost 192.0.2.5>\nPort 2121\n</VirtualHost>\n"
               "<VirtualHost 192.0.2.2>\nPort 2122\n</VirtualHost>\n");
    assert_true(engine("192.0.2.1", 2121));
    assert_false(engine("192.0.2.2", 2121));
    assert_true(engine("192.0.2.5", 2121)); /* in use by the server, so the host doesn't get it */
    assert_false(engine("192.0.2.2", 2122));
    assert_false(engine("192.0.2.9", 2122)); /* the one host on that port */
    assert_true(engine("192.0.2.9", 2123));
}

/* As in the server: if its first address is in use, the whole host is dropped, DefaultServer or
 * not. */
static void a_host_whose_address_is_taken(void **state)
{
    (void)state;
    read_valid("Port 2121\nDefaultAddress 192.0.2.1\n"
               "<VirtualHost 192.0.2.2>\nPort 2122\n</VirtualHost>\n"
               "<VirtualHost 192.0.2.2 192.0.2.3>\n"
               "Port 2122\nDefaultServer on\nTransferMMapEngine on\n"
               "</VirtualHost>\n"
               "<VirtualHost 192.0.2.4 192.0.2.2>\n"
               "Port 2122\nTransferMMapEngine on\n"
               "</VirtualHost>\n");
    assert_false(engine("192.0.2.2", 2122));
    assert_false(engine("192.0.2.3", 2122));
    assert_true(engine("192.0.2.4", 2122));
    assert_false(engine("192.0.2.9", 2199));
}

/* Without a Port of the server, the file need not have all hosts. */
static void a_file_of_some_hosts_only(void **state)
{
    (void)state;
    read_valid("TransferMMapEngine on\n"
               "<VirtualHost 192.0.2.2>\nPort 2122\nTransferMMapEngine off\n</VirtualHost>\n");
    assert_false(engine("192.0.2.2", 2122));
    assert_true(engine("192.0.2.3", 2122));
}

static void hosts_by_name(void **state)
{
    (void)state;
    read_valid("<VirtualHost localhost>\nTransferMMapEngine on\n</VirtualHost>\n");
    assert_true(engine("127.0.0.1", 21));
    assert_false(engine("127.0.0.2", 21));

    read_text("\n<VirtualHost no-such-host.invalid 192.0.2.2>\nTransferMMapEngine on\n"
              "</VirtualHost>\n");
    assert_valid();
    assert_true(engine("192.0.2.2", 21));
    assert_int_equal(config.notes.count, 1);
    assert_message(config.notes.items[0], 2, "'no-such-host.invalid' can't be resolved");
}

static void names_are_not_looked_up_without_need(void **state)
{
    (void)state;
    read_valid("TransferMMapEngine on\n<VirtualHost no-such-host.invalid>\nTransferMMapEngine on\n"
               "</VirtualHost>\n");
    assert_true(engine("192.0.2.2", 21));
    assert_int_equal(config.binding_count, 0);
}

/* ---- what is passed over ---- */

static void the_servers_own_directives(void **state)
{
    (void)state;
    read_valid("ServerName \"a \\\"b\\\" c\"\n"
               "PidFile /run/proftpd.pid\n"
               "DenyFilter \\*.*/\n"
               "DisplayLogin \"not closed\n"
               "TransferLog none\nTransferRate RETR 100\nTransferPriority 5\nTransferOptions X\n"
               "UseSendfile off\n"
               "<Limit LOGIN>\nDenyAll\n</Limit>\n"
               "<Directory \"/a > b\">\nHideNoAccess on\n<Limit ALL>\nDenyAll\n</Limit>\n"
               "</Directory> # a comment\n"
               "<Anonymous ~ftp >\nUser ftp\nPort 5\n<Directory *>\n<Limit WRITE>\nDenyAll\n"
               "</limit>\n</DIRECTORY>\n</Anonymous>\n"
               "<Class lan>\nFrom 192.0.2.0/24\n</Class>\n"
               "<IfClass lan>\nMaxClients 3\n</IfClass>\n"
               "<IfUser a>\n</IfUser>\n<IfGroup b>\n</IfGroup>\n<IfAuthenticated>\n"
               "</IfAuthenticated>\n<IfVersion >= 1.3.8>\n</IfVersion>\n"
               "TransferMMapEngine on\n");
    assert_true(config.engine);
}

static void a_line_of_thousands_of_words(void **state)
{
    char *text = malloc(64 * KIB);

    (void)state;
    assert_non_null(text);
    memset(text, ' ', 64 * KIB);
    for (size_t i = 0; i < 64 * KIB; i += 2)
        text[i] = 'x';
    text[64 * KIB - 1] = '\0';
    read_valid(text);
    free(text);
}

static void conditions(void **state)
{
    (void)state;
    read_valid("<IfModule mod_tls.c>\n<VirtualHost 192.0.2.2>\n"
               "<IfModule mod_sftp.c>\nPort 2222\n</IfModule>\n"
               "<IfModule mod_xfer_mmap.c>\nTransferMMapEngine on\n</IfModule>\n"
               "</VirtualHost>\n</IfModule>\n"
               "<IfModule !mod_tls.c>\nTransferMMapEngine on\n<Global\n</Nonsense>\n"
               "MMapWrong\n</IfModule>\n"
               "<IfDefine X>\nTransferMMapEngine on\n<IfDefine !Y>\n</IfDefine>\n"
               "TransferMMapEngine on\n</IfDefine>\n"
               "<IfDefine !X>\nTransferMMapMinSize 1\n</IfDefine>\n");
    assert_true(engine("192.0.2.2", 2222));
    assert_false(engine("192.0.2.3", 21));
    assert_int_equal(config.min_size, 1);
}

static void slips_of_the_pen(void **state)
{
    static const char *const wrong[] = {
        "TransferMMapEngin",   "TransferMapEngine", "TransferMMapEngines", "TransfreMMapEngine",
        "TransferMMapReadSiz", "TransferMapFile",   "TransferMapLog",      "MMapFile",
        "xfer_mmap",           "transfermapLOCK",
    };
    static const char *const right[] = {
        "TransferLog",      "TransferRate",   "TransferOptions",
        "TransferPriority", "File",           "Log",
        "Engine",           "TransferXYZLog", "T",
    };
    char text[64];

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        (void)snprintf(text, sizeof text, "Port 21\n%s on\n", wrong[i]);
        assert_wrong(&(struct wrong){
            text, 2, ": unknown directive; expected one of TransferMMapEngine, TransferMMapFile"});
    }
    for (size_t i = 0; i < COUNT(right); i++) {
        (void)snprintf(text, sizeof text, "%s on\n", right[i]);
        read_valid(text);
    }
}

static void ours_where_it_does_not_belong(void **state)
{
    static const char *const sections[] = {"Anonymous ~ftp", "Directory /", "Limit READ",
                                           "IfUser a",       "Class a",     "IfAuthenticated"};
    char text[256];

    (void)state;
    for (size_t i = 0; i < COUNT(sections); i++) {
        int length = (int)strcspn(sections[i], " ");
        (void)snprintf(text, sizeof text, "<%s>\nTransferMMapEngine on\n</%.*s>\n", sections[i],
                       length, sections[i]);
        read_text(text);
        assert_int_equal(config.errors.count, 1);
        (void)snprintf(text, sizeof text, "TransferMMapEngine: not allowed in <%.*s>; move it out",
                       length, sections[i]);
        assert_message(config.errors.items[0], 2, text);
    }
    assert_wrong(&(struct wrong){"<VirtualHost a>\n<Anonymous ~>\n<IfModule mod_xfer_mmap.c>\n"
                                 "TransferMMapFile /a\n</IfModule>\n</Anonymous>\n</VirtualHost>\n",
                                 4, "not allowed in <Anonymous>"});
}

static void a_global_section_in_a_host(void **state)
{
    (void)state;
    read_valid("<VirtualHost 192.0.2.2>\n<Global>\nTransferMMapEngine on\n</Global>\nPort 2122\n"
               "TransferMMapEngine off\n</VirtualHost>\n");
    assert_true(engine("192.0.2.3", 21));
    assert_false(engine("192.0.2.2", 2122));
}

static void what_the_file_defines(void **state)
{
    (void)state;
    read_valid(
        "<IfDefine X>\nPort 2121\n</IfDefine>\nDefine X\n<IfDefine !X>\nPort 2122\n</IfDefine>\n"
        "<IfDefine X>\nTransferMMapMinSize 1\n</IfDefine>\n<IfDefine x>\nNoX\n</IfDefine>\n");
    assert_false(config.whole);
    assert_int_equal(config.min_size, 1);
}

static void versions(void **state)
{
    (void)state;
    read_valid(
        "<IfVersion >= 1.3.6>\n<VirtualHost 192.0.2.2>\nTransferMMapEngine on\n</VirtualHost>\n"
        "</IfVersion>\n<IfVersion < 1.3.6>\nTransferMMapEngine on\n</IfVersion>\n"
        "<IfVersion 1.2.10>\nTransferMMapEngine on\n</IfVersion>\n");
    assert_true(engine("192.0.2.2", 21));
    assert_false(engine("192.0.2.3", 21));
    assert_wrong(&(struct wrong){"<IfVersion>\n</IfVersion>\n", 1, "expected a version"});
}

/* ---- variables ---- */

static void variables(void **state)
{
    (void)state;
    assert_int_equal(setenv("XM_PORT", "2122", 1), 0);
    assert_int_equal(setenv("XM_SAYS", "TransferMMapFile", 1), 0);
    assert_int_equal(setenv("XM_NAMES", "%{env:XM_PORT}", 1), 0);
    read_valid("<VirtualHost \"192.0.2.2\">\nPort %{env:XM_PORT}\nTransferMMapEngine on\n"
               "</VirtualHost>\n"
               "%{env:XM_SAYS} \"/a %{env:XM_PORT}/%{env:XM_NAMES}%{env:\" /b#%{env:XM_PORT}}\n");
    assert_true(engine("192.0.2.2", 2122));
    assert_false(engine("192.0.2.2", 21));
    assert_int_equal(config.files.count, 2);
    assert_string_equal(config.files.items[0], "/a 2122/2122%{env:");
    assert_string_equal(config.files.items[1], "/b#2122}");
    assert_int_equal(config.variables.count, 6);
    assert_message(config.variables.items[0], 2, "%{env:XM_PORT} is taken from this environment");
}

static void variables_that_are_not_set(void **state)
{
    (void)state;
    assert_int_equal(setenv("XM_SELF", "x%{env:XM_SELF}", 1), 0);
    assert_int_equal(unsetenv("XM_NONE"), 0);
    read_text(
        "TransferMMapFile /a%{env:XM_NONE}\nSQLConnectInfo %{env:XM_NONE}\n"
        "<Directory %{env:XM_NONE}>\n</Directory>\n"
        "<IfDefine !%{env:XM_NONE}>\n<IfModule !%{env:XM_NONE}>\nPort %{env:XM_NONE}\n</IfModule>\n"
        "</IfDefine>\n");
    assert_valid();
    assert_string_equal(config.files.items[0], "/a");
    assert_int_equal(config.variables.count, 0);
    assert_int_equal(config.notes.count, 3);
    assert_message(config.notes.items[0], 1, "%{env:XM_NONE} is not set");
    assert_message(config.notes.items[1], 5, "%{env:XM_NONE} is not set");
    assert_message(config.notes.items[2], 6, "%{env:XM_NONE} is not set");
    assert_wrong(&(struct wrong){"TransferMMapFile /%{env:XM_SELF}\n", 1, "nested too deep"});
}

/* ---- Include ---- */

/* "Include" of a path in the tests' directory. */
static const char *include(const char *name)
{
    static char line[PAGE];
    char directory[PAGE / 2];

    assert_non_null(getcwd(directory, sizeof directory));
    (void)snprintf(line, sizeof line, "Include %s/%s\n", directory, name);
    return line;
}

static void make_line(const char *name, const char *line)
{
    make_text(name, line, strlen(line));
}

static void included_files(void **state)
{
    static const char *const expected[] = {"/before", "/a", "/after"};
    char text[PAGE];

    (void)state;
    make_line("a.conf", "TransferMMapFile /a\nPort 2122\n");
    (void)snprintf(text, sizeof text,
                   "TransferMMapFile /before\n<VirtualHost 192.0.2.2>\n%s"
                   "TransferMMapEngine on\n</VirtualHost>\nTransferMMapFile /after\n",
                   include("a.conf"));
    read_valid(text);
    assert_true(engine("192.0.2.2", 2122));
    assert_int_equal(config.files.count, COUNT(expected));
    for (size_t i = 0; i < COUNT(expected); i++)
        assert_string_equal(config.files.items[i], expected[i]);
}

static void an_included_file_of_another_one(void **state)
{
    (void)state;
    make_line("b.conf", "TransferMMapEngine on\n");
    make_line("a.conf", include("b.conf"));
    read_valid(include("a.conf"));
    assert_true(config.engine);
}

static void included_directories_and_wildcards(void **state)
{
    (void)state;
    assert_int_equal(mkdir("d", 0755), 0);
    assert_int_equal(mkdir("d/sub", 0755), 0);
    make_line("d/a.conf", "TransferMMapFile /a\n");
    make_line("d/b.conf~", "TransferMMapFile /b\n");
    make_line("d/.c.conf", "TransferMMapFile /c\n");
    make_line("d/sub/d.conf", "TransferMMapFile /d\n");

    read_valid(include("d"));
    assert_int_equal(config.files.count, 3);
    read_valid(include("d/"));
    assert_int_equal(config.files.count, 3);
    read_valid(include("d/*"));
    assert_int_equal(config.files.count, 2);
    read_valid(include("d/*.conf"));
    assert_int_equal(config.files.count, 1);
    assert_string_equal(config.files.items[0], "/a");
    read_valid(include("d/[x-z].conf"));
    assert_int_equal(config.files.count, 0);
}

static void include_options(void **state)
{
    (void)state;
    make_line("d/.e.swp", "TransferMMapFile /e\n");
    make_line("d/f.conf.swx", "TransferMMapFile /f\n");
    char text[PAGE];
    (void)snprintf(text, sizeof text, "IncludeOptions IgnoreTempFiles\n%s", include("d"));
    read_valid(text);
    assert_int_equal(config.files.count, 3); /* the server's patterns match no hidden file */
    assert_string_equal(config.files.items[0], "/c");
    assert_string_equal(config.files.items[1], "/e");
    assert_string_equal(config.files.items[2], "/a");
    assert_int_equal(unlink("d/.e.swp") + unlink("d/f.conf.swx"), 0);

    (void)unlink("l");
    assert_int_equal(symlink("d", "l"), 0);
    (void)snprintf(text, sizeof text, "%sIncludeOptions AllowSymlinks\n", include("l/*.conf"));
    read_text(text);
    assert_valid();
    assert_int_equal(config.files.count, 0);
    assert_int_equal(config.notes.count, 1);
    assert_message(config.notes.items[0], 1, "/l/*.conf: ProFTPD follows no symbolic link");
    read_text(include("l"));
    assert_int_equal(config.files.count, 0);
    assert_int_equal(config.notes.count, 1);
    read_text(include("l/"));
    assert_int_equal(config.files.count, 0);
    (void)snprintf(text, sizeof text, "IncludeOptions AllowSymlinks\n%s", include("l/*.conf"));
    read_valid(text);
    assert_int_equal(config.files.count, 1);
}

static void errors_in_an_included_file(void **state)
{
    (void)state;
    make_line("a.conf", "\nTransferMMapEngine maybe\n<Global>\n");
    read_text(include("a.conf"));
    assert_false(config.valid);
    assert_int_equal(config.errors.count, 2);
    assert_non_null(strstr(config.errors.items[0], "/a.conf:2: TransferMMapEngine: expected"));
    assert_non_null(strstr(config.errors.items[1], "/a.conf:3: <Global>: not closed"));

    make_line("a.conf", "</Global>\n");
    read_text("<Global>\n");
    char text[PAGE];
    (void)snprintf(text, sizeof text, "<Global>\n%s</Global>\n", include("a.conf"));
    read_text(text);
    assert_int_equal(config.errors.count, 1);
    assert_non_null(strstr(config.errors.items[0], "/a.conf:1: </Global>: closes a section"));

    make_line("a.conf", "\n\nTransferMMapEngine on\n");
    (void)snprintf(text, sizeof text, "%sTransferMMapEngine off\n", include("a.conf"));
    read_text(text);
    assert_int_equal(config.errors.count, 1);
    assert_message(config.errors.items[0], 2, "/a.conf:3 already; keep one");
}

static void an_included_file_that_others_may_write(void **state)
{
    (void)state;
    make_line("a.conf", "TransferMMapEngine on\n");
    assert_int_equal(chmod("a.conf", 0666), 0);
    read_text(include("a.conf"));
    assert_int_equal(config.errors.count, 1);
    assert_non_null(strstr(config.errors.items[0], "/a.conf:1: the file is writable by others"));
    assert_false(config.engine);
}

static void a_file_that_is_not_there(void **state)
{
    (void)state;
    read_text(include("nothing.conf"));
    assert_valid(); /* the server accepts it, too */
    assert_int_equal(config.notes.count, 1);
    assert_message(config.notes.items[0], 1, "/nothing.conf: No such file");
    assert_wrong(&(struct wrong){"Include a.conf\n", 1, "'a.conf' must be an absolute path"});
    assert_wrong(&(struct wrong){"Include\n", 1, "'' must be an absolute path"});
}

static void loops(void **state)
{
    (void)state;
    read_text(include("preload.conf"));
    assert_int_equal(config.errors.count, 1);
    assert_message(config.errors.items[0], 1, "/preload.conf leads back to itself");

    make_line("a.conf", include("b.conf"));
    make_line("b.conf", include("link.conf"));
    (void)unlink("link.conf");
    assert_int_equal(symlink("a.conf", "link.conf"), 0);
    read_text(include("a.conf"));
    assert_int_equal(config.errors.count, 1);
    assert_non_null(strstr(config.errors.items[0], "/b.conf:1: Include: "));
    assert_non_null(strstr(config.errors.items[0], "/link.conf leads back to itself"));
}

static void nesting_has_an_end(void **state)
{
    char name[32], text[PAGE];

    (void)state;
    make_line("n16.conf", "TransferMMapEngine on\n");
    for (int i = 15; i >= 0; i--) {
        (void)snprintf(name, sizeof name, "n%d.conf", i + 1);
        (void)snprintf(text, sizeof text, "%s", include(name));
        (void)snprintf(name, sizeof name, "n%d.conf", i);
        make_line(name, text);
    }
    read_valid(include("n1.conf"));
    assert_true(config.engine);
    read_text(include("n0.conf"));
    assert_int_equal(config.errors.count, 1);
    assert_non_null(strstr(config.errors.items[0], "/n15.conf:1: Include: "));
    assert_non_null(strstr(config.errors.items[0], "/n16.conf is nested more than"));
}

static void nothing_is_read_where_it_does_not_count(void **state)
{
    char text[PAGE];

    (void)state;
    make_line("a.conf", "TransferMMapEngine on\n");
    (void)snprintf(text, sizeof text, "<IfModule !a.c>\n%s</IfModule>\n", include("a.conf"));
    read_valid(text);
    assert_false(config.engine);
    (void)snprintf(text, sizeof text, "<Anonymous ~ftp>\n%s</Anonymous>\n", include("a.conf"));
    read_valid(text);
    assert_false(config.engine);
}

static void no_descriptor_stays_open(void **state)
{
    int next = dup(0);

    (void)state;
    assert_int_equal(close(next), 0);
    make_line("a.conf", "TransferMMapEngine on\n");
    read_valid(include("a.conf"));
    read_text("<VirtualHost localhost no-such-host.invalid>\nTransferMMapEngine on\n"
              "</VirtualHost>\nInclude /etc/hosts*\nInclude /nowhere\n");
    int again = dup(0);
    assert_int_equal(again, next);
    assert_int_equal(close(again), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, forget_config)
    static const struct CMUnitTest tests[] = {
        TEST(a_plain_file_is_for_all_hosts),
        TEST(one_host_by_address_and_port),
        TEST(a_host_of_several_addresses),
        TEST(host_comes_before_server_and_server_before_global),
        TEST(files_of_all_contexts_are_one_list),
        TEST(ports),
        TEST(wildcard_addresses),
        TEST(default_server),
        TEST(the_servers_own_address),
        TEST(a_host_whose_address_is_taken),
        TEST(a_file_of_some_hosts_only),
        TEST(hosts_by_name),
        TEST(names_are_not_looked_up_without_need),
        TEST(the_servers_own_directives),
        TEST(a_line_of_thousands_of_words),
        TEST(conditions),
        TEST(slips_of_the_pen),
        TEST(ours_where_it_does_not_belong),
        TEST(a_global_section_in_a_host),
        TEST(what_the_file_defines),
        TEST(versions),
        TEST(variables),
        TEST(variables_that_are_not_set),
        TEST(included_files),
        TEST(an_included_file_of_another_one),
        TEST(included_directories_and_wildcards),
        TEST(include_options),
        TEST(errors_in_an_included_file),
        TEST(an_included_file_that_others_may_write),
        TEST(a_file_that_is_not_there),
        TEST(loops),
        TEST(nesting_has_an_end),
        TEST(nothing_is_read_where_it_does_not_count),
        TEST(no_descriptor_stays_open),
    };

    return cmocka_run_group_tests(tests, unit_enter, unit_leave);
}
