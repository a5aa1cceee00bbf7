/* SPDX-License-Identifier: BSD-2-Clause
 *
 * consistent - which slot owns each bucket of the consistent hash.
 */
#include "master/consistent.h"

#include "common/check.h"

#include <string.h>

int consistent_bucket_count(int slot_count)
{
    return slot_count <= CONSISTENT_FEW_SLOTS ? CONSISTENT_BUCKETS : CONSISTENT_BUCKETS_MANY;
}

struct table {
    uint16_t *owner;
    int bucket_count;
    const uint16_t *weight;
    int have[CONTRACT_MAX_SLOTS]; /* buckets of each slot */
};

/* The slot below `end` with most buckets for its weight, the first of equals. */
static int richest(const struct table *table, int end)
{
    int best = 0;
    for (int i = 1; i < end; i++)
        if (table->have[i] * table->weight[best] > table->have[best] * table->weight[i])
            best = i;
    return best;
}

/* Slot `slot` joins 0..slot-1 and takes its share from the richest. */
static void join(struct table *table, int slot)
{
    int take[CONTRACT_MAX_SLOTS] = {0};
    for (;;) {
        int donor = richest(table, slot);
        /* Only while the newcomer stays poorer than the donor was. */
        if ((table->have[slot] + 1) * table->weight[donor] >=
            table->have[donor] * table->weight[slot])
            break;
        table->have[donor]--;
        table->have[slot]++;
        take[donor]++;
    }
    /* The last ones of each, so that neighbours stay together: the program is
     * as long as there are changes of owner. */
    for (int bucket = table->bucket_count - 1; bucket >= 0; bucket--) {
        int donor = table->owner[bucket];
        if (take[donor] == 0)
            continue;
        take[donor]--;
        table->owner[bucket] = (uint16_t)slot;
    }
}

/* The slot of the set that would have fewest buckets for its weight with one more. */
static int poorest(const struct table *table, const struct slot_set *set, int end)
{
    int best = -1;
    for (int i = 0; i < end; i++) {
        if (!slot_set_has(set, (unsigned)i))
            continue;
        if (best < 0 ||
            (table->have[i] + 1) * table->weight[best] < (table->have[best] + 1) * table->weight[i])
            best = i;
    }
    CHECK(best >= 0);
    return best;
}

/* A slot that is not in the set lends what it has. */
static void lend(struct table *table, const struct slot_set *set, int slot, int end)
{
    int give[CONTRACT_MAX_SLOTS] = {0};
    for (; table->have[slot] > 0; table->have[slot]--) {
        int taker = poorest(table, set, end);
        table->have[taker]++;
        give[taker]++;
    }
    int taker = 0;
    for (int bucket = 0; bucket < table->bucket_count; bucket++) {
        if (table->owner[bucket] != slot)
            continue;
        while (give[taker] == 0)
            taker++;
        give[taker]--;
        table->owner[bucket] = (uint16_t)taker;
    }
}

void consistent_assign(const struct slot_set *set, const uint16_t *weight, int slot_count,
                       uint16_t *owner)
{
    struct table table = {
        .owner = owner, .bucket_count = consistent_bucket_count(slot_count), .weight = weight};
    int end = slot_count;
    while (end > 0 && !slot_set_has(set, (unsigned)end - 1))
        end--;
    CHECK(end > 0 && slot_count <= CONTRACT_MAX_SLOTS);

    memset(owner, 0, (size_t)table.bucket_count * sizeof(*owner));
    table.have[0] = table.bucket_count;
    for (int slot = 1; slot < end; slot++)
        join(&table, slot);
    for (int slot = 0; slot < end; slot++)
        if (!slot_set_has(set, (unsigned)slot))
            lend(&table, set, slot, end);
}
