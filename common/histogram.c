/* SPDX-License-Identifier: BSD-2-Clause
 *
 * histogram - a log-linear histogram of durations in nanoseconds.
 */
#include "common/histogram.h"

#include "common/check.h"

#include <string.h>

enum {
    SUB_BUCKETS = 1 << HISTOGRAM_SUB_BITS,
    /* The loops below leave the last bucket to a line of its own: with an even number of turns
     * the compiler uses vector instructions without being told to. */
    LAST = HISTOGRAM_BUCKETS - 1,
};

uint64_t histogram_bucket_low(unsigned index)
{
    CHECK(index < HISTOGRAM_BUCKETS);
    if (index < HISTOGRAM_LINEAR)
        return index;
    unsigned octave = (index - HISTOGRAM_LINEAR) / SUB_BUCKETS; /* 0 begins at 128 */
    unsigned sub = (index - HISTOGRAM_LINEAR) % SUB_BUCKETS;
    return (uint64_t)(SUB_BUCKETS + sub) << (octave + 1);
}

uint64_t histogram_bucket_high(unsigned index)
{
    return index == LAST ? UINT64_MAX : histogram_bucket_low(index + 1);
}

/* Of the whole numbers in the bucket; the last one has no end, so its beginning. */
static double bucket_middle(unsigned index)
{
    double low = (double)histogram_bucket_low(index);
    if (index == LAST)
        return low;
    return (low + (double)(histogram_bucket_high(index) - 1)) / 2;
}

void histogram_add(struct histogram *into, const struct histogram *from)
{
    if (from->count == 0)
        return;
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    for (unsigned i = 0; i < LAST; i++)
        into->bucket[i] += from->bucket[i];
    into->bucket[LAST] += from->bucket[LAST];
}

void histogram_add_difference(struct histogram *into, const struct histogram *now,
                              const struct histogram *before)
{
    if (now->count == before->count)
        return;
    into->count += now->count - before->count;
    into->sum_ns += now->sum_ns - before->sum_ns;
    for (unsigned i = 0; i < LAST; i++)
        into->bucket[i] += now->bucket[i] - before->bucket[i];
    into->bucket[LAST] += now->bucket[LAST] - before->bucket[LAST];
}

void histogram_reset(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

double histogram_quantile(const struct histogram *histogram, double quantile)
{
    if (histogram->count == 0)
        return 0;
    /* The smallest rank that has at least this share of the values at or below it. */
    double wanted = quantile * (double)histogram->count;
    uint64_t rank = 1;
    if (wanted >= (double)histogram->count)
        rank = histogram->count;
    else if (wanted > 1)
        rank = (uint64_t)wanted + ((double)(uint64_t)wanted < wanted);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->bucket[i];
        if (seen >= rank)
            return bucket_middle(i);
    }
    return bucket_middle(LAST);
}

uint64_t histogram_count_below(const struct histogram *histogram, uint64_t limit_ns)
{
    unsigned last = histogram_index(limit_ns);
    uint64_t below = 0;

    for (unsigned i = 0; i < last; i++)
        below += histogram->bucket[i];
    if (bucket_middle(last) <= (double)limit_ns)
        below += histogram->bucket[last];
    return below;
}
