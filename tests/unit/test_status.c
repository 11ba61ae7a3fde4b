#include "status.h"

#include "guard.h"
#include "log.h"
#include "process.h"
#include "safe_file.h"
#include "signals.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST(name) cmocka_unit_test(name)

/* Memory stays shared until the process exits, so each test is a process. */
#define STATUS_TEST(name) CHILD_TEST_AFTER((void)unlink("status"), name)

static const bool engine = true;
static struct status_header header;
static struct status_file file;

/* Read the file like a tool. @return false: the file is too short */
static bool read_at(off_t offset, void *buffer, size_t size)
{
    int fd = open("status", O_RDONLY | O_CLOEXEC);

    require(fd != -1);
    ssize_t got = pread(fd, buffer, size, offset);
    (void)close(fd);
    return got == (ssize_t)size;
}

static bool read_slot(unsigned slot)
{
    return read_at((off_t)(STATUS_FILES_AT + slot * sizeof file), &file, sizeof file);
}

static off_t size_of_file(void)
{
    struct stat status;

    require(stat("status", &status) == 0);
    return status.st_size;
}

/* Allocated bytes of the file: it has holes, which no session writes to. */
static off_t allocated(void)
{
    struct stat status;

    require(stat("status", &status) == 0);
    return status.st_blocks * 512;
}

static struct stat64 a_file(uint64_t inode)
{
    return (struct stat64){.st_dev = 7, .st_ino = inode, .st_size = 1000, .st_mtim = {5, 6}};
}

/* List this file. @return its slot */
static unsigned list(const char *path, uint64_t inode)
{
    struct stat64 status = a_file(inode);
    struct status_identity identity = status_identity_of(&status);
    unsigned slot = status_file_take(path);

    status_file_set(slot, 2, &identity, 500, 600);
    return slot;
}

static void open_once(uint64_t inode)
{
    struct stat64 status = a_file(inode);

    status_file_opened(&status);
}

static void share(void)
{
    require(status_share("status"));
}

STATUS_TEST(the_header_says_what_the_file_is)
{
    share();
    status_set_directives("/etc/proftpd/preload.conf", engine);
    status_add(STATUS_BYTES, 7); /* before it listens: not counted */
    status_set_master();
    status_add(STATUS_BYTES, 5);
    status_set_master();
    require(read_at(0, &header, sizeof header));
    require(memcmp(header.name, "xfermmap", 8) == 0 && header.version == STATUS_VERSION);
    require(header.counters == STATUS_COUNTER_COUNT && header.files_at == STATUS_FILES_AT);
    require(header.file_size == sizeof(struct status_file) && header.engine == 1);
    require(header.master == getpid() &&
            process_look(header.master, header.master_since) == PROCESS_ALIVE);
    require(header.started > 0 && header.directives_read >= header.started);
    require(strcmp(header.directives, "/etc/proftpd/preload.conf") == 0);

    uint64_t bytes = 0;
    require(
        read_at((off_t)(header.counters_at + STATUS_BYTES * sizeof bytes), &bytes, sizeof bytes));
    require(bytes == 5);
}

STATUS_TEST(a_file_is_counted_in_its_slot)
{
    share();
    status_files_begin();
    unsigned slot = list("/srv/a", 11);
    status_files_end();
    open_once(11);
    open_once(11);
    status_file_read(7, 11, 600, 400);
    status_file_read(7, 11, 30, 7);
    require(read_slot(slot) && file.used == 1 && strcmp(file.path, "/srv/a") == 0);
    require(file.line == 2 && file.locked == 500 && file.resident == 600);
    require(file.identity.size == 1000 && file.identity.inode == 11);
    require(file.opened == 2 && file.bytes == 630 && file.bytes_kernel == 407);
    require(status_get(STATUS_LISTED) == 2 && status_get(STATUS_CHANGED) == 0);

    open_once(12); /* another file, and another device */
    status_file_read(8, 11, 1, 1);
    require(read_slot(slot) && file.opened == 2 && file.bytes == 630);
    require(status_get(STATUS_LISTED) == 2);
}

STATUS_TEST(a_changed_file_is_counted_as_such)
{
    share();
    status_files_begin();
    unsigned slot = list("/srv/a", 11);
    status_files_end();
    struct stat64 longer = a_file(11), newer = a_file(11);
    longer.st_size++;
    newer.st_mtim.tv_nsec++;
    status_file_opened(&longer);
    status_file_opened(&newer);
    require(read_slot(slot) && file.opened == 2);
    require(status_get(STATUS_LISTED) == 0 && status_get(STATUS_CHANGED) == 2);
}

STATUS_TEST(counters_go_on_with_a_path)
{
    share();
    status_files_begin();
    unsigned a = list("/srv/a", 11), b = list("/srv/b", 12);
    status_files_end();
    require(a != b);
    open_once(11);
    open_once(12);

    status_files_begin(); /* b is no longer listed, and a was replaced */
    unsigned c = list("/srv/c", 13);
    require(list("/srv/a", 14) == a);
    status_files_end();
    require(read_slot(a) && file.opened == 1 && file.identity.inode == 14);
    require(read_slot(b) && file.used == 0);
    open_once(11);
    open_once(12);
    require(status_get(STATUS_LISTED) == 2);
    open_once(14);
    open_once(13);
    require(status_get(STATUS_LISTED) == 4);
    require(read_slot(a) && file.opened == 2 && read_slot(c) && file.opened == 1);

    status_files_begin();
    require(list("/srv/b", 12) != a);
    status_files_end();
    open_once(12);
    require(status_get(STATUS_LISTED) == 5);
    open_once(14);
    require(status_get(STATUS_LISTED) == 5);
}

STATUS_TEST(thousands_of_files_are_found)
{
    enum { FILES = 20000 };
    char path[32];

    share();
    for (int round = 0; round < 3; round++) {
        status_files_begin();
        for (uint64_t i = 0; i < FILES; i++) {
            (void)snprintf(path, sizeof path, "/srv/%u", (unsigned)i);
            require(list(path, 1000 + 3 * i) == i);
        }
        status_files_end();
    }
    for (uint64_t i = 0; i < FILES; i++)
        open_once(1000 + 3 * i);
    require(status_get(STATUS_LISTED) == FILES);
    open_once(1001);
    require(status_get(STATUS_LISTED) == FILES);
}

/* Files with the same first place in the index: see first_place(). */
static struct stat64 colliding(uint64_t i)
{
    return (struct stat64){.st_dev = (dev_t)(i << 32), .st_ino = 4711 ^ i, .st_size = 1000};
}

static void list_colliding(uint64_t from, uint64_t to)
{
    char path[32];

    status_files_begin();
    for (uint64_t i = from; i < to; i++) {
        struct stat64 status = colliding(i);
        struct status_identity identity = status_identity_of(&status);
        (void)snprintf(path, sizeof path, "/srv/%u", (unsigned)i);
        status_file_set(status_file_take(path), 0, &identity, 0, 0);
    }
    status_files_end();
}

/* Count those that are counted, each in a different slot. */
static uint64_t count_colliding(uint64_t from, uint64_t to)
{
    uint64_t before = status_get(STATUS_LISTED), slots = 0;

    for (uint64_t i = from; i < to; i++) {
        struct stat64 status = colliding(i);
        status_file_opened(&status);
    }
    for (unsigned slot = 0; slot < 200 && read_slot(slot); slot++) {
        require(file.opened <= 1);
        slots += file.used == 1 ? file.opened : 0;
    }
    require(slots == status_get(STATUS_LISTED) - before);
    return slots;
}

STATUS_TEST(files_that_collide_are_found_up_to_a_limit)
{
    if (sizeof(dev_t) < 8)
        return;
    share();
    list_colliding(0, 100);
    require(count_colliding(0, 100) == 64); /* MOST_PROBES */
}

STATUS_TEST(files_that_collide_move_up_as_others_go)
{
    if (sizeof(dev_t) < 8)
        return;
    share();
    list_colliding(0, 100);
    list_colliding(60, 100);
    require(count_colliding(0, 60) == 0);
    require(count_colliding(60, 100) == 40);
}

STATUS_TEST(a_long_path_is_shown_by_its_end)
{
    char path[1000];

    share();
    memset(path, 'x', sizeof path);
    memcpy(path + sizeof path - sizeof "/end", "/end", sizeof "/end");
    status_files_begin();
    unsigned slot = list(path, 1);
    status_files_end();
    require(read_slot(slot) && strncmp(file.path, "...xxx", 6) == 0);
    require(strlen(file.path) == sizeof file.path - 1);
    require(strcmp(file.path + sizeof file.path - sizeof "/end", "/end") == 0);
}

STATUS_TEST(the_file_is_allocated_with_its_slots)
{
    char path[32];

    share();
    require(allocated() <= STATUS_FILES_AT);
    open_once(1); /* nothing is listed yet */
    status_files_begin();
    (void)list("/a", 1);
    require(allocated() <= STATUS_FILES_AT + 128 * (off_t)sizeof file);
    for (unsigned i = 1; i < STATUS_FILES; i++) {
        (void)snprintf(path, sizeof path, "/%u", i);
        require(list(path, 1 + i) == i);
    }
    require(list("/one too many", 1) == STATUS_NO_SLOT);
    status_files_end();
    require(allocated() >= size_of_file());
    open_once(STATUS_FILES);
    require(read_slot(STATUS_FILES - 1) && file.used == 1 && file.opened == 1);
}

STATUS_TEST(sessions_count_in_it_too)
{
    share();
    pid_t session = fork(); /* before anything is listed */
    if (session == 0) {
        status_add(STATUS_BYTES, 2);
        for (int i = 0; i < 1000 && status_get(STATUS_LISTED) == 0; i++) {
            open_once(11);
            (void)usleep(1000);
        }
        status_file_read(7, 11, 20, 10);
        _exit(0);
    }
    status_files_begin();
    unsigned slot = list("/srv/a", 11);
    status_files_end();
    require(waitpid(session, NULL, 0) == session);
    require(status_get(STATUS_BYTES) == 2 && status_get(STATUS_LISTED) == 1);
    require(read_slot(slot) && file.opened == 1 && file.bytes == 20 && file.bytes_kernel == 10);
}

/* A session may write anything to all shared memory. */
STATUS_TEST(garbage_does_no_harm)
{
    static const unsigned char patterns[] = {0xff, 0x01, 0x80, 0x2f};
    const size_t shared = STATUS_FILES_AT + STATUS_FILES * sizeof file;

    share();
    for (size_t i = 0; i < COUNT(patterns); i++) {
        char *garbage = malloc(shared);
        int fd = open("status", O_WRONLY | O_CLOEXEC);
        require(garbage != NULL && fd != -1);
        memset(garbage, patterns[i], shared);
        require(pwrite(fd, garbage, shared, 0) == (ssize_t)shared);
        (void)close(fd);
        free(garbage);
        open_once(11);
        status_file_read(7, 11, 1, 1);
        status_files_begin();
        (void)list("/srv/a", 11);
        status_files_end();
        status_set_master();
        open_once(11);
    }
}

/* The mapping after the status file: the index. */
static char *index_of_files(void)
{
    char line[PAGE];
    uintptr_t from, to, index = 0;
    unsigned long offset;
    FILE *maps = fopen("/proc/self/maps", "re");

    require(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %lx", &from, &to, &offset) == 3 &&
            strstr(line, "/status\n") != NULL)
            index = to;
    }
    (void)fclose(maps);
    require(index != 0);
    return (char *)index; /* NOLINT(performance-no-int-to-ptr) */
}

static void count(void)
{
    for (uint64_t i = 0; i < 100; i++) {
        open_once(i);
        status_file_read(7, i, 1, 1);
    }
}

static void list_and_count(void)
{
    static const struct status_keeper keeper = {.state = STATUS_READY};
    char path[32];

    status_files_begin();
    for (uint64_t i = 0; i < 40; i++) {
        (void)snprintf(path, sizeof path, "/srv/%u", (unsigned)i);
        (void)list(path, i);
    }
    status_files_end();
    status_set_keeper(&keeper);
    count();
}

/* A session that keeps overwriting all shared memory, index included. */
static _Noreturn void overwrite(char *start, size_t size)
{
    uint64_t random = 88172645463325252;

    for (;;) {
        for (size_t i = 0; i < size / sizeof random; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            memcpy(start + i * sizeof random, &random, sizeof random);
        }
    }
}

STATUS_TEST(a_session_that_overwrites_all_does_no_harm)
{
    const size_t in_file = STATUS_FILES_AT + STATUS_FILES * sizeof file;
    const size_t all = in_file + 2 * STATUS_FILES * sizeof(uint16_t);
    const unsigned char patterns[] = {0xff, 0x01, 0x00};

    share();
    char *start = index_of_files() - in_file;
    require(memcmp(start, "xfermmap", 8) == 0);
    for (size_t at = 0; at < 2 * in_file; at += PAGE) /* an access beyond it faults */
        (void)mmap(start + all + at, PAGE, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    for (size_t i = 0; i < COUNT(patterns); i++) {
        memset(start, patterns[i], all);
        count();
        list_and_count();
    }
    pid_t session = fork();
    if (session == 0)
        overwrite(start, all);
    for (int i = 0; i < 20; i++)
        list_and_count();
    require(kill(session, SIGKILL) == 0 && waitpid(session, NULL, 0) == session);

    /* all recovers once no session overwrites it: the first round frees the slots */
    list_and_count();
    uint64_t before = status_get(STATUS_LISTED);
    list_and_count();
    require(status_get(STATUS_LISTED) - before == 40);
}

static void fill_a_disk(void)
{
    own_mounts();
    require(mkdir("disk", 0755) == 0);
    require(mount("disk", "disk", "tmpfs", 0, "size=16k,mode=755") == 0 && chdir("disk") == 0);
    log_to(LOG_TO_NOWHERE);
    share();
    status_files_begin();
    for (unsigned i = 0; i < 128; i++)
        require(list("/a", 11) == STATUS_NO_SLOT && errno == ENOSPC);
    status_files_end();
    open_once(11);
    status_add(STATUS_BYTES, 1);
    require(status_get(STATUS_BYTES) == 1 && status_get(STATUS_LISTED) == 0);
}

static void a_disk_that_is_full_leaves_files_out(void **state)
{
    (void)state;
    if (run_in_child(own_mounts) != 0)
        skip();
    assert_int_equal(run_in_child(fill_a_disk), 0);
    assert_int_equal(rmdir("disk"), 0);
}

STATUS_TEST(a_log_that_may_not_grow_ends_nobody)
{
    struct rlimit limit = {0, 0};
    sigset_t pending;

    log_to("log");
    safe_file_as(geteuid());
    require(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    log_line("too long");
    require(sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 0);
    require(access("log", F_OK) == 0); /* it was written to: an empty file */
}

STATUS_TEST(a_log_without_a_target_is_standard_error)
{
    char line[1000] = "";
    int ends[2], other = open("other", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    require(pipe2(ends, O_NONBLOCK) == 0 && dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    log_begin_echo();
    log_end_echo();
    log_to("absent/log");
    require(log_descriptor() == STDERR_FILENO);
    log_line("one %d", 1);
    log_to(LOG_TO_NOWHERE);
    log_line("none");
    require(log_descriptor() == -1);
    log_to(LOG_TO_STDERR);
    log_line("two");
    ssize_t length = read(ends[0], line, sizeof line - 1);
    require(length > 0 && strstr(line, ": libxfermmap: one 1\n") != NULL);
    require(strstr(line, ": libxfermmap: two\n") != NULL && strstr(line, "none") == NULL);

    /* a closed pipe, and then another file with that number */
    sigset_t pending;
    require(close(ends[0]) == 0);
    log_line("three");
    require(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 0);
    require(dup2(other, STDERR_FILENO) == STDERR_FILENO && log_descriptor() == -1);
    log_line("four");
    require(lseek(other, 0, SEEK_END) == 0 && unlink("other") == 0);
}

STATUS_TEST(a_file_that_was_replaced_is_let_be)
{
    share();
    require(rename("status", "other") == 0);
    make_text("status", "x", 1);
    log_to(LOG_TO_NOWHERE);
    status_files_begin();
    require(list("/a", 11) == STATUS_NO_SLOT && errno == ESTALE);
    status_files_end();
    require(size_of_file() == 1);
    (void)unlink("other");
}

/* Chained like the library's. */
static bool on_fault(int number, siginfo_t *info, void *context)
{
    return status_fault(info->si_addr) || guard_fault(number, info, context);
}

STATUS_TEST(a_file_that_is_truncated_does_no_harm)
{
    share();
    signals_chain(SIGBUS, on_fault);
    status_files_begin();
    (void)list("/a", 11);
    status_files_end();
    require(truncate("status", 0) == 0);
    open_once(11);
    status_add(STATUS_BYTES, 7);
    require(status_get(STATUS_BYTES) == 7);
}

static void take_one(void)
{
    (void)status_file_take("/b");
}

static void set_one(void)
{
    struct stat64 status = a_file(12);
    struct status_identity identity = status_identity_of(&status);

    status_file_set(0, 0, &identity, 0, 0);
}

static void read_one(void)
{
    status_file_read(7, 11, 1, 1);
}

static void open_one(void)
{
    open_once(11);
}

static void tell_keeper(void)
{
    status_set_keeper(&(struct status_keeper){.state = STATUS_READY});
}

static void tell_directives(void)
{
    status_set_directives("/x", engine);
}

/* Each of them is the first to access the truncated file. */
STATUS_TEST(whoever_comes_to_a_truncated_file_first_goes_on)
{
    void (*const touches[])(void) = {take_one,        set_one,          read_one,
                                     open_one,        tell_keeper,      status_files_end,
                                     tell_directives, status_set_master};

    for (size_t i = 0; i < COUNT(touches); i++) {
        (void)unlink("status");
        share();
        signals_chain(SIGBUS, on_fault);
        status_files_begin();
        (void)list("/a", 11);
        status_files_end();
        pid_t child = fork();
        if (child == 0) {
            require(truncate("status", 0) == 0);
            touches[i]();
            list_and_count(); /* and all others after it */
            uint64_t before = status_get(STATUS_LISTED);
            list_and_count();
            _exit(status_get(STATUS_LISTED) - before != 40);
        }
        int ending;
        require(waitpid(child, &ending, 0) == child && ending == 0);
    }
}

STATUS_TEST(without_a_file_all_slots_are_shared_in_memory)
{
    require(status_share(NULL));
    status_files_begin();
    require(list("/a", 11) == 0);
    status_files_end();
    open_once(11);
    require(status_get(STATUS_LISTED) == 1);
    require(access("status", F_OK) == -1);
}

/* ---- another server with the same file ---- */

static void serve(void)
{
    share();
    status_set_master();
}

STATUS_TEST(the_file_of_a_server_that_is_gone_is_replaced)
{
    struct stat former, now;

    require(run_in_child(serve) == 0);
    require(stat("status", &former) == 0);
    int held = open("status", O_RDONLY | O_CLOEXEC); /* so that its inode isn't reused */
    share();
    require(stat("status", &now) == 0 && now.st_ino != former.st_ino);
    (void)close(held);
}

static void share_with_another(void)
{
    require(!status_share("status") && errno == EBUSY);
    status_add(STATUS_BYTES, 1);
    require(status_get(STATUS_BYTES) == 1);
}

static void serve_and_share_with_another(void)
{
    uint64_t bytes = 1;

    serve();
    require(run_in_child(share_with_another) == 0);
    require(read_at(0, &header, sizeof header) && header.master == getpid());
    require(
        read_at((off_t)(header.counters_at + STATUS_BYTES * sizeof bytes), &bytes, sizeof bytes));
    require(bytes == 0);
}

static void the_file_of_a_server_at_work_is_not_taken(void **state)
{
    (void)state;
    (void)unlink("status");
    assert_int_equal(run_in_child(serve_and_share_with_another), 0);
}

STATUS_TEST(a_process_number_that_is_used_again_is_no_server)
{
    struct status_header former = {.version = STATUS_VERSION};

    serve();
    require(read_at(0, &former, sizeof former) &&
            process_look(former.master, former.master_since) == PROCESS_ALIVE);
    former.master_since--;
    require(process_look(former.master, former.master_since) == PROCESS_GONE);
    former.master = -1;
    require(process_look(former.master, former.master_since) == PROCESS_GONE);
    require(process_start(0) == 0);
}

STATUS_TEST(what_is_no_status_file_is_not_removed)
{
    make_text("status", "mine", 4);
    require(!status_share("status") && errno == EEXIST);
    require(size_of_file() == 4 && unlink("status") == 0);

    require(symlink("elsewhere", "status") == 0);
    require(!status_share("status") && errno == EEXIST);
    require(access("elsewhere", F_OK) == -1);
}

STATUS_TEST(where_everybody_may_write_there_is_no_file)
{
    require(mkdir("open", 0777) == 0 && chmod("open", 0777) == 0);
    require(!status_share("open/status") && errno == EPERM);
    require(access("open/status", F_OK) == -1 && rmdir("open") == 0);
}

/* The file is written with the rights of the test's user. */
static int enter(void **state)
{
    safe_file_as(geteuid());
    return unit_enter(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_header_says_what_the_file_is),
        TEST(a_file_is_counted_in_its_slot),
        TEST(a_changed_file_is_counted_as_such),
        TEST(counters_go_on_with_a_path),
        TEST(thousands_of_files_are_found),
        TEST(files_that_collide_are_found_up_to_a_limit),
        TEST(files_that_collide_move_up_as_others_go),
        TEST(a_long_path_is_shown_by_its_end),
        TEST(the_file_is_allocated_with_its_slots),
        TEST(sessions_count_in_it_too),
        TEST(garbage_does_no_harm),
        TEST(a_session_that_overwrites_all_does_no_harm),
        TEST(a_disk_that_is_full_leaves_files_out),
        TEST(a_log_that_may_not_grow_ends_nobody),
        TEST(a_log_without_a_target_is_standard_error),
        TEST(a_file_that_was_replaced_is_let_be),
        TEST(a_file_that_is_truncated_does_no_harm),
        TEST(whoever_comes_to_a_truncated_file_first_goes_on),
        TEST(without_a_file_all_slots_are_shared_in_memory),
        TEST(the_file_of_a_server_that_is_gone_is_replaced),
        TEST(the_file_of_a_server_at_work_is_not_taken),
        TEST(a_process_number_that_is_used_again_is_no_server),
        TEST(what_is_no_status_file_is_not_removed),
        TEST(where_everybody_may_write_there_is_no_file),
    };

    return cmocka_run_group_tests_name("status", tests, enter, unit_leave);
}
