/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_worker_binary - which file is executed, and whether the disk has another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "master/worker_binary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[96], other[96];

static void write_file(const char *name, const char *content, size_t len)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, len), (ssize_t)len);
    (void)close(fd);
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/muster-binary-XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/program", dir);
    (void)snprintf(other, sizeof(other), "%s/other", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(path);
    (void)unlink(other);
    return rmdir(dir);
}

static void test_a_program_is_pinned(void **state)
{
    (void)state;
    char buffer[WORKER_BINARY_EXEC_SIZE], content[8];
    struct worker_binary binary;
    write_file(path, "\177ELF-1", 6);
    worker_binary_init(&binary);
    assert_int_equal(worker_binary_open(path, &binary), 0);
    assert_true(worker_binary_is_pinned(&binary));
    assert_true(binary.fd > STDERR_FILENO);
    assert_int_equal(fcntl(binary.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    worker_binary_look(&binary);
    assert_false(binary.changed_on_disk);
    /* Another one takes its place: what is executed stays. */
    write_file(other, "\177ELF-2", 6);
    assert_int_equal(rename(other, path), 0);
    worker_binary_look(&binary);
    assert_true(binary.changed_on_disk);
    int fd = open(worker_binary_exec_path(&binary, buffer), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, content, sizeof(content)), 6);
    assert_memory_equal(content, "\177ELF-1", 6);
    (void)close(fd);

    struct worker_binary next;
    worker_binary_init(&next);
    assert_int_equal(worker_binary_open(path, &next), 0);
    assert_false(worker_binary_same(&binary, &next));
    assert_true(worker_binary_same(&next, &next));
    worker_binary_close(&next);
    worker_binary_close(&binary);
    assert_int_equal(binary.fd, -1);
}

/* Of a process that runs: this very test. */
static void test_adopting(void **state)
{
    (void)state;
    char self[256];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    assert_true(len > 0);
    self[len] = '\0';
    struct worker_binary binary, disk;
    worker_binary_init(&binary);
    worker_binary_init(&disk);
    assert_int_equal(worker_binary_open(self, &disk), 0);
    (void)snprintf(binary.path, sizeof(binary.path), "%s", self);
    assert_int_equal(worker_binary_adopt(&binary, getpid()), 0);
    assert_true(worker_binary_is_pinned(&binary));
    assert_true(worker_binary_same(&binary, &disk));
    assert_false(binary.changed_on_disk);
    worker_binary_close(&binary);
    /* The version before, in a directory of its own that is gone by now. */
    (void)snprintf(binary.path, sizeof(binary.path), "/nowhere/next%s", strrchr(self, '/'));
    assert_int_equal(worker_binary_adopt(&binary, getpid()), 0);
    assert_true(worker_binary_same(&binary, &disk));
    assert_true(binary.changed_on_disk);
    worker_binary_close(&binary);
    /* Something else is executed: an interpreter, say. */
    write_file(path, "#!/bin/sh\n", 10);
    assert_int_equal(worker_binary_open(path, &binary), 0);
    assert_int_equal(worker_binary_adopt(&binary, getpid()), -ENOENT);
    assert_false(worker_binary_is_pinned(&binary));
    worker_binary_close(&binary);
    worker_binary_close(&disk);
}

/* Written over, or gone: both are changes. */
static void test_changes_in_place(void **state)
{
    (void)state;
    struct worker_binary binary;
    write_file(path, "\177ELF-1", 6);
    worker_binary_init(&binary);
    assert_int_equal(worker_binary_open(path, &binary), 0);
    write_file(path, "\177ELF-10", 7);
    worker_binary_look(&binary);
    assert_true(binary.changed_on_disk);
    assert_int_equal(unlink(path), 0);
    worker_binary_look(&binary);
    assert_true(binary.changed_on_disk);
    worker_binary_close(&binary);
}

static void test_a_script_is_not(void **state)
{
    (void)state;
    char buffer[WORKER_BINARY_EXEC_SIZE];
    struct worker_binary binary;
    write_file(path, "#!/bin/sh\n", 10);
    worker_binary_init(&binary);
    assert_int_equal(worker_binary_open(path, &binary), 0);
    assert_false(worker_binary_is_pinned(&binary));
    assert_string_equal(worker_binary_exec_path(&binary, buffer), path);
    worker_binary_look(&binary);
    assert_false(binary.changed_on_disk);
    worker_binary_close(&binary);
}

static void test_what_cannot_be_executed(void **state)
{
    (void)state;
    char buffer[WORKER_BINARY_EXEC_SIZE];
    struct worker_binary binary;
    worker_binary_init(&binary);
    assert_int_equal(worker_binary_open(path, &binary), -ENOENT);
    assert_string_equal(worker_binary_exec_path(&binary, buffer), path);
    worker_binary_close(&binary);
    assert_int_equal(worker_binary_open(dir, &binary), -EACCES);
    worker_binary_close(&binary);
    write_file(path, "\177ELF", 4);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(worker_binary_open(path, &binary), -EACCES);
    assert_false(worker_binary_is_pinned(&binary));
    worker_binary_close(&binary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_program_is_pinned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_adopting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changes_in_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_script_is_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_executed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
