#include "unit.h"

#include "guard.h"
#include "signals.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[PATH_MAX];

/* The faults belong to the library, or to the tests' program: disable the sanitizer's handlers. */
__attribute__((weak)) const char *__asan_default_options(void)
{
    return "handle_segv=0:handle_sigbus=0:detect_leaks=1";
}

/* Replace the sanitizers' mlock() and munlock(), which do nothing. */
int mlock(const void *memory, size_t length)
{
    return (int)syscall(SYS_mlock, memory, length);
}

int munlock(const void *memory, size_t length)
{
    return (int)syscall(SYS_munlock, memory, length);
}

bool under_valgrind(void)
{
    return getenv("UNDER_VALGRIND") != NULL;
}

void own_mounts(void)
{
    if (unshare(CLONE_NEWNS) == -1 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1)
        _exit(1);
}

/* No test hangs forever. */
static void set_watchdog(void)
{
    (void)alarm(under_valgrind() ? 900 : 300);
}

int unit_enter(void **state)
{
    const char *parent = getenv("TMPDIR");

    (void)state;
    (void)snprintf(directory, sizeof directory, "%s/xfermmap-unit.XXXXXX",
                   parent != NULL ? parent : "/tmp");
    (void)umask(022);
    set_watchdog();
    return mkdtemp(directory) != NULL ? chdir(directory) : -1;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

int unit_leave(void **state)
{
    (void)state;
    return chdir("/") == 0 ? nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS) : -1;
}

unsigned char content(off64_t offset)
{
    return (unsigned char)(1 + ((uint64_t)offset * 2654435761U >> 11) % 255);
}

void write_content(const char *name, off64_t offset, size_t length)
{
    unsigned char buffer[64 * KIB];
    int fd = open64(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    while (length > 0) {
        size_t step = length < sizeof buffer ? length : sizeof buffer;
        for (size_t i = 0; i < step; i++)
            buffer[i] = content(offset + (off64_t)i);
        assert_int_equal(pwrite64(fd, buffer, step, offset), step);
        offset += (off64_t)step;
        length -= step;
    }
    assert_int_equal(close(fd), 0);
}

void make_file(const char *name, size_t size)
{
    (void)unlink(name);
    write_content(name, 0, size);
}

void make_text(const char *name, const char *text, size_t length)
{
    FILE *file;

    (void)unlink(name);
    file = fopen(name, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

size_t mapped_bytes(const char *name)
{
    struct stat64 status;
    char line[PAGE];
    size_t bytes = 0;
    FILE *maps = fopen("/proc/self/maps", "r");

    assert_non_null(maps);
    assert_int_equal(stat64(name, &status), 0);
    while (fgets(line, sizeof line, maps) != NULL) {
        uintptr_t from, to, inode;
        unsigned major_number, minor_number;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*x %x:%x %" SCNuPTR, &from, &to,
                   &major_number, &minor_number, &inode) == 5 &&
            inode == status.st_ino && makedev(major_number, minor_number) == status.st_dev)
            bytes += to - from;
    }
    assert_int_equal(fclose(maps), 0);
    return bytes;
}

int run_in_child(void (*function)(void))
{
    static const struct rlimit no_core = {0, 0};
    int status = -1;
    pid_t child = fork();

    assert_int_not_equal(child, -1);
    if (child == 0) {
        (void)setrlimit(RLIMIT_CORE, &no_core);
        set_watchdog();
        function();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

void install_guard(void)
{
    signals_chain(SIGBUS, guard_fault);
    signals_chain(SIGSEGV, guard_fault);
}

void require_at(bool holds, const char *what, const char *file, int line)
{
    if (holds)
        return;
    (void)fprintf(stderr, "# %s:%d: not so: %s\n", file, line, what);
    _exit(1);
}

bool logged(const char *what)
{
    static char text[256 * KIB];
    FILE *log = fopen("log", "re");
    size_t length;

    if (log == NULL)
        return false;
    length = fread(text, 1, sizeof text - 1, log);
    text[length] = '\0';
    (void)fclose(log);
    return strstr(text, what) != NULL;
}

long status_number(pid_t process, const char *name)
{
    char path[64], line[PAGE];
    size_t length = strlen(name);
    long number = -1;
    FILE *status;

    (void)snprintf(path, sizeof path, "/proc/%d/status", process);
    status = fopen(path, "re");
    if (status == NULL)
        return -1;
    while (number == -1 && fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            number = strtol(line + length + 1, NULL, 10);
    }
    (void)fclose(status);
    return number;
}

size_t descriptors_of(const char *task)
{
    char path[64];
    size_t entries = 0;
    DIR *directory_of;

    (void)snprintf(path, sizeof path, "/proc/%s/fd", task);
    directory_of = opendir(path);
    if (directory_of == NULL)
        return SIZE_MAX;
    while (readdir(directory_of) != NULL)
        entries++;
    (void)closedir(directory_of);
    return entries - 2; /* "." and ".." */
}

void become_somebody(void)
{
    require(setresgid(SOMEBODY, SOMEBODY, SOMEBODY) == 0 &&
            setresuid(SOMEBODY, SOMEBODY, SOMEBODY) == 0);
}
