/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_state_file - what a master leaves behind is read back whole, whatever
 * moment it was killed at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "master/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/muster-state-XXXXXX";
static char path[128];
static struct metrics dead, last;
static struct state state;

static int make_directory(void **unused)
{
    (void)unused;
    if (mkdtemp(directory) == NULL)
        return -1;
    (void)snprintf(path, sizeof(path), "%s/cluster.state", directory);
    return 0;
}

static int remove_directory(void **unused)
{
    (void)unused;
    (void)unlink(path);
    return rmdir(directory);
}

static struct state_file *new_file(void)
{
    struct state_file *file = NULL;
    assert_int_equal(state_file_new(path, &file), 0);
    return file;
}

static void put_worker(struct state_file *file, int cell, pid_t pid, int slot, uint64_t requests)
{
    struct buf snapshot;
    metrics_reset(&last);
    last.counter[METRIC_HTTP_REQUESTS] = requests;
    buf_init(&snapshot, 0);
    metrics_encode(&last, &snapshot);
    const struct state_worker worker = {
        .pid = pid,
        .identity = {77, 88},
        .slot = slot,
        .generation = 3,
        .state = WORKER_READY,
        .started_wall_ms = 123456,
        .snapshot = buf_slice(&snapshot),
    };
    assert_int_equal(state_file_put_worker(file, cell, &worker), 0);
    buf_fini(&snapshot);
}

static void put_cluster(struct state_file *file, uint64_t generation, uint64_t dead_requests)
{
    struct state_cluster cluster = {
        .version = "9.8.7",
        .generation = generation,
        .newest_generation = generation + 1,
        .config_id = UINT64_C(0xfedcba9876543210),
        .sockets_id = UINT64_C(0x123456789abcdef0),
        .manual = true,
        .instances = 5,
        .until_wall_ms = 1000,
        .since_wall_ms = 900,
        .reason = "sale",
        .who = "me",
        .slot_count = 8,
        .masters = 4,
    };
    cluster.restarts[DEATH_CRASH] = 11;
    cluster.restarts[DEATH_SHUTDOWN] = 12;
    cluster.slot_restarts[0] = 1;
    cluster.slot_suspected[3] = 7;
    cluster.slot_restarts[CONTRACT_MAX_SLOTS - 1] = 2;
    metrics_reset(&dead);
    dead.counter[METRIC_HTTP_REQUESTS] = dead_requests;
    assert_int_equal(state_file_put_cluster(file, &cluster, &dead), 0);
}

static uint64_t requests_of(const struct state_worker *worker)
{
    assert_int_equal(metrics_decode(worker->snapshot.ptr, worker->snapshot.len, &last), 0);
    return last.counter[METRIC_HTTP_REQUESTS];
}

static void test_round_trip(void **unused)
{
    (void)unused;
    struct state_file *file = new_file();
    int first = state_file_add(file), second = state_file_add(file);
    put_worker(file, first, 4000, 0, 10);
    put_worker(file, second, 4001, 1, 20);
    put_cluster(file, 7, 100);
    assert_int_equal(state_file_load(path, &state), -ENOENT); /* not published yet */
    assert_int_equal(state_file_publish(file), 0);

    assert_int_equal(state_file_load(path, &state), 0);
    assert_string_equal(state.cluster.version, "9.8.7");
    assert_int_equal(state.cluster.generation, 7);
    assert_int_equal(state.cluster.newest_generation, 8);
    assert_true(state.cluster.config_id == UINT64_C(0xfedcba9876543210));
    assert_true(state.cluster.manual);
    assert_int_equal(state.cluster.instances, 5);
    assert_string_equal(state.cluster.reason, "sale");
    assert_int_equal(state.cluster.restarts[DEATH_CRASH], 11);
    assert_int_equal(state.cluster.restarts[DEATH_SHUTDOWN], 12);
    assert_int_equal(state.cluster.slot_restarts[0], 1);
    assert_int_equal(state.cluster.slot_suspected[3], 7);
    assert_int_equal(state.cluster.slot_restarts[CONTRACT_MAX_SLOTS - 1], 2);
    assert_int_equal(state.cluster.slot_count, 8);
    assert_true(state.cluster.sockets_id == UINT64_C(0x123456789abcdef0));
    assert_int_equal(state.cluster.masters, 4);
    assert_int_equal(state.dead.counter[METRIC_HTTP_REQUESTS], 100);
    assert_int_equal(state.worker_count, 2);
    assert_int_equal(state.workers[0].pid, 4000);
    assert_int_equal(state.workers[1].slot, 1);
    assert_int_equal(state.workers[1].identity.start_ticks, 77);
    assert_int_equal(state.workers[1].identity.inode, 88);
    assert_int_equal(state.workers[1].generation, 3);
    assert_int_equal(state.workers[1].state, WORKER_READY);
    assert_int_equal(requests_of(&state.workers[0]), 10);
    assert_int_equal(requests_of(&state.workers[1]), 20);
    state_fini(&state);

    /* A burial is one write: the worker's counts are either his or those of the dead. */
    state_file_drop(file, first);
    assert_int_equal(state_file_load(path, &state), 0);
    assert_int_equal(state.worker_count, 2);
    state_fini(&state);
    put_cluster(file, 7, 110);
    assert_int_equal(state_file_load(path, &state), 0);
    assert_int_equal(state.worker_count, 1);
    assert_int_equal(state.workers[0].pid, 4001);
    assert_int_equal(state.dead.counter[METRIC_HTTP_REQUESTS], 110);
    state_fini(&state);
    assert_int_equal(state_file_add(file), first); /* its place is free */

    state_file_free(&file, true);
    assert_int_equal(state_file_load(path, &state), -ENOENT);
}

static void flip(int fd, off_t at)
{
    char byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (char)(byte ^ 0x40);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

/* The newest of two records is damaged at every place in turn: the one before counts. */
static void test_a_write_that_was_cut_short(void **unused)
{
    (void)unused;
    struct state_file *file = new_file();
    int cell = state_file_add(file);
    put_worker(file, cell, 4000, 0, 10);
    put_cluster(file, 1, 1);
    put_cluster(file, 2, 2); /* into the second half */
    assert_int_equal(state_file_publish(file), 0);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    const off_t second_half = CONTRACT_MAX_MESSAGE + 4096;
    for (off_t at = 0; at < 300; at++) { /* shorter than the record */
        flip(fd, second_half + at);
        assert_int_equal(state_file_load(path, &state), 0);
        assert_int_equal(state.cluster.generation, 1);
        assert_int_equal(state.worker_count, 1);
        state_fini(&state);
        flip(fd, second_half + at);
    }
    assert_int_equal(state_file_load(path, &state), 0);
    assert_int_equal(state.cluster.generation, 2);
    state_fini(&state);
    /* Both damaged: said so, never guessed. */
    flip(fd, 40);
    flip(fd, second_half + 40);
    assert_int_equal(state_file_load(path, &state), -EPROTO);
    (void)close(fd);
    state_file_free(&file, true);
}

/* One worker less is known then, not none. */
static void test_a_worker_that_cannot_be_read(void **unused)
{
    (void)unused;
    struct state_file *file = new_file();
    int first = state_file_add(file), second = state_file_add(file), third = state_file_add(file);
    put_worker(file, first, 4000, 0, 10);
    put_worker(file, third, 4002, 2, 30);
    put_cluster(file, 1, 1); /* the second has no record: the disk was full */
    assert_int_equal(state_file_publish(file), 0);
    assert_int_equal(state_file_load(path, &state), 0);
    assert_int_equal(state.damaged_count, 1);
    assert_int_equal(state.worker_count, 2);
    assert_int_equal(requests_of(&state.workers[0]), 10);
    assert_int_equal(requests_of(&state.workers[1]), 30);
    state_fini(&state);
    /* There are eight slots. */
    put_worker(file, second, 4001, 8, 20);
    assert_int_equal(state_file_load(path, &state), 0);
    assert_int_equal(state.damaged_count, 1);
    assert_int_equal(state.workers[1].slot, 2);
    state_fini(&state);
    state_file_free(&file, true);
}

static void test_who_could_have_written_it(void **unused)
{
    (void)unused;
    struct state_file *file = new_file();
    put_cluster(file, 1, 1);
    assert_int_equal(state_file_publish(file), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(chmod(path, 0620), 0);
    assert_int_equal(state_file_load(path, &state), -EPERM);
    assert_int_equal(chmod(path, 0602), 0);
    assert_int_equal(state_file_load(path, &state), -EPERM);
    state_file_free(&file, true);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(state_file_load(path, &state), -ELOOP);
    assert_int_equal(unlink(path), 0);
}

static void test_what_is_no_state_file(void **unused)
{
    (void)unused;
    char garbage[3000];
    memset(garbage, 'x', sizeof(garbage));
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(state_file_load(path, &state), -EPROTO);
    assert_int_equal(write(fd, garbage, sizeof(garbage)), sizeof(garbage));
    assert_int_equal(state_file_load(path, &state), -EPROTO);
    (void)close(fd);
}

static void test_not_published_leaves_nothing(void **unused)
{
    (void)unused;
    struct state_file *file = new_file();
    put_cluster(file, 1, 1);
    state_file_free(&file, false);
    char temporary[160];
    (void)snprintf(temporary, sizeof(temporary), "%s.new", path);
    assert_int_equal(access(temporary, F_OK), -1);
}

static void test_every_place_can_be_used(void **unused)
{
    (void)unused;
    struct state_file *file = new_file();
    for (int i = 0; i < STATE_MAX_WORKERS; i++)
        assert_true(state_file_add(file) > 0);
    assert_int_equal(state_file_add(file), -ENOSPC);
    put_cluster(file, 1, 1);
    state_file_free(&file, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_a_write_that_was_cut_short),
        cmocka_unit_test(test_a_worker_that_cannot_be_read),
        cmocka_unit_test(test_who_could_have_written_it),
        cmocka_unit_test(test_what_is_no_state_file),
        cmocka_unit_test(test_not_published_leaves_nothing),
        cmocka_unit_test(test_every_place_can_be_used),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
