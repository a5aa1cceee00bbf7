/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_wheel - deadlines come up in order, never early, at most one tick late.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/check.h"
#include "worker/wheel.h"

#include <stdlib.h>

#define TICK_NS (INT64_C(1) << WHEEL_TICK_BITS)
#define HORIZON_NS (TICK_NS * (WHEEL_SLOTS - 1))

struct timer {
    struct wheel_node node;
    int64_t deadline_ns;
    int64_t fired_ns; /* 0: not yet */
    int count;
};

struct context {
    struct wheel *wheel;
    int64_t now_ns;
    struct timer *victim; /* removed by the first that fires */
    int64_t put_again_ns; /* what fires is put in again this much later, once */
};

static struct wheel *new_wheel(int64_t now_ns)
{
    struct wheel *wheel = calloc(1, sizeof(*wheel));
    assert_non_null(wheel);
    wheel_init(wheel, now_ns);
    return wheel;
}

static void on_due(void *pointer, struct wheel_node *node)
{
    struct context *context = pointer;
    struct timer *timer = (struct timer *)node; /* the first member */
    timer->fired_ns = context->now_ns;
    timer->count++;
    if (context->victim != NULL && context->victim != timer)
        wheel_remove(context->wheel, &context->victim->node);
    if (context->put_again_ns != 0 && timer->count == 1)
        wheel_put(context->wheel, node, context->now_ns + context->put_again_ns);
}

static void advance(struct context *context, int64_t now_ns)
{
    context->now_ns = now_ns;
    wheel_advance(context->wheel, now_ns, on_due, context);
}

static void test_one(void **state)
{
    (void)state;
    static const int64_t delays_ns[] = {
        0, 1, TICK_NS - 1, TICK_NS, TICK_NS + 1, 10 * TICK_NS, HORIZON_NS - TICK_NS};
    for (size_t i = 0; i < ARRAY_COUNT(delays_ns); i++) {
        for (int64_t start_ns = 5 * TICK_NS; start_ns < 6 * TICK_NS; start_ns += TICK_NS / 3) {
            struct context context = {.wheel = new_wheel(start_ns)};
            struct timer timer = {.deadline_ns = start_ns + delays_ns[i]};
            wheel_put(context.wheel, &timer.node, timer.deadline_ns);
            int64_t due_ns = wheel_next_ns(context.wheel);
            assert_true(due_ns >= timer.deadline_ns);
            assert_true(due_ns <= timer.deadline_ns + TICK_NS);
            advance(&context, due_ns - 1);
            assert_int_equal(timer.count, 0);
            advance(&context, due_ns);
            assert_int_equal(timer.count, 1);
            assert_int_equal(wheel_next_ns(context.wheel), -1);
            free(context.wheel);
        }
    }
}

static void test_beyond_the_horizon(void **state)
{
    (void)state;
    struct context context = {.wheel = new_wheel(TICK_NS)};
    struct timer timer = {0};
    wheel_put(context.wheel, &timer.node, 3 * HORIZON_NS);
    assert_true(wheel_next_ns(context.wheel) <= TICK_NS + HORIZON_NS);
    advance(&context, 2 * HORIZON_NS);
    assert_int_equal(timer.count, 1); /* too early: the owner puts it in again */
    free(context.wheel);
}

static void test_removing(void **state)
{
    (void)state;
    struct context context = {.wheel = new_wheel(TICK_NS)};
    struct timer one = {0}, other = {0};
    wheel_put(context.wheel, &one.node, 10 * TICK_NS);
    wheel_put(context.wheel, &other.node, 10 * TICK_NS);
    wheel_remove(context.wheel, &one.node);
    wheel_remove(context.wheel, &one.node); /* twice does no harm */
    advance(&context, 20 * TICK_NS);
    assert_int_equal(one.count, 0);
    assert_int_equal(other.count, 1);

    /* One that fires may remove its neighbour. */
    wheel_put(context.wheel, &one.node, 30 * TICK_NS);
    wheel_put(context.wheel, &other.node, 30 * TICK_NS);
    context.victim = &one;
    one.count = other.count = 0;
    struct timer *fires_first =
        (struct timer *)LIST_FIRST(&context.wheel->slot[(uint64_t)one.node.tick % WHEEL_SLOTS]);
    context.victim = fires_first == &one ? &other : &one;
    advance(&context, 40 * TICK_NS);
    assert_int_equal(fires_first->count, 1);
    assert_int_equal(context.victim->count, 0);
    free(context.wheel);
}

static void test_putting_in_again_from_the_callback(void **state)
{
    (void)state;
    struct context context = {.wheel = new_wheel(TICK_NS), .put_again_ns = 1};
    struct timer timer = {0};
    wheel_put(context.wheel, &timer.node, 2 * TICK_NS);
    /* The clock is already far beyond both times: it must not come up for ever. */
    advance(&context, 100 * TICK_NS);
    assert_int_equal(timer.count, 1);
    advance(&context, 102 * TICK_NS);
    assert_int_equal(timer.count, 2);
    free(context.wheel);
}

static void test_covers(void **state)
{
    (void)state;
    struct context context = {.wheel = new_wheel(TICK_NS)};
    struct timer timer = {0};
    assert_false(wheel_covers(&timer.node, 10 * TICK_NS));
    wheel_put(context.wheel, &timer.node, 10 * TICK_NS);
    assert_true(wheel_covers(&timer.node, 10 * TICK_NS));
    assert_true(wheel_covers(&timer.node, 1000 * TICK_NS));
    assert_false(wheel_covers(&timer.node, 8 * TICK_NS));
    free(context.wheel);
}

/* Thousands of timers against a plain list of deadlines. */
static void test_many(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    static struct timer timers[COUNT];
    struct context context = {.wheel = new_wheel(7 * TICK_NS)};
    unsigned random = 4711;
    int64_t now_ns = 7 * TICK_NS;
    for (int i = 0; i < COUNT; i++) {
        random = random * 1664525U + 1013904223U;
        timers[i] = (struct timer){.deadline_ns = now_ns + (int64_t)(random >> 8) % HORIZON_NS};
        wheel_put(context.wheel, &timers[i].node, timers[i].deadline_ns);
    }
    while (wheel_next_ns(context.wheel) >= 0) {
        int64_t next_ns = wheel_next_ns(context.wheel);
        assert_true(next_ns > now_ns);
        now_ns = next_ns;
        advance(&context, now_ns);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(timers[i].count, 1);
        assert_true(timers[i].fired_ns >= timers[i].deadline_ns);
        assert_true(timers[i].fired_ns <= timers[i].deadline_ns + TICK_NS);
    }
    free(context.wheel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),      cmocka_unit_test(test_beyond_the_horizon),
        cmocka_unit_test(test_removing), cmocka_unit_test(test_putting_in_again_from_the_callback),
        cmocka_unit_test(test_covers),   cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
