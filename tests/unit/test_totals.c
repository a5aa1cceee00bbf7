/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_totals - sums that are exact and never fall while workers come and go,
 * and the rates of the last seconds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "master/totals.h"

#include <stdlib.h>
#include <string.h>

enum { WORKERS = 6 };

static struct totals totals;
static struct roster roster;
static struct metrics zeros;
static uint64_t random_state;

static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static struct worker *pool[WORKERS]; /* used again by every test */
static bool taken[WORKERS];

static int setup(void **state)
{
    (void)state;
    random_state = UINT64_C(0x9E3779B97F4A7C15);
    totals_init(&totals);
    memset(&roster, 0, sizeof(roster));
    memset(taken, 0, sizeof(taken));
    TAILQ_INIT(&roster.workers);
    return 0;
}

static struct worker *join(void)
{
    int i = 0;
    while (taken[i])
        i++;
    taken[i] = true;
    if (pool[i] == NULL)
        pool[i] = malloc(sizeof(*pool[i]));
    assert_non_null(pool[i]);
    memset(pool[i], 0, sizeof(*pool[i]));
    pool[i]->state = WORKER_READY;
    TAILQ_INSERT_TAIL(&roster.workers, pool[i], in_roster);
    return pool[i];
}

static void leave(struct worker *worker)
{
    TAILQ_REMOVE(&roster.workers, worker, in_roster);
    for (int i = 0; i < WORKERS; i++)
        taken[i] = taken[i] && pool[i] != worker;
}

static void count_something(struct metrics *into, struct metrics *mirror)
{
    unsigned counter = (unsigned)(random_u64() % METRIC_COUNTER_COUNT);
    unsigned slot = (unsigned)(random_u64() % METRICS_SLOT_COUNT);
    int status = 100 + (int)(random_u64() % 500);
    uint64_t duration = random_u64() >> (10 + random_u64() % 54);
    struct metrics *both[2] = {into, mirror};
    for (int i = 0; i < 2; i++) {
        both[i]->counter[counter] += 3;
        both[i]->slot_accepted[slot]++;
        metrics_count_status(both[i], status);
        histogram_record(&both[i]->histogram[HISTOGRAM_REQUEST_DURATION], duration);
    }
}

/* Whoever dies when: the sum is what was counted, and every counter only grows. */
static void test_sums_are_exact_and_monotone(void **state)
{
    (void)state;
    static struct metrics mirror, sum, before;
    struct worker *workers[WORKERS] = {NULL};

    memset(&mirror, 0, sizeof(mirror));
    memset(&before, 0, sizeof(before));
    for (int step = 0; step < 2000; step++) {
        struct worker **worker = &workers[random_u64() % WORKERS];
        if (*worker == NULL) {
            *worker = join();
        } else if (random_u64() % 10 == 0) {
            totals_bury(&totals, &(*worker)->metrics);
            leave(*worker);
            *worker = NULL;
        } else {
            count_something(&(*worker)->metrics, &mirror);
            (*worker)->state = random_u64() % 20 == 0 ? WORKER_DRAINING : WORKER_READY;
        }
        totals_sum(&totals, &roster, &sum);
        assert_int_equal(metrics_check_monotone(&sum, &before), 0);
        assert_memory_equal(&sum, &mirror, sizeof(sum));
        before = sum;
    }
}

static void test_gauges_are_of_the_living(void **state)
{
    (void)state;
    static struct metrics sum;
    struct worker *a = join(), *b = join(), *dead = join();
    a->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE] = 10;
    a->metrics.gauge[GAUGE_LOOP_LAG_NS] = 500;
    b->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE] = 5;
    b->metrics.gauge[GAUGE_LOOP_LAG_NS] = 900;
    b->state = WORKER_SUSPECT;
    dead->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE] = 1000;
    dead->metrics.gauge[GAUGE_LOOP_LAG_NS] = 1000;
    dead->metrics.counter[METRIC_HTTP_REQUESTS] = 7;
    dead->state = WORKER_DEAD;
    for (int buried = 0; buried < 2; buried++) {
        totals_sum(&totals, &roster, &sum);
        assert_int_equal(sum.gauge[GAUGE_CONNECTIONS_ACTIVE], 15);
        assert_int_equal(sum.gauge[GAUGE_LOOP_LAG_NS], 900);
        assert_int_equal(sum.counter[METRIC_HTTP_REQUESTS], 7);
        if (!buried) {
            totals_bury(&totals, &dead->metrics);
            leave(dead);
        }
    }
}

/* One report that counts `requests` answers, one in four of them an error. */
static void report(struct metrics *worker, uint64_t requests, uint64_t duration_ns, int64_t now_ms)
{
    static struct metrics before;
    before = *worker;
    worker->counter[METRIC_HTTP_REQUESTS] += requests;
    worker->counter[METRIC_CONNECTIONS_ACCEPTED] += requests / 2;
    worker->counter[METRIC_BYTES_SENT] += requests * 100;
    for (uint64_t i = 0; i < requests; i++) {
        metrics_count_status(worker, i % 4 == 0 ? 500 + (int)(i / 4 % 100) : 404);
        histogram_record(&worker->histogram[HISTOGRAM_REQUEST_DURATION], duration_ns);
    }
    totals_report(&totals, &before, worker, now_ms);
}

static void assert_near(double value, double expected)
{
    if (value < expected - 1e-9 || value > expected + 1e-9)
        fail_msg("%g instead of %g", value, expected);
}

static void test_recent_rates(void **state)
{
    (void)state;
    static struct metrics a, b;
    static struct totals_recent recent;
    const int64_t start = 5000000;
    a = b = zeros;

    /* Two workers, 20 and 40 requests in every second, for a minute. */
    for (int second = 0; second < 60; second++) {
        report(&a, 20, 1000, start + second * 1000 + 100);
        report(&b, 40, 3000, start + second * 1000 + 900);
    }
    totals_recent(&totals, start + 59999, start - 100000, &recent);
    assert_near(recent.seconds, 10);
    assert_near(recent.request_rate, 60);
    assert_near(recent.accept_rate, 30);
    assert_near(recent.bytes_sent_rate, 6000);
    assert_near(recent.error_rate, 0.25);
    assert_int_equal(recent.duration.count, 600);
    assert_near(recent.duration.sum_ns, 10.0 * (20 * 1000 + 40 * 3000));

    /* The last second is over now, and counts. */
    report(&a, 1000, 1000, start + 59999);
    totals_recent(&totals, start + 60000, start - 100000, &recent);
    assert_near(recent.request_rate, 160);

    /* When nobody reports any more, the window empties second by second. */
    totals_recent(&totals, start + 65000, start - 100000, &recent);
    assert_near(recent.request_rate, (5 * 60 + 1000) / 10.0);
    totals_recent(&totals, start + 71000, start - 100000, &recent);
    assert_near(recent.seconds, 10);
    assert_near(recent.request_rate, 0);
    assert_near(recent.error_rate, 0);
    assert_int_equal(recent.duration.count, 0);
    /* An old entry does not come back when its place in the ring does. */
    report(&a, 4, 1000, start + 75000);
    totals_recent(&totals, start + 76000, start - 100000, &recent);
    assert_near(recent.request_rate, 0.4);
}

static void test_recent_slots(void **state)
{
    (void)state;
    static struct metrics before, now;
    const int64_t start = 8000000;
    double share[4];
    before = now = zeros;
    totals_recent_slots(&totals, start, 4, share);
    assert_near(share[0], 0);
    for (int second = 0; second < 30; second++) {
        before = now;
        now.slot_accepted[0] += second < 15 ? 8 : 1; /* the window is 20..29 */
        now.slot_accepted[3] += 3;
        totals_report(&totals, &before, &now, start + second * 1000);
    }
    totals_recent_slots(&totals, start + 30000, 4, share);
    assert_near(share[0], 0.25);
    assert_near(share[1], 0);
    assert_near(share[3], 0.75);
    totals_recent_slots(&totals, start + 50000, 4, share);
    assert_near(share[3], 0);
}

static void test_recent_after_the_start(void **state)
{
    (void)state;
    static struct metrics worker;
    static struct totals_recent recent;
    worker = zeros;
    const int64_t start = 7000500;

    totals_recent(&totals, start, start, &recent);
    assert_near(recent.seconds, 0);
    assert_near(recent.request_rate, 0);
    report(&worker, 30, 1000, start + 100);
    totals_recent(&totals, start + 400, start, &recent); /* no second is over yet */
    assert_near(recent.seconds, 0);
    assert_near(recent.request_rate, 0);
    report(&worker, 45, 1000, start + 1400);
    totals_recent(&totals, start + 1500, start, &recent); /* half a second and a whole one */
    assert_near(recent.seconds, 1.5);
    assert_near(recent.request_rate, 50);
}

/* A worker's first report is held against zeros; equal reports add nothing. */
static void test_report_adds_differences(void **state)
{
    (void)state;
    static struct metrics now;
    static struct totals_recent recent;
    now = zeros;
    now.counter[METRIC_HTTP_REQUESTS] = 100;
    totals_report(&totals, &zeros, &now, 20000);
    totals_report(&totals, &now, &now, 20500);
    totals_recent(&totals, 21000, 0, &recent);
    assert_near(recent.request_rate, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_sums_are_exact_and_monotone, setup),
        cmocka_unit_test_setup(test_gauges_are_of_the_living, setup),
        cmocka_unit_test_setup(test_recent_rates, setup),
        cmocka_unit_test_setup(test_recent_slots, setup),
        cmocka_unit_test_setup(test_recent_after_the_start, setup),
        cmocka_unit_test_setup(test_report_adds_differences, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
