/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_cpus - quotas of both cgroup versions in made-up trees, and the affinity mask.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Compiled into the test: the affinity of the machine that runs it must not hide a quota. */
#include "common/cpus.c" /* NOLINT(bugprone-suspicious-include) */

#include "common/check.h"

#include <ftw.h>
#include <sys/stat.h>

struct file {
    const char *path, *text;
};

enum { FILES_MAX = 8 };

static char root[64];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof(root), "/tmp/muster-test-cpus-XXXXXX");
    return mkdtemp(root) == NULL ? -1 : 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void write_file(const char *path, const char *text)
{
    char full[PATH_MAX];
    assert_true(snprintf(full, sizeof(full), "%s/%s", root, path) < (int)sizeof(full));
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

enum { NONE = INT_MAX };
#define CGROUP "proc/self/cgroup"
#define V2 "sys/fs/cgroup"
#define V1 "sys/fs/cgroup/cpu,cpuacct"

static const struct {
    const char *what;
    int limit;
    struct file files[FILES_MAX];
} cases[] = {
    {"nothing there", NONE, {{NULL, NULL}}},
    {"v2 without a limit", NONE, {{CGROUP, "0::/a\n"}, {V2 "/a/cpu.max", "max 100000\n"}}},
    {"v2, two processors", 2, {{CGROUP, "0::/a\n"}, {V2 "/a/cpu.max", "200000 100000\n"}}},
    {"v2, rounded up", 3, {{CGROUP, "0::/a\n"}, {V2 "/a/cpu.max", "200001 100000\n"}}},
    {"v2, less than one", 1, {{CGROUP, "0::/a\n"}, {V2 "/a/cpu.max", "1000 100000\n"}}},
    {"v2, no file, no limit", NONE, {{CGROUP, "0::/a/b/c\n"}}},
    {"v2, the parent is tighter",
     2,
     {{CGROUP, "0::/a/b/c\n"},
      {V2 "/a/cpu.max", "150000 100000\n"},
      {V2 "/a/b/cpu.max", "max 100000\n"},
      {V2 "/a/b/c/cpu.max", "800000 100000\n"}}},
    {"v2, the child is tighter",
     4,
     {{CGROUP, "0::/a/b\n"},
      {V2 "/a/cpu.max", "1600000 100000\n"},
      {V2 "/a/b/cpu.max", "200000 50000\n"}}},
    {"v2, a neighbour does not count",
     NONE,
     {{CGROUP, "0::/a\n"}, {V2 "/ab/cpu.max", "100000 100000\n"}}},
    {"v2 in a container: its group is the root",
     3,
     {{CGROUP, "0::/\n"}, {V2 "/cpu.max", "300000 100000\n"}}},
    {"v2 in a container with the host's path",
     3,
     {{CGROUP, "0::/docker/0123\n"}, {V2 "/cpu.max", "300000 100000\n"}}},
    {"v2, outside of the namespace's root",
     3,
     {{CGROUP, "0::/../other\n"},
      {V2 "/cpu.max", "300000 100000\n"},
      {"sys/fs/other/cpu.max", "100000 100000\n"}}},
    {"v2, without a line feed", 2, {{CGROUP, "0::/a"}, {V2 "/a/cpu.max", "200000 100000"}}},
    {"v2, spaces and colons in the name",
     2,
     {{CGROUP, "0::/a b/c:d\n"}, {V2 "/a b/c:d/cpu.max", "200000 100000\n"}}},
    {"v2, nonsense", NONE, {{CGROUP, "0::/a\n"}, {V2 "/a/cpu.max", "lots\n"}}},
    {"v2, no period", NONE, {{CGROUP, "0::/a\n"}, {V2 "/a/cpu.max", "200000\n"}}},
    {"v2, period of zero", NONE, {{CGROUP, "0::/a\n"}, {V2 "/a/cpu.max", "200000 0\n"}}},
    {"v2, negative", NONE, {{CGROUP, "0::/a\n"}, {V2 "/a/cpu.max", "-5 100000\n"}}},
    {"v2, empty file", NONE, {{CGROUP, "0::/a\n"}, {V2 "/a/cpu.max", ""}}},
    {"v2, beyond all numbers",
     NONE,
     {{CGROUP, "0::/a\n"}, {V2 "/a/cpu.max", "99999999999999999999999 1\n"}}},
    {"v1, without a limit",
     NONE,
     {{CGROUP, "4:cpu,cpuacct:/a\n"},
      {V1 "/a/cpu.cfs_quota_us", "-1\n"},
      {V1 "/a/cpu.cfs_period_us", "100000\n"}}},
    {"v1, rounded up",
     2,
     {{CGROUP, "9:memory:/m\n4:cpu,cpuacct:/a\n1:name=systemd:/s\n"},
      {V1 "/a/cpu.cfs_quota_us", "150000\n"},
      {V1 "/a/cpu.cfs_period_us", "100000\n"}}},
    {"v1, the parent is tighter",
     1,
     {{CGROUP, "4:cpu,cpuacct:/a/b\n"},
      {V1 "/a/cpu.cfs_quota_us", "50000\n"},
      {V1 "/a/cpu.cfs_period_us", "100000\n"},
      {V1 "/a/b/cpu.cfs_quota_us", "400000\n"},
      {V1 "/a/b/cpu.cfs_period_us", "100000\n"}}},
    {"v1 in a container with the host's path",
     2,
     {{CGROUP, "4:cpu,cpuacct:/docker/0123\n"},
      {V1 "/cpu.cfs_quota_us", "200000\n"},
      {V1 "/cpu.cfs_period_us", "100000\n"}}},
    {"v1, controllers in the other order",
     2,
     {{CGROUP, "4:cpuacct,cpu:/a\n"},
      {"sys/fs/cgroup/cpuacct,cpu/a/cpu.cfs_quota_us", "200000\n"},
      {"sys/fs/cgroup/cpuacct,cpu/a/cpu.cfs_period_us", "100000\n"}}},
    {"v1, mounted as cpu",
     2,
     {{CGROUP, "4:cpu,cpuacct:/a\n"},
      {"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "200000\n"},
      {"sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"}}},
    {"v1, cpuset and cpuacct are not cpu",
     NONE,
     {{CGROUP, "4:cpuset:/a\n5:cpuacct:/a\n"},
      {"sys/fs/cgroup/cpuset/a/cpu.cfs_quota_us", "200000\n"},
      {"sys/fs/cgroup/cpuset/a/cpu.cfs_period_us", "100000\n"},
      {"sys/fs/cgroup/cpuacct/a/cpu.cfs_quota_us", "200000\n"},
      {"sys/fs/cgroup/cpuacct/a/cpu.cfs_period_us", "100000\n"}}},
    {"v1, period of zero",
     NONE,
     {{CGROUP, "4:cpu,cpuacct:/a\n"},
      {V1 "/a/cpu.cfs_quota_us", "200000\n"},
      {V1 "/a/cpu.cfs_period_us", "0\n"}}},
    {"both: v1 has the controller",
     2,
     {{CGROUP, "4:cpu,cpuacct:/a\n0::/system.slice/x\n"},
      {V1 "/a/cpu.cfs_quota_us", "200000\n"},
      {V1 "/a/cpu.cfs_period_us", "100000\n"}}},
    {"lines that are not lines of this file",
     2,
     {{CGROUP, "\n:\n::\n0\n0:\n:::::\nx\n0::/a\n"}, {V2 "/a/cpu.max", "200000 100000\n"}}},
};

static void test_quotas(void **state)
{
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_int_equal(setup(state), 0);
        for (size_t f = 0; f < FILES_MAX && cases[i].files[f].path != NULL; f++)
            write_file(cases[i].files[f].path, cases[i].files[f].text);
        int limit = cgroup_limit(root);
        int usable = cpus_usable(root);
        int affinity = affinity_count();
        assert_int_equal(teardown(state), 0);
        if (limit != cases[i].limit)
            fail_msg("%s: %d instead of %d", cases[i].what, limit, cases[i].limit);
        assert_int_equal(usable, limit < affinity ? limit : affinity);
    }
}

/* A path longer than any file name: skipped, not overrun. */
static void test_long_path(void **state)
{
    (void)state;
    char text[7000] = "0::/";
    memset(text + 4, 'a', sizeof(text) - 5);
    write_file(CGROUP, text);
    write_file(V2 "/cpu.max", "200000 100000\n");
    assert_int_equal(cgroup_limit(root), 2);
}

static void test_affinity(void **state)
{
    (void)state;
    cpu_set_t saved, one;
    int first = 0;

    assert_int_equal(sched_getaffinity(0, sizeof(saved), &saved), 0);
    assert_int_equal(cpus_usable(root), CPU_COUNT(&saved));
    while (!CPU_ISSET(first, &saved))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    int usable = cpus_usable(root);
    assert_int_equal(sched_setaffinity(0, sizeof(saved), &saved), 0);
    assert_int_equal(usable, 1);
}

static void test_this_machine(void **state)
{
    (void)state;
    int usable = cpus_usable("");
    assert_true(usable >= 1 && usable <= affinity_count());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quotas),
        cmocka_unit_test_setup_teardown(test_long_path, setup, teardown),
        cmocka_unit_test_setup_teardown(test_affinity, setup, teardown),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
