/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_policy_recycle - workers that have served long enough: the bounds, the
 * jitter, never two at once, never a storm.
 */
#include "unit/policy_sim.h"

static struct worker a_worker(pid_t pid, int64_t started_ms)
{
    return (struct worker){.pid = pid, .slot = 3, .started_ms = started_ms};
}

static struct recycle_verdict judge(const struct recycle_rules *recycle, int early,
                                    const struct worker *worker, int64_t now_ms)
{
    const struct slot slot = {.recycled_early = early};
    struct recycle_verdict verdict;
    policy_recycle_judge(recycle, &slot, worker, now_ms, &verdict);
    return verdict;
}

static void test_bounds(void **state)
{
    (void)state;
    static struct worker worker; /* too large for the stack */
    char text[96];
    worker = a_worker(100, 1000);
    struct recycle_rules recycle = {.requests = 1000000, .min_age_ms = 60000};
    worker.metrics.counter[METRIC_HTTP_REQUESTS] = 999999;
    assert_int_equal(judge(&recycle, 0, &worker, 100000).bound, RECYCLE_NONE);
    worker.metrics.counter[METRIC_HTTP_REQUESTS] = 1000123;
    struct recycle_verdict verdict = judge(&recycle, 0, &worker, 100000);
    assert_int_equal(verdict.bound, RECYCLE_REQUESTS);
    policy_recycle_describe(&verdict, text, sizeof(text));
    assert_string_equal(text, "after 1,000,123 requests (bound 1,000,000 + 0.0 % jitter)");

    recycle = (struct recycle_rules){.lifetime_ms = 90000, .min_age_ms = 60000};
    verdict = judge(&recycle, 0, &worker, 90999);
    assert_int_equal(verdict.bound, RECYCLE_NONE);
    assert_int_equal(verdict.not_before_ms, 91000);
    verdict = judge(&recycle, 0, &worker, 91000);
    assert_int_equal(verdict.bound, RECYCLE_LIFETIME);
    policy_recycle_describe(&verdict, text, sizeof(text));
    assert_string_equal(text, "after 90.0 s (bound 90.0 s + 0.0 % jitter)");

    recycle = (struct recycle_rules){.memory_bytes = 100 << 20, .min_age_ms = 60000};
    worker.proc.rss_bytes = 105 << 20;
    verdict = judge(&recycle, 0, &worker, 200000);
    assert_int_equal(verdict.bound, RECYCLE_MEMORY);
    assert_false(verdict.early);
    policy_recycle_describe(&verdict, text, sizeof(text));
    assert_string_equal(text, "at 105.0 MiB of memory (bound 100.0 MiB + 0.0 % jitter)");
    recycle = (struct recycle_rules){.min_age_ms = 60000};
    assert_int_equal(judge(&recycle, 0, &worker, 200000).bound, RECYCLE_NONE);
}

/* Never too young, and longer each time that a successor is as large at once. */
static void test_too_young(void **state)
{
    (void)state;
    static struct worker worker;
    worker = a_worker(100, 1000);
    worker.proc.rss_bytes = 5 << 20;
    const struct recycle_rules recycle = {.memory_bytes = 1 << 20, .min_age_ms = 60000};
    struct recycle_verdict verdict = judge(&recycle, 0, &worker, 60999);
    assert_int_equal(verdict.bound, RECYCLE_NONE);
    assert_int_equal(verdict.not_before_ms, 61000);
    verdict = judge(&recycle, 0, &worker, 61000);
    assert_int_equal(verdict.bound, RECYCLE_MEMORY);
    assert_true(verdict.early);
    assert_int_equal(judge(&recycle, 3, &worker, 61000).not_before_ms, 1000 + 8 * 60000);
    assert_int_equal(judge(&recycle, 1000, &worker, 61000).not_before_ms, 1000 + 64 * 60000);
}

static void test_jitter(void **state)
{
    (void)state;
    static struct worker worker;
    const struct recycle_rules recycle = {
        .lifetime_ms = 1000000, .jitter_percent = 20, .min_age_ms = 1000};
    int64_t least = INT64_MAX, most = 0, sum = 0;
    enum { WORKERS = 1000 };
    for (pid_t pid = 1; pid <= WORKERS; pid++) {
        worker = a_worker(pid, 0);
        int64_t at_ms = judge(&recycle, 0, &worker, 0).not_before_ms;
        assert_int_equal(judge(&recycle, 0, &worker, 5).not_before_ms, at_ms); /* its own */
        assert_in_range(at_ms, 1000000, 1200000);
        least = at_ms < least ? at_ms : least;
        most = at_ms > most ? at_ms : most;
        sum += at_ms;
    }
    assert_true(least < 1005000 && most > 1195000);
    assert_in_range(sum / WORKERS, 1090000, 1110000);
}

static void pass(struct sim *sim, int64_t ms)
{
    sim->now_ms += ms;
    report_all(sim);
    decide(sim);
    confirm_all(sim);
}

static int marked(const struct sim *sim)
{
    const struct worker *worker;
    int count = 0;
    TAILQ_FOREACH (worker, &sim->roster->workers, in_roster)
        count += worker_is_live(worker) && worker->replace;
    return count;
}

static void end_recycled(struct sim *sim)
{
    struct worker *worker;
    TAILQ_FOREACH (worker, &sim->roster->workers, in_roster)
        if (worker->state == WORKER_DRAINING)
            break;
    CHECK(worker != NULL);
    assert_int_equal(worker->ending, DEATH_RECYCLE);
    die(sim, worker, false, 0);
}

/* All reach the bound at the same moment: one after the other, capacity stays. */
static void test_one_at_a_time(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 4, 4);
    start_all(&sim);
    sim.rules.recycle = (struct recycle_rules){.lifetime_ms = 30000, .min_age_ms = 1000};
    pass(&sim, 29999);
    assert_int_equal(sim.recycled, 0);
    assert_int_equal(sim.plan.wake_at_ms < sim.now_ms + 2, 1);
    pass(&sim, 1);
    for (int round = 1; round <= 4; round++) {
        assert_int_equal(sim.recycled, round);
        assert_int_equal(marked(&sim), 1);
        assert_int_equal(roster_count(sim.roster, WORKER_STARTING), 1);
        assert_int_equal(roster_count(sim.roster, WORKER_READY), 4);
        pass(&sim, 500); /* however long it takes */
        assert_int_equal(sim.recycled, round);
        struct worker *worker;
        TAILQ_FOREACH (worker, &sim.roster->workers, in_roster)
            if (worker->state == WORKER_STARTING)
                break;
        CHECK(worker != NULL);
        start_worker(&sim, worker);
        confirm_all(&sim);
        assert_int_equal(sim.drains, round);
        pass(&sim, 500); /* the old one has not ended */
        assert_int_equal(sim.recycled, round);
        end_recycled(&sim);
    }
    assert_true(policy_settled(sim.roster));
    check_invariants(&sim);
    sim_fini(&sim);
}

/* Requests are counted in the workers: looked at every second, though nothing happens. */
static void test_somebody_looks(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 2, 1);
    start_all(&sim);
    sim.rules.recycle = (struct recycle_rules){.requests = 1000, .min_age_ms = 1000};
    decide(&sim);
    assert_true(sim.plan.wake_at_ms <= sim.now_ms + 1000);
    ready_in(&sim, 0)->metrics.counter[METRIC_HTTP_REQUESTS] = 1000;
    pass(&sim, 1000);
    assert_int_equal(sim.recycled, 1);
    sim_fini(&sim);
}

/* Not while a reload goes on, a worker is missing, or the number changes. */
static void test_only_in_peace(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 4, 2);
    start_all(&sim);
    sim.rules.recycle = (struct recycle_rules){.lifetime_ms = 10000, .min_age_ms = 1000};
    sim_begin_trial(&sim);
    decide(&sim);
    pass(&sim, 9000);
    start_worker(&sim, roster_canary(sim.roster));
    pass(&sim, 1500);
    assert_int_equal(sim.recycled, 0);
    assert_int_equal(sim.promotions, 0);
    die(&sim, roster_canary(sim.roster), true, SIGSEGV);
    assert_int_equal(sim.take_backs, 1);
    assert_int_equal(sim.recycled, 1); /* peace */
    start_all(&sim);
    end_recycled(&sim);
    assert_int_equal(sim.recycled, 2);
    start_all(&sim);
    end_recycled(&sim);
    roster_set_desired(sim.roster, 4);
    decide(&sim);
    pass(&sim, 9000);
    assert_int_equal(sim.recycled, 2); /* two are starting */
    sim_fini(&sim);
}

/* Its successor cannot start: the recycled one serves on. */
static void test_successor_that_cannot_start(void **state)
{
    (void)state;
    struct sim sim;
    sim_init(&sim, 2, 2);
    start_all(&sim);
    sim.rules.recycle = (struct recycle_rules){.lifetime_ms = 10000, .min_age_ms = 1000};
    pass(&sim, 10000);
    assert_int_equal(sim.recycled, 1);
    for (int i = 0; i < 5; i++) {
        struct worker *worker;
        TAILQ_FOREACH (worker, &sim.roster->workers, in_roster)
            if (worker->state == WORKER_STARTING)
                break;
        if (worker != NULL)
            die(&sim, worker, true, SIGSEGV);
        pass(&sim, 1000);
    }
    assert_int_equal(sim.recycled, 1);
    assert_int_equal(sim.drains, 0);
    assert_int_equal(roster_count(sim.roster, WORKER_READY), 2);
    check_invariants(&sim);
    sim_fini(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_too_young),
        cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_somebody_looks),
        cmocka_unit_test(test_only_in_peace),
        cmocka_unit_test(test_successor_that_cannot_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
