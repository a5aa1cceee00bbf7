/* SPDX-License-Identifier: BSD-2-Clause
 *
 * metrics - encoding, decoding and adding up what workers count.
 *
 * A snapshot is a version byte and records of one fixed size:
 *
 *     kind u8 | which u8 | id u16 | value u64      (byte order of the machine)
 *
 * `which` is the number of the histogram and 0 elsewhere. Values of zero are
 * not sent. A reader skips kinds and identifiers that it does not know.
 */
#include "common/metrics.h"

#include <errno.h>
#include <string.h>

enum { SNAPSHOT_VERSION = 1, RECORD_SIZE = 12 };

enum record_kind {
    RECORD_COUNTER = 1,
    RECORD_GAUGE = 2,
    RECORD_STATUS = 3,
    RECORD_SLOT_ACCEPTED = 4,
    RECORD_HISTOGRAM_SUM = 5,
    RECORD_HISTOGRAM_BUCKET = 6,
};

/* What a worker may claim. No honest one gets there: 36 years of nanoseconds,
 * an exabyte, 2^48 requests of one duration. The count of a histogram then fits
 * into 64 bits, and so does any sum until sixteen workers have lied. */
#define COUNTER_LIMIT (UINT64_C(1) << 60)
#define BUCKET_LIMIT (UINT64_C(1) << 48)
#define GAUGE_LIMIT (INT64_C(1) << 50)

void metrics_reset(struct metrics *metrics)
{
    memset(metrics, 0, sizeof(*metrics));
}

/* ---- encoding ---- */

static void put_record(char *at, enum record_kind kind, unsigned which, unsigned id, uint64_t value)
{
    uint16_t id16 = (uint16_t)id;
    at[0] = (char)kind;
    at[1] = (char)which;
    memcpy(at + 2, &id16, sizeof(id16));
    memcpy(at + 4, &value, sizeof(value));
}

static void encode_array(struct buf *out, enum record_kind kind, unsigned which,
                         const uint64_t *values, unsigned count)
{
    /* Counting first keeps the buffer as small as what is sent. */
    size_t nonzero = 0;
    for (unsigned i = 0; i < count; i++)
        nonzero += values[i] != 0;
    if (nonzero == 0)
        return;
    char *start = buf_reserve(out, nonzero * RECORD_SIZE);
    if (start == NULL)
        return;
    char *at = start;
    for (unsigned i = 0; i < count; i++) {
        if (values[i] != 0) {
            put_record(at, kind, which, i, values[i]);
            at += RECORD_SIZE;
        }
    }
    out->len += (size_t)(at - start);
}

void metrics_encode(const struct metrics *metrics, struct buf *out)
{
    const char version = SNAPSHOT_VERSION;
    uint64_t gauges[METRIC_GAUGE_COUNT];

    buf_append(out, &version, 1);
    encode_array(out, RECORD_COUNTER, 0, metrics->counter, METRIC_COUNTER_COUNT);
    memcpy(gauges, metrics->gauge, sizeof(gauges));
    encode_array(out, RECORD_GAUGE, 0, gauges, METRIC_GAUGE_COUNT);
    encode_array(out, RECORD_STATUS, 0, metrics->status, METRICS_STATUS_COUNT);
    encode_array(out, RECORD_SLOT_ACCEPTED, 0, metrics->slot_accepted, METRICS_SLOT_COUNT);
    for (unsigned h = 0; h < METRIC_HISTOGRAM_COUNT; h++) {
        const struct histogram *histogram = &metrics->histogram[h];
        if (histogram->count == 0)
            continue;
        encode_array(out, RECORD_HISTOGRAM_SUM, h, &histogram->sum_ns, 1);
        encode_array(out, RECORD_HISTOGRAM_BUCKET, h, histogram->bucket, HISTOGRAM_BUCKETS);
    }
}

/* ---- decoding ---- */

static int decode_counter(uint64_t *values, unsigned count, unsigned id, uint64_t value)
{
    if (value > COUNTER_LIMIT)
        return -EPROTO;
    if (id < count)
        values[id] = value;
    return 0;
}

static int decode_gauge(struct metrics *out, unsigned id, uint64_t bits)
{
    int64_t value;
    memcpy(&value, &bits, sizeof(value));
    if (value > GAUGE_LIMIT || value < -GAUGE_LIMIT)
        return -EPROTO;
    if (id < METRIC_GAUGE_COUNT)
        out->gauge[id] = value;
    return 0;
}

static int decode_bucket(struct metrics *out, unsigned which, unsigned id, uint64_t value)
{
    if (value > BUCKET_LIMIT)
        return -EPROTO;
    if (which < METRIC_HISTOGRAM_COUNT && id < HISTOGRAM_BUCKETS) {
        struct histogram *histogram = &out->histogram[which];
        /* The count is not sent: it is the sum of the buckets, always. */
        histogram->count += value - histogram->bucket[id];
        histogram->bucket[id] = value;
    }
    return 0;
}

static int decode_record(struct metrics *out, unsigned kind, unsigned which, unsigned id,
                         uint64_t value)
{
    switch (kind) {
    case RECORD_COUNTER:
        return decode_counter(out->counter, METRIC_COUNTER_COUNT, id, value);
    case RECORD_GAUGE:
        return decode_gauge(out, id, value);
    case RECORD_STATUS:
        return decode_counter(out->status, METRICS_STATUS_COUNT, id, value);
    case RECORD_SLOT_ACCEPTED:
        return decode_counter(out->slot_accepted, METRICS_SLOT_COUNT, id, value);
    case RECORD_HISTOGRAM_SUM:
        /* Without a limit: it runs round where many requests are slow (metrics_check_monotone). */
        if (which < METRIC_HISTOGRAM_COUNT)
            out->histogram[which].sum_ns = value;
        return 0;
    case RECORD_HISTOGRAM_BUCKET:
        return decode_bucket(out, which, id, value);
    default:
        return 0; /* of a newer worker */
    }
}

int metrics_decode(const void *data, size_t len, struct metrics *out)
{
    const unsigned char *at = data;

    if (len == 0 || at[0] != SNAPSHOT_VERSION || (len - 1) % RECORD_SIZE != 0)
        return -EPROTO;
    metrics_reset(out);
    const unsigned char *end = at + len;
    for (at++; at < end; at += RECORD_SIZE) {
        uint16_t id;
        uint64_t value;
        memcpy(&id, at + 2, sizeof(id));
        memcpy(&value, at + 4, sizeof(value));
        int err = decode_record(out, at[0], at[1], id, value);
        if (err != 0)
            return err;
    }
    return 0;
}

/* ---- arithmetic ---- */

static void add_array(uint64_t *into, const uint64_t *from, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        into[i] += from[i];
}

/* The worst of all is what the cluster's value means, not the sum. */
static bool gauge_is_maximum(enum metric_gauge gauge)
{
    return gauge == GAUGE_LOOP_LAG_NS || gauge == GAUGE_OLDEST_REQUEST_MS;
}

void metrics_add(struct metrics *into, const struct metrics *from, bool with_gauges)
{
    add_array(into->counter, from->counter, METRIC_COUNTER_COUNT);
    add_array(into->status, from->status, METRICS_STATUS_COUNT);
    add_array(into->slot_accepted, from->slot_accepted, METRICS_SLOT_COUNT);
    for (unsigned h = 0; h < METRIC_HISTOGRAM_COUNT; h++)
        histogram_add(&into->histogram[h], &from->histogram[h]);
    if (!with_gauges)
        return;
    for (unsigned g = 0; g < METRIC_GAUGE_COUNT; g++) {
        if (!gauge_is_maximum(g))
            into->gauge[g] += from->gauge[g];
        else if (from->gauge[g] > into->gauge[g])
            into->gauge[g] = from->gauge[g];
    }
}

/* No branch for each element, so that the compiler can use vector instructions. */
static bool array_fell(const uint64_t *now, const uint64_t *before, unsigned count)
{
    unsigned fell = 0;
    for (unsigned i = 0; i < count; i++)
        fell |= now[i] < before[i];
    return fell != 0;
}

int metrics_check_monotone(const struct metrics *now, const struct metrics *before)
{
    bool fell = array_fell(now->counter, before->counter, METRIC_COUNTER_COUNT) ||
                array_fell(now->status, before->status, METRICS_STATUS_COUNT) ||
                array_fell(now->slot_accepted, before->slot_accepted, METRICS_SLOT_COUNT);
    for (unsigned h = 0; h < METRIC_HISTOGRAM_COUNT && !fell; h++) {
        const struct histogram *a = &now->histogram[h], *b = &before->histogram[h];
        /* The sum may run round 2^64 (ten thousand requests in flight all the time get there in
         * three weeks), so it has not fallen if the way forward is the shorter one. */
        fell = a->count < b->count || a->sum_ns - b->sum_ns > INT64_MAX ||
               array_fell(a->bucket, b->bucket, HISTOGRAM_BUCKETS);
    }
    return fell ? -ERANGE : 0;
}
