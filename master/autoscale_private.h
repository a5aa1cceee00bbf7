/* SPDX-License-Identifier: BSD-2-Clause
 *
 * autoscale_private - what the files of autoscale share.
 */
#ifndef MUSTER_AUTOSCALE_PRIVATE_H
#define MUSTER_AUTOSCALE_PRIVATE_H

#include "master/autoscale.h"

/* ---- autoscale_wishes.c: what the rules want ---- */

/* What may change a wish. Each is left out once, to see what it did. */
enum {
    WISH_TOLERANCE = 1,
    WISH_COOLDOWN = 2,
    WISH_PARTIAL = 4,  /* who is silent counts as idle on the way up */
    WISH_SETTLING = 8, /* no more for what only piled up */
    WISH_ALL = 15,
};

/* How many workers the rules want, with only these things changing wishes.
 * With WISH_ALL also fills the wishes of `out`. */
int autoscale_wanted(const struct autoscale_rules *rules, const struct autoscale_input *input,
                     const struct autoscale_state *state, unsigned flags,
                     struct autoscale_decision *out);
/* Whether there is anything that should be known and is not. */
bool autoscale_is_missing(const struct autoscale_rules *rules, const struct autoscale_input *input);
/* Whether emergencies are wanted and cannot be seen. */
bool autoscale_is_queue_unknown(const struct autoscale_rules *rules,
                                const struct autoscale_input *input);
/* What the accept queue wants; 0: nothing. */
int autoscale_emergency(const struct autoscale_rules *rules, const struct autoscale_input *input,
                        const struct autoscale_state *state);
void autoscale_remember_queue(const struct autoscale_rules *rules,
                              const struct autoscale_input *input, struct autoscale_state *state);

/* ---- autoscale_memory.c: what was wanted and changed ---- */

void autoscale_remember(struct autoscale_state *state, int64_t now_ms, int wanted,
                        int64_t longest_window_ms);
int autoscale_least_wanted(const struct autoscale_state *state, int64_t now_ms, int64_t window_ms,
                           int wanted);
int autoscale_most_wanted(const struct autoscale_state *state, int64_t now_ms, int64_t window_ms,
                          int wanted);
void autoscale_changed(struct autoscale_changes *changes, int64_t now_ms, int workers);
int autoscale_changes_within(const struct autoscale_changes *changes, int64_t now_ms,
                             int64_t period_ms);
void autoscale_fired(struct autoscale_state *state, const char *rule, int64_t now_ms);
/* When it fired last; INT64_MIN: never. */
int64_t autoscale_fired_ms(const struct autoscale_state *state, const char *rule);

/* ---- autoscale_text.c ---- */

void autoscale_explain(struct autoscale_decision *decision);

static inline int at_least(int value, int bound)
{
    return value > bound ? value : bound;
}

static inline int at_most(int value, int bound)
{
    return value < bound ? value : bound;
}

/* The next whole number, within what can be a number of workers. Less than a
 * millionth too much is a rounding error. */
static inline int whole_workers(double value)
{
    value -= 1e-6;
    if (!(value > 0))
        return 0;
    if (value >= AUTOSCALE_MAX_WORKERS)
        return AUTOSCALE_MAX_WORKERS;
    int whole = (int)value;
    return whole < value ? whole + 1 : whole;
}

#endif
