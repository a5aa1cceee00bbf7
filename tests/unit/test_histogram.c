/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_histogram - buckets, percentiles against exact ones, and adding up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/check.h"
#include "common/histogram.h"

#include <stdlib.h>
#include <string.h>

static uint64_t random_state;

static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static int seed(void **state)
{
    (void)state;
    random_state = UINT64_C(0x9E3779B97F4A7C15);
    return 0;
}

/* The buckets cover every value once, in order, and are narrow enough. */
static void test_buckets(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket_low(0), 0);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t low = histogram_bucket_low(i), high = histogram_bucket_high(i);
        assert_true(low < high);
        assert_int_equal(histogram_index(low), i);
        assert_int_equal(histogram_index(high - 1), i);
        if (i + 1 < HISTOGRAM_BUCKETS) {
            assert_int_equal(histogram_bucket_low(i + 1), high);
            /* Half the width over the smallest value is the largest error. */
            assert_true(high - low == 1 || (double)(high - low) / 2 <= (double)low / 128);
        }
    }
    assert_int_equal(histogram_bucket_low(HISTOGRAM_BUCKETS - 1), UINT64_C(1) << 37);
    assert_int_equal(histogram_bucket_high(HISTOGRAM_BUCKETS - 1), UINT64_MAX);
    assert_int_equal(histogram_index(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

enum { VALUES_MAX = 20000 };

/* The n-th smallest, n as histogram_quantile() defines it: the smallest rank
 * with at least this share of the values at or below it. */
static uint64_t exact_quantile(const uint64_t *sorted, unsigned count, double quantile)
{
    unsigned rank = 1;
    while (rank < count && (double)rank < quantile * count)
        rank++;
    return sorted[rank - 1];
}

static void check_quantiles(const struct histogram *histogram, uint64_t *values, unsigned count)
{
    static const double quantiles[] = {0,   0.001, 0.01, 0.1,   0.25,   0.5, 0.75,
                                       0.9, 0.95,  0.99, 0.999, 0.9999, 1};
    qsort(values, count, sizeof(*values), compare_u64);
    for (size_t q = 0; q < ARRAY_COUNT(quantiles); q++) {
        double exact = (double)exact_quantile(values, count, quantiles[q]);
        double got = histogram_quantile(histogram, quantiles[q]);
        double error = got > exact ? got - exact : exact - got;
        if (error > exact * 0.01)
            fail_msg("quantile %g of %u values: %.1f instead of %.1f", quantiles[q], count, got,
                     exact);
    }
}

/* Random values of every magnitude, in several shapes: at most 1 % off. */
static void test_quantiles_against_exact_ones(void **state)
{
    (void)state;
    static struct histogram histogram;
    static uint64_t values[VALUES_MAX];
    static const unsigned counts[] = {1, 2, 3, 10, 999, VALUES_MAX};

    for (unsigned bits = 1; bits <= HISTOGRAM_MAX_BITS; bits++) {
        for (unsigned shape = 0; shape < 3; shape++) {
            for (size_t c = 0; c < ARRAY_COUNT(counts); c++) {
                histogram_reset(&histogram);
                for (unsigned i = 0; i < counts[c]; i++) {
                    uint64_t value = random_u64() & ((UINT64_C(1) << bits) - 1);
                    if (shape == 1) /* every magnitude equally often */
                        value >>= random_u64() % bits;
                    else if (shape == 2) /* a narrow hump and a long tail */
                        value = i % 100 == 0 ? value : value / 64 + (UINT64_C(1) << (bits - 1));
                    if (value >= UINT64_C(1) << HISTOGRAM_MAX_BITS)
                        value = (UINT64_C(1) << HISTOGRAM_MAX_BITS) - 1;
                    values[i] = value;
                    histogram_record(&histogram, value);
                }
                assert_int_equal(histogram.count, counts[c]);
                check_quantiles(&histogram, values, counts[c]);
            }
        }
    }
}

static void test_quantile_edges(void **state)
{
    (void)state;
    static struct histogram histogram;
    histogram_reset(&histogram);
    assert_true(histogram_quantile(&histogram, 0.5) == 0);
    histogram_record(&histogram, 0);
    assert_true(histogram_quantile(&histogram, 1) == 0);
    histogram_record(&histogram, UINT64_MAX); /* past the end: the beginning of the last bucket */
    assert_true(histogram_quantile(&histogram, 1) == (double)(UINT64_C(1) << 37));
    assert_true(histogram_quantile(&histogram, 0.5) == 0);
    assert_true(histogram_quantile(&histogram, 0.51) > 0);
    assert_true(histogram_quantile(&histogram, -1) == 0);
    assert_true(histogram_quantile(&histogram, 2) == (double)(UINT64_C(1) << 37));
}

static void test_adding_is_recording_in_one(void **state)
{
    (void)state;
    static struct histogram part[5], sum, whole;
    for (unsigned p = 0; p < ARRAY_COUNT(part); p++)
        histogram_reset(&part[p]);
    histogram_reset(&sum);
    histogram_reset(&whole);
    for (unsigned i = 0; i < 50000; i++) {
        uint64_t value = random_u64() >> random_u64() % 64;
        histogram_record(&part[i % 4], value); /* the fifth stays empty */
        histogram_record(&whole, value);
    }
    for (unsigned p = 0; p < ARRAY_COUNT(part); p++)
        histogram_add(&sum, &part[p]);
    assert_memory_equal(&sum, &whole, sizeof(sum));
}

static void test_difference(void **state)
{
    (void)state;
    static struct histogram now, before, added, expected;
    histogram_reset(&now);
    histogram_reset(&added);
    histogram_reset(&expected);
    for (unsigned round = 0; round < 3; round++) {
        before = now;
        for (unsigned i = 0; i < 1000 * round; i++) {
            uint64_t value = random_u64() >> random_u64() % 64;
            histogram_record(&now, value);
            histogram_record(&expected, value);
        }
        histogram_add_difference(&added, &now, &before);
        assert_memory_equal(&added, &expected, sizeof(added));
    }
}

static void test_count_below(void **state)
{
    (void)state;
    static struct histogram histogram;
    histogram_reset(&histogram);
    for (uint64_t value = 0; value < 100000; value += 7)
        histogram_record(&histogram, value);
    histogram_record(&histogram, UINT64_MAX);

    uint64_t before = 0;
    for (uint64_t limit = 0; limit < 110000; limit += 13) {
        uint64_t below = histogram_count_below(&histogram, limit);
        uint64_t exact = limit < 99995 ? limit / 7 + 1 : 14286;
        /* Off by no more than the values of the bucket that the limit cuts. */
        uint64_t slack = limit / 64 / 7 + 1;
        if (limit < HISTOGRAM_LINEAR)
            assert_int_equal(below, exact);
        assert_true(below + slack >= exact && below <= exact + slack);
        assert_true(below >= before);
        before = below;
    }
    assert_int_equal(histogram_count_below(&histogram, (UINT64_C(1) << 37) - 1), 14286);
    assert_int_equal(histogram_count_below(&histogram, UINT64_MAX), histogram.count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets),
        cmocka_unit_test_setup(test_quantiles_against_exact_ones, seed),
        cmocka_unit_test(test_quantile_edges),
        cmocka_unit_test_setup(test_adding_is_recording_in_one, seed),
        cmocka_unit_test_setup(test_difference, seed),
        cmocka_unit_test(test_count_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
