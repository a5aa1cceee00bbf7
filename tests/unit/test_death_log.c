/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_death_log - each cause is said once, then counted.
 */
#include "master/death_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void test_same_cause(void **state)
{
    (void)state;
    struct death_log log = {0};
    int lines = 0;
    /* A death every 10 ms for 10 s: 1, 10, 100, 1000. */
    for (int i = 0; i < 1000; i++)
        lines += death_log_count(&log, "exited with status 1", 1000 + 10 * i) != 0;
    assert_int_equal(lines, 4);
    /* One every two seconds for an hour: powers of ten and once a minute. */
    lines = 0;
    for (int i = 0; i < 1800; i++)
        lines += death_log_count(&log, "killed by SIGABRT", 1000 + 2000 * i) != 0;
    assert_in_range(lines, 55, 65);
}

static void test_count_is_exact(void **state)
{
    (void)state;
    struct death_log log = {0};
    assert_int_equal(death_log_count(&log, "a", 0), 1);
    for (int i = 2; i < 10; i++)
        assert_int_equal(death_log_count(&log, "a", i), 0);
    assert_int_equal(death_log_count(&log, "a", 10), 10);
    assert_int_equal(death_log_count(&log, "a", 60010), 11);
}

static void test_another_cause_is_new(void **state)
{
    (void)state;
    struct death_log log = {0};
    assert_int_equal(death_log_count(&log, "a", 0), 1);
    assert_int_equal(death_log_count(&log, "b", 1), 1);
    assert_int_equal(death_log_count(&log, "a", 2), 0);
    assert_int_equal(death_log_count(&log, "a", 2 + 600000), 1); /* long ago: new again */
}

static void test_more_causes_than_room(void **state)
{
    (void)state;
    struct death_log log = {0};
    char cause[32];
    for (int i = 0; i < 3 * DEATH_LOG_CAUSES; i++) {
        (void)snprintf(cause, sizeof(cause), "cause %d", i);
        assert_int_equal(death_log_count(&log, cause, i), 1);
    }
    /* The latest are remembered, the oldest made room. */
    assert_int_equal(death_log_count(&log, cause, 100), 0);
    assert_int_equal(death_log_count(&log, "cause 0", 100), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_cause),
        cmocka_unit_test(test_count_is_exact),
        cmocka_unit_test(test_another_cause_is_new),
        cmocka_unit_test(test_more_causes_than_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
