/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_clock - timestamps for people, and that the clocks are the right ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/check.h"
#include "common/clock.h"

#include <time.h>

static void test_rfc3339(void **state)
{
    (void)state;
    static const struct {
        int64_t wall_ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {951782399999, "2000-02-28T23:59:59.999Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {951868800000, "2000-03-01T00:00:00.000Z"},
        {1769903999999, "2026-01-31T23:59:59.999Z"},
        {INT64_C(4107542400000), "2100-03-01T00:00:00.000Z"}, /* 2100 has no leap day */
        {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
        {INT64_C(253402300800000), "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {-1, "1970-01-01T00:00:00.000Z"},
        {INT64_MIN, "1970-01-01T00:00:00.000Z"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[CLOCK_RFC3339_SIZE];
        clock_format_rfc3339(cases[i].wall_ms, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void test_clocks(void **state)
{
    (void)state;
    int64_t before = clock_monotonic_ns();
    int64_t ms = clock_monotonic_ms();
    int64_t after = clock_monotonic_ns();
    assert_true(before <= after);
    assert_true(before / 1000000 <= ms && ms <= after / 1000000);

    int64_t wall_before = (int64_t)time(NULL);
    int64_t wall = clock_wall_ms();
    /* time(2) may lag behind clock_gettime(2) by one tick. */
    assert_true(wall >= wall_before * 1000);
    assert_true(wall <= ((int64_t)time(NULL) + 2) * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc3339),
        cmocka_unit_test(test_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
