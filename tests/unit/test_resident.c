/*
 * The thread goes on until its process ends: so each of these is a story in a child of its own,
 * which is the master.
 */
#include "resident.h"

#include "critical.h"
#include "guard.h"
#include "log.h"
#include "notice.h"
#include "preload.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK = 20000,    /* us, more than the grain of a file's times */
    PATIENCE = 10000 /* ms, far more than anything here takes */
};

/* Until it is so; ends the story if it never is. */
#define await(condition)                                                                           \
    do {                                                                                           \
        bool so = (condition);                                                                     \
        for (int waited = 0; !so && waited < PATIENCE; waited++) {                                 \
            (void)usleep(1000);                                                                    \
            so = (condition);                                                                      \
        }                                                                                          \
        in_story_at(so, #condition, __FILE__, __LINE__);                                           \
    } while (false)

static int enter(void **state)
{
    return unit_enter(state) == 0 && chmod(".", 0755) == 0 ? 0 : -1;
}

static int begin(void **state)
{
    (void)state;
    (void)unlink("log");
    make_text("log", "", 0);
    log_to(LOG_TO_FILE, "log");
    log_as(geteuid());
    make_file("a", 3 * PAGE + 100);
    make_file("b", 10);
    make_file("c", PAGE);
    return 0;
}

/* ---- a master ---- */

static struct config directives = {.lock = true, .max_memory = {.percent = 50}};

/* List these names and patterns, up to NULL. */
static void want(const char *pattern, ...)
{
    char *items[32];
    va_list patterns;

    directives.files = (struct config_list){items, 0};
    va_start(patterns, pattern);
    for (const char *next = pattern; next != NULL; next = va_arg(patterns, const char *))
        items[directives.files.count++] = (char *)(uintptr_t)next;
    va_end(patterns);
    resident_want(&directives);
}

static void start(void)
{
    guard_start();
    in_story(resident_start(geteuid()));
}

static bool is_found(const char *name)
{
    struct stat64 status;
    struct preload *file = stat64(name, &status) == 0 ? preload_find(&status) : NULL;

    preload_release(file);
    return file != NULL;
}

static const char *memory_of(const char *name)
{
    struct stat64 status;
    struct preload *file = stat64(name, &status) == 0 ? preload_find(&status) : NULL;

    in_story(file != NULL);
    const char *memory = preload_mapping(file)->memory;
    preload_release(file);
    return memory;
}

static long locked(void)
{
    return status_number(getpid(), "VmLck");
}

/* A session, forked as the library does it. @return whether its story came to an end */
static bool in_session(void (*story)(void))
{
    int status = -1;
    struct critical section = critical_enter();
    log_before_fork();
    pid_t child = fork();

    log_after_fork();
    critical_leave(&section);
    if (child == 0) {
        resident_forked();
        story();
        _exit(0);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static void tell(void (*story)(void))
{
    assert_int_equal(ending_of(story), 0);
}

/* ---- taking in ---- */

static void take_in(void)
{
    size_t before = descriptors_of("self");
    char task[64] = "";
    struct dirent *entry;

    want("a", "[bc]", NULL); /* before there is a thread, as in a server that starts */
    start();
    await(logged("listed files: 3 in memory"));
    in_story(logged("0 not in memory"));
    in_story(is_found("a") && is_found("b") && is_found("c") && !is_found("log"));
    in_story(mapped_bytes("a") == 4 * PAGE && mapped_bytes("b") == PAGE);
    in_story(locked() == 6 * PAGE / KIB);
    in_story(memcmp(memory_of("b") + 1, (const char[]){(char)content(1)}, 1) == 0);

    in_story(descriptors_of("self") == before);
    DIR *tasks = opendir("/proc/self/task");
    in_story(tasks != NULL);
    while ((entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != getpid())
            (void)snprintf(task, sizeof task, "self/task/%.16s", entry->d_name);
    }
    (void)closedir(tasks);
    /* valgrind has its own; and the log has its line before it is closed */
    await(under_valgrind() || descriptors_of(task) == 0);
}

static void files_are_taken_in(void **state)
{
    (void)state;
    tell(take_in);
}

static volatile sig_atomic_t handled_by;

static void on_signal(int number)
{
    (void)number;
    handled_by = gettid();
}

static void signal_the_process(void)
{
    start();
    want("a", NULL);
    await(is_found("a"));
    (void)signal(SIGHUP, on_signal);
    sigset_t hangup;
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    in_story(sigprocmask(SIG_BLOCK, &hangup, NULL) == 0);
    in_story(kill(getpid(), SIGHUP) == 0);
    (void)usleep(TICK); /* the thread could take it */
    in_story(handled_by == 0);
    in_story(sigprocmask(SIG_UNBLOCK, &hangup, NULL) == 0);
    in_story(handled_by == getpid());
}

static void signals_are_for_the_server(void **state)
{
    (void)state;
    tell(signal_the_process);
}

static void *log_on_and_on(void *unused)
{
    for (;;)
        log_line("a line");
    return unused;
}

static void fork_beside_a_logger(void)
{
    pthread_t logger;
    int status = 0;

    log_to(LOG_TO_FILE, "/dev/null");
    in_story(pthread_create(&logger, NULL, log_on_and_on, NULL) == 0);
    for (int i = 0; status == 0 && i < 200; i++) {
        struct critical section = critical_enter();
        log_before_fork();
        pid_t child = fork();
        log_after_fork();
        critical_leave(&section);
        if (child == 0) {
            time_t now = i;
            (void)alarm(5);
            (void)localtime_r(&now, &(struct tm){.tm_year = 0});
            _exit(0);
        }
        in_story(child > 0 && waitpid(child, &status, 0) == child);
    }
    in_story(status == 0);
}

static void a_session_can_tell_the_time(void **state)
{
    (void)state;
    tell(fork_beside_a_logger);
}

static void *wait_at(void *barrier)
{
    (void)pthread_barrier_wait(barrier);
    return NULL;
}

static void has_no_company(void)
{
    in_story(!resident_is_only_company());
}

static void count_threads(void)
{
    pthread_barrier_t barrier;
    pthread_t other;

    in_story(!resident_is_only_company()); /* nobody at all */
    start();
    in_story(resident_is_only_company() && resident_runs());
    in_story(pthread_barrier_init(&barrier, NULL, 2) == 0);
    in_story(pthread_create(&other, NULL, wait_at, &barrier) == 0);
    in_story(!resident_is_only_company());
    (void)pthread_barrier_wait(&barrier);
    in_story(pthread_join(other, NULL) == 0);
    await(resident_is_only_company()); /* the kernel forgets it a little later */
    in_story(in_session(has_no_company));
}

static void one_thread_and_no_more(void **state)
{
    (void)state;
    if (under_qemu_user())
        skip(); /* it has a thread of its own in each process */
    tell(count_threads);
}

static void *start_at(void *barrier)
{
    (void)pthread_barrier_wait(barrier);
    in_story(resident_start(geteuid()));
    return NULL;
}

static void start_in_two_threads(void)
{
    pthread_barrier_t barrier;
    pthread_t other;

    guard_start();
    in_story(pthread_barrier_init(&barrier, NULL, 2) == 0);
    in_story(pthread_create(&other, NULL, start_at, &barrier) == 0);
    (void)start_at(&barrier);
    in_story(pthread_join(other, NULL) == 0);
    await(resident_is_only_company());
}

/* As of a program of which two threads listen at once. */
static void two_threads_that_start_it_have_one(void **state)
{
    (void)state;
    if (under_qemu_user())
        skip(); /* it has a thread of its own in each process */
    for (int i = 0; i < 100; i++)
        tell(start_in_two_threads);
}

/* As a server that listens, and then goes into the background and listens there. */
static void take_in_what_the_parent_had(void)
{
    in_story(!resident_runs() && is_found("a") && locked() == 0);
    want("a", "b", NULL);
    start();
    await(logged("listed files: 2 in memory"));
    in_story(is_found("a") && is_found("b") && locked() == 5 * PAGE / KIB);
    in_story(mapped_bytes("a") == 4 * PAGE);
}

static void listen_twice(void)
{
    want("a", NULL);
    start();
    await(logged("listed files: 1 in memory"));
    in_story(in_session(take_in_what_the_parent_had));
}

static void a_child_that_listens_takes_in_anew(void **state)
{
    (void)state;
    if (under_qemu_user())
        skip(); /* it ends when the child of a process with threads starts one */
    tell(listen_twice);
}

/* ---- a new list ---- */

static void change_the_list(void)
{
    start();
    want("a", "b", NULL);
    await(logged("listed files: 2 in memory"));
    const char *a = memory_of("a"), *b = memory_of("b");
    (void)usleep(TICK);
    write_content("b", 0, 2 * PAGE);
    in_story(!is_found("b"));
    want("c", "b", "a", NULL);
    await(logged("listed files: 3 in memory"));
    in_story(memory_of("a") == a); /* without a gap */
    in_story(memory_of("b") != b && is_found("c"));
    in_story(locked() == (4 + 2 + 1) * PAGE / KIB);
    want("a", NULL);
    await(logged("listed files: 1 in memory"));
    in_story(memory_of("a") == a && !is_found("b") && !is_found("c"));
    in_story(mapped_bytes("b") == 0 && mapped_bytes("c") == 0);
    in_story(locked() == 4 * PAGE / KIB);
    want(NULL);
    await(!is_found("a"));
    await(mapped_bytes("a") == 0 && locked() == 0);
}

static void a_new_list(void **state)
{
    (void)state;
    tell(change_the_list);
}

static void change_the_list_often(void)
{
    size_t before = descriptors_of("self");

    start();
    for (int i = 0; i < 100; i++) {
        want("*", NULL);
        if (i % 10 == 0)
            (void)usleep(TICK);
        want("a", "c", NULL);
    }
    want("b", "c", NULL);
    await(is_found("b") && is_found("c") && !is_found("a"));
    await(mapped_bytes("a") == 0 && locked() == 2 * PAGE / KIB);
    in_story(mapped_bytes("b") == PAGE && mapped_bytes("c") == PAGE);
    in_story(descriptors_of("self") == before);
}

static void a_hundred_lists_leak_nothing(void **state)
{
    (void)state;
    tell(change_the_list_often);
}

/* ---- files that change ---- */

static void change_files(void)
{
    start();
    want("a", "b", "c", "new", NULL);
    await(logged("listed files: 3 in memory"));
    in_story(logged("new: No such file"));
    (void)usleep(TICK);
    write_content("a", 0, 5 * PAGE); /* in place */
    make_file("replacement", 2 * PAGE);
    in_story(rename("replacement", "b") == 0 && unlink("c") == 0);
    make_file("new", PAGE);
    in_story(!is_found("a") && !is_found("b"));
    notice_send("a");
    notice_send("/chroot/b");
    notice_send("c");
    notice_send("new");
    await(is_found("a") && is_found("b") && is_found("new"));
    await(logged("c: No such file"));
    await(locked() == (5 + 2 + 1) * PAGE / KIB);
    in_story(mapped_bytes("a") == 5 * PAGE && mapped_bytes("b") == 2 * PAGE);
    in_story(logged("a has changed and is taken in anew"));
}

static void changed_files_are_taken_in(void **state)
{
    (void)state;
    tell(change_files);
}

/* As a mirror is rotated: nobody opens what is gone, and nobody has to. */
static void remove_files(void)
{
    start();
    want("a", "b", NULL);
    await(logged("listed files: 2 in memory"));
    in_story(locked() == (4 + 1) * PAGE / KIB && unlink("a") == 0);
    notice_wake(); /* or a minute later */
    await(logged("a: No such file"));
    await(locked() == PAGE / KIB);
    in_story(is_found("b") && !logged("a has changed"));
    make_file("a", 2 * PAGE);
    notice_wake();
    await(is_found("a") && locked() == (2 + 1) * PAGE / KIB);
}

static void files_that_are_gone_are_let_go(void **state)
{
    (void)state;
    tell(remove_files);
}

/* As an archive is rotated: the same file, listed under another name, and changed by the rename. */
static void rename_files(void)
{
    start();
    want("a", "b", "c", NULL);
    await(logged("listed files: 3 in memory"));
    (void)usleep(TICK);
    make_file("new", 2 * PAGE);
    in_story(rename("b", "c") == 0 && rename("a", "b") == 0 && rename("new", "a") == 0);
    notice_send("b");
    await(is_found("a") && is_found("b") && is_found("c"));
    await(locked() == (2 + 4 + 1) * PAGE / KIB);
    want("c", "b", "a", NULL);
    want(NULL);
    await(!is_found("a") && !is_found("b") && !is_found("c"));
    await(mapped_bytes("a") + mapped_bytes("b") + mapped_bytes("c") == 0);
}

static void renamed_files_are_taken_in(void **state)
{
    (void)state;
    tell(rename_files);
}

/* ---- what can't be kept ---- */

static void list_oddities(void)
{
    start();
    want("missing", "directory", "fifo", "loop", "empty", "nothing*", "a", "soft", "hard", "./a",
         NULL);
    await(logged("listed files: 1 in memory"));
    in_story(logged("missing: No such file"));
    in_story(logged("directory: is no regular file"));
    in_story(logged("fifo: is no regular file"));
    in_story(logged("loop: Too many levels"));
    in_story(logged("nothing*: No such file"));
    in_story(is_found("a") && is_found("hard") && !is_found("empty"));
    in_story(mapped_bytes("a") == 4 * PAGE && locked() == 4 * PAGE / KIB);
}

static void what_is_no_file_is_told_and_the_others_are_kept(void **state)
{
    (void)state;
    assert_int_equal(mkdir("directory", 0755), 0);
    assert_int_equal(mkfifo("fifo", 0644), 0); /* does not wait for its other end */
    assert_int_equal(symlink("loop", "loop"), 0);
    assert_int_equal(symlink("a", "soft"), 0);
    assert_int_equal(link("a", "hard"), 0);
    make_file("empty", 0);
    tell(list_oddities);
    assert_int_equal(rmdir("directory"), 0);
    static const char *const others[] = {"fifo", "loop", "soft", "hard", "empty"};
    for (size_t i = 0; i < COUNT(others); i++)
        assert_int_equal(unlink(others[i]), 0);
}

static void list_what_leads_nowhere(void)
{
    start();
    want("nowhere/*", "a", NULL);
    await(logged("listed files: 1 in memory"));
    in_story(logged("30 not in memory") && logged("nowhere/29: No such file"));
    in_story(logged("more of the listed files") && !logged("nowhere/30: "));
}

static void of_many_some_are_named(void **state)
{
    char name[32];

    (void)state;
    assert_int_equal(mkdir("nowhere", 0755), 0);
    for (int i = 10; i < 40; i++) {
        (void)snprintf(name, sizeof name, "nowhere/%d", i);
        assert_int_equal(symlink("missing", name), 0);
    }
    tell(list_what_leads_nowhere);
}

static void list_by_pattern(void)
{
    start();
    want("x[1].iso", NULL);
    await(is_found("x[1].iso"));
    want("x\\[1].iso", NULL);
    await(logged("listed files: 1 in memory"));
    want("?.iso", NULL);
    await(logged("listed files: 2 in memory"));
    in_story(is_found("1.iso") && is_found("2.iso") && !is_found("x[1].iso") && !is_found("a"));
}

static void wildcards(void **state)
{
    (void)state;
    make_file("1.iso", PAGE);
    make_file("2.iso", PAGE);
    make_file("x[1].iso", PAGE);
    tell(list_by_pattern);
}

static void list_as_somebody(void)
{
    in_story(chmod("a", 0600) == 0 && chown("log", SOMEBODY, SOMEBODY) == 0);
    log_as(SOMEBODY);
    in_story(chown(".", SOMEBODY, SOMEBODY) == 0);
    in_story(resident_start(SOMEBODY));
    want("a", "b", NULL);
    await(logged("listed files: 1 in memory"));
    in_story(geteuid() == 0 && logged("a: Permission denied"));
    in_story(is_found("b") && !is_found("a"));
}

static void what_the_server_may_not_read_is_told(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    tell(list_as_somebody);
    assert_int_equal(chown(".", 0, 0), 0);
}

/* ---- memory ---- */

static void keep_without_lock(void)
{
    start();
    directives.lock = false;
    want("a", "b", NULL);
    await(logged("listed files: 2 in memory"));
    in_story(logged("0.0 MiB locked") && locked() == 0 && is_found("a"));
    const char *a = memory_of("a");
    directives.lock = true;
    want("a", "b", "c", NULL);
    await(logged("listed files: 3 in memory"));
    in_story(locked() == 6 * PAGE / KIB && memory_of("a") == a);
    directives.lock = false;
    want("a", NULL);
    await(logged("listed files: 1 in memory"));
    in_story(locked() == 0 && memory_of("a") == a);
}

static void locking_is_a_choice(void **state)
{
    (void)state;
    tell(keep_without_lock);
}

/* Given up in the middle, and no lock is forgotten. */
static void change_the_mind(void)
{
    start();
    for (int i = 0; i < 40; i++) {
        directives.lock = true;
        want("large", NULL);
        (void)usleep(50U * (unsigned)i);
        directives.lock = false;
        want("large", "a", NULL);
        await(is_found("a"));
        want("large", NULL);
        await(!is_found("a"));
        await(locked() == 0);
    }
}

static void what_was_given_up_is_unlocked(void **state)
{
    (void)state;
    make_file("large", (size_t)7 * MIB); /* a plain user may lock 8 */
    tell(change_the_mind);
    assert_int_equal(unlink("large"), 0);
}

static void keep_within_limits(void)
{
    start();
    directives.max_memory = (struct config_memory){.bytes = 4 * PAGE};
    want("c", "a", "b", NULL); /* in this order, and what fits */
    await(logged("listed files: 2 in memory"));
    in_story(logged("a: no room for it in TransferMMapMaxMemory") && logged("1 not in memory"));
    in_story(!logged("b: no room") && !logged("c: no room"));
    in_story(is_found("a") && mapped_bytes("a") == 4 * PAGE && locked() == 2 * PAGE / KIB);
    directives.max_memory = (struct config_memory){.bytes = MIB};
    want("a", "b", "c", NULL);
    await(locked() == 6 * PAGE / KIB);
}

static void no_more_memory_than_allowed(void **state)
{
    (void)state;
    tell(keep_within_limits);
}

static void keep_within_the_allowance(void)
{
    static const struct rlimit allowance = {4 * PAGE, 4 * PAGE};

    in_story(chown(".", SOMEBODY, SOMEBODY) == 0 || geteuid() != 0);
    in_story(chown("log", SOMEBODY, SOMEBODY) == 0 || geteuid() != 0);
    in_story(setrlimit(RLIMIT_MEMLOCK, &allowance) == 0);
    if (geteuid() == 0)
        become_somebody();
    log_as(geteuid());
    start();
    want("c", "a", "b", "small/*", NULL);
    await(logged("listed files: 8 in memory"));
    in_story(logged("4 listed files are read in but not locked") && logged("LimitMEMLOCK"));
    in_story(!logged("while it was read in") && mapped_bytes("a") == 4 * PAGE);
    in_story(locked() == 4 * PAGE / KIB); /* which two of the small ones take, 10 bytes each */
}

static void no_more_is_locked_than_allowed(void **state)
{
    static const char *const small[] = {"small/1", "small/2", "small/3", "small/4", "small/5"};

    (void)state;
    assert_int_equal(mkdir("small", 0755), 0);
    for (size_t i = 0; i < COUNT(small); i++)
        make_file(small[i], 10);
    tell(keep_within_the_allowance);
    if (geteuid() == 0)
        assert_int_equal(chown(".", 0, 0), 0);
}

/* ---- isolation ---- */

static const char *const secrets[] = {"owner", "group", "closed/open", "closed/deep/open"};

static void look_for_secrets(void)
{
    in_story(mapped_bytes("a") == 4 * PAGE && mapped_bytes("open/open") == PAGE);
    in_story(*(const unsigned char *)memory_of("a") == content(0));
    for (size_t i = 0; i < COUNT(secrets); i++) {
        in_story(mapped_bytes(secrets[i]) == 0);
        in_story(memory_of(secrets[i]) == NULL);
    }
    in_story(mapped_bytes("large") == 0 && memory_of("large") == NULL);
}

static void look_for_what_was_closed(void)
{
    in_story(mapped_bytes("a") == 4 * PAGE && mapped_bytes("open/open") == 0);
}

static void keep_secrets(void)
{
    start();
    want("a", "owner", "group", "open/open", "closed/open", "closed/deep/open", "large", NULL);
    await(logged("listed files: 7 in memory"));
    for (size_t i = 0; i < COUNT(secrets); i++)
        in_story(mapped_bytes(secrets[i]) == PAGE);
    in_story(in_session(look_for_secrets));

    in_story(chmod("open", 0700) == 0); /* which the files in it do not show */
    want("a", "open/open", NULL);
    await(logged("listed files: 2 in memory"));
    in_story(is_found("open/open") && in_session(look_for_what_was_closed));
}

static void sessions_inherit_what_everyone_may_read(void **state)
{
    (void)state;
    if (under_qemu_user())
        skip(); /* it passes over MADV_DONTFORK */
    assert_int_equal(mkdir("open", 0755), 0);
    assert_int_equal(mkdir("closed", 0755), 0);
    assert_int_equal(mkdir("closed/deep", 0755), 0);
    for (size_t i = 0; i < COUNT(secrets); i++)
        make_file(secrets[i], PAGE);
    make_file("open/open", PAGE);
    make_file("large", (size_t)4 * MIB + 1);
    assert_int_equal(chmod("owner", 0600), 0);
    assert_int_equal(chmod("group", 0640), 0);
    assert_int_equal(chmod("closed", 0750), 0);
    tell(keep_secrets);
    assert_int_equal(chmod("open", 0755), 0);
    assert_int_equal(unlink("large"), 0);
}

/* acl(5) as the kernel stores it: the owner may, user SOMEBODY may not, all others may. */
static const uint32_t acl[] = {2,          0x60001, UINT32_MAX, 2,       SOMEBODY,  0x40004,
                               UINT32_MAX, 0x40010, UINT32_MAX, 0x40020, UINT32_MAX};

static void look_for_the_file_with_an_acl(void)
{
    in_story(mapped_bytes("a") == 0 && mapped_bytes("b") == PAGE);
}

static void keep_with_an_acl(void)
{
    start();
    want("a", "b", NULL);
    await(logged("listed files: 2 in memory"));
    in_story(in_session(look_for_the_file_with_an_acl));
}

static void an_access_list_is_no_everyone(void **state)
{
    (void)state;
    if (under_qemu_user())
        skip(); /* it passes over MADV_DONTFORK */
    if (setxattr("a", "system.posix_acl_access", acl, sizeof acl, 0) == -1)
        skip(); /* a file system without them */
    tell(keep_with_an_acl);
}

/* ---- more files than a master can map ---- */

enum { MANY = 300, HERE = 256, INHERITED = 64 };

/* How many of the many are mapped by a process. */
static int many_in(pid_t process)
{
    char path[64], line[PAGE];
    int found = 0;
    FILE *maps;

    (void)snprintf(path, sizeof path, "/proc/%d/maps", process);
    maps = fopen(path, "re");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        found += strstr(line, "/many/") != NULL;
    if (maps != NULL)
        (void)fclose(maps);
    return found;
}

static void count_inherited(void)
{
    in_story(many_in(getpid()) == INHERITED - 1);
}

/* The children of a process, but for one of them; not those that have ended, and have no memory any
 * more. @return the last one */
static pid_t child_of(pid_t parent, pid_t but, int *children)
{
    pid_t child = 0;
    struct dirent *entry;
    DIR *processes = opendir("/proc");

    *children = 0;
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        pid_t process = atoi(entry->d_name);
        if (process <= 0 || process == but || status_number(process, "PPid") != parent ||
            status_number(process, "VmLck") == -1)
            continue;
        child = process;
        ++*children;
    }
    if (processes != NULL)
        (void)closedir(processes);
    return child;
}

/* How many keepers there are: orphans, which the test has adopted, as it is the master's parent. */
static bool has_keepers(int expected)
{
    int keepers;

    (void)child_of(getppid(), getpid(), &keepers);
    return keepers == expected;
}

/* @return 0: none, or more than one */
static pid_t only_keeper(void)
{
    int keepers;
    pid_t keeper = child_of(getppid(), getpid(), &keepers);

    return keepers == 1 ? keeper : 0;
}

/* To no kind of wait. */
static bool has_no_child(void)
{
    errno = 0;
    return waitpid(-1, NULL, WNOHANG | (int)__WALL) == -1 && errno == ECHILD;
}

static const char *name_of_many(int number)
{
    static char name[32];

    (void)snprintf(name, sizeof name, "many/%d", number);
    return name;
}

static int begin_many(void **state)
{
    (void)begin(state);
    (void)mkdir("many", 0755);
    for (int i = 0; i < MANY; i++)
        make_file(name_of_many(i), 100);
    return 0;
}

/* The keepers, which are orphans, become the test's children. */
static void adopt_keepers(void)
{
    if (under_qemu_user())
        skip(); /* it does not know PR_SET_CHILD_SUBREAPER */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, true), 0);
}

static int end_many(void **state)
{
    (void)state;
    (void)prctl(PR_SET_CHILD_SUBREAPER, false);
    return 0;
}

/* What takes libc's locks of locales and of messages: one that a thread of the parent's held it
 * would wait for, for ever. */
static void speak(void)
{
    (void)alarm(10);
    (void)strerror(ENOENT);
    (void)setlocale(LC_ALL, "C");
}

static void fork_while_the_list_is_taken_in(void)
{
    in_story(setlocale(LC_ALL, "C.UTF-8") != NULL);
    want("many/*", "many/absent", NULL);
    start();
    for (int i = 0; i < 50; i++)
        in_story(in_session(speak));
}

static void a_fork_catches_no_lock_of_libc(void **state)
{
    (void)state;
    if (under_qemu_user())
        skip(); /* a fork catches its own locks */
    for (int i = 0; i < 50; i++)
        tell(fork_while_the_list_is_taken_in);
}

/* All keepers of a master that has ended, the last of which ends now. @return how many were not
 * killed
 */
static int keepers_that_ended(int *killed)
{
    int ended = 0, status;
    pid_t keeper = 0;

    *killed = 0;
    for (int waited = 0; keeper != -1; waited++) {
        keeper = waitpid(-1, &status, WNOHANG);
        if (keeper == 0) {
            assert_true(waited < PATIENCE);
            (void)usleep(1000);
            continue;
        }
        ended += keeper > 0 && status == 0;
        *killed += keeper > 0 && status != 0;
    }
    return ended;
}

static void employ_keepers(void)
{
    char other[64];
    size_t before = descriptors_of("self");

    start();
    want("a", "many/*", NULL);
    await(logged("listed files: 301 in memory"));
    in_story(many_in(getpid()) == HERE - 1); /* "a" is the first */
    in_story(locked() == (HERE - 1 + 4) * PAGE / KIB);
    in_story(descriptors_of("self") == before);
    in_story(in_session(count_inherited));

    pid_t keeper = only_keeper(), next = 0;
    in_story(keeper > 0 && many_in(keeper) >= MANY - HERE + 1);
    in_story(status_number(keeper, "VmLck") == (MANY - HERE + 1) * PAGE / KIB);
    (void)snprintf(other, sizeof other, "%d", keeper);
    in_story(under_valgrind() || descriptors_of(other) == 1); /* its end of the line */
    in_story(has_no_child());

    in_story(kill(keeper, SIGKILL) == 0);
    await(has_keepers(0));
    in_story(!logged("for want of a process"));
    notice_wake();
    await(logged("for want of a process: it was killed"));
    want("b", "many/*", NULL);
    await((next = only_keeper()) != keeper && next > 0);
    await(status_number(next, "VmLck") == (MANY - HERE + 1) * PAGE / KIB);
    want("b", "a", "many/*", NULL); /* the next one is forked while this one is there */
    await((keeper = only_keeper()) != next && keeper > 0);
    await(status_number(keeper, "VmLck") == (MANY - HERE + 2) * PAGE / KIB);
    in_story(has_no_child());
    want("a", "b", "c", NULL);
    await(logged("listed files: 3 in memory"));
    await(has_keepers(0));
    want("many/*", NULL);
    await(logged("listed files: 300 in memory"));
    in_story(has_keepers(1));
    want(NULL);
    await(has_keepers(0));
    want("many/*", NULL);
    await(has_keepers(1) && many_in(only_keeper()) >= MANY - HERE);
    /* and dies, while its keeper lives */
}

static void a_keeper_holds_the_rest(void **state)
{
    int killed;

    (void)state;
    adopt_keepers();
    tell(employ_keepers);
    assert_int_equal(keepers_that_ended(&killed), 4);
    assert_int_equal(killed, 1);
}

/* The former keeper is root's, and its master may not kill it any more. */
static void employ_a_keeper_as_root(void)
{
    static const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    pid_t former, next = 0;

    (void)setrlimit(RLIMIT_MEMLOCK, &all); /* up to Linux 5.15 it is 64 KiB by itself */
    in_story(chown(".", SOMEBODY, SOMEBODY) == 0 && chown("log", SOMEBODY, SOMEBODY) == 0);
    log_as(SOMEBODY);
    start();
    want("many/*", NULL);
    await(logged("listed files: 300 in memory"));
    in_story((former = only_keeper()) > 0);
    become_somebody(); /* with the library's thread, as libc does it */
    in_story(kill(former, 0) == -1 && errno == EPERM);
    want("a", "many/*", NULL);
    await(logged("listed files: 301 in memory"));
    await((next = only_keeper()) > 0 && next != former);
    want(NULL);
    await(has_keepers(0));
    want("many/*", NULL);
    await(has_keepers(1) && status_number(only_keeper(), "VmLck") == (MANY - HERE) * PAGE / KIB);
}

static void a_keeper_goes_after_the_rights_of_its_master(void **state)
{
    int killed;

    (void)state;
    if (geteuid() != 0)
        skip();
    adopt_keepers();
    tell(employ_a_keeper_as_root);
    assert_int_equal(chown(".", 0, 0), 0);
    assert_int_equal(keepers_that_ended(&killed), 3);
    assert_int_equal(killed, 0);
}

/* And dies, while its keeper is still root's. */
static void give_up_the_rights(void)
{
    in_story(chown("log", SOMEBODY, SOMEBODY) == 0);
    log_as(SOMEBODY);
    start();
    want("many/*", NULL);
    await(logged("listed files: 300 in memory"));
    in_story(has_keepers(1));
    become_somebody();
}

static void a_keeper_ends_with_a_master_without_rights(void **state)
{
    int killed;

    (void)state;
    if (geteuid() != 0)
        skip();
    adopt_keepers();
    tell(give_up_the_rights);
    assert_int_equal(keepers_that_ended(&killed), 1);
    assert_int_equal(killed, 0);
}

/* Which has no child that it doesn't know, and whose end is not what the keeper waits for. */
static void execute_another_program(void)
{
    static const char script[] = "while grep -q VmLck /proc/$1/status; do :; done\n"
                                 "read -r children </proc/$$/task/$$/children\n"
                                 "test ! \"$children\"";
    char keeper[16];

    start();
    want("many/*", NULL);
    await(logged("listed files: 300 in memory"));
    (void)snprintf(keeper, sizeof keeper, "%d", only_keeper());
    in_story(has_keepers(1));
    (void)execl("/bin/sh", "sh", "-c", script, "sh", keeper, (char *)NULL);
    _exit(1);
}

static void a_keeper_ends_as_its_master_executes(void **state)
{
    int killed;

    (void)state;
    adopt_keepers();
    tell(execute_another_program);
    assert_int_equal(keepers_that_ended(&killed), 1);
    assert_int_equal(killed, 0);
}

static struct rlimit tasks;

static void find_no_keeper(void)
{
    in_story(chown(".", SOMEBODY, SOMEBODY) == 0 && chown("log", SOMEBODY, SOMEBODY) == 0);
    become_somebody();
    in_story(setrlimit(RLIMIT_NPROC, &tasks) == 0);
    log_as(SOMEBODY);
    start();
    want("many/*", NULL);
    await(logged("for want of a process: Resource temporarily unavailable"));
    await(logged("256 in memory"));
    in_story(has_keepers(0) && has_no_child() && logged("44 not in memory"));
}

static void without_a_keeper_the_rest_is_told(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    adopt_keepers();
    for (rlim_t most = 2; most <= 3; most++) { /* this one, its thread, and who would fork it */
        (void)begin(state);
        tasks = (struct rlimit){most, most};
        tell(find_no_keeper);
    }
    assert_int_equal(chown(".", 0, 0), 0);
}

/* ---- a process for one connection ---- */

static void only_know(void)
{
    char *items[] = {(char *)"a", (char *)"[b]", (char *)"missing", (char *)"."};

    resident_know(&(struct config_list){items, COUNT(items)});
    in_story(is_found("a") && is_found("b") && !is_found("c"));
    in_story(memory_of("a") == NULL && mapped_bytes("a") + mapped_bytes("b") == 0);
    in_story(!resident_is_only_company());
}

static void a_list_is_only_learnt(void **state)
{
    (void)state;
    tell(only_know);
}

int main(void)
{
#define TEST(name)      cmocka_unit_test_setup(name, begin)
#define TEST_MANY(name) cmocka_unit_test_setup_teardown(name, begin_many, end_many)
    static const struct CMUnitTest tests[] = {
        TEST(files_are_taken_in),
        TEST(signals_are_for_the_server),
        TEST(a_session_can_tell_the_time),
        TEST(one_thread_and_no_more),
        TEST(two_threads_that_start_it_have_one),
        TEST(a_child_that_listens_takes_in_anew),
        TEST(a_new_list),
        TEST(a_hundred_lists_leak_nothing),
        TEST(changed_files_are_taken_in),
        TEST(files_that_are_gone_are_let_go),
        TEST(renamed_files_are_taken_in),
        TEST(what_is_no_file_is_told_and_the_others_are_kept),
        TEST(of_many_some_are_named),
        TEST(wildcards),
        TEST(what_the_server_may_not_read_is_told),
        TEST(locking_is_a_choice),
        TEST(what_was_given_up_is_unlocked),
        TEST(no_more_memory_than_allowed),
        TEST(no_more_is_locked_than_allowed),
        TEST(sessions_inherit_what_everyone_may_read),
        TEST(an_access_list_is_no_everyone),
        TEST_MANY(a_fork_catches_no_lock_of_libc),
        TEST_MANY(a_keeper_holds_the_rest),
        TEST_MANY(a_keeper_goes_after_the_rights_of_its_master),
        TEST_MANY(a_keeper_ends_with_a_master_without_rights),
        TEST_MANY(a_keeper_ends_as_its_master_executes),
        TEST_MANY(without_a_keeper_the_rest_is_told),
        TEST(a_list_is_only_learnt),
    };

    return cmocka_run_group_tests(tests, enter, unit_leave);
}
