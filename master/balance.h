/* SPDX-License-Identifier: BSD-2-Clause
 *
 * balance - how much of the new connections each slot is to get, from what the
 * workers say about themselves: least-connections.
 *
 * Pure: (what was decided before, figures of each slot, now) -> weights. The
 * kernel spreads by these weights until the next call, so they are not a
 * ranking: a slot that has fewest is not given everything, but as much as
 * would level it with the others over the next half second at the present rate
 * of arrivals. That is what keeps many arrivals between two looks from flooding
 * one slot and then the next.
 *
 * On top of it each slot is trusted more or less. A worker whose loop stays late
 * loses its share and gets it back over a second; one that is new begins with
 * little.
 */
#ifndef MUSTER_BALANCE_H
#define MUSTER_BALANCE_H

#include "common/check.h"
#include "common/contract.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    BALANCE_SCALE = 10000,     /* the sum of all weights, about */
    BALANCE_INTERVAL_MS = 100, /* how often to look while something happens */
    BALANCE_STALE_MS = 3000,   /* older figures say nothing any more */
};

/* What is known of a slot. */
struct balance_figures {
    bool eligible;       /* may be chosen; not suspect, not draining */
    bool known;          /* there are figures, also of one that is suspect */
    uint16_t capacity;   /* in relation to the others, 1 or more */
    int32_t worker;      /* who it is, not 0: another number is another worker */
    int64_t connections; /* open */
    int64_t in_flight;   /* requests */
    int64_t lag_ns;      /* how late its loop is */
    int64_t age_ms;      /* of these figures */
};

/* What is remembered. Zeros are a good beginning. */
struct balance {
    struct {
        double trust;     /* 0..1 */
        double lag_ns[3]; /* at the last looks */
        double share;     /* wanted at the last look */
        uint16_t weight;  /* as last given out */
        int32_t worker;
    } slot[CONTRACT_MAX_SLOTS];
    int64_t looked_ms;
    double connections; /* of all eligible slots, when they were counted */
    double growth;      /* of that number, per second */
    double rate;        /* of arrivals, taken from both */
    int64_t counted_ms;
};

/* A look at `count` slots; `arrivals` is the rate of new connections per second
 * that were counted lately. True when the weights differ from those that were
 * last given out by enough to tell the kernel: then slot[].weight are the new
 * ones. With `force` they always are (the set of slots has changed). */
bool balance_look(struct balance *balance, const struct balance_figures *figures, int count,
                  double arrivals, int64_t now_ms, bool force);

#endif
