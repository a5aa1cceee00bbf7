/* SPDX-License-Identifier: BSD-2-Clause
 *
 * histogram - a log-linear histogram of durations in nanoseconds.
 *
 * Values below 128 have a bucket each; above, every power of two is cut into
 * 64 equal buckets, so a value read back differs from the one recorded by less
 * than 1/128 of it (0.8 %). Fixed memory, no allocation, and two histograms
 * can be added: that is what makes percentiles over many workers possible.
 */
#ifndef MUSTER_HISTOGRAM_H
#define MUSTER_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_LINEAR = 128,  /* buckets of width 1 */
    HISTOGRAM_SUB_BITS = 6,  /* 64 buckets for each power of two */
    HISTOGRAM_MAX_BITS = 37, /* values from 2^37 ns (137 s) on share the last bucket */
    HISTOGRAM_BUCKETS = HISTOGRAM_LINEAR + (HISTOGRAM_MAX_BITS - 7) * 64 + 1,
};

struct histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_index(uint64_t value_ns)
{
    if (value_ns < HISTOGRAM_LINEAR)
        return (unsigned)value_ns;
    unsigned top = 63U - (unsigned)__builtin_clzll(value_ns);
    if (top >= HISTOGRAM_MAX_BITS)
        return HISTOGRAM_BUCKETS - 1;
    return HISTOGRAM_LINEAR + (top - 7) * 64 + (unsigned)(value_ns >> (top - HISTOGRAM_SUB_BITS)) -
           64;
}

static inline void histogram_record(struct histogram *histogram, uint64_t value_ns)
{
    histogram->count++;
    histogram->sum_ns += value_ns;
    histogram->bucket[histogram_index(value_ns)]++;
}

/* The smallest value of a bucket, and one past its largest; the last bucket
 * has no upper end (UINT64_MAX). */
uint64_t histogram_bucket_low(unsigned index);
uint64_t histogram_bucket_high(unsigned index);

/* into += from */
void histogram_add(struct histogram *into, const struct histogram *from);

/* into += now - before, where `before` is an earlier state of `now`. */
void histogram_add_difference(struct histogram *into, const struct histogram *now,
                              const struct histogram *before);

void histogram_reset(struct histogram *histogram);

/* The value in nanoseconds below which `quantile` (0..1) of the recorded
 * values lie, as the middle of its bucket; 0 if nothing was recorded. */
double histogram_quantile(const struct histogram *histogram, double quantile);

/* How many recorded values were <= limit_ns, to the resolution of a bucket
 * (a bucket that straddles the limit counts when its middle is below). */
uint64_t histogram_count_below(const struct histogram *histogram, uint64_t limit_ns);

#endif
