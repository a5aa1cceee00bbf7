/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_units - numbers, durations and sizes as people write them.
 */
#include "common/units.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

typedef int parse(struct slice text, int64_t *out, const char **why);

struct good_case {
    const char *text;
    int64_t value;
    const char *printed; /* NULL: the same as text */
};

struct bad_case {
    const char *text;
    int error;
    const char *why;
};

static const struct good_case good_durations[] = {
    {"0", 0, NULL},          {"0s", 0, "0"},          {"1ms", 1, NULL},
    {"500ms", 500, NULL},    {"1000ms", 1000, "1s"},  {"30s", 30000, NULL},
    {"90s", 90000, NULL},    {"60s", 60000, "1m"},    {"5m", 300000, NULL},
    {"1h", 3600000, NULL},   {"25h", 90000000, NULL}, {"24h", 86400000, "1d"},
    {"2d", 172800000, NULL}, {"007s", 7000, "7s"},    {"9223372036854775807ms", INT64_MAX, NULL},
};

static const struct bad_case bad_durations[] = {
    {"", -EINVAL, "is empty"},
    {"30", -EINVAL, "has no unit (ms, s, m, h or d)"},
    {"s", -EINVAL, "is not a duration"},
    {"-1s", -EINVAL, "must not be negative"},
    {"+1s", -EINVAL, "is not a duration"},
    {"1.5s", -EINVAL, "has a fraction; use a smaller unit"},
    {"1,5s", -EINVAL, "has a fraction; use a smaller unit"},
    {"1S", -EINVAL, "has an unknown unit (known are ms, s, m, h and d)"},
    {"1 s", -EINVAL, "has an unknown unit (known are ms, s, m, h and d)"},
    {"1s ", -EINVAL, "has an unknown unit (known are ms, s, m, h and d)"},
    {" 1s", -EINVAL, "is not a duration"},
    {"1m30s", -EINVAL, "has an unknown unit (known are ms, s, m, h and d)"},
    {"1min", -EINVAL, "has an unknown unit (known are ms, s, m, h and d)"},
    {"0x10s", -EINVAL, "has an unknown unit (known are ms, s, m, h and d)"},
    {"9223372036854775808ms", -ERANGE, "is too large"},
    {"9223372036854775807s", -ERANGE, "is too large"},
    {"99999999999999999999999999d", -ERANGE, "is too large"},
};

static const struct good_case good_sizes[] = {
    {"0", 0, NULL},
    {"0k", 0, "0"},
    {"1", 1, NULL},
    {"1023", 1023, NULL},
    {"1024", 1024, "1k"},
    {"16k", 16384, NULL},
    {"16K", 16384, "16k"},
    {"1m", 1 << 20, NULL},
    {"1M", 1 << 20, "1m"},
    {"1025k", 1025 << 10, NULL},
    {"1g", 1 << 30, NULL},
    {"64g", INT64_C(64) << 30, NULL},
    {"9223372036854775807", INT64_MAX, NULL},
};

static const struct bad_case bad_sizes[] = {
    {"", -EINVAL, "is empty"},
    {"k", -EINVAL, "is not a size"},
    {"-1k", -EINVAL, "must not be negative"},
    {"1.5m", -EINVAL, "has a fraction; use a smaller unit"},
    {"1kb", -EINVAL, "has an unknown unit (known are k, m and g, for 1024 and its powers)"},
    {"1 k", -EINVAL, "has an unknown unit (known are k, m and g, for 1024 and its powers)"},
    {"1t", -EINVAL, "has an unknown unit (known are k, m and g, for 1024 and its powers)"},
    {"9223372036854775808", -ERANGE, "is too large"},
    {"9007199254740992k", -ERANGE, "is too large"},
};

static const struct good_case good_numbers[] = {
    {"0", 0, NULL},
    {"1", 1, NULL},
    {"010", 10, NULL}, /* decimal, whatever it begins with */
    {"9223372036854775807", INT64_MAX, NULL},
};

static const struct bad_case bad_numbers[] = {
    {"", -EINVAL, "is empty"},
    {"-1", -EINVAL, "must not be negative"},
    {"+1", -EINVAL, "is not a number"},
    {"1k", -EINVAL, "is not a number"},
    {"0x1", -EINVAL, "is not a number"},
    {"1e3", -EINVAL, "is not a number"},
    {" 1", -EINVAL, "is not a number"},
    {"1 ", -EINVAL, "is not a number"},
    {"\xd9\xa1", -EINVAL, "is not a number"}, /* ARABIC-INDIC DIGIT ONE */
    {"9223372036854775808", -ERANGE, "is too large"},
};

static void check_good(parse *function, void (*format)(int64_t value, char *out),
                       const struct good_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *why = NULL;
        int64_t value = -1;
        char printed[UNITS_TEXT_SIZE];
        int error = function(slice_from_str(cases[i].text), &value, &why);
        if (error != 0)
            fail_msg("\"%s\": %s", cases[i].text, why);
        assert_int_equal(value, cases[i].value);
        if (format == NULL)
            continue;
        format(value, printed);
        assert_string_equal(printed, cases[i].printed == NULL ? cases[i].text : cases[i].printed);
        assert_int_equal(function(slice_from_str(printed), &value, &why), 0);
        assert_int_equal(value, cases[i].value);
    }
}

static void check_bad(parse *function, const struct bad_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *why = "";
        int64_t value = 4711;
        int error = function(slice_from_str(cases[i].text), &value, &why);
        if (error != cases[i].error)
            fail_msg("\"%s\": %d", cases[i].text, error);
        assert_string_equal(why, cases[i].why);
        assert_int_equal(value, 4711);
        assert_int_equal(function(slice_from_str(cases[i].text), &value, NULL), error);
    }
}

static void test_durations(void **state)
{
    (void)state;
    check_good(units_parse_duration, units_format_duration, good_durations,
               ARRAY_COUNT(good_durations));
    check_bad(units_parse_duration, bad_durations, ARRAY_COUNT(bad_durations));
}

static void test_sizes(void **state)
{
    (void)state;
    check_good(units_parse_size, units_format_size, good_sizes, ARRAY_COUNT(good_sizes));
    check_bad(units_parse_size, bad_sizes, ARRAY_COUNT(bad_sizes));
}

static void test_numbers(void **state)
{
    (void)state;
    check_good(units_parse_number, NULL, good_numbers, ARRAY_COUNT(good_numbers));
    check_bad(units_parse_number, bad_numbers, ARRAY_COUNT(bad_numbers));
}

/* A slice ends where it ends, whatever stands behind it. */
static void test_slice_bounds(void **state)
{
    (void)state;
    int64_t value = 0;
    assert_int_equal(units_parse_duration(slice_from("10s9", 3), &value, NULL), 0);
    assert_int_equal(value, 10000);
    assert_int_equal(units_parse_size(slice_from("10k", 2), &value, NULL), 0);
    assert_int_equal(value, 10);
    assert_int_equal(units_parse_number(slice_from("123", 1), &value, NULL), 0);
    assert_int_equal(value, 1);
}

static void test_every_value_reads_back(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252U;
    for (int i = 0; i < 20000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        int64_t value = (int64_t)(random >> (1 + random % 62));
        int64_t back = -1;
        char text[UNITS_TEXT_SIZE];
        units_format_duration(value, text);
        assert_int_equal(units_parse_duration(slice_from_str(text), &back, NULL), 0);
        assert_int_equal(back, value);
        units_format_size(value, text);
        assert_int_equal(units_parse_size(slice_from_str(text), &back, NULL), 0);
        assert_int_equal(back, value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_slice_bounds),
        cmocka_unit_test(test_every_value_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
