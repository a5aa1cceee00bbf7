/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_autoscale - each part of the autoscaler alone, then random lives against
 * what must hold in all of them.
 */
#include "master/autoscale.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct autoscale_rules rules;
static struct autoscale_input input;
static struct autoscale_state state;
static struct autoscale_decision decision;

/* ---- building a case ---- */

/* No rules, no windows, no rates, no emergencies; 1 to 100 workers, `workers` now. */
static void plain(int workers)
{
    memset(&rules, 0, sizeof(rules));
    memset(&input, 0, sizeof(input));
    memset(&state, 0, sizeof(state));
    rules.min_workers = 1;
    rules.max_workers = 100;
    rules.tolerance = 0.1;
    rules.stale_ms = 30000;
    snprintf(rules.queue_metric, sizeof(rules.queue_metric), "queue");
    input.now_ms = 1000000;
    input.current = input.ready = workers;
}

static struct autoscale_rule *rule(const char *name, const char *metric, enum autoscale_operator op,
                                   double threshold, enum autoscale_action action, int amount)
{
    struct autoscale_rule *it = &rules.rules[rules.rule_count++];
    snprintf(it->name, sizeof(it->name), "%s", name);
    snprintf(it->metric, sizeof(it->metric), "%s", metric);
    it->op = op;
    it->threshold = threshold;
    it->action = action;
    it->amount = amount;
    return it;
}

static struct autoscale_rule *target(double percent)
{
    return rule("target", "cpu", AUTOSCALE_GTE, percent, AUTOSCALE_TRACK, 0);
}

static struct autoscale_metric *metric(const char *name, double value)
{
    int at = 0;
    while (at < input.metric_count && strcmp(input.metrics[at].name, name) != 0)
        at++;
    if (at == input.metric_count)
        input.metric_count++;
    struct autoscale_metric *it = &input.metrics[at];
    memset(it, 0, sizeof(*it));
    snprintf(it->name, sizeof(it->name), "%s", name);
    it->known = true;
    it->value = value;
    it->window_ms = 15000;
    return it;
}

/* Decides, carries it out at once, and lets `ms` pass. */
static int decide(int64_t ms)
{
    char why[256];
    assert_null(autoscale_check_rules(&rules, why, sizeof(why)));
    autoscale_decide(&rules, &input, &state, &decision);
    input.current = input.ready = decision.result;
    input.now_ms += ms;
    return decision.result;
}

static bool clips(enum autoscale_clip clip)
{
    return autoscale_was_clipped(&decision, clip);
}

static void assert_says(const char *words)
{
    if (strstr(decision.text, words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, decision.text);
}

/* ---- rules ---- */

static void test_thresholds(void **unused)
{
    static const struct {
        enum autoscale_operator op;
        enum autoscale_action action;
        double value;
        int result;
    } cases[] = {
        {AUTOSCALE_GT, AUTOSCALE_SCALE_UP, 80, 10},   {AUTOSCALE_GT, AUTOSCALE_SCALE_UP, 80.1, 12},
        {AUTOSCALE_GTE, AUTOSCALE_SCALE_UP, 80, 12},  {AUTOSCALE_GTE, AUTOSCALE_SCALE_UP, 79, 10},
        {AUTOSCALE_LT, AUTOSCALE_SCALE_DOWN, 80, 10}, {AUTOSCALE_LT, AUTOSCALE_SCALE_DOWN, 79, 8},
        {AUTOSCALE_LTE, AUTOSCALE_SCALE_DOWN, 80, 8}, {AUTOSCALE_LTE, AUTOSCALE_SCALE_DOWN, 81, 10},
        {AUTOSCALE_LTE, AUTOSCALE_SCALE_UP, 10, 12},  {AUTOSCALE_GTE, AUTOSCALE_SCALE_DOWN, 90, 8},
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        plain(10);
        rule("x", "m", cases[i].op, 80, cases[i].action, 2);
        metric("m", cases[i].value);
        assert_int_equal(decide(0), cases[i].result);
        assert_int_equal(decision.clip_count, 0);
        assert_int_equal(decision.wishes[0].decided, cases[i].result != 10);
    }
}

static void test_targets(void **unused)
{
    static const struct {
        double value, workers;
        int ready, raw, result;
        bool in_band;
    } cases[] = {
        {90, 0, 4, 6, 6, false},   {60, 0, 4, 4, 4, true},      {66, 0, 4, 5, 4, true},
        {66.1, 0, 4, 5, 5, false}, {54, 0, 10, 9, 10, true},    {53, 0, 10, 9, 9, false},
        {6, 0, 10, 1, 1, false},   {0, 0, 10, 0, 1, false},     {100, 0, 3, 5, 5, false},
        {90, 4, 8, 6, 6, false},   {90, 6.5, 8, 10, 10, false}, {1e300, 0, 1, 65535, 100, false},
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        plain(cases[i].ready);
        target(60);
        metric("cpu", cases[i].value)->workers = cases[i].workers;
        assert_int_equal(decide(0), cases[i].result);
        assert_int_equal(decision.raw, cases[i].raw);
        assert_int_equal(decision.wishes[0].verdict == AUTOSCALE_IN_BAND, cases[i].in_band);
        assert_int_equal(clips(AUTOSCALE_CLIP_TOLERANCE),
                         cases[i].in_band && cases[i].raw != cases[i].result);
    }
    /* Who is wanted and still starting is not forgotten. */
    plain(8);
    input.ready = 4;
    target(60);
    metric("cpu", 62);
    assert_int_equal(decide(0), 8);
}

static void test_priorities(void **unused)
{
    (void)unused;
    /* Of equals the one that wants most. */
    plain(10);
    rule("down", "m", AUTOSCALE_GTE, 0, AUTOSCALE_SCALE_DOWN, 1);
    rule("up", "m", AUTOSCALE_GTE, 0, AUTOSCALE_SCALE_UP, 3);
    rule("less", "m", AUTOSCALE_GTE, 0, AUTOSCALE_SCALE_UP, 1);
    metric("m", 5);
    assert_int_equal(decide(0), 13);
    assert_true(decision.wishes[1].decided && !decision.wishes[0].decided);
    assert_says("\"up\" wants 13 (m 5 over 15s)");
    /* The higher priority before that. */
    input.current = input.ready = 10;
    rules.rules[0].priority = 1;
    assert_int_equal(decide(0), 9);
    /* Wherever it stands. */
    input.current = input.ready = 10;
    rules.rules[2].priority = 2;
    assert_int_equal(decide(0), 11);
    rules.rules[2].priority = 0;
    /* Who wishes nothing has no say. */
    input.current = input.ready = 10;
    rules.rules[0].op = AUTOSCALE_LT;
    assert_int_equal(decide(0), 13);
}

static void test_cooldown(void **unused)
{
    (void)unused;
    plain(10);
    rule("up", "m", AUTOSCALE_GTE, 80, AUTOSCALE_SCALE_UP, 2)->cooldown_ms = 300000;
    rule("down", "n", AUTOSCALE_LTE, 20, AUTOSCALE_SCALE_DOWN, 1);
    metric("m", 90);
    metric("n", 50);
    assert_int_equal(decide(299999), 12);
    metric("n", 10);
    /* It waits, and keeps what it got from being taken away. */
    assert_int_equal(decide(1), 12);
    assert_int_equal(decision.wishes[0].verdict, AUTOSCALE_COOLS);
    assert_int_equal(decision.wishes[0].cooled_ms, 1300000);
    assert_true(clips(AUTOSCALE_CLIP_COOLDOWN));
    assert_says("cooldown made it 12 instead of 14");
    assert_int_equal(decide(0), 14);
}

static void test_cooldowns_of_many_rules(void **unused)
{
    (void)unused;
    /* More names than are remembered: the one that fired longest ago is forgotten. */
    plain(1);
    struct autoscale_rule *up = rule("", "m", AUTOSCALE_GTE, 0, AUTOSCALE_SCALE_UP, 1);
    up->cooldown_ms = 3600000;
    metric("m", 5);
    for (int i = 0; i <= AUTOSCALE_MAX_RULES; i++) {
        snprintf(up->name, sizeof(up->name), "r%d", i);
        assert_int_equal(decide(1000), i + 2);
    }
    for (int i = 1; i <= AUTOSCALE_MAX_RULES; i++) {
        snprintf(up->name, sizeof(up->name), "r%d", i);
        assert_int_equal(decide(0), AUTOSCALE_MAX_RULES + 2);
    }
    snprintf(up->name, sizeof(up->name), "r0");
    assert_int_equal(decide(0), AUTOSCALE_MAX_RULES + 3);
}

/* ---- missing data ---- */

static void test_missing_data_keeps_workers(void **unused)
{
    enum { GONE, UNKNOWN, STALE, NOT_A_NUMBER, ENDLESS, KINDS };
    (void)unused;
    for (int kind = 0; kind < KINDS; kind++) {
        for (int up = 0; up < 2; up++) {
            plain(10);
            target(60);
            rule("other", "m", AUTOSCALE_GTE, 80, AUTOSCALE_SCALE_UP, 1);
            metric("cpu", up ? 90 : 10);
            struct autoscale_metric *m = metric("m", 90);
            if (kind == GONE)
                input.metric_count = 1;
            m->known = kind != UNKNOWN;
            m->age_ms = kind == STALE ? 30001 : 30000;
            m->value = kind == NOT_A_NUMBER ? NAN : kind == ENDLESS ? INFINITY : 90;
            assert_int_equal(decide(0), up ? 15 : 10);
            assert_int_equal(clips(AUTOSCALE_CLIP_MISSING), !up);
            assert_int_equal(decision.wishes[1].verdict, AUTOSCALE_NO_METRIC);
            assert_says("\"other\" has no data");
        }
    }
}

static void test_silent_workers(void **unused)
{
    (void)unused;
    /* On the way up the silent ones are idle ... */
    plain(10);
    target(60);
    metric("cpu", 90)->silent = 2;
    assert_int_equal(decide(0), 12);
    assert_int_equal(decision.raw, 15);
    assert_true(clips(AUTOSCALE_CLIP_MISSING));
    /* ... but that is no reason to go down ... */
    plain(10);
    target(60);
    metric("cpu", 70)->silent = 5;
    assert_int_equal(decide(0), 10);
    /* ... and nor is anything else. */
    plain(10);
    target(60);
    metric("cpu", 20)->silent = 1;
    assert_int_equal(decide(0), 10);
    assert_int_equal(decision.wishes[0].verdict, AUTOSCALE_IN_PART);
    assert_true(clips(AUTOSCALE_CLIP_MISSING));
    /* Thresholds as well. */
    plain(10);
    rule("up", "cpu", AUTOSCALE_GTE, 80, AUTOSCALE_SCALE_UP, 1);
    metric("cpu", 90)->silent = 2;
    assert_int_equal(decide(0), 10);
    assert_true(clips(AUTOSCALE_CLIP_MISSING));
    metric("cpu", 100)->silent = 2;
    assert_int_equal(decide(0), 11);
    /* Nobody serves: nothing is known. */
    plain(10);
    input.ready = 0;
    target(60);
    metric("cpu", 0);
    assert_int_equal(decide(0), 10);
}

/* ---- windows, flaps, rates ---- */

static void test_stabilisation(void **unused)
{
    (void)unused;
    plain(10);
    target(60);
    rules.down.window_ms = 300000;
    metric("cpu", 30);
    /* What there was in the beginning counts, too. */
    for (int i = 0; i <= 60; i++)
        assert_int_equal(decide(5000), 10);
    assert_true(clips(AUTOSCALE_CLIP_STABILISATION));
    assert_says("stabilisation made it 10 instead of 5");
    assert_int_equal(decide(5000), 5);
    /* Down only to the most of the window. */
    metric("cpu", 90);
    assert_int_equal(decide(5000), 8);
    metric("cpu", 45);
    for (int i = 0; i < 60; i++)
        assert_int_equal(decide(5000), 8);
    assert_int_equal(decide(5000), 6);

    /* Up only to the least of the window. */
    plain(10);
    target(60);
    rules.up.window_ms = 20000;
    metric("cpu", 90);
    for (int i = 0; i <= 4; i++)
        assert_int_equal(decide(5000), 10);
    assert_true(clips(AUTOSCALE_CLIP_STABILISATION));
    assert_int_equal(decide(5000), 15);
}

static void test_windows_are_covered(void **unused)
{
    (void)unused;
    /* Wants that change at every look, more of them than are remembered one by one. */
    plain(50);
    target(60);
    rules.down.window_ms = 3600000;
    metric("cpu", 30);
    decide(5000);
    for (int i = 1; i <= 3600 / 5; i++) {
        metric("cpu", i % 2 ? 10 : 20);
        assert_int_equal(decide(5000), 50);
    }
    /* The longest run may hold what was in it a little longer. */
    for (int i = 0; i < 4; i++) {
        metric("cpu", i % 2 ? 10 : 20);
        decide(5000);
    }
    assert_in_range(input.current, 9, 25);
}

static int until_down(void)
{
    int steps = 0, before = input.current;
    metric("cpu", 20);
    while (decide(5000) >= before) {
        before = input.current;
        assert_true(++steps < 1000);
    }
    return steps;
}

static void test_flap_guard(void **unused)
{
    (void)unused;
    plain(12);
    target(60);
    rules.down.window_ms = 300000;
    rules.flap_windows = 2;
    int first = until_down();
    /* Each time it goes up again soon after, the way down gets longer, up to a bound. */
    int last = first;
    for (int i = 0; i < 4; i++) {
        metric("cpu", 120);
        decide(5000);
        assert_true(decision.result > decision.current);
        int steps = until_down();
        assert_true(i >= 2 || steps > last + 20);
        assert_true(steps <= 3 * first + 3);
        last = steps;
    }
    /* The decision before said what held it. */
    metric("cpu", 120);
    decide(5000);
    metric("cpu", 20);
    while (!clips(AUTOSCALE_CLIP_FLAP_GUARD))
        decide(5000);
    assert_says("flap guard made it");
    assert_true(decision.down_window_ms > 300000);
    /* Left alone it gives all of it back: eight times as slowly. */
    metric("cpu", 60);
    int64_t extra_ms = decision.down_window_ms - 300000;
    decide(4 * extra_ms);
    decide(4 * extra_ms + 10000);
    assert_in_range(decision.down_window_ms - 300000, extra_ms / 2 - 2000, extra_ms / 2 + 2000);
    decide(0);
    assert_int_equal(decision.down_window_ms, 300000);
}

static void test_one_flap_for_each_way_down(void **unused)
{
    (void)unused;
    plain(12);
    target(60);
    rules.down.window_ms = 300000;
    rules.flap_windows = 5;
    until_down();
    metric("cpu", 120);
    for (int i = 0; i < 3; i++) {
        decide(5000);
        assert_true(decision.result > decision.current);
    }
    assert_in_range(state.guard_ms, 290000, 300000);
}

static void test_rates(void **unused)
{
    (void)unused;
    /* The one that allows most counts. */
    plain(4);
    target(60);
    rules.up = (struct autoscale_direction){
        .rates = {{.workers = 3, .period_ms = 60000}, {.percent = 100, .period_ms = 60000}},
        .rate_count = 2};
    metric("cpu", 500);
    assert_int_equal(decide(30000), 8);
    assert_true(clips(AUTOSCALE_CLIP_RATE));
    assert_says("rate made it 8 instead of 34");
    assert_int_equal(decide(29999), 8);
    assert_int_equal(decide(1), 8);
    assert_int_equal(decide(0), 16);

    plain(40);
    target(60);
    rules.down = (struct autoscale_direction){.rates = {{.percent = 10, .period_ms = 60000}},
                                              .rate_count = 1};
    metric("cpu", 6);
    assert_int_equal(decide(20000), 36);
    assert_int_equal(decide(40000), 36);
    assert_int_equal(decide(60000), 32);

    /* Changes of one direction are apart. */
    plain(10);
    target(60);
    rules.up.pause_ms = 15000;
    metric("cpu", 90);
    assert_int_equal(decide(14999), 15);
    assert_int_equal(decide(1), 15);
    assert_true(clips(AUTOSCALE_CLIP_RATE));
    assert_int_equal(decide(0), 23);
}

static void test_rate_memory_is_bounded(void **unused)
{
    (void)unused;
    /* More changes within a period than are remembered one by one. */
    plain(1);
    rules.max_workers = AUTOSCALE_MAX_WORKERS;
    rule("up", "m", AUTOSCALE_GTE, 1, AUTOSCALE_SCALE_UP, 1);
    rules.up = (struct autoscale_direction){.rates = {{.workers = 200, .period_ms = 3600000}},
                                            .rate_count = 1};
    metric("m", 5);
    for (int i = 0; i < 1000; i++)
        decide(1000);
    assert_int_equal(input.current, 201);
}

/* ---- bounds, people, the queue ---- */

static void test_min_and_max(void **unused)
{
    (void)unused;
    plain(10);
    target(60);
    rules.min_workers = 4;
    rules.max_workers = 12;
    metric("cpu", 200);
    assert_int_equal(decide(0), 12);
    assert_true(clips(AUTOSCALE_CLIP_MAX));
    metric("cpu", 1);
    assert_int_equal(decide(0), 4);
    assert_true(clips(AUTOSCALE_CLIP_MIN));
    /* New bounds hold at once, whatever rates and windows say. */
    rules.down = (struct autoscale_direction){.window_ms = 300000, .pause_ms = 60000};
    metric("cpu", 60);
    input.current = input.ready = 20;
    assert_int_equal(decide(0), 12);
    assert_says("max made it 12 instead of 20");
}

static void test_manual(void **unused)
{
    (void)unused;
    plain(10);
    target(60);
    rules.max_workers = 20;
    metric("cpu", 90);
    input.manual = (struct autoscale_manual){.set = true, .instances = 6, .until_ms = 1005000};
    assert_int_equal(decide(5000), 6);
    assert_int_equal(decision.automatic, 15);
    assert_true(clips(AUTOSCALE_CLIP_MANUAL));
    assert_says("manual made it 6 instead of 15");
    /* What people do is held neither against them nor against the rules. */
    assert_int_equal(state.ups.count + state.downs.count, 0);
    assert_int_equal(decide(0), 9); /* it is over */
    input.manual = (struct autoscale_manual){.set = true, .instances = 50, .until_ms = INT64_MAX};
    assert_int_equal(decide(0), 20);
    assert_true(clips(AUTOSCALE_CLIP_MANUAL) && clips(AUTOSCALE_CLIP_MAX));
}

static void test_dry_run(void **unused)
{
    (void)unused;
    plain(10);
    target(60)->cooldown_ms = 60000;
    metric("cpu", 90);
    input.dry_run = true;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(decide(1000), 10);
        assert_int_equal(decision.automatic, 15);
        assert_says("dry run made it 10 instead of 15");
    }
    assert_int_equal(state.ups.count, 0);
}

static void test_emergency(void **unused)
{
    (void)unused;
    plain(10);
    target(60)->cooldown_ms = 600000;
    rules.emergency_queue = 5;
    rules.emergency_percent = 50;
    rules.emergency_drain_ms = 3000;
    rules.up = (struct autoscale_direction){.window_ms = 60000,
                                            .pause_ms = 60000,
                                            .rates = {{.workers = 8, .period_ms = 60000}},
                                            .rate_count = 1};
    metric("cpu", 100);
    metric("queue", 4);
    assert_int_equal(decide(1000), 10);
    /* It waits for no window, pause or cooldown, but for the rates. */
    metric("queue", 5);
    assert_int_equal(decide(1000), 15);
    assert_says("the accept queue fills, which asks for 15");
    metric("queue", 9);
    assert_int_equal(decide(1000), 18);
    assert_true(clips(AUTOSCALE_CLIP_RATE));
    /* Those that were asked for and are not there yet come first. */
    input.now_ms += 60000;
    input.ready = 12;
    assert_int_equal(decide(1000), 18);
    /* What drains fast enough is no emergency; the rest of it still is seen as load. */
    metric("queue", 6);
    assert_int_equal(decide(1000), 18);
    assert_int_equal(decision.emergency, 0);
    assert_int_equal(decision.wishes[0].verdict, AUTOSCALE_SETTLES);
    assert_true(clips(AUTOSCALE_CLIP_SETTLING));
    /* Without the queue nobody leaves, and it is said. */
    plain(10);
    target(60);
    rules.emergency_queue = 5;
    metric("cpu", 10);
    assert_int_equal(decide(0), 10);
    assert_true(clips(AUTOSCALE_CLIP_MISSING));
    assert_says("the accept queue is not known");
}

static void test_wrong_rules(void **unused)
{
    char why[256];
    (void)unused;
    autoscale_default_rules(2, 8, &rules);
    assert_null(autoscale_check_rules(&rules, why, sizeof(why)));
#define WRONG(change, says)                                                                        \
    do {                                                                                           \
        autoscale_default_rules(2, 8, &rules);                                                     \
        change;                                                                                    \
        assert_non_null(autoscale_check_rules(&rules, why, sizeof(why)));                          \
        if (strstr(why, says) == NULL)                                                             \
            fail_msg("\"%s\" is not in: %s", says, why);                                           \
    } while (0)
    WRONG(rules.min_workers = 0, "min 0");
    WRONG(rules.max_workers = 1, "min not above max");
    WRONG(rules.max_workers = 70000, "max 70000");
    WRONG(rules.tolerance = 1, "tolerance");
    WRONG(rules.tolerance = NAN, "tolerance");
    WRONG(rules.stale_ms = 0, "stale");
    WRONG(rules.flap_windows = -1, "flap guard");
    WRONG(rules.emergency_queue = 101, "accept queue");
    WRONG(rules.queue_metric[0] = '\0', "accept queue");
    WRONG(rules.rule_count = 33, "32 rules");
    WRONG(rules.rules[1].name[0] = '"', "rule 2");
    WRONG(memset(rules.rules[1].name, 'x', AUTOSCALE_NAME_SIZE), "rule 2");
    WRONG(rules.rules[1] = rules.rules[0], "two rules named \"cpu-target\"");
    WRONG(rules.rules[0].threshold = 0, "above 0");
    WRONG(rules.rules[1].threshold = INFINITY, "no number");
    WRONG(rules.rules[1].amount = 0, "\"cpu-high\": its amount");
    WRONG(rules.rules[1].metric[0] = '\n', "metric");
    WRONG(rules.rules[1].cooldown_ms = -1, "cooldown");
    WRONG(rules.down.window_ms = -1, "down: the window");
    WRONG(rules.up.pause_ms = -1, "up: the pause");
    WRONG(rules.up.rate_count = 5, "4 rates");
    WRONG(rules.up.rates[0].percent = 5, "workers (1 to 65535) or percent");
    WRONG(rules.up.rates[1].period_ms = 0, "period of rate 2");
#undef WRONG
}

/* ---- random lives ---- */

static uint64_t random_state;

static int random_below(int bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (int)((random_state >> 11) % (uint64_t)bound);
}

static void random_direction(struct autoscale_direction *direction)
{
    direction->window_ms = random_below(2) ? random_below(400) * 1000 : 0;
    direction->pause_ms = random_below(3) == 0 ? random_below(60) * 1000 : 0;
    direction->rate_count = random_below(AUTOSCALE_MAX_RATES + 1);
    for (int i = 0; i < direction->rate_count; i++) {
        bool percent = random_below(2);
        direction->rates[i] =
            (struct autoscale_rate){.workers = percent ? 0 : 1 + random_below(6),
                                    .percent = percent ? 1 + random_below(150) : 0,
                                    .period_ms = 1000 * (1 + random_below(120))};
    }
}

static void random_rules(void)
{
    static const char *const metrics[] = {"a", "b", "c", "queue"};
    plain(1 + random_below(40));
    rules.min_workers = 1 + random_below(5);
    rules.max_workers = rules.min_workers + random_below(40);
    rules.flap_windows = random_below(4);
    rules.emergency_queue = random_below(2) * 50;
    rules.emergency_percent = random_below(150);
    rules.emergency_drain_ms = random_below(5000);
    random_direction(&rules.up);
    random_direction(&rules.down);
    int count = random_below(6);
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof(name), "r%d", i);
        struct autoscale_rule *it = rule(
            name, metrics[random_below(4)], (enum autoscale_operator)random_below(4),
            1 + random_below(100), (enum autoscale_action)random_below(3), 1 + random_below(4));
        it->cooldown_ms = random_below(2) * random_below(300) * 1000;
        it->priority = random_below(3);
    }
}

static void random_metrics(void)
{
    static const char *const metrics[] = {"a", "b", "c", "queue"};
    static double level[4];
    for (int i = 0; i < 4; i++) {
        level[i] += random_below(41) - 20;
        level[i] = level[i] < 0 ? 0 : level[i] > 120 ? 120 : level[i];
        struct autoscale_metric *it = metric(metrics[i], level[i]);
        it->known = random_below(40) != 0;
        it->age_ms = random_below(40) == 0 ? 30001 : random_below(5000);
        it->silent = random_below(40) == 0 ? 1 + random_below(3) : 0;
        it->workers = random_below(2) ? input.ready : 0;
    }
}

/* Every change so far, to check the rates without the help of the state. */
struct past {
    int64_t at_ms[4096];
    int change[4096];
    int count;
};

/* At the start of no period were there so many that this change was allowed, so
 * that some rate, and the pause, must have allowed it. */
static bool is_allowed(const struct autoscale_direction *direction, const struct past *past,
                       int64_t now_ms, int current, int change)
{
    int sign = change > 0 ? 1 : -1;
    if (direction->rate_count == 0)
        return true;
    for (int i = 0; i < direction->rate_count; i++) {
        const struct autoscale_rate *rate = &direction->rates[i];
        int done = 0;
        for (int j = 0; j < past->count; j++)
            if (past->at_ms[j] > now_ms - rate->period_ms && past->change[j] * sign > 0)
                done += past->change[j] * sign;
        int start = current - sign * done;
        double step = rate->workers > 0
                          ? rate->workers
                          : ceil((start > 0 ? start : 0) * rate->percent / 100.0 - 1e-6);
        if (done + change * sign <= step)
            return true;
    }
    return false;
}

static bool is_paused(const struct autoscale_direction *direction, const struct past *past,
                      int64_t now_ms, int change)
{
    for (int i = 0; i < past->count; i++)
        if (past->at_ms[i] > now_ms - direction->pause_ms && (past->change[i] > 0) == (change > 0))
            return true;
    return false;
}

/* Each clip is named; and clips lead from the raw wish to the result. */
static void check_explained(void)
{
    for (int i = 0; i < decision.clip_count; i++) {
        char words[64];
        snprintf(words, sizeof(words), "%s made it %d instead of %d",
                 autoscale_clip_name(decision.clips[i].clip), decision.clips[i].to,
                 decision.clips[i].from);
        assert_says(words);
    }
    size_t len = strlen(decision.text);
    assert_true(len < AUTOSCALE_TEXT_SIZE - 1 && decision.text[len - 1] == '.');
    int at = decision.raw;
    for (int i = 0; i < decision.clip_count; i++) {
        assert_int_equal(decision.clips[i].from, at);
        at = decision.clips[i].to;
    }
    assert_int_equal(at, decision.result);
}

static void check_step(const struct autoscale_input *before, bool complete, bool by_people,
                       struct past *past)
{
    int change = decision.result - before->current;
    bool was_inside = before->current >= rules.min_workers && before->current <= rules.max_workers;
    if (!before->dry_run)
        assert_in_range(decision.result, rules.min_workers, rules.max_workers);
    else
        assert_int_equal(decision.result, before->current);
    check_explained();
    if (change == 0 || by_people || before->dry_run)
        return;
    if (was_inside) {
        const struct autoscale_direction *direction = change > 0 ? &rules.up : &rules.down;
        assert_true(is_allowed(direction, past, before->now_ms, before->current, change));
        assert_true((change > 0 && decision.result <= decision.emergency) ||
                    !is_paused(direction, past, before->now_ms, change));
        assert_true(change > 0 || complete || rules.rule_count == 0);
    }
    past->at_ms[past->count] = before->now_ms;
    past->change[past->count++] = change;
}

static void live(uint64_t seed)
{
    static struct past past;
    static struct autoscale_state twin; /* lives the same life */
    static struct autoscale_decision same;
    random_state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    past.count = 0;
    random_rules();
    twin = state;
    for (int step = 0; step < 300; step++) {
        if (random_below(100) == 0)
            input.manual = (struct autoscale_manual){
                .set = true, .instances = random_below(60), .until_ms = input.now_ms + 30000};
        input.dry_run = random_below(50) == 0;
        bool by_people = input.manual.set && input.now_ms < input.manual.until_ms;
        int lost = input.current > 0 && random_below(20) == 0 ? random_below(input.current + 1) : 0;
        input.ready = input.current - lost;
        random_metrics();
        struct autoscale_input before = input;
        autoscale_decide(&rules, &before, &twin, &same);
        decide(1000 * (1 + random_below(15)));
        assert_string_equal(same.text, decision.text);
        assert_int_equal(same.raw, decision.raw);
        assert_int_equal(same.automatic, decision.automatic);
        assert_int_equal(same.down_window_ms, decision.down_window_ms);
        /* Data that no rule looks at may be missing. */
        bool needed = false;
        for (int i = 0; i < before.metric_count; i++) {
            const struct autoscale_metric *it = &before.metrics[i];
            bool used = rules.emergency_queue > 0 && strcmp(it->name, "queue") == 0;
            for (int j = 0; j < rules.rule_count; j++)
                used = used || strcmp(rules.rules[j].metric, it->name) == 0;
            needed = needed || (used && (!it->known || it->age_ms > 30000 || it->silent > 0));
        }
        check_step(&before, !needed, by_people, &past);
    }
}

static void test_random_lives(void **unused)
{
    (void)unused;
    for (uint64_t seed = 0; seed < 500; seed++)
        live(seed);
}

static void test_longest_explanation(void **unused)
{
    (void)unused;
    /* The longest names and numbers there can be still leave room for every clip. */
    plain(1);
    for (int i = 0; i < AUTOSCALE_MAX_RULES; i++) {
        char name[AUTOSCALE_NAME_SIZE];
        memset(name, 'a', sizeof(name));
        snprintf(name + 29, 3, "%02d", i);
        rule(name, i == 0 ? "m" : name, AUTOSCALE_GTE, 1e-9, AUTOSCALE_SCALE_UP, 60000);
    }
    metric("m", -1.2345e-300)->silent = 1;
    metric("m", 1.2345e300)->silent = 0;
    rules.max_workers = 50000;
    input.manual =
        (struct autoscale_manual){.set = true, .instances = 12345, .until_ms = INT64_MAX};
    input.dry_run = true;
    decide(0);
    check_explained();
    assert_says("and 30 others have no data");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_cooldown),
        cmocka_unit_test(test_cooldowns_of_many_rules),
        cmocka_unit_test(test_missing_data_keeps_workers),
        cmocka_unit_test(test_silent_workers),
        cmocka_unit_test(test_stabilisation),
        cmocka_unit_test(test_windows_are_covered),
        cmocka_unit_test(test_flap_guard),
        cmocka_unit_test(test_one_flap_for_each_way_down),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_rate_memory_is_bounded),
        cmocka_unit_test(test_min_and_max),
        cmocka_unit_test(test_manual),
        cmocka_unit_test(test_dry_run),
        cmocka_unit_test(test_emergency),
        cmocka_unit_test(test_wrong_rules),
        cmocka_unit_test(test_random_lives),
        cmocka_unit_test(test_longest_explanation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
