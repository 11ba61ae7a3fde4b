/*
 * The kernel's files, replaced in a child's mount namespace: they show other machines' control
 * groups. Also tests a real group, if this machine allows creating one.
 */
#include "memory_limits.h"

#include "unit.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t machine(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- the limits ---- */

static void all_of_the_mappings(void **state)
{
    unsigned long most = 0;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");

    (void)state;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &most), 1);
    (void)fclose(file);
    assert_int_equal(limits_mappings(), most);
}

static void taken_in_whole_pages(void **state)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), taken = 0;

    (void)state;
    assert_true(limits_take(3 * page, &taken, 1));
    assert_true(limits_take(3 * page, &taken, (off64_t)page));
    assert_int_equal(taken, 2 * page);
    assert_false(limits_take(3 * page, &taken, (off64_t)page + 1));
    assert_int_equal(taken, 2 * page);
    assert_true(limits_take(3 * page, &taken, (off64_t)page - 1));
    assert_false(limits_take(3 * page, &taken, 1));
    assert_int_equal(taken, 3 * page);
}

static void lock_as_root(void)
{
    static const struct rlimit allowance = {64 * KIB, 128 * KIB};

    require(setrlimit(RLIMIT_MEMLOCK, &allowance) == 0);
    require(limits_lock() == UINT64_MAX);
    become_somebody();
    require(limits_lock() == 64 * KIB);
}

static void lock_without_limit(void)
{
    static const struct rlimit allowance = {RLIM_INFINITY, RLIM_INFINITY};

    if (setrlimit(RLIMIT_MEMLOCK, &allowance) == -1)
        return; /* root of a container that may not raise it */
    become_somebody();
    require(limits_lock() == UINT64_MAX);
}

static void lock_as_user(void)
{
    static const struct rlimit allowance = {64 * KIB, 64 * KIB};

    require(setrlimit(RLIMIT_MEMLOCK, &allowance) == 0);
    require(limits_lock() == 64 * KIB);
}

static void what_may_be_locked(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        assert_int_equal(run_in_child(lock_as_user), 0);
        return;
    }
    assert_int_equal(run_in_child(lock_as_root), 0);
    assert_int_equal(run_in_child(lock_without_limit), 0);
}

static void no_more_than_the_machine_has(void **state)
{
    (void)state;
    assert_true(limits_memory() > 0);
    assert_true(limits_memory() <= machine());
}

/* ---- control groups as other machines have them ---- */

static bool put(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    return file != NULL && fputs(text, file) >= 0 && fclose(file) == 0;
}

/* /sys/fs/cgroup empty, and /proc/self/cgroup with this text. */
static void see(const char *groups)
{
    own_mounts();
    require(mount("none", "/sys/fs/cgroup", "tmpfs", 0, NULL) == 0);
    require(put("groups", groups) &&
            mount("groups", "/proc/self/cgroup", "none", MS_BIND, NULL) == 0);
}

/* Create a file below /sys/fs/cgroup, with its directories. */
static void set(const char *name, const char *value)
{
    char path[256];

    (void)snprintf(path, sizeof path, "/sys/fs/cgroup/%s", name);
    for (char *slash = strchr(path + strlen("/sys/fs/cgroup/"), '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0755);
        *slash = '/';
    }
    require(put(path, value));
}

static void version_2(void)
{
    see("0::/system.slice/proftpd.service\n");
    require(limits_memory() == machine());
    set("system.slice/proftpd.service/memory.max", "max\n");
    require(limits_memory() == machine());
    set("system.slice/proftpd.service/memory.max", "100663296\n");
    require(limits_memory() == 96 * MIB);
    set("system.slice/memory.max", "200663296\n");
    require(limits_memory() == 96 * MIB);
    set("system.slice/memory.max", "67108864\n"); /* of all its groups together */
    require(limits_memory() == 64 * MIB);
    set("memory.max", "33554432\n"); /* a container's root group */
    require(limits_memory() == 32 * MIB);
    set("memory/system.slice/proftpd.service/memory.limit_in_bytes", "4096\n"); /* not ours */
    require(limits_memory() == 32 * MIB);
    set("system.slice/memory.high", "16777216\n"); /* beyond it the kernel reclaims pages */
    require(limits_memory() == 16 * MIB);
}

/* They are no longer available to others. */
static void reserved_huge_pages(void)
{
    see("0::/\n");
    require(put("meminfo", "MemTotal: 4194304 kB\nHugePages_Total: 3\nHugetlb:  6144 kB\n") &&
            mount("meminfo", "/proc/meminfo", "none", MS_BIND, NULL) == 0);
    require(limits_memory() == machine() - 6 * MIB);
}

static void version_1(void)
{
    see("12:cpu,cpuacct:/other\n"
        "9:name=memory:/named\n"
        "8:hugememory,memory2:/huge\n"
        "7:freezer,memory:/a group/b\n"
        "0::/unified\n");
    require(limits_memory() == machine());
    set("memory/other/memory.limit_in_bytes", "4096\n");
    set("memory/named/memory.limit_in_bytes", "4096\n");
    set("memory/huge/memory.limit_in_bytes", "4096\n");
    set("memory/a group/b/memory.limit_in_bytes", "9223372036854771712\n"); /* no limit */
    set("memory/a group/memory.limit_in_bytes", "9223372036854771712\n");
    require(limits_memory() == machine());
    set("memory/a group/memory.limit_in_bytes", "100663296\n");
    require(limits_memory() == 96 * MIB);
    set("memory/a group/b/memory.limit_in_bytes", "67108864\n");
    require(limits_memory() == 64 * MIB);
}

static void in_the_root_group(void)
{
    see("4:memory:/\n0::/\n");
    require(limits_memory() == machine());
    set("memory/memory.limit_in_bytes", "67108864\n");
    require(limits_memory() == 64 * MIB);
    set("memory.max", "33554432\n");
    require(limits_memory() == 32 * MIB);
}

static void nothing_of_use(void)
{
    see("\n:\n::\nnonsense\n4:memory\n1:memory:\n:::::\n0::");
    require(limits_memory() == machine());
}

static void limits_of_control_groups(void **state)
{
    (void)state;
    if (run_in_child(own_mounts) != 0)
        skip();
    assert_int_equal(run_in_child(version_2), 0);
    assert_int_equal(run_in_child(reserved_huge_pages), 0);
    assert_int_equal(run_in_child(version_1), 0);
    assert_int_equal(run_in_child(in_the_root_group), 0);
    assert_int_equal(run_in_child(nothing_of_use), 0);
}

/* ---- a control group of this machine ---- */

static char outer[512], inner[600];

/* The directory of this process's version 1 memory group. @return false: there is none */
static bool find_own_group(char *path, size_t size)
{
    char line[300];
    bool found = false;
    FILE *groups = fopen("/proc/self/cgroup", "re");

    while (groups != NULL && !found && fgets(line, sizeof line, groups) != NULL) {
        char *group = strstr(line, ":memory:");
        line[strcspn(line, "\n")] = '\0';
        found = group != NULL;
        if (found)
            (void)snprintf(path, size, "/sys/fs/cgroup/memory%s", group + strlen(":memory:"));
    }
    if (groups != NULL)
        (void)fclose(groups);
    return found;
}

static bool set_in(const char *group, const char *name, const char *value)
{
    char path[700];

    (void)snprintf(path, sizeof path, "%s/%s", group, name);
    return put(path, value);
}

static void live_in_the_group(void)
{
    require(set_in(inner, "cgroup.procs", "0"));
    require(limits_memory() == 256 * MIB);
}

static void a_real_control_group(void **state)
{
    char own[400];
    int ending = -1;

    (void)state;
    if (geteuid() != 0 || !find_own_group(own, sizeof own))
        skip();
    (void)snprintf(outer, sizeof outer, "%s/xfermmap-unit-%d", own, getpid());
    (void)snprintf(inner, sizeof inner, "%s/inner", outer);
    if (mkdir(outer, 0755) == -1)
        skip();
    bool made = mkdir(inner, 0755) == 0 && set_in(outer, "memory.limit_in_bytes", "256M");
    if (made)
        ending = run_in_child(live_in_the_group);
    (void)rmdir(inner);
    assert_int_equal(rmdir(outer), 0);
    assert_true(made);
    assert_int_equal(ending, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_the_mappings),      cmocka_unit_test(taken_in_whole_pages),
        cmocka_unit_test(what_may_be_locked),       cmocka_unit_test(no_more_than_the_machine_has),
        cmocka_unit_test(limits_of_control_groups), cmocka_unit_test(a_real_control_group),
    };

    return cmocka_run_group_tests(tests, unit_enter, unit_leave);
}
