/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_watch - who is late, who is on probation, who is hung.
 *
 * A little world: workers that beat every 100 ms unless a case stops them or
 * keeps them in one turn, and a master that looks every 50 ms and does what the
 * verdict says.
 */
#include "common/check.h"
#include "master/watch.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_WORKERS = 8, BEAT_MS = 100, LOOK_MS = 50 };

static const struct policy_rules rules = {
    .report_interval_ms = 1000,
    .suspect_timeout_ms = 250,
    .stall_timeout_ms = 100,
    .hang_timeout_ms = 5000,
    .kill_grace_ms = 2000,
    .start_timeout_ms = 10000,
};

struct world {
    struct roster *roster;
    int count;
    int64_t now_ms;
    struct worker *worker[MOST_WORKERS];
    struct watch_sample board[MOST_WORKERS];
    int64_t free_ms[MOST_WORKERS];       /* its turn ends then */
    int64_t stopped_until[MOST_WORKERS]; /* as by SIGSTOP */
    int64_t longest_ms[MOST_WORKERS];    /* since its last beat */
    int64_t next_beat_ms[MOST_WORKERS];
    int64_t next_look_ms;
    int suspected[MOST_WORKERS], trusted[MOST_WORKERS], killed[MOST_WORKERS];
};

static void world_init(struct world *world, int count)
{
    memset(world, 0, sizeof(*world));
    world->roster = roster_new(count);
    assert_non_null(world->roster);
    world->count = count;
    world->now_ms = 1000000;
    world->next_look_ms = world->now_ms;
    for (int i = 0; i < count; i++) {
        world->worker[i] = roster_add(world->roster, i, 100 + i, world->now_ms);
        assert_non_null(world->worker[i]);
        worker_enter(world->worker[i], WORKER_READY, world->now_ms);
        watch_new_board(world->worker[i], world->now_ms);
        world->worker[i]->connected = true;
        world->board[i].interval_ns = BEAT_MS * INT64_C(1000000);
        world->next_beat_ms[i] = world->now_ms;
    }
}

static void world_fini(struct world *world)
{
    roster_free(&world->roster);
}

static void run_worker(struct world *world, int i)
{
    struct watch_sample *board = &world->board[i];
    if (world->now_ms < world->stopped_until[i])
        return;
    if (board->turn_started_ns != 0 && world->now_ms >= world->free_ms[i]) {
        int64_t took_ms = world->now_ms - board->turn_started_ns / 1000000;
        world->longest_ms[i] = took_ms > world->longest_ms[i] ? took_ms : world->longest_ms[i];
        board->turn_started_ns = 0;
        board->turns++;
    }
    if (board->turn_started_ns == 0 && world->now_ms >= world->next_beat_ms[i]) {
        board->lag_ns = world->longest_ms[i] * 1000000;
        board->beat_ns = world->now_ms * 1000000;
        board->turns++;
        world->longest_ms[i] = 0;
        world->next_beat_ms[i] = world->now_ms + BEAT_MS;
    }
}

static void run_master(struct world *world)
{
    for (int i = 0; i < world->count; i++)
        watch_look(world->worker[i], &world->board[i], &rules, world->now_ms);
    bool holds = watch_probation_holds(world->roster, &rules, world->now_ms);
    for (int i = 0; i < world->count; i++) {
        struct worker *worker = world->worker[i];
        switch (watch_judge(worker, &rules, holds, world->now_ms)) {
        case WATCH_KEEP:
            break;
        case WATCH_SUSPECT:
            worker_enter(worker, WORKER_SUSPECT, world->now_ms);
            world->suspected[i]++;
            break;
        case WATCH_TRUST:
            worker_enter(worker, WORKER_READY, world->now_ms);
            world->trusted[i]++;
            break;
        case WATCH_HUNG:
            world->killed[i]++;
            break;
        }
    }
    world->next_look_ms = world->now_ms + LOOK_MS;
}

static void run(struct world *world, int64_t ms)
{
    for (int64_t end_ms = world->now_ms + ms; world->now_ms < end_ms; world->now_ms++) {
        for (int i = 0; i < world->count; i++)
            run_worker(world, i);
        if (world->now_ms >= world->next_look_ms)
            run_master(world);
    }
}

/* The loop of this worker is busy with one turn for so long. */
static void stall(struct world *world, int i, int64_t ms)
{
    world->board[i].turn_started_ns = world->now_ms * 1000000;
    world->free_ms[i] = world->now_ms + ms;
}

static void stop(struct world *world, int i, int64_t ms)
{
    world->stopped_until[i] = world->now_ms + ms;
}

static enum worker_state state_of(const struct world *world, int i)
{
    return world->worker[i]->state;
}

static void nobody_is_late_without_a_reason(void **state)
{
    struct world world;
    (void)state;
    world_init(&world, 4);
    run(&world, 60000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(world.suspected[i], 0);
    world_fini(&world);
}

static void a_stopped_worker_is_suspect_within_300_ms(void **state)
{
    struct world world;
    char why[WATCH_TEXT_SIZE];
    (void)state;
    for (int offset = 0; offset < BEAT_MS; offset += 7) {
        world_init(&world, 2);
        run(&world, 1000 + offset);
        stop(&world, 1, 5000);
        run(&world, 301);
        assert_int_equal(state_of(&world, 1), WORKER_SUSPECT);
        assert_int_equal(state_of(&world, 0), WORKER_READY);
        watch_explain(world.worker[1], world.now_ms, why);
        assert_non_null(strstr(why, "no beat for "));
        run(&world, 4500);
        assert_int_equal(state_of(&world, 1), WORKER_SUSPECT);
        run(&world, 500);
        assert_int_equal(state_of(&world, 1), WORKER_READY);
        assert_int_equal(world.suspected[1], 1);
        world_fini(&world);
    }
}

static void one_stall_is_forgotten(void **state)
{
    struct world world;
    char why[WATCH_TEXT_SIZE];
    (void)state;
    world_init(&world, 4);
    run(&world, 1000);
    stall(&world, 2, 220);
    run(&world, 160);
    assert_int_equal(state_of(&world, 2), WORKER_SUSPECT);
    watch_explain(world.worker[2], world.now_ms, why);
    assert_non_null(strstr(why, "one loop turn lasts 1"));
    run(&world, 120);
    assert_int_equal(state_of(&world, 2), WORKER_READY);
    run(&world, 60000);
    stall(&world, 2, 220); /* much later, so it is the first again */
    run(&world, 280);
    assert_int_equal(state_of(&world, 2), WORKER_READY);
    assert_int_equal(world.suspected[2], 2);
    world_fini(&world);
}

/* A stall between two looks is seen by the lag that the next beat tells. */
static void a_stall_that_nobody_saw_counts(void **state)
{
    struct world world;
    (void)state;
    world_init(&world, 4);
    run(&world, 1000);
    world.next_look_ms = world.now_ms + 150; /* late, but before the beat after the next */
    stall(&world, 2, 120);
    run(&world, 500);
    assert_int_equal(world.suspected[2], 0);
    assert_int_equal(world.worker[2]->watch.late_count, 1);
    stall(&world, 2, 220);
    run(&world, 1000);
    assert_int_equal(world.worker[2]->watch.late_count, 2); /* seen, and told: counted once */
    assert_int_equal(state_of(&world, 2), WORKER_SUSPECT);
    world_fini(&world);
}

static void who_stalls_every_second_stays_away(void **state)
{
    struct world world;
    char why[WATCH_TEXT_SIZE];
    (void)state;
    world_init(&world, 4);
    run(&world, 1000);
    for (int i = 0; i < 30; i++) {
        stall(&world, 1, 150);
        run(&world, 300);
        if (i > 0) {
            assert_int_equal(state_of(&world, 1), WORKER_SUSPECT);
            watch_explain(world.worker[1], world.now_ms, why);
            assert_non_null(strstr(why, "on probation for "));
        }
        run(&world, 700);
    }
    assert_in_range(world.suspected[1], 1, 2);
    assert_int_equal(world.killed[1], 0);
    assert_int_equal(world.worker[1]->watch.probation_ms, WATCH_PROBATION_MAX_MS);
    /* It behaves from now on: trusted when the last probation is over. */
    run(&world, WATCH_PROBATION_MAX_MS - 1000);
    assert_int_equal(state_of(&world, 1), WORKER_SUSPECT);
    run(&world, 1000);
    assert_int_equal(state_of(&world, 1), WORKER_READY);
    for (int i = 0; i < 4; i++)
        assert_int_equal(i == 1 ? 0 : world.suspected[i], 0);
    world_fini(&world);
}

/* A reload or a change of scale need not wait for the end of a probation. */
static void probation_does_not_hold_up_commands(void **state)
{
    struct world world;
    (void)state;
    world_init(&world, 3);
    roster_set_desired(world.roster, 3);
    run(&world, 1000);
    for (int i = 0; i < 3; i++) {
        stall(&world, 1, 150);
        run(&world, 500);
    }
    assert_int_equal(state_of(&world, 1), WORKER_SUSPECT);
    assert_true(policy_settled(world.roster));
    stop(&world, 1, 10000);
    run(&world, 500);
    assert_int_equal(state_of(&world, 1), WORKER_SUSPECT);
    assert_false(policy_settled(world.roster));
    world_fini(&world);
}

static void each_probation_is_twice_as_long(void **state)
{
    static const int64_t expected_ms[] = {0, 2000, 4000, 8000, 16000, 30000, 30000};
    struct world world;
    (void)state;
    world_init(&world, 4);
    run(&world, 1000);
    for (size_t i = 0; i < ARRAY_COUNT(expected_ms); i++) {
        stall(&world, 0, 200);
        run(&world, 400);
        assert_int_equal(world.worker[0]->watch.probation_ms, expected_ms[i]);
        run(&world, expected_ms[i] + 500);
        assert_int_equal(state_of(&world, 0), WORKER_READY);
    }
    world_fini(&world);
}

/* Two of four stall all the time: half of the capacity is more than a minority. */
static void probation_never_holds_more_than_a_minority(void **state)
{
    struct world world;
    (void)state;
    for (int stalling = 1; stalling <= 4; stalling++) {
        world_init(&world, 4);
        run(&world, 1000);
        for (int round = 0; round < 5; round++) {
            for (int i = 0; i < stalling; i++)
                stall(&world, i, 150);
            run(&world, 500);
            for (int i = 0; i < 4 && round > 0; i++) {
                bool held = stalling == 1 && i == 0;
                assert_int_equal(state_of(&world, i), held ? WORKER_SUSPECT : WORKER_READY);
            }
            run(&world, 500);
        }
        world_fini(&world);
    }
}

/* The others die or hang: who is on probation is better than nobody. */
static void the_last_one_is_trusted(void **state)
{
    struct world world;
    (void)state;
    world_init(&world, 3);
    run(&world, 1000);
    for (int i = 0; i < 3; i++) {
        stall(&world, 0, 150);
        run(&world, 1000);
    }
    assert_int_equal(state_of(&world, 0), WORKER_SUSPECT);
    stop(&world, 1, 60000);
    stop(&world, 2, 60000);
    run(&world, 400);
    assert_int_equal(state_of(&world, 0), WORKER_READY);
    assert_int_equal(state_of(&world, 1), WORKER_SUSPECT);
    world_fini(&world);
}

static void a_busy_worker_that_goes_on_is_never_killed(void **state)
{
    struct world world;
    (void)state;
    world_init(&world, 2);
    run(&world, 1000);
    for (int i = 0; i < 60; i++) {
        stall(&world, 0, 2000); /* turn after turn, each shorter than hang_timeout */
        run(&world, 2001);
    }
    assert_int_equal(world.killed[0], 0);
    assert_true(world.suspected[0] > 0);
    run(&world, 1000);
    assert_int_equal(state_of(&world, 0), WORKER_READY);
    world_fini(&world);
}

static void who_makes_no_progress_is_killed(void **state)
{
    struct world world;
    (void)state;
    world_init(&world, 2);
    run(&world, 1000);
    stall(&world, 0, 1000000);
    stop(&world, 1, 1000000);
    run(&world, 4900);
    assert_int_equal(world.killed[0] + world.killed[1], 0);
    run(&world, 300);
    assert_true(world.killed[0] > 0 && world.killed[1] > 0);
    world_fini(&world);
}

/* The master missed some time; so did the workers, or they did not: it cannot
 * know, and suspects nobody for it. */
static void time_that_the_master_missed_counts_for_nobody(void **state)
{
    struct world world;
    (void)state;
    world_init(&world, 4);
    run(&world, 1000);
    stall(&world, 3, 10000000); /* this one is stuck for good */
    run(&world, 10);
    world.now_ms += 60000; /* the whole machine stood still */
    world.next_look_ms = world.now_ms;
    for (int i = 0; i < 4; i++) {
        world.next_beat_ms[i] = world.now_ms + 60;
        watch_excuse(world.worker[i], 60000, world.now_ms);
    }
    run(&world, 60);
    for (int i = 0; i < 4; i++)
        assert_int_equal(world.suspected[i] + world.killed[i], 0);
    run(&world, 100);
    for (int i = 0; i < 4; i++)
        assert_int_equal(state_of(&world, i), i == 3 ? WORKER_SUSPECT : WORKER_READY);
    assert_int_equal(world.killed[3], 0);
    run(&world, 5000);
    assert_true(world.killed[3] > 0);
    world_fini(&world);
}

/* What it missed again and again does not hide who is stuck, it only takes longer. */
static void a_slow_master_finds_out_later(void **state)
{
    struct world world;
    (void)state;
    world_init(&world, 2);
    run(&world, 1000);
    stop(&world, 1, 1000000);
    int rounds = 0;
    while (state_of(&world, 1) == WORKER_READY && rounds++ < 100) {
        run(&world, LOOK_MS);
        world.now_ms += 60;
        for (int i = 0; i < 2; i++)
            watch_excuse(world.worker[i], 60, world.now_ms);
        world.next_look_ms = world.now_ms;
    }
    assert_in_range(rounds, 3, 8);
    assert_int_equal(state_of(&world, 0), WORKER_READY);
    world_fini(&world);
}

static void claims_are_not_believed(void **state)
{
    struct world world;
    (void)state;
    world_init(&world, 2);
    run(&world, 1000);
    /* A beat in the future counts once, however far away it is. */
    world.board[0].beat_ns = INT64_MAX;
    world.board[0].turn_started_ns = INT64_MIN;
    world.board[0].interval_ns = INT64_MAX;
    stop(&world, 0, 1000000);
    run(&world, WATCH_INTERVAL_MAX_MS * 5 / 2 + 100);
    assert_int_equal(state_of(&world, 0), WORKER_SUSPECT);
    assert_true(world.killed[0] > 0);
    world_fini(&world);
}

/* Of contract version 1: no board, a report a second. */
static void without_a_board_reports_have_to_do(void **state)
{
    struct world world;
    (void)state;
    world_init(&world, 1);
    struct worker *worker = world.worker[0];
    for (int i = 0; i < 20; i++) {
        worker->last_report_ms = world.now_ms;
        watch_look(worker, NULL, &rules, world.now_ms);
        assert_int_equal(watch_judge(worker, &rules, true, world.now_ms), WATCH_KEEP);
        assert_int_equal(watch_wake_ms(worker, &rules, world.now_ms), world.now_ms + 2000);
        world.now_ms += 1900;
        watch_look(worker, NULL, &rules, world.now_ms);
        assert_int_equal(watch_judge(worker, &rules, true, world.now_ms), WATCH_KEEP);
    }
    world.now_ms += 100;
    watch_look(worker, NULL, &rules, world.now_ms);
    assert_int_equal(watch_judge(worker, &rules, true, world.now_ms), WATCH_SUSPECT);
    worker_enter(worker, WORKER_SUSPECT, world.now_ms);
    char why[WATCH_TEXT_SIZE];
    watch_explain(worker, world.now_ms, why);
    assert_string_equal(why, "no report for 2000 ms");
    world.now_ms += 3000;
    assert_int_equal(watch_judge(worker, &rules, true, world.now_ms), WATCH_HUNG);
    world_fini(&world);
}

/* A reload makes suspect_timeout shorter; the workers of before beat as they did. */
static void who_beats_seldom_is_not_late_for_that(void **state)
{
    struct world world;
    (void)state;
    world_init(&world, 1);
    struct watch_sample sample = {.interval_ns = 200 * INT64_C(1000000)};
    for (int i = 0; i < 20; i++) {
        sample.beat_ns = world.now_ms * 1000000;
        sample.turns++;
        for (int look = 0; look < 9; look++) {
            watch_look(world.worker[0], &sample, &rules, world.now_ms + look * 50);
            assert_int_equal(watch_judge(world.worker[0], &rules, true, world.now_ms + look * 50),
                             WATCH_KEEP);
        }
        world.now_ms += 450;
    }
    world_fini(&world);
}

/* It beats, but the master can tell it nothing: it has to connect first. */
static void who_is_not_connected_is_not_trusted(void **state)
{
    struct world world;
    char why[WATCH_TEXT_SIZE];
    (void)state;
    world_init(&world, 2);
    worker_enter(world.worker[1], WORKER_SUSPECT, world.now_ms); /* did not answer the roll call */
    world.worker[1]->connected = false;
    run(&world, 1000);
    assert_int_equal(state_of(&world, 1), WORKER_SUSPECT);
    watch_explain(world.worker[1], world.now_ms, why);
    assert_string_equal(why, "not connected to the master");
    world.worker[1]->connected = true;
    run(&world, 100);
    assert_int_equal(state_of(&world, 1), WORKER_READY);
    world_fini(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_late_without_a_reason),
        cmocka_unit_test(a_stopped_worker_is_suspect_within_300_ms),
        cmocka_unit_test(one_stall_is_forgotten),
        cmocka_unit_test(a_stall_that_nobody_saw_counts),
        cmocka_unit_test(who_stalls_every_second_stays_away),
        cmocka_unit_test(probation_does_not_hold_up_commands),
        cmocka_unit_test(each_probation_is_twice_as_long),
        cmocka_unit_test(probation_never_holds_more_than_a_minority),
        cmocka_unit_test(the_last_one_is_trusted),
        cmocka_unit_test(a_busy_worker_that_goes_on_is_never_killed),
        cmocka_unit_test(who_makes_no_progress_is_killed),
        cmocka_unit_test(time_that_the_master_missed_counts_for_nobody),
        cmocka_unit_test(a_slow_master_finds_out_later),
        cmocka_unit_test(claims_are_not_believed),
        cmocka_unit_test(without_a_board_reports_have_to_do),
        cmocka_unit_test(who_is_not_connected_is_not_trusted),
        cmocka_unit_test(who_beats_seldom_is_not_late_for_that),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
