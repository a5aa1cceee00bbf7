/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_procfs - hostile commands in stat files, and samples of live processes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <sys/stat.h>

/* Kernels before 6.2 say that /proc/<pid>/fd has no size; the module is
 * compiled into the test so that it can be made to believe that it runs on one. */
static int old_kernel;
static int opendir_calls;

static int stat_of_some_kernel(const char *path, struct stat *st)
{
    int result = stat(path, st);
    if (old_kernel)
        st->st_size = 0;
    return result;
}

static DIR *counting_opendir(const char *path)
{
    opendir_calls++;
    return opendir(path);
}

#define stat(path, st) stat_of_some_kernel((path), (st))
#define opendir(path) counting_opendir(path)
#include "common/procfs.c" /* NOLINT(bugprone-suspicious-include) */
#undef stat
#undef opendir

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

/* Fields 3 to 26 as proc(5) lists them. */
#define FIELDS                                                                                     \
    "S 1 4711 4711 0 -1 4194560 2037 0 0 0 250 125 0 0 20 0 3 0 12345 8347648 1000 "               \
    "18446744073709551615 94"

static void assert_parsed(const struct procfs_sample *sample)
{
    uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
    assert_int_equal(sample->state, 'S');
    assert_int_equal(sample->cpu_user_ms, 250 * 1000 / hz);
    assert_int_equal(sample->cpu_system_ms, 125 * 1000 / hz);
    assert_int_equal(sample->thread_count, 3);
    assert_int_equal(sample->start_ticks, 12345);
    assert_int_equal(sample->rss_bytes, 1000 * (uint64_t)sysconf(_SC_PAGESIZE));
    assert_int_equal(sample->fd_count, -1);
}

static void test_commands(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "muster-worker",
        "two words",
        "a) R 1 (b",
        ")",
        "(",
        "((((",
        "))))",
        "",
        ") S 1 2 3",
        " ",
        "a\nb) R 1",
        "(sd-pam)",
        ") R 0 0 0 0 0 0 0 0 0 0 9 9",
    };
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        char text[256];
        struct procfs_sample sample;
        int len = snprintf(text, sizeof(text), "4711 (%s) %s\n", commands[i], FIELDS);
        assert_int_equal(procfs_parse_stat(text, (size_t)len, &sample), 0);
        assert_parsed(&sample);
    }
}

static void test_every_cut(void **state)
{
    (void)state;
    static const char text[] = "4711 (muster worker) " FIELDS;
    const char *enough = strstr(text, " 1000 ") + 5;
    for (size_t len = 0; len < sizeof(text); len++) {
        /* Cut inside the last field the number is another one; that cannot be seen. */
        int expected = text + len > strstr(text, " 1000 ") + 1 ? 0 : -EPROTO;
        struct procfs_sample sample = {.thread_count = 77};
        char *copy = malloc(len == 0 ? 1 : len); /* no byte behind it may be read */
        assert_non_null(copy);
        memcpy(copy, text, len);
        int result = procfs_parse_stat(copy, len, &sample);
        free(copy);
        assert_int_equal(result, expected);
        if (expected != 0)
            assert_int_equal(sample.thread_count, 77); /* untouched on failure */
        else if (text + len >= enough)
            assert_parsed(&sample);
    }
}

static void test_nonsense(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "4711",
        "4711 muster S 1",
        ")",
        ") " FIELDS,
        "4711 (x)" FIELDS,
        "4711 (x)  " FIELDS,
        "4711 (x) SS 1 4711 4711 0 -1 4194560 2037 0 0 0 250 125 0 0 20 0 3 0 12345 8347648 1000",
        "4711 (x) S 1 4711 4711 0 -1 4194560 2037 0 0 0 -250 125 0 0 20 0 3 0 12345 8347648 1000",
        "4711 (x) S 1 4711 4711 0 -1 4194560 2037 0 0 0 2x0 125 0 0 20 0 3 0 12345 8347648 1000",
        "4711 (x) S 1 4711 4711 0 -1 4194560 2037 0 0 0 18446744073709551616 1 0 0 20 0 3 0 1 8 1",
        "4711 (x) S 1 4711 4711 0 -1 4194560 2037 0 0 0 250 125 0 0 20 0 4294967296 0 12345 8 1000",
        "4711 (x) S 1 4711 4711 0 -1 4194560 2037 0 0 0 250 125 0 0 20 0 3 0  8347648 1000",
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct procfs_sample sample;
        if (procfs_parse_stat(cases[i], strlen(cases[i]), &sample) != -EPROTO)
            fail_msg("accepted: %s", cases[i]);
    }
}

static void test_this_process(void **state)
{
    (void)state;
    struct procfs procfs = {.stat_fd = -1};
    struct procfs_sample first = {0}, second = {0};
    static volatile unsigned work;

    assert_int_equal(procfs_open(&procfs, getpid()), 0);
    assert_int_equal(procfs_sample(&procfs, &first), 0);
    assert_int_equal(first.state, 'R');
    assert_int_equal(first.thread_count, 1);
    assert_true(first.rss_bytes > 100 * 1024);
    assert_true(first.start_ticks > 0);
    assert_true(first.fd_count >= 4);

    /* Work until the kernel has accounted some of it. */
    struct timespec cpu;
    do {
        for (int i = 0; i < 100000; i++)
            work++;
        assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu), 0);
    } while (cpu.tv_sec == 0 && cpu.tv_nsec < 100000000);
    int more[3];
    for (int i = 0; i < 3; i++)
        more[i] = dup(0);
    size_t size = (size_t)32 << 20;
    char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(procfs_sample(&procfs, &second), 0);
    assert_true(second.cpu_user_ms + second.cpu_system_ms >= 50);
    assert_true(second.cpu_user_ms >= first.cpu_user_ms);
    assert_int_equal(second.fd_count, first.fd_count + 3);
    assert_true(second.rss_bytes >= first.rss_bytes + size - (1 << 20));
    assert_int_equal(second.start_ticks, first.start_ticks);
    for (int i = 0; i < 3; i++)
        (void)close(more[i]);

    int64_t private_bytes = procfs_private_bytes(getpid());
    assert_true(private_bytes >= (int64_t)size);
    assert_true((uint64_t)private_bytes <= second.rss_bytes + (1 << 20));
    assert_int_equal(munmap(memory, size), 0);
    assert_true(procfs_private_bytes(getpid()) < private_bytes - (int64_t)size / 2);

    procfs_close(&procfs);
    procfs_close(&procfs); /* harmless */
}

static void test_a_process_that_ends(void **state)
{
    (void)state;
    int hold[2];
    assert_int_equal(pipe(hold), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char byte;
        (void)close(hold[1]);
        (void)prctl(PR_SET_NAME, "x) Z 0 (y", 0, 0, 0);
        ssize_t got = read(hold[0], &byte, 1); /* until the parent closes its end */
        _exit(got == 0 ? 0 : 1);
    }
    (void)close(hold[0]);
    struct procfs procfs = {.stat_fd = -1};
    struct procfs_sample sample = {0};
    assert_int_equal(procfs_open(&procfs, child), 0);
    assert_int_equal(procfs_sample(&procfs, &sample), 0);
    assert_true(sample.state == 'S' || sample.state == 'R');
    (void)close(hold[1]);

    /* A zombie has no memory any more, but can be sampled. */
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(procfs_sample(&procfs, &sample), 0);
    assert_int_equal(sample.state, 'Z');
    assert_int_equal(sample.rss_bytes, 0);
    assert_true(procfs_private_bytes(child) < 0);

    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(procfs_sample(&procfs, &sample), -ESRCH);
    procfs_close(&procfs);
    assert_int_equal(procfs_open(&procfs, child), -ENOENT);
    assert_int_equal(procfs_private_bytes(child), -ENOENT);
}

static int back_to_the_new_kernel(void **state)
{
    (void)state;
    old_kernel = 0;
    return 0;
}

static void test_counting_on_old_kernels(void **state)
{
    (void)state;
    struct procfs procfs = {.stat_fd = -1};
    struct procfs_sample sample = {0};
    struct rlimit saved, wide;
    static int fds[FD_COUNT_MAX + 100];

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &saved), 0);
    wide = saved;
    wide.rlim_cur = wide.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &wide), 0);
    assert_int_equal(procfs_open(&procfs, getpid()), 0);
    assert_int_equal(procfs_sample(&procfs, &sample), 0);
    int64_t exact = sample.fd_count;
    old_kernel = 1;
    assert_int_equal(procfs_sample(&procfs, &sample), 0);
    if (exact > 0) /* counting opens the directory, which is one more */
        assert_int_equal(sample.fd_count, exact + 1);
    int64_t few = sample.fd_count;
    procfs_close(&procfs);

    /* Many are counted seldom: a new count only after many samples. */
    for (int i = 0; i < 1000; i++) {
        fds[i] = dup(0);
        assert_true(fds[i] >= 0);
    }
    assert_int_equal(procfs_open(&procfs, getpid()), 0);
    opendir_calls = 0;
    for (int i = 0; i < 320; i++) {
        assert_int_equal(procfs_sample(&procfs, &sample), 0);
        assert_int_equal(sample.fd_count, few + 1000);
    }
    assert_in_range(opendir_calls, 5, 15);
    procfs_close(&procfs);

    /* Too many are not counted at all. */
    int opened = 1000;
    while (opened < (int)ARRAY_COUNT(fds) && (fds[opened] = dup(0)) >= 0)
        opened++;
    if (opened == (int)ARRAY_COUNT(fds)) {
        assert_int_equal(procfs_open(&procfs, getpid()), 0);
        opendir_calls = 0;
        for (int i = 0; i < 60; i++) {
            assert_int_equal(procfs_sample(&procfs, &sample), 0);
            assert_int_equal(sample.fd_count, -1);
        }
        assert_int_equal(opendir_calls, 1);
        procfs_close(&procfs);
    }
    for (int i = 0; i < opened; i++)
        (void)close(fds[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &saved), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_this_process),
        cmocka_unit_test(test_a_process_that_ends),
        cmocka_unit_test_teardown(test_counting_on_old_kernels, back_to_the_new_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
