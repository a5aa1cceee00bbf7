/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_metrics - snapshots there and back, nonsense refused, sums and falls.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/metrics.h"

#include <errno.h>
#include <string.h>

enum { RECORD = 12 }; /* bytes, after one byte of version */

static struct metrics original, decoded, other;
static struct buf snapshot;
static uint64_t random_state;

static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static int setup(void **state)
{
    (void)state;
    random_state = UINT64_C(0x9E3779B97F4A7C15);
    metrics_reset(&original);
    metrics_reset(&decoded);
    metrics_reset(&other);
    buf_init(&snapshot, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&snapshot);
    return 0;
}

static void work(struct metrics *metrics, unsigned amount)
{
    for (unsigned i = 0; i < amount; i++) {
        metrics->counter[random_u64() % METRIC_COUNTER_COUNT] += random_u64() % 1000;
        metrics_count_status(metrics, (int)(random_u64() % 700));
        metrics->slot_accepted[random_u64() % METRICS_SLOT_COUNT]++;
        for (unsigned h = 0; h < METRIC_HISTOGRAM_COUNT; h++)
            histogram_record(&metrics->histogram[h], random_u64() >> (10 + random_u64() % 54));
    }
    for (unsigned g = 0; g < METRIC_GAUGE_COUNT; g++)
        metrics->gauge[g] = (int64_t)(random_u64() % 2001) - 1000;
}

static void encode(const struct metrics *metrics)
{
    buf_reset(&snapshot);
    metrics_encode(metrics, &snapshot);
    assert_false(buf_failed(&snapshot));
}

static void add_record(unsigned kind, unsigned which, unsigned id, uint64_t value)
{
    const unsigned char head[2] = {(unsigned char)kind, (unsigned char)which};
    uint16_t id16 = (uint16_t)id;
    buf_append(&snapshot, head, 2);
    buf_append(&snapshot, &id16, 2);
    buf_append(&snapshot, &value, 8);
}

static void begin_snapshot(unsigned version)
{
    char byte = (char)version;
    buf_reset(&snapshot);
    buf_append(&snapshot, &byte, 1);
}

static void test_there_and_back(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        work(&original, round * 5);
        encode(&original);
        memset(&decoded, 0xA5, sizeof(decoded)); /* all of it must be overwritten */
        assert_int_equal(metrics_decode(snapshot.ptr, snapshot.len, &decoded), 0);
        assert_memory_equal(&decoded, &original, sizeof(original));
    }
}

static void test_extremes_there_and_back(void **state)
{
    (void)state;
    const uint64_t most = UINT64_C(1) << 60;
    for (unsigned i = 0; i < METRIC_COUNTER_COUNT; i++)
        original.counter[i] = most;
    for (unsigned i = 0; i < METRICS_STATUS_COUNT; i++)
        original.status[i] = most;
    for (unsigned i = 0; i < METRICS_SLOT_COUNT; i++)
        original.slot_accepted[i] = most - i;
    for (unsigned i = 0; i < METRIC_GAUGE_COUNT; i++)
        original.gauge[i] = i % 2 ? INT64_C(1) << 50 : -(INT64_C(1) << 50);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        original.histogram[0].bucket[i] = i + 1;
        original.histogram[0].count += i + 1;
    }
    original.histogram[0].sum_ns = UINT64_MAX;
    encode(&original);
    /* The largest snapshot there can be fits into a message of the control socket. */
    assert_true(snapshot.len < 100 * 1024);
    assert_int_equal(metrics_decode(snapshot.ptr, snapshot.len, &decoded), 0);
    assert_memory_equal(&decoded, &original, sizeof(original));
}

static void test_idle_snapshot_is_small(void **state)
{
    (void)state;
    encode(&original);
    assert_int_equal(snapshot.len, 1);
    /* What moves in a worker without clients. */
    original.counter[METRIC_LOOP_TURNS] = 86400;
    original.counter[METRIC_LOOP_BUSY_NS] = UINT64_C(50000000000);
    original.counter[METRIC_CPU_USER_US] = 10000000;
    original.counter[METRIC_CPU_SYSTEM_US] = 10000000;
    original.counter[METRIC_CONNECTIONS_ACCEPTED] = 7;
    original.counter[METRIC_CONNECTIONS_CLOSED] = 7;
    original.counter[METRIC_HTTP_REQUESTS] = 7;
    original.counter[METRIC_BYTES_RECEIVED] = 700;
    original.counter[METRIC_BYTES_SENT] = 700;
    original.status[200 - METRICS_STATUS_MIN] = 7;
    original.slot_accepted[3] = 7;
    original.gauge[GAUGE_LOOP_LAG_NS] = 80000;
    encode(&original);
    assert_true(snapshot.len < 200);
}

static void test_cut_snapshots(void **state)
{
    (void)state;
    work(&original, 20);
    encode(&original);
    size_t whole = snapshot.len;
    for (size_t len = 0; len < whole; len++) {
        int expected = len > 0 && (len - 1) % RECORD == 0 ? 0 : -EPROTO;
        assert_int_equal(metrics_decode(snapshot.ptr, len, &decoded), expected);
    }
    buf_append(&snapshot, "x", 1);
    assert_int_equal(metrics_decode(snapshot.ptr, snapshot.len, &decoded), -EPROTO);
}

static void test_unknown_is_skipped(void **state)
{
    (void)state;
    begin_snapshot(1);
    add_record(1, 0, METRIC_HTTP_REQUESTS, 5);
    add_record(1, 0, METRIC_COUNTER_COUNT, 1); /* a counter of a newer worker */
    add_record(1, 0, 65535, 1);
    add_record(2, 0, METRIC_GAUGE_COUNT, 1);
    add_record(3, 0, METRICS_STATUS_COUNT, 1);
    add_record(4, 0, METRICS_SLOT_COUNT, 1);
    add_record(5, METRIC_HISTOGRAM_COUNT, 0, 1);
    add_record(6, METRIC_HISTOGRAM_COUNT, 1, 1);
    add_record(6, 0, HISTOGRAM_BUCKETS, 1);
    add_record(6, 255, 65535, 1);
    add_record(0, 0, 0, 1); /* kinds of a newer worker */
    add_record(7, 0, 0, 1);
    add_record(255, 255, 65535, 1);
    assert_int_equal(metrics_decode(snapshot.ptr, snapshot.len, &decoded), 0);
    original.counter[METRIC_HTTP_REQUESTS] = 5;
    assert_memory_equal(&decoded, &original, sizeof(original));
}

static void test_nonsense(void **state)
{
    (void)state;
    static const struct {
        uint64_t value;
        unsigned kind;
        int result;
    } cases[] = {
        {UINT64_C(1) << 60, 1, 0},
        {(UINT64_C(1) << 60) + 1, 1, -EPROTO},
        {UINT64_MAX, 1, -EPROTO},
        {UINT64_C(1) << 50, 2, 0},
        {(UINT64_C(1) << 50) + 1, 2, -EPROTO},
        {(uint64_t) - (INT64_C(1) << 50), 2, 0},
        {(uint64_t) - (INT64_C(1) << 50) - 1, 2, -EPROTO},
        {UINT64_C(1) << 63, 2, -EPROTO},
        {UINT64_MAX, 3, -EPROTO},
        {UINT64_MAX, 4, -EPROTO},
        {UINT64_MAX, 5, 0}, /* a sum may be anything */
        {UINT64_MAX, 7, 0}, /* nothing is known of other kinds */
        {UINT64_C(1) << 48, 6, 0},
        {(UINT64_C(1) << 48) + 1, 6, -EPROTO},
        {UINT64_MAX, 6, -EPROTO},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        begin_snapshot(1);
        add_record(cases[i].kind, 0, 0, cases[i].value);
        assert_int_equal(metrics_decode(snapshot.ptr, snapshot.len, &decoded), cases[i].result);
    }
    begin_snapshot(0);
    assert_int_equal(metrics_decode(snapshot.ptr, snapshot.len, &decoded), -EPROTO);
    begin_snapshot(2);
    assert_int_equal(metrics_decode(snapshot.ptr, snapshot.len, &decoded), -EPROTO);
    assert_int_equal(metrics_decode("", 0, &decoded), -EPROTO);
}

/* The count of a histogram is that of its buckets, even if one is sent twice. */
static void test_repeated_bucket(void **state)
{
    (void)state;
    begin_snapshot(1);
    add_record(6, 0, 9, 100);
    add_record(6, 0, 10, 5);
    add_record(6, 0, 9, 3);
    assert_int_equal(metrics_decode(snapshot.ptr, snapshot.len, &decoded), 0);
    assert_int_equal(decoded.histogram[0].bucket[9], 3);
    assert_int_equal(decoded.histogram[0].count, 8);
}

static void test_encode_without_memory(void **state)
{
    (void)state;
    struct buf small;
    work(&original, 100);
    buf_init(&small, 50);
    metrics_encode(&original, &small);
    assert_true(buf_failed(&small));
    assert_true(small.len <= 50);
    buf_fini(&small);
}

static void test_count_status(void **state)
{
    (void)state;
    static const int statuses[] = {-1, 0, 99, 100, 200, 599, 600, 1000000};
    for (size_t i = 0; i < ARRAY_COUNT(statuses); i++)
        metrics_count_status(&original, statuses[i]);
    other.status[0] = other.status[100] = other.status[499] = 1;
    assert_memory_equal(&original, &other, sizeof(other));
}

static void test_add(void **state)
{
    (void)state;
    static struct metrics sum;
    work(&original, 300);
    work(&other, 500);
    for (int with_gauges = 0; with_gauges < 2; with_gauges++) {
        sum = original;
        metrics_add(&sum, &other, with_gauges != 0);
        for (unsigned i = 0; i < METRIC_COUNTER_COUNT; i++)
            assert_int_equal(sum.counter[i], original.counter[i] + other.counter[i]);
        for (unsigned i = 0; i < METRICS_STATUS_COUNT; i++)
            assert_int_equal(sum.status[i], original.status[i] + other.status[i]);
        for (unsigned i = 0; i < METRICS_SLOT_COUNT; i++)
            assert_int_equal(sum.slot_accepted[i],
                             original.slot_accepted[i] + other.slot_accepted[i]);
        for (unsigned h = 0; h < METRIC_HISTOGRAM_COUNT; h++) {
            const struct histogram *a = &original.histogram[h], *b = &other.histogram[h];
            assert_int_equal(sum.histogram[h].count, a->count + b->count);
            assert_int_equal(sum.histogram[h].sum_ns, a->sum_ns + b->sum_ns);
            for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
                assert_int_equal(sum.histogram[h].bucket[i], a->bucket[i] + b->bucket[i]);
        }
        for (unsigned g = 0; g < METRIC_GAUGE_COUNT; g++) {
            int64_t a = original.gauge[g], b = other.gauge[g];
            bool maximum = g == GAUGE_LOOP_LAG_NS || g == GAUGE_OLDEST_REQUEST_MS;
            int64_t together = maximum ? (a > b ? a : b) : a + b;
            assert_int_equal(sum.gauge[g], with_gauges ? together : a);
        }
    }
}

static void test_monotone(void **state)
{
    (void)state;
    work(&original, 1000);
    other = original;
    assert_int_equal(metrics_check_monotone(&other, &original), 0);
    for (unsigned round = 0; round < 50; round++) {
        work(&other, 10);
        assert_int_equal(metrics_check_monotone(&other, &original), 0);
        original = other;
    }
    for (unsigned g = 0; g < METRIC_GAUGE_COUNT; g++)
        other.gauge[g] = -1000;
    assert_int_equal(metrics_check_monotone(&other, &original), 0);
}

static void check_fall(uint64_t *value)
{
    uint64_t saved = *value;
    *value = saved + 10; /* of `original`, so that `other` is behind */
    assert_int_equal(metrics_check_monotone(&other, &original), -ERANGE);
    *value = saved;
    assert_int_equal(metrics_check_monotone(&other, &original), 0);
}

static void test_every_fall_is_seen(void **state)
{
    (void)state;
    work(&original, 1000);
    other = original;
    for (unsigned i = 0; i < METRIC_COUNTER_COUNT; i++)
        check_fall(&original.counter[i]);
    for (unsigned i = 0; i < METRICS_STATUS_COUNT; i++)
        check_fall(&original.status[i]);
    for (unsigned i = 0; i < METRICS_SLOT_COUNT; i++)
        check_fall(&original.slot_accepted[i]);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        check_fall(&original.histogram[0].bucket[i]);
    check_fall(&original.histogram[0].count);
    check_fall(&original.histogram[0].sum_ns);
}

/* A sum of nanoseconds that runs round is not a fall. */
static void test_sum_runs_round(void **state)
{
    (void)state;
    original.histogram[0].sum_ns = UINT64_MAX - 5;
    other.histogram[0].sum_ns = 1000;
    assert_int_equal(metrics_check_monotone(&other, &original), 0);
    assert_int_equal(metrics_check_monotone(&original, &other), -ERANGE);
}

/* What the documents rely on: samples of one family follow each other, and the first has the help.
 */
static void test_table(void **state)
{
    (void)state;
    static const struct {
        unsigned id;
        const char *family, *label, *help;
    } counters[] = {
#define ROW(id, name, family, label, help) {id, family, label, help},
        METRICS_COUNTERS(ROW)
#undef ROW
    };
    assert_int_equal(ARRAY_COUNT(counters), METRIC_COUNTER_COUNT);
    for (unsigned i = 0; i < ARRAY_COUNT(counters); i++) {
        assert_int_equal(counters[i].id, i);
        assert_non_null(strstr(counters[i].family, "_total"));
        bool first = true;
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(counters[k].family, counters[i].family) == 0) {
                first = false;
                assert_string_equal(counters[i - 1].family, counters[i].family);
                assert_string_not_equal(counters[k].label, counters[i].label);
            }
        }
        assert_int_equal(counters[i].help[0] != '\0', first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_there_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_extremes_there_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle_snapshot_is_small, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_snapshots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_is_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
        cmocka_unit_test_setup_teardown(test_repeated_bucket, setup, teardown),
        cmocka_unit_test_setup_teardown(test_encode_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_count_status, setup, teardown),
        cmocka_unit_test_setup_teardown(test_add, setup, teardown),
        cmocka_unit_test_setup_teardown(test_monotone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_fall_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sum_runs_round, setup, teardown),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
