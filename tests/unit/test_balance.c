/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_balance - weights from figures, looked at alone and in a simulation:
 * connections arrive and leave, the kernel spreads them by the last weights,
 * and the figures are as old as the test says.
 */
#include "master/balance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_SLOTS = 8, STEP_MS = 10, MOST_AGE = 200 };

static uint64_t random_state;

static double random_unit(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

/* ---- a cluster that lives in steps of STEP_MS ---- */

struct sim {
    struct balance balance;
    struct balance_figures figures[MOST_SLOTS];
    int count;
    int64_t now_ms;
    double arrivals;    /* per second */
    double lifetime_ms; /* of a connection, 0: for ever */
    int figures_age_ms; /* how old the figures are that the balance sees */
    double connections[MOST_SLOTS];
    double history[MOST_AGE][MOST_SLOTS]; /* of each step, for old figures */
    int step;
    int swaps;
    double got[MOST_SLOTS]; /* new connections since it was last cleared */
};

static struct sim sim;

static void sim_new(int count, double arrivals, double lifetime_ms, int figures_age_ms)
{
    memset(&sim, 0, sizeof(sim));
    random_state = UINT64_C(0x9E3779B97F4A7C15);
    sim.count = count;
    sim.now_ms = 1000000;
    sim.arrivals = arrivals;
    sim.lifetime_ms = lifetime_ms;
    sim.figures_age_ms = figures_age_ms;
    for (int i = 0; i < count; i++)
        sim.figures[i] =
            (struct balance_figures){.eligible = true, .known = true, .capacity = 1, .worker = 1};
}

static double share_of(const struct balance *balance, int slot)
{
    double sum = 0;
    for (int i = 0; i < MOST_SLOTS; i++)
        sum += balance->slot[i].weight;
    return sum == 0 ? 0 : balance->slot[slot].weight / sum;
}

/* What the kernel does with one connection. */
static int draw(void)
{
    double at = random_unit();
    for (int i = 0; i < sim.count; i++) {
        at -= share_of(&sim.balance, i);
        if (at < 0)
            return i;
    }
    return sim.count - 1;
}

static void look(bool force)
{
    int age = sim.figures_age_ms / STEP_MS;
    int seen = sim.step >= age ? (sim.step - age) % MOST_AGE : 0;
    for (int i = 0; i < sim.count; i++) {
        sim.figures[i].connections = (int64_t)sim.history[seen][i];
        sim.figures[i].age_ms = sim.figures_age_ms;
    }
    if (balance_look(&sim.balance, sim.figures, sim.count, sim.arrivals, sim.now_ms, force))
        sim.swaps++;
}

static void live(int64_t ms)
{
    for (int64_t end = sim.now_ms + ms; sim.now_ms < end; sim.now_ms += STEP_MS) {
        int arriving = (int)(sim.arrivals * STEP_MS / 1000 + random_unit());
        for (int i = 0; i < arriving; i++) {
            int slot = draw();
            sim.connections[slot]++;
            sim.got[slot]++;
        }
        for (int i = 0; i < sim.count; i++)
            if (sim.lifetime_ms > 0)
                sim.connections[i] -= sim.connections[i] * STEP_MS / sim.lifetime_ms;
        sim.step++;
        memcpy(sim.history[sim.step % MOST_AGE], sim.connections, sizeof(sim.connections));
        if (sim.step % (BALANCE_INTERVAL_MS / STEP_MS) == 0)
            look(sim.balance.looked_ms == 0);
    }
}

static double imbalance(void)
{
    double most = 0, least = 1e18, sum = 0;
    for (int i = 0; i < sim.count; i++) {
        if (!sim.figures[i].eligible)
            continue;
        most = sim.connections[i] > most ? sim.connections[i] : most;
        least = sim.connections[i] < least ? sim.connections[i] : least;
        sum += sim.connections[i];
    }
    return (most - least) * sim.count / sum;
}

/* ---- one look ---- */

static void test_nothing_known_is_even(void **state)
{
    (void)state;
    struct balance balance = {0};
    struct balance_figures figures[3] = {{.eligible = true, .capacity = 1},
                                         {.eligible = true, .capacity = 2},
                                         {.eligible = false, .capacity = 4}};
    assert_true(balance_look(&balance, figures, 3, 0, 1000, true));
    assert_int_equal(balance.slot[0].weight, 3333);
    assert_int_equal(balance.slot[1].weight, 6667);
    assert_int_equal(balance.slot[2].weight, 0);
}

static void test_stale_or_missing_is_average(void **state)
{
    (void)state;
    struct balance balance = {0};
    struct balance_figures figures[4];
    for (int i = 0; i < 4; i++)
        figures[i] = (struct balance_figures){
            .eligible = true, .known = true, .worker = 1, .connections = 1000, .capacity = 1};
    figures[0].known = false;
    figures[0].connections = 0; /* would attract everything if it were believed */
    figures[1].age_ms = BALANCE_STALE_MS + 1;
    figures[1].connections = 0;
    figures[1].lag_ns = INT64_MAX;
    for (int64_t now = 1000; now < 5000; now += BALANCE_INTERVAL_MS)
        (void)balance_look(&balance, figures, 4, 100, now, false);
    for (int i = 0; i < 4; i++)
        assert_in_range(balance.slot[i].weight, 2300, 2700);
}

static void test_claims_are_limited(void **state)
{
    (void)state;
    static const int64_t claims[] = {INT64_MIN, -1, 0, INT64_MAX};
    for (size_t a = 0; a < sizeof(claims) / sizeof(claims[0]); a++) {
        for (size_t b = 0; b < sizeof(claims) / sizeof(claims[0]); b++) {
            struct balance balance = {0};
            struct balance_figures figures[4] = {0};
            for (int i = 0; i < 4; i++)
                figures[i] = (struct balance_figures){.eligible = true,
                                                      .known = true,
                                                      .worker = 1,
                                                      .connections = 500,
                                                      .capacity = 1};
            figures[0].connections = claims[a];
            figures[0].in_flight = claims[b];
            figures[0].lag_ns = claims[a];
            figures[0].age_ms = 10;
            for (int64_t now = 1000; now < 5000; now += BALANCE_INTERVAL_MS)
                (void)balance_look(&balance, figures, 4, 1000, now, false);
            unsigned sum = 0;
            for (int i = 0; i < 4; i++)
                sum += balance.slot[i].weight;
            assert_in_range(sum, BALANCE_SCALE - 4, BALANCE_SCALE + 4);
            /* It can have much more than its share, and not everything. */
            assert_in_range(balance.slot[0].weight, 0, 7500);
            assert_in_range(balance.slot[1].weight, 800, 3400);
        }
    }
}

static void test_who_stays_late_loses_its_share(void **state)
{
    (void)state;
    struct balance balance = {0};
    struct balance_figures figures[4];
    for (int i = 0; i < 4; i++)
        figures[i] = (struct balance_figures){
            .eligible = true, .known = true, .worker = 1, .connections = 50, .capacity = 1};
    int64_t now = 1000;
    for (; now < 4000; now += BALANCE_INTERVAL_MS)
        (void)balance_look(&balance, figures, 4, 1000, now, false);
    assert_in_range(balance.slot[0].weight, 2300, 2700);

    /* Once is nothing: somebody else had the processor. */
    figures[0].lag_ns = 50 * 1000 * 1000;
    (void)balance_look(&balance, figures, 4, 1000, now += BALANCE_INTERVAL_MS, false);
    (void)balance_look(&balance, figures, 4, 1000, now += BALANCE_INTERVAL_MS, false);
    assert_in_range(balance.slot[0].weight, 2300, 2700);
    /* Looks in between, because slots came or went, do not count. */
    for (int i = 0; i < 5; i++)
        (void)balance_look(&balance, figures, 4, 1000, ++now, true);
    assert_in_range(balance.slot[0].weight, 2300, 2700);
    assert_true(balance_look(&balance, figures, 4, 1000, now += BALANCE_INTERVAL_MS, false));
    assert_in_range(balance.slot[0].weight, 0, 20);
    /* Having fewest connections does not help it. */
    figures[0].connections = 0;
    (void)balance_look(&balance, figures, 4, 1000, now += BALANCE_INTERVAL_MS, false);
    assert_in_range(balance.slot[0].weight, 0, 20);

    /* It gets its share back within two seconds, and not at once. */
    figures[0].lag_ns = 0;
    figures[0].connections = 50;
    (void)balance_look(&balance, figures, 4, 1000, now += BALANCE_INTERVAL_MS, false);
    assert_in_range(balance.slot[0].weight, 0, 400);
    for (int64_t end = now + 2000; now < end; now += BALANCE_INTERVAL_MS)
        (void)balance_look(&balance, figures, 4, 1000, now, false);
    assert_in_range(balance.slot[0].weight, 2200, 2800);
}

/* Processors are scarce: at each look another worker was late. */
static void test_lateness_that_wanders(void **state)
{
    (void)state;
    struct balance balance = {0};
    struct balance_figures figures[3];
    for (int64_t now = 1000; now < 20000; now += BALANCE_INTERVAL_MS) {
        for (int i = 0; i < 3; i++)
            figures[i] = (struct balance_figures){.eligible = true,
                                                  .known = true,
                                                  .connections = 1000,
                                                  .lag_ns = now / 100 % 3 == i ? 90000000 : 0,
                                                  .capacity = 1};
        (void)balance_look(&balance, figures, 3, 1000, now, false);
        for (int i = 0; i < 3; i++)
            assert_in_range(balance.slot[i].weight, 3000, 3700);
    }
}

/* One that was suspect comes back as late as it was: that it was away for a
 * moment gives it no new start. */
static void test_a_suspect_one_comes_back(void **state)
{
    (void)state;
    struct balance balance = {0};
    struct balance_figures figures[4];
    int64_t now = 1000;
    for (int i = 0; i < 4; i++)
        figures[i] = (struct balance_figures){
            .eligible = true, .known = true, .connections = 50, .capacity = 1, .worker = 1};
    figures[0].lag_ns = 60 * 1000 * 1000;
    for (; now < 4000; now += BALANCE_INTERVAL_MS) {
        figures[0].eligible = now / 300 % 2 == 0;
        (void)balance_look(&balance, figures, 4, 1000, now, now % 300 == 0);
        if (now > 1500)
            assert_in_range(balance.slot[0].weight, 0, 20);
    }
}

/* A reload puts another worker into a slot that was never without one. */
static void test_a_replaced_worker_begins_with_little(void **state)
{
    (void)state;
    struct balance balance = {0};
    struct balance_figures figures[4];
    int64_t now = 1000;
    for (int i = 0; i < 4; i++)
        figures[i] = (struct balance_figures){
            .eligible = true, .known = true, .connections = 500, .capacity = 1, .worker = 10 + i};
    for (; now < 4000; now += BALANCE_INTERVAL_MS)
        (void)balance_look(&balance, figures, 4, 1000, now, false);
    figures[1].worker = 99;
    figures[1].connections = 0;
    (void)balance_look(&balance, figures, 4, 1000, now += BALANCE_INTERVAL_MS, false);
    assert_in_range(balance.slot[1].weight, 100, 1600);
    for (int64_t end = now + 1000; now < end; now += BALANCE_INTERVAL_MS)
        (void)balance_look(&balance, figures, 4, 1000, now, false);
    assert_in_range(balance.slot[1].weight, 4000, 7600);
}

static void test_all_late_is_even(void **state)
{
    (void)state;
    struct balance balance = {0};
    struct balance_figures figures[4];
    for (int i = 0; i < 4; i++)
        figures[i] = (struct balance_figures){.eligible = true,
                                              .known = true,
                                              .lag_ns = (900 + 50 * i) * INT64_C(1000000),
                                              .capacity = 1};
    for (int64_t now = 1000; now < 4000; now += BALANCE_INTERVAL_MS)
        (void)balance_look(&balance, figures, 4, 1000, now, false);
    for (int i = 0; i < 4; i++)
        assert_in_range(balance.slot[i].weight, 2200, 2800);
}

/* ---- the simulation ---- */

static void test_even_traffic_is_left_alone(void **state)
{
    (void)state;
    static const double lifetimes[] = {20, 300, 5000};
    static const double rates[] = {50, 200, 2000};
    for (size_t l = 0; l < 3; l++) {
        for (size_t r = 0; r < 3; r++) {
            sim_new(4, rates[r], lifetimes[l], 50);
            live(20000);
            sim.swaps = 0;
            memset(sim.got, 0, sizeof(sim.got));
            live(20000);
            double arrived = 20 * rates[r];
            for (int i = 0; i < 4; i++)
                assert_true(sim.got[i] > arrived * 0.15 && sim.got[i] < arrived * 0.35);
            /* 200 looks. With few arrivals one connection more is a difference. */
            if (rates[r] > 1000)
                assert_in_range(sim.swaps, 0, 40);
        }
    }
}

static void test_long_lived_connections_level(void **state)
{
    (void)state;
    static const double rates[] = {50, 500, 2000};
    static const int ages[] = {10, 100, 1000};
    for (size_t r = 0; r < 3; r++) {
        for (size_t a = 0; a < 3; a++) {
            sim_new(4, rates[r], 0, ages[a]);
            sim.connections[0] = sim.connections[1] = 10 * rates[r];
            sim.history[0][0] = sim.history[0][1] = 10 * rates[r];
            live(40000);
            assert_true(imbalance() < 0.05);
        }
    }
}

/* A worker that was restarted comes back empty while 2,000 connections arrive
 * each second and its old ones, too. Whatever the age of the figures: it never
 * gets more than three even shares, it does not overshoot, and then it is calm. */
static void test_herd(void **state)
{
    (void)state;
    static const int ages[] = {10, 100, 500, 1000};
    for (size_t a = 0; a < 4; a++) {
        sim_new(4, 2000, 20000, ages[a]);
        live(60000);
        assert_true(imbalance() < 0.1);
        sim.figures[2].eligible = false;
        sim.connections[2] = 0;
        look(true);
        live(500);
        assert_int_equal(sim.got[2] == 0, 0);
        sim.figures[2].eligible = true;
        sim.figures[2].worker = 7;
        look(true);
        memset(sim.got, 0, sizeof(sim.got));
        live(100);
        assert_true(sim.got[2] < 0.3 * 200); /* it begins with little */
        for (int second = 0; second < 60; second++) {
            memset(sim.got, 0, sizeof(sim.got));
            live(1000);
            assert_true(sim.got[2] < 0.78 * 2000);
            double average = 0;
            for (int i = 0; i < 4; i++)
                average += sim.connections[i] / 4;
            assert_true(sim.connections[2] < 1.12 * average);
        }
        assert_true(imbalance() < 0.1);
    }
}

/* Shares do not swing: with old figures and short lives the share of each slot
 * in each second stays near even. */
static void test_no_swinging(void **state)
{
    (void)state;
    static const int ages[] = {10, 300, 1000};
    static const double lifetimes[] = {100, 1000, 10000};
    for (size_t a = 0; a < 3; a++) {
        for (size_t l = 0; l < 3; l++) {
            sim_new(4, 2000, lifetimes[l], ages[a]);
            sim.connections[0] = 4000; /* a push, and then it settles */
            live(60000);
            for (int second = 0; second < 20; second++) {
                memset(sim.got, 0, sizeof(sim.got));
                live(1000);
                for (int i = 0; i < 4; i++)
                    assert_true(sim.got[i] > 0.15 * 2000 && sim.got[i] < 0.35 * 2000);
            }
        }
    }
}

static void test_capacity(void **state)
{
    (void)state;
    sim_new(3, 500, 2000, 50);
    sim.figures[0].capacity = 3;
    live(30000);
    double sum = sim.connections[0] + sim.connections[1] + sim.connections[2];
    assert_true(sim.connections[0] > 0.55 * sum && sim.connections[0] < 0.65 * sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_known_is_even),
        cmocka_unit_test(test_stale_or_missing_is_average),
        cmocka_unit_test(test_claims_are_limited),
        cmocka_unit_test(test_who_stays_late_loses_its_share),
        cmocka_unit_test(test_lateness_that_wanders),
        cmocka_unit_test(test_a_suspect_one_comes_back),
        cmocka_unit_test(test_a_replaced_worker_begins_with_little),
        cmocka_unit_test(test_all_late_is_even),
        cmocka_unit_test(test_even_traffic_is_left_alone),
        cmocka_unit_test(test_long_lived_connections_level),
        cmocka_unit_test(test_herd),
        cmocka_unit_test(test_no_swinging),
        cmocka_unit_test(test_capacity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
