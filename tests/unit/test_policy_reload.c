/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_policy_reload - a new generation: the canary, the roll, the way back, and
 * the bound on generations in one slot.
 */
#include "unit/policy_sim.h"

static struct worker *canary_of(const struct sim *sim)
{
    struct worker *canary = roster_canary(sim->roster);
    CHECK(canary != NULL);
    return canary;
}

static struct worker *starting_one(const struct sim *sim)
{
    struct worker *worker;
    TAILQ_FOREACH (worker, &sim->roster->workers, in_roster)
        if (worker->state == WORKER_STARTING)
            return worker;
    CHECK(false);
    return NULL;
}

/* Time passes, everybody reports. */
static void pass(struct sim *sim, int64_t ms)
{
    sim->now_ms += ms;
    report_all(sim);
    decide(sim);
    confirm_all(sim);
}

static void begin(struct sim *sim, int desired)
{
    sim_init(sim, 8, desired);
    start_all(sim);
    sim->now_ms += 20000;
    report_all(sim);
    sim_begin_trial(sim);
    decide(sim);
}

/* The rest of the roll after the canary was promoted. */
static void roll_the_rest(struct sim *sim, int desired)
{
    for (int step = 1; step < desired; step++) {
        assert_int_equal(roster_count(sim->roster, WORKER_STARTING), 1); /* one by one */
        assert_int_equal(roster_count(sim->roster, WORKER_READY), desired);
        start_worker(sim, starting_one(sim));
        confirm_all(sim);
    }
}

static void test_canary_then_the_rest(void **state)
{
    (void)state;
    struct sim sim;
    begin(&sim, 4);
    struct worker *canary = canary_of(&sim);
    assert_int_equal(canary->slot, 0);
    assert_int_equal(roster_count(sim.roster, WORKER_STARTING), 1);
    start_worker(&sim, canary);
    confirm_all(&sim);
    /* It has the sockets of its slot; the one before it stays. */
    assert_true(slot_set_has(&canary->confirmed, 0));
    assert_int_equal(roster_count(sim.roster, WORKER_READY), 5);
    assert_int_equal(sim.drains, 0);
    assert_int_equal(sim.plan.wake_at_ms, sim.now_ms + 2000);
    pass(&sim, 1999);
    assert_int_equal(sim.promotions, 0);
    assert_int_equal(sim.roster->generation, 1);
    pass(&sim, 1);
    assert_int_equal(sim.promotions, 1);
    assert_int_equal(sim.roster->generation, 2);
    assert_int_equal(sim.drains, 1); /* the one that stayed */
    roll_the_rest(&sim, 4);
    assert_true(policy_settled(sim.roster));
    assert_false(sim.roster->rolling);
    assert_int_equal(sim.drains, 4);
    assert_int_equal(roster_count_replaced(sim.roster), 4);
    check_invariants(&sim);
    sim_fini(&sim);
}

static void test_without_canary_time_ready_is_enough(void **state)
{
    (void)state;
    struct sim sim;
    begin(&sim, 2);
    sim.rules.canary_time_ms = 0;
    start_worker(&sim, canary_of(&sim));
    assert_int_equal(sim.promotions, 1);
    sim_fini(&sim);
}

/* Whatever it dies of, a SIGKILL from outside included, and whenever. */
static void test_canary_that_dies(void **state)
{
    (void)state;
    static const int signals[] = {SIGSEGV, SIGKILL};
    for (size_t i = 0; i < ARRAY_COUNT(signals); i++)
        for (int phase = 0; phase < 3; phase++) {
            struct sim sim;
            begin(&sim, 2);
            struct worker *canary = canary_of(&sim);
            if (phase >= 1)
                start_worker(&sim, canary);
            if (phase >= 2)
                pass(&sim, 1900);
            die(&sim, canary, true, signals[i]);
            confirm_all(&sim);
            assert_int_equal(sim.take_backs, 1);
            assert_int_equal(sim.roster->generation, 1);
            assert_int_equal(sim.drains, 0);
            assert_int_equal(sim.spawns, 3); /* nothing had to be started again */
            assert_int_equal(roster_count(sim.roster, WORKER_READY), 2);
            assert_true(policy_settled(sim.roster));
            assert_int_equal(sim.roster->slots[0].early_deaths, 0);
            check_invariants(&sim);
            sim_fini(&sim);
        }
}

static void test_canary_that_never_becomes_ready(void **state)
{
    (void)state;
    struct sim sim;
    begin(&sim, 2);
    struct worker *canary = canary_of(&sim);
    connect_worker(&sim, canary);
    pass(&sim, 10000);
    assert_int_equal(canary->kill_signal, SIGKILL);
    assert_int_equal(sim.take_backs, 0);
    die(&sim, canary, true, SIGKILL);
    assert_int_equal(sim.take_backs, 1);
    sim_fini(&sim);
}

/* SUSPECT: its time begins again when it reports again, until the deadline. */
static void test_canary_that_hangs(void **state)
{
    (void)state;
    struct sim sim;
    begin(&sim, 2);
    sim.rules.canary_time_ms = 5000;
    struct worker *canary = canary_of(&sim);
    start_worker(&sim, canary);
    confirm_all(&sim);
    int64_t heard_ms = sim.now_ms;
    sim.now_ms += 3000;
    report_all(&sim);
    canary->last_report_ms = heard_ms;
    decide(&sim);
    assert_int_equal(canary->state, WORKER_SUSPECT);
    confirm_all(&sim);
    /* Somebody else has its slot meanwhile. */
    assert_true(slot_set_has(&sim.steered, 0));
    assert_true(held_by_other(&sim, 0, canary));
    pass(&sim, 1000);
    assert_int_equal(canary->state, WORKER_READY);
    pass(&sim, 1000);
    assert_int_equal(sim.promotions, 0);
    /* Late again, and for good. */
    heard_ms = sim.now_ms;
    for (int i = 0; i < 15 && sim.take_backs == 0; i++) {
        sim.now_ms += 1000;
        report_all(&sim);
        canary->last_report_ms = heard_ms;
        decide(&sim);
    }
    assert_int_equal(sim.take_backs, 1);
    assert_string_equal(sim.why, "the canary hangs");
    assert_int_equal(sim.promotions, 0);
    confirm_all(&sim);
    assert_int_equal(canary->state, WORKER_DRAINING);
    check_invariants(&sim);
    sim_fini(&sim);
}

static void test_canary_that_loses_its_connection(void **state)
{
    (void)state;
    struct sim sim;
    begin(&sim, 2);
    struct worker *canary = canary_of(&sim);
    start_worker(&sim, canary);
    canary->connected = false;
    pass(&sim, 2500);
    assert_int_equal(sim.promotions, 0);
    canary->connected = true;
    canary->connected_ms = sim.now_ms;
    pass(&sim, 1500);
    assert_int_equal(sim.promotions, 0);
    pass(&sim, 500);
    assert_int_equal(sim.promotions, 1);
    sim_fini(&sim);
}

static void test_canary_that_sends_nonsense(void **state)
{
    (void)state;
    struct sim sim;
    begin(&sim, 2);
    struct worker *canary = canary_of(&sim);
    connect_worker(&sim, canary);
    canary->ending = DEATH_PROTOCOL; /* dismiss() */
    worker_enter(canary, WORKER_DRAINING, sim.now_ms);
    decide(&sim);
    assert_int_equal(sim.take_backs, 1);
    assert_int_equal(sim.spawns, 3); /* no other canary */
    sim_fini(&sim);
}

/* With four workers in its slot there is no room for a canary; with none that
 * drains there never will be. */
static void test_canary_without_room(void **state)
{
    (void)state;
    struct sim sim;
    begin(&sim, 1);
    die(&sim, canary_of(&sim), true, SIGKILL);
    struct slot *slot = &sim.roster->slots[0];
    while (slot->worker_count < ROSTER_WORKERS_PER_SLOT) {
        struct worker *worker = roster_add(sim.roster, 0, sim.next_pid++, sim.now_ms);
        CHECK(worker != NULL);
        worker_enter(worker, WORKER_DRAINING, sim.now_ms);
        worker->drain_deadline_ms = sim.now_ms + 600000;
    }
    sim_begin_trial(&sim);
    decide(&sim);
    assert_int_equal(sim.cuts, 1);
    decide(&sim);
    assert_int_equal(sim.cuts, 1); /* one is enough */
    struct worker *cut = NULL;
    struct worker *worker;
    TAILQ_FOREACH (worker, &slot->workers, in_slot)
        if (worker->cut)
            cut = worker;
    assert_non_null(cut);
    if (cut == NULL)
        return;
    /* It is killed when it does not obey. */
    pass(&sim, 2000);
    assert_int_equal(cut->kill_signal, SIGKILL);
    die(&sim, cut, false, SIGKILL);
    assert_non_null(roster_canary(sim.roster));
    sim_fini(&sim);
}

static void test_canary_that_cannot_be_started(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 2, 1);
    start_all(&sim);
    sim_begin_trial(&sim);
    roster_set_desired(sim.roster, 0); /* nowhere to start it */
    decide(&sim);
    assert_null(roster_canary(sim.roster));
    sim.now_ms += 10000;
    report_all(&sim);
    decide(&sim);
    assert_int_equal(sim.take_backs, 1);
    sim_fini(&sim);
}

/* The old generation never served: there is nothing to protect, so the others
 * follow when the canary is READY. */
static void test_reload_when_nobody_is_ready(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 4, 3);
    decide(&sim);
    for (int i = 0; i < 12; i++) { /* crash loops in all three slots */
        struct worker *worker = TAILQ_FIRST(&sim.roster->workers);
        if (worker != NULL)
            die(&sim, worker, true, SIGABRT);
    }
    int64_t before_ms = sim.now_ms;
    sim_begin_trial(&sim);
    decide(&sim);
    struct worker *canary = canary_of(&sim); /* at once, whatever the back-off says */
    start_worker(&sim, canary);
    assert_int_equal(sim.promotions, 1);
    assert_true(sim.now_ms == before_ms);
    start_all(&sim);
    assert_int_equal(roster_count(sim.roster, WORKER_READY), 3);
    assert_true(policy_settled(sim.roster));
    check_invariants(&sim);
    sim_fini(&sim);
}

static void test_reload_of_a_single_worker(void **state)
{
    (void)state;
    struct sim sim;
    begin(&sim, 1);
    start_worker(&sim, canary_of(&sim));
    confirm_all(&sim);
    assert_int_equal(roster_count(sim.roster, WORKER_READY), 2);
    pass(&sim, 2000);
    assert_int_equal(roster_count(sim.roster, WORKER_READY), 1);
    assert_true(policy_settled(sim.roster));
    check_invariants(&sim);
    sim_fini(&sim);
}

/* Scaling meanwhile starts and ends workers of the generation in force. */
static void test_scaling_during_the_canary(void **state)
{
    (void)state;
    struct sim sim;
    begin(&sim, 2);
    start_worker(&sim, canary_of(&sim));
    roster_set_desired(sim.roster, 4);
    decide(&sim);
    assert_int_equal(roster_count(sim.roster, WORKER_STARTING), 2);
    assert_int_equal(starting_one(&sim)->generation, 1);
    start_all(&sim);
    assert_true(policy_settled(sim.roster));
    roster_set_desired(sim.roster, 1);
    decide(&sim);
    confirm_all(&sim);
    assert_int_equal(roster_count(sim.roster, WORKER_READY), 2); /* with the canary */
    assert_int_equal(sim.promotions + sim.take_backs, 0);
    pass(&sim, 2000);
    assert_int_equal(sim.promotions, 1);
    check_invariants(&sim);
    sim_fini(&sim);
}

/* A worker that dies during the trial comes back as what it was. */
static void test_a_death_during_the_canary(void **state)
{
    (void)state;
    struct sim sim;
    begin(&sim, 3);
    start_worker(&sim, canary_of(&sim));
    die(&sim, ready_in(&sim, 2), true, SIGSEGV);
    assert_int_equal(sim.take_backs, 0);
    assert_int_equal(starting_one(&sim)->slot, 2);
    assert_int_equal(starting_one(&sim)->generation, 1);
    /* And the one beside the canary. */
    struct worker *beside = TAILQ_LAST(&sim.roster->slots[0].workers, worker_list);
    assert_int_equal(beside->generation, 1);
    die(&sim, beside, true, SIGSEGV);
    confirm_all(&sim);
    check_invariants(&sim); /* the canary serves the slot */
    start_all(&sim);
    pass(&sim, 2000);
    assert_int_equal(sim.promotions, 1);
    sim_fini(&sim);
}

/* An early death in the rest of the roll takes everything back, one by one. */
static void test_roll_back_after_the_canary(void **state)
{
    (void)state;
    struct sim sim;
    begin(&sim, 4);
    start_worker(&sim, canary_of(&sim));
    pass(&sim, 2000);
    start_worker(&sim, starting_one(&sim));
    confirm_all(&sim);
    assert_int_equal(roster_count_replaced(sim.roster), 2);
    struct worker *young = ready_in(&sim, 1);
    assert_int_equal(young->generation, 2);
    sim.now_ms += 100;
    die(&sim, young, true, SIGSEGV);
    assert_int_equal(sim.take_backs, 1);
    assert_int_equal(sim.roster->generation, 1);
    for (int i = 0; i < 6 && !policy_settled(sim.roster); i++)
        start_all(&sim);
    assert_true(policy_settled(sim.roster));
    struct worker *worker;
    TAILQ_FOREACH (worker, &sim.roster->workers, in_roster)
        if (worker_is_live(worker))
            assert_int_equal(worker->generation, 1);
    check_invariants(&sim);
    sim_fini(&sim);
}

static void test_what_ends_a_roll(void **state)
{
    (void)state;
    struct sim sim;
    begin(&sim, 3);
    struct worker *canary = canary_of(&sim);
    start_worker(&sim, canary);
    assert_true(policy_death_ends_roll(sim.roster, &sim.rules, canary, sim.now_ms));
    assert_false(policy_death_ends_roll(sim.roster, &sim.rules, ready_in(&sim, 1), sim.now_ms));
    pass(&sim, 2000);
    assert_int_equal(sim.promotions, 1);
    /* It has lived for canary_time: its death is one like any other. */
    assert_false(policy_death_ends_roll(sim.roster, &sim.rules, canary, sim.now_ms));
    struct worker *next = starting_one(&sim);
    assert_true(policy_death_ends_roll(sim.roster, &sim.rules, next, sim.now_ms));
    start_worker(&sim, next);
    assert_true(policy_death_ends_roll(sim.roster, &sim.rules, next, sim.now_ms + 1999));
    assert_false(policy_death_ends_roll(sim.roster, &sim.rules, next, sim.now_ms + 2000));
    assert_false(policy_death_ends_roll(sim.roster, &sim.rules, ready_in(&sim, 2), sim.now_ms));
    sim.roster->rolling = false;
    assert_false(policy_death_ends_roll(sim.roster, &sim.rules, next, sim.now_ms));
    sim_fini(&sim);
}

/* Drains that never end, and reload after reload. */
static void test_generations_do_not_pile_up(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 4, 2);
    sim.rules.canary_time_ms = 0;
    sim.rules.drain_timeout_ms = 86400000;
    start_all(&sim);
    for (int reload = 0; reload < 20; reload++) {
        sim_begin_trial(&sim);
        decide(&sim);
        for (int round = 0; round < 20; round++) {
            sim.now_ms += 1000;
            report_all(&sim);
            start_all(&sim);
            struct worker *worker, *next;
            for (worker = TAILQ_FIRST(&sim.roster->workers); worker != NULL; worker = next) {
                next = TAILQ_NEXT(worker, in_roster);
                if (worker->kill_signal == SIGKILL) {
                    die(&sim, worker, false, SIGKILL);
                    next = TAILQ_FIRST(&sim.roster->workers);
                }
            }
            if (policy_settled(sim.roster) && sim.roster->trial.generation == 0)
                break;
        }
        assert_true(policy_settled(sim.roster));
        assert_int_equal(sim.promotions, reload + 1);
        assert_true(sim.roster->worker_count <= 2 * ROSTER_WORKERS_PER_SLOT);
        check_invariants(&sim);
    }
    assert_true(sim.cuts > 20);
    /* The oldest went first. */
    struct worker *worker;
    TAILQ_FOREACH (worker, &sim.roster->workers, in_roster)
        assert_true(worker->generation > 16);
    sim_fini(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canary_then_the_rest),
        cmocka_unit_test(test_without_canary_time_ready_is_enough),
        cmocka_unit_test(test_canary_that_dies),
        cmocka_unit_test(test_canary_that_never_becomes_ready),
        cmocka_unit_test(test_canary_that_hangs),
        cmocka_unit_test(test_canary_that_loses_its_connection),
        cmocka_unit_test(test_canary_that_sends_nonsense),
        cmocka_unit_test(test_canary_without_room),
        cmocka_unit_test(test_canary_that_cannot_be_started),
        cmocka_unit_test(test_reload_when_nobody_is_ready),
        cmocka_unit_test(test_reload_of_a_single_worker),
        cmocka_unit_test(test_scaling_during_the_canary),
        cmocka_unit_test(test_a_death_during_the_canary),
        cmocka_unit_test(test_roll_back_after_the_canary),
        cmocka_unit_test(test_what_ends_a_roll),
        cmocka_unit_test(test_generations_do_not_pile_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
