/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_policy - the decisions of the master against a simulated cluster.
 */
#include "unit/policy_sim.h"

static void test_start(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 4, 2);
    decide(&sim);
    assert_int_equal(sim.spawns, 2);
    assert_int_equal(roster_count(sim.roster, WORKER_STARTING), 2);
    start_all(&sim);
    assert_int_equal(roster_count(sim.roster, WORKER_READY), 2);
    check_invariants(&sim);
    assert_true(policy_settled(sim.roster));
    sim_fini(&sim);
}

static void test_survivor_adopts(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 4, 3);
    start_all(&sim);
    sim.now_ms += 20000;
    report_all(&sim);
    die(&sim, ready_in(&sim, 1), true, SIGSEGV);
    assert_false(slot_set_has(&sim.steered, 1));
    confirm_all(&sim);
    assert_true(is_subset_polled(&sim, 1));
    assert_int_equal(roster_count(sim.roster, WORKER_STARTING), 1); /* first death: at once */
    start_all(&sim);
    check_invariants(&sim);
    /* The newcomer has its socket back, and nobody else polls it any more. */
    for (int i = 0; i < 3; i++)
        assert_int_equal(slot_set_has(&ready_in(&sim, i)->confirmed, 1), i == 1);
    sim_fini(&sim);
}

static void test_scale_down_is_lossless(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 4, 4);
    start_all(&sim);
    struct worker *leaving = ready_in(&sim, 3);
    roster_set_desired(sim.roster, 3);
    decide(&sim);
    /* Steered away at once, but it polls its socket until a survivor does. */
    assert_false(slot_set_has(&sim.steered, 3));
    assert_int_equal(leaving->state, WORKER_READY);
    assert_true(slot_set_has(&leaving->assigned, 3));
    confirm_all(&sim);
    assert_int_equal(leaving->state, WORKER_DRAINING);
    assert_int_equal(leaving->ending, DEATH_SCALE_DOWN);
    check_invariants(&sim);
    sim.now_ms += 59000;
    report_all(&sim);
    decide(&sim);
    assert_int_equal(leaving->kill_signal, 0);
    sim.now_ms += 3001;
    report_all(&sim);
    decide(&sim);
    assert_int_equal(leaving->kill_signal, SIGKILL);
    sim_fini(&sim);
}

/* Taken back when one slot was replaced already: the new worker, which stands in
 * for slots without workers, hands those over, too. */
static void test_roll_back_half_way(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 3, 2);
    start_all(&sim);
    struct worker *old = ready_in(&sim, 0);
    sim.roster->generation = 2;
    decide(&sim);
    struct worker *fresh = TAILQ_LAST(&sim.roster->workers, worker_list);
    CHECK(fresh != NULL);
    connect_worker(&sim, fresh);
    say_ready(&sim, fresh);
    assert_int_equal(fresh->slot, 0);
    assert_int_equal(old->state, WORKER_READY); /* not drained yet */
    sim.roster->generation = 1;
    decide(&sim);
    confirm_all(&sim);
    assert_int_equal(fresh->state, WORKER_DRAINING);
    assert_int_equal(old->state, WORKER_READY);
    check_invariants(&sim);
    sim_fini(&sim);
}

static void test_suspect_is_steered_away_from(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 4, 2);
    start_all(&sim);
    struct worker *late = ready_in(&sim, 0);
    sim.now_ms += 2999;
    ready_in(&sim, 1)->last_report_ms = sim.now_ms;
    decide(&sim);
    assert_int_equal(late->state, WORKER_READY);
    sim.now_ms += 1;
    decide(&sim);
    assert_int_equal(late->state, WORKER_SUSPECT);
    assert_false(slot_set_has(&sim.steered, 0));
    confirm(&sim, ready_in(&sim, 1));
    assert_true(slot_set_has(&ready_in(&sim, 1)->confirmed, 0));
    /* It reports again: trusted, and it gets its socket back. */
    late->last_report_ms = sim.now_ms;
    decide(&sim);
    assert_int_equal(late->state, WORKER_READY);
    confirm_all(&sim);
    check_invariants(&sim);
    /* Silent for good: SIGABRT, then SIGKILL. */
    for (int i = 0; i < 40 && late->kill_signal != SIGABRT; i++) {
        sim.now_ms += 1000;
        ready_in(&sim, 1)->last_report_ms = sim.now_ms;
        decide(&sim);
    }
    assert_int_equal(late->kill_signal, SIGABRT);
    assert_in_range(sim.now_ms - late->last_report_ms, 30000, 31000);
    sim.now_ms += 2000;
    ready_in(&sim, 1)->last_report_ms = sim.now_ms;
    decide(&sim);
    assert_int_equal(late->kill_signal, SIGKILL);
    sim_fini(&sim);
}

/* The only wanted worker hangs while another one is to leave: that one stays
 * and serves until there is somebody else. */
static void test_the_last_one_does_not_leave(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 4, 2);
    start_all(&sim);
    sim.now_ms += 3000;
    ready_in(&sim, 1)->last_report_ms = sim.now_ms;
    decide(&sim);
    roster_set_desired(sim.roster, 1);
    decide(&sim);
    confirm_all(&sim);
    struct worker *last = ready_in(&sim, 1);
    assert_true(slot_set_has(&sim.steered, 1));
    for (unsigned i = 0; i < 4; i++)
        assert_true(slot_set_has(&last->confirmed, i));
    /* The other one reports again: now it may go. */
    TAILQ_FIRST(&sim.roster->slots[0].workers)->last_report_ms = sim.now_ms;
    decide(&sim);
    confirm_all(&sim);
    assert_int_equal(last->state, WORKER_DRAINING);
    check_invariants(&sim);
    sim_fini(&sim);
}

/* A worker that drains by itself is not relied on, whatever becomes of its successor. */
static void test_leaving_worker_is_not_relied_on(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 4, 2);
    start_all(&sim);
    struct worker *leaving = ready_in(&sim, 0);
    leaving->replace = true;
    leaving->leaving = true;
    decide(&sim);
    confirm_all(&sim);
    assert_false(slot_set_has(&sim.steered, 0));
    assert_true(slot_set_has(&ready_in(&sim, 1)->confirmed, 0));
    assert_false(slot_set_has(&leaving->assigned, 0));
    start_all(&sim);
    assert_int_equal(leaving->state, WORKER_DRAINING);
    assert_true(slot_set_has(&sim.steered, 0));
    sim_fini(&sim);
}

/* Who answered an older ASSIGN may have given the socket up since then: nobody
 * is to leave on the strength of that. */
static void test_late_answers_count_for_nothing(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 2, 1);
    start_all(&sim);
    struct worker *first = ready_in(&sim, 0);
    assert_true(slot_set_has(&first->confirmed, 1));
    roster_set_desired(sim.roster, 2);
    decide(&sim);
    start_worker(&sim, TAILQ_LAST(&sim.roster->workers, worker_list));
    struct worker *second = ready_in(&sim, 1);
    assert_false(slot_set_has(&first->assigned, 1)); /* told to give it up, and has not answered */
    struct slot_set both = {.word = {3}};
    uint64_t old_epoch = first->assign_epoch - 1;
    roster_set_desired(sim.roster, 1);
    decide(&sim);
    assert_true(slot_set_has(&first->assigned, 1));
    assert_int_equal(second->state, WORKER_READY);
    assert_true(slot_set_has(&second->assigned, 1));
    worker_confirm(first, &both, old_epoch);
    decide(&sim);
    assert_int_equal(second->state, WORKER_READY);
    confirm(&sim, first);
    assert_int_equal(second->state, WORKER_DRAINING);
    sim_fini(&sim);
}

/* Scaled away between beginning to poll and saying so: it gives its socket up
 * once somebody else has it, instead of polling until its deadline. */
static void test_drained_before_ready_was_heard(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 2, 2);
    decide(&sim);
    struct worker *first = TAILQ_FIRST(&sim.roster->workers);
    struct worker *second = TAILQ_LAST(&sim.roster->workers, worker_list);
    CHECK(first != NULL && second != NULL);
    connect_worker(&sim, second);
    assert_true(slot_set_has(&second->assigned, 1));
    roster_set_desired(sim.roster, 1);
    decide(&sim);
    assert_int_equal(second->state, WORKER_DRAINING);
    assert_true(slot_set_has(&second->assigned, 1)); /* nobody else could take it */
    start_worker(&sim, first);
    assert_true(slot_set_has(&first->confirmed, 1));
    static const struct slot_set none;
    assert_memory_equal(&second->assigned, &none, sizeof(none));
    sim_fini(&sim);
}

/* It said READY a moment before it was killed for not having said so. */
static void test_killed_worker_is_not_relied_on(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 2, 2);
    start_all(&sim);
    die(&sim, ready_in(&sim, 1), true, SIGSEGV);
    struct worker *slow = TAILQ_LAST(&sim.roster->workers, worker_list);
    CHECK(slow != NULL);
    connect_worker(&sim, slow);
    sim.now_ms += 10000;
    report_all(&sim);
    decide(&sim);
    assert_int_equal(slow->kill_signal, SIGKILL);
    say_ready(&sim, slow);
    confirm_all(&sim);
    assert_false(slot_set_has(&sim.steered, 1));
    assert_true(slot_set_has(&ready_in(&sim, 0)->confirmed, 1));
    sim_fini(&sim);
}

/* After a roll call: one that has not answered polls who knows what, so it is not
 * told to go before others poll everything. */
static void test_silent_worker_is_not_drained_blindly(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 2, 1);
    struct worker *silent =
        roster_adopt(sim.roster, 1, 50, 1, WORKER_READY, sim.now_ms - 60000, sim.now_ms);
    CHECK(silent != NULL);
    silent->last_report_ms = sim.now_ms;
    worker_enter(silent, WORKER_SUSPECT, sim.now_ms);
    decide(&sim);
    assert_int_equal(silent->state, WORKER_SUSPECT); /* its slot is not wanted, and yet */
    start_all(&sim);
    assert_int_equal(silent->state, WORKER_DRAINING);
    sim_fini(&sim);
}

/* The new one falls silent in the moment in which the old one could leave. */
static void test_nobody_leaves_for_a_suspect(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 2, 1);
    start_all(&sim);
    struct worker *old = ready_in(&sim, 0);
    sim.roster->generation = 2;
    decide(&sim);
    struct worker *fresh = TAILQ_LAST(&sim.roster->workers, worker_list);
    CHECK(fresh != NULL && fresh != old);
    connect_worker(&sim, fresh);
    say_ready(&sim, fresh);
    assert_int_equal(old->state, WORKER_READY); /* until `fresh` confirms */
    sim.now_ms += 3000;
    old->last_report_ms = sim.now_ms;
    confirm(&sim, fresh);
    assert_int_equal(fresh->state, WORKER_SUSPECT);
    assert_int_equal(old->state, WORKER_READY);
    sim_fini(&sim);
}

static void test_start_timeout(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 2, 1);
    decide(&sim);
    struct worker *worker = TAILQ_FIRST(&sim.roster->workers);
    assert_int_equal(sim.plan.wake_at_ms, sim.now_ms + 10000);
    sim.now_ms += 9999;
    decide(&sim);
    assert_int_equal(worker->kill_signal, 0);
    sim.now_ms += 1;
    decide(&sim);
    assert_int_equal(worker->kill_signal, SIGKILL);
    assert_int_equal(sim.kills, 1);
    decide(&sim);
    assert_int_equal(sim.kills, 1);
    sim_fini(&sim);
}

static void test_backoff(void **state)
{
    (void)state;
    const struct policy_rules r = rules();
    static const int64_t expected[] = {0,    100,  200,   400,   800,   1600,
                                       3200, 6400, 12800, 25600, 30000, 30000};
    int deaths = 0;
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        struct policy_backoff next = policy_after_death(&r, deaths, 5, false, false);
        assert_int_equal(next.backoff_ms, expected[i]);
        deaths = next.early_deaths;
    }
    /* A healthy life forgives. */
    struct policy_backoff healthy = policy_after_death(&r, deaths, 10000, true, false);
    assert_int_equal(healthy.backoff_ms, 0);
    assert_int_equal(healthy.early_deaths, 0);
    /* Never READY is never healthy, however long it took. */
    assert_int_equal(policy_after_death(&r, 5, 60000, false, false).early_deaths, 6);
    /* kill -9 from outside is not the worker's fault. */
    assert_int_equal(policy_after_death(&r, 3, 500, true, true).backoff_ms, 0);
    assert_int_equal(policy_after_death(&r, 3, 50, true, true).backoff_ms, 100);
    assert_int_equal(policy_after_death(&r, 3, 50, true, true).early_deaths, 3);
    assert_int_equal(policy_after_death(&r, 3, 500, false, true).early_deaths, 4);
}

static void test_last_resort(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 2, 2);
    decide(&sim);
    for (int i = 0; i < 2; i++)
        sim.roster->slots[i].early_deaths = 11;
    struct worker *worker;
    while ((worker = TAILQ_FIRST(&sim.roster->workers)) != NULL) {
        worker_enter(worker, WORKER_DEAD, sim.now_ms);
        sim.roster->slots[worker->slot].start_at_ms = sim.now_ms + 30000;
        roster_remove(sim.roster, worker);
    }
    sim.spawns = 0;
    decide(&sim);
    assert_int_equal(sim.spawns, 0);
    /* With nobody serving one is tried every two seconds, not after 30. */
    assert_int_equal(sim.plan.wake_at_ms, sim.now_ms + 2000);
    sim.now_ms += 2000;
    decide(&sim);
    assert_int_equal(sim.spawns, 1);
    start_all(&sim);
    assert_int_equal(roster_count(sim.roster, WORKER_READY), 1);
    sim_fini(&sim);
}

static void test_budget(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 2, 1);
    for (int i = 0; i < 20; i++)
        assert_true(policy_spend_budget(sim.roster, &sim.rules, sim.now_ms));
    sim.roster->last_start_ms = sim.now_ms;
    assert_false(policy_spend_budget(sim.roster, &sim.rules, sim.now_ms + 999));
    assert_true(sim.roster->budget_exhausted);
    assert_true(policy_spend_budget(sim.roster, &sim.rules, sim.now_ms + 1000)); /* one a second */
    sim.roster->last_start_ms = sim.now_ms + 1000;
    assert_true(policy_spend_budget(sim.roster, &sim.rules, sim.now_ms + 10000));
    assert_false(sim.roster->budget_exhausted);
    sim_fini(&sim);
}

/* Random lives: workers die, answer late or not at all, the size and the
 * generation change. After the dust has settled everything must be served, and
 * apply() checks at every step that no socket is given up alone. */
static void test_random_lives(void **state)
{
    (void)state;
    int promotions = 0, take_backs = 0, recycled = 0, cuts = 0;
    for (unsigned seed = 1; seed <= 300; seed++) {
        struct sim sim;
        unsigned random = seed;
        sim_init(&sim, 6, 3);
        sim.rules.canary_time_ms = seed % 3 == 0 ? 0 : 500;
        if (seed % 2 == 0)
            sim.rules.recycle = (struct recycle_rules){
                .lifetime_ms = 300, .jitter_percent = 100, .min_age_ms = 100};
        for (int step = 0; step < 200; step++) {
            sim.now_ms += rand_r(&random) % 50;
            struct worker *worker = TAILQ_FIRST(&sim.roster->workers);
            for (int skip = rand_r(&random) % 6; worker != NULL && skip > 0; skip--)
                worker = TAILQ_NEXT(worker, in_roster);
            switch (rand_r(&random) % 8) {
            case 0:
                roster_set_desired(sim.roster, 1 + rand_r(&random) % 6);
                break;
            case 1:
                if (rand_r(&random) % 4 == 0 && sim.roster->trial.generation == 0 &&
                    !sim.roster->rolling)
                    sim_begin_trial(&sim);
                break;
            case 2:
                if (worker != NULL && worker->state == WORKER_STARTING && !worker->connected)
                    connect_worker(&sim, worker);
                break;
            case 3:
            case 4:
                if (worker != NULL && worker->connected)
                    confirm(&sim, worker);
                break;
            case 5:
                if (worker != NULL && worker->connected && worker->state == WORKER_STARTING)
                    say_ready(&sim, worker);
                break;
            case 6:
                if (worker != NULL && rand_r(&random) % 3 == 0)
                    die(&sim, worker, worker->ending == DEATH_NONE,
                        rand_r(&random) % 2 == 0 ? SIGKILL : SIGSEGV);
                break;
            default:
                report_all(&sim);
                break;
            }
            decide(&sim);
        }
        /* Peace: everybody answers, draining workers leave. */
        sim.rules.recycle = (struct recycle_rules){0};
        for (int round = 0; round < 60; round++) {
            sim.now_ms += 1000;
            report_all(&sim);
            start_all(&sim);
            struct worker *worker = TAILQ_FIRST(&sim.roster->workers);
            while (worker != NULL) {
                struct worker *next = TAILQ_NEXT(worker, in_roster);
                if (worker->state == WORKER_DRAINING) {
                    die(&sim, worker, false, 0);
                    next = TAILQ_FIRST(&sim.roster->workers);
                }
                worker = next;
            }
        }
        assert_true(policy_settled(sim.roster));
        assert_false(sim.roster->rolling);
        assert_int_equal(sim.roster->trial.generation, 0);
        assert_int_equal(roster_count(sim.roster, WORKER_READY), sim.roster->desired);
        check_invariants(&sim);
        promotions += sim.promotions;
        take_backs += sim.take_backs;
        recycled += sim.recycled;
        cuts += sim.cuts;
        sim_fini(&sim);
    }
    /* The random lives have seen everything. */
    assert_true(promotions > 50 && take_backs > 50 && recycled > 20 && cuts > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_survivor_adopts),
        cmocka_unit_test(test_scale_down_is_lossless),
        cmocka_unit_test(test_roll_back_half_way),
        cmocka_unit_test(test_suspect_is_steered_away_from),
        cmocka_unit_test(test_the_last_one_does_not_leave),
        cmocka_unit_test(test_leaving_worker_is_not_relied_on),
        cmocka_unit_test(test_late_answers_count_for_nothing),
        cmocka_unit_test(test_drained_before_ready_was_heard),
        cmocka_unit_test(test_killed_worker_is_not_relied_on),
        cmocka_unit_test(test_silent_worker_is_not_drained_blindly),
        cmocka_unit_test(test_nobody_leaves_for_a_suspect),
        cmocka_unit_test(test_start_timeout),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_last_resort),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_random_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
