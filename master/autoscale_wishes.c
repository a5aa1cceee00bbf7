/* SPDX-License-Identifier: BSD-2-Clause
 *
 * autoscale_wishes - how many workers each rule wants, and whose wish counts.
 */
#include "master/autoscale_private.h"

#include <math.h>
#include <string.h>

static int find_metric(const struct autoscale_input *input, const char *name)
{
    for (int i = 0; i < input->metric_count; i++)
        if (strcmp(input->metrics[i].name, name) == 0)
            return i;
    return -1;
}

/* Whether it says anything about now. */
static bool is_usable(const struct autoscale_rules *rules, const struct autoscale_input *input,
                      int metric)
{
    if (metric < 0)
        return false;
    const struct autoscale_metric *it = &input->metrics[metric];
    return it->known && isfinite(it->value) && it->age_ms <= rules->stale_ms;
}

static bool is_reached(enum autoscale_operator op, double value, double threshold)
{
    switch (op) {
    case AUTOSCALE_GT:
        return value > threshold;
    case AUTOSCALE_GTE:
        return value >= threshold;
    case AUTOSCALE_LT:
        return value < threshold;
    case AUTOSCALE_LTE:
        return value <= threshold;
    }
    return false;
}

/* The mean over all ready workers if those that are silent do nothing. */
static double with_idle(const struct autoscale_input *input, const struct autoscale_metric *metric)
{
    if (metric->silent <= 0 || input->ready <= 0 || metric->value <= 0)
        return metric->value;
    int heard = at_least(input->ready - metric->silent, 0);
    return metric->value * heard / input->ready;
}

static void wish_of_target(const struct autoscale_rules *rules, const struct autoscale_rule *rule,
                           const struct autoscale_input *input, unsigned flags,
                           struct autoscale_wish *wish)
{
    const struct autoscale_metric *metric = &input->metrics[wish->metric];
    double value = metric->value;
    if (input->ready <= 0 || value < 0) {
        wish->verdict = AUTOSCALE_NO_METRIC;
        return;
    }
    if ((flags & WISH_PARTIAL) != 0 && metric->silent > 0 && value > rule->threshold) {
        /* Up only as far as it is sure, and not down instead. */
        double sure = with_idle(input, metric);
        value = sure > rule->threshold ? sure : rule->threshold;
    }
    double ratio = value / rule->threshold;
    wish->verdict = AUTOSCALE_WISHES;
    wish->desired = whole_workers((metric->workers > 0 ? metric->workers : input->ready) * ratio);
    bool is_held = value == rule->threshold && metric->silent > 0;
    if ((flags & WISH_TOLERANCE) != 0 && (is_held || fabs(ratio - 1) <= rules->tolerance + 1e-9)) {
        wish->verdict = AUTOSCALE_IN_BAND;
        wish->desired = input->current;
    }
}

static void wish_of_threshold(const struct autoscale_rule *rule,
                              const struct autoscale_input *input, unsigned flags,
                              struct autoscale_wish *wish)
{
    const struct autoscale_metric *metric = &input->metrics[wish->metric];
    bool is_up = rule->action == AUTOSCALE_SCALE_UP;
    bool wants_much = rule->op == AUTOSCALE_GT || rule->op == AUTOSCALE_GTE;
    double value = metric->value;
    if ((flags & WISH_PARTIAL) != 0 && is_up && wants_much)
        value = with_idle(input, metric);
    if (!is_reached(rule->op, value, rule->threshold))
        return;
    wish->verdict = AUTOSCALE_WISHES;
    wish->desired = is_up ? at_most(input->current + rule->amount, AUTOSCALE_MAX_WORKERS)
                          : at_least(input->current - rule->amount, 0);
}

/* After an emergency workers are busy with what piled up; how much really comes in
 * is known once a window has passed. Until then the queue says whether it suffices. */
static bool is_settling(const struct autoscale_input *input, const struct autoscale_state *state,
                        int metric)
{
    return state->emergency_known &&
           input->now_ms - state->emergency_ms < input->metrics[metric].window_ms;
}

static struct autoscale_wish wish_of(const struct autoscale_rules *rules,
                                     const struct autoscale_rule *rule,
                                     const struct autoscale_input *input,
                                     const struct autoscale_state *state, unsigned flags)
{
    struct autoscale_wish wish = {.verdict = AUTOSCALE_QUIET, .desired = input->current};
    memcpy(wish.rule, rule->name, sizeof(wish.rule));
    wish.metric = find_metric(input, rule->metric);
    if (!is_usable(rules, input, wish.metric)) {
        wish.verdict = AUTOSCALE_NO_METRIC;
        return wish;
    }
    if (rule->action == AUTOSCALE_TRACK)
        wish_of_target(rules, rule, input, flags, &wish);
    else
        wish_of_threshold(rule, input, flags, &wish);
    if (wish.verdict != AUTOSCALE_WISHES)
        return wish;
    if ((flags & WISH_SETTLING) != 0 && wish.desired > input->current &&
        is_settling(input, state, wish.metric)) {
        wish.verdict = AUTOSCALE_SETTLES;
        return wish;
    }
    int64_t fired_ms = autoscale_fired_ms(state, rule->name);
    if ((flags & WISH_PARTIAL) != 0 && wish.desired < input->current &&
        input->metrics[wish.metric].silent > 0) {
        wish.verdict = AUTOSCALE_IN_PART;
    } else if ((flags & WISH_COOLDOWN) != 0 && fired_ms != INT64_MIN &&
               input->now_ms - fired_ms < rule->cooldown_ms) {
        wish.verdict = AUTOSCALE_COOLS;
        wish.cooled_ms = fired_ms + rule->cooldown_ms;
    }
    return wish;
}

/* What it adds to the choice; false: nothing. A rule that wants more and has to
 * wait still keeps the others from taking any away. */
static bool opinion_of(const struct autoscale_wish *wish, int current, int *out)
{
    switch (wish->verdict) {
    case AUTOSCALE_WISHES:
    case AUTOSCALE_IN_BAND:
        *out = wish->desired;
        return true;
    case AUTOSCALE_COOLS:
        *out = current;
        return wish->desired > current;
    case AUTOSCALE_SETTLES:
    case AUTOSCALE_IN_PART:
        *out = current;
        return true;
    case AUTOSCALE_QUIET:
    case AUTOSCALE_NO_METRIC:
        break;
    }
    return false;
}

int autoscale_wanted(const struct autoscale_rules *rules, const struct autoscale_input *input,
                     const struct autoscale_state *state, unsigned flags,
                     struct autoscale_decision *out)
{
    bool any = false;
    int wanted = input->current, priority = 0, opinion;
    for (int i = 0; i < rules->rule_count; i++) {
        const struct autoscale_rule *rule = &rules->rules[i];
        struct autoscale_wish wish = wish_of(rules, rule, input, state, flags);
        if (opinion_of(&wish, input->current, &opinion)) {
            if (!any || rule->priority > priority) {
                wanted = opinion;
                priority = rule->priority;
            } else if (rule->priority == priority) {
                wanted = at_least(wanted, opinion);
            }
            any = true;
        }
        if (flags == WISH_ALL)
            out->wishes[i] = wish;
    }
    if (flags != WISH_ALL)
        return wanted;
    out->wish_count = rules->rule_count;
    for (int i = 0; any && i < rules->rule_count; i++)
        out->wishes[i].decided = rules->rules[i].priority == priority &&
                                 opinion_of(&out->wishes[i], input->current, &opinion) &&
                                 opinion == wanted;
    return wanted;
}

static bool is_complete(const struct autoscale_rules *rules, const struct autoscale_input *input,
                        const char *name)
{
    int metric = find_metric(input, name);
    return is_usable(rules, input, metric) && input->metrics[metric].silent <= 0;
}

bool autoscale_is_missing(const struct autoscale_rules *rules, const struct autoscale_input *input)
{
    for (int i = 0; i < rules->rule_count; i++) {
        const struct autoscale_rule *rule = &rules->rules[i];
        if (!is_complete(rules, input, rule->metric))
            return true;
        if (rule->action == AUTOSCALE_TRACK &&
            (input->ready <= 0 || input->metrics[find_metric(input, rule->metric)].value < 0))
            return true;
    }
    return autoscale_is_queue_unknown(rules, input);
}

bool autoscale_is_queue_unknown(const struct autoscale_rules *rules,
                                const struct autoscale_input *input)
{
    return rules->emergency_queue > 0 && !is_complete(rules, input, rules->queue_metric);
}

/* Whether what waits will be gone soon, as fast as it went since the last look. */
static bool will_drain(const struct autoscale_rules *rules, const struct autoscale_state *state,
                       double queue, int64_t now_ms)
{
    double passed_ms = (double)(now_ms - state->queue_ms), gone = state->queue - queue;
    if (!state->queue_known || passed_ms <= 0 || gone <= 0)
        return false;
    return queue / gone * passed_ms <= (double)rules->emergency_drain_ms;
}

int autoscale_emergency(const struct autoscale_rules *rules, const struct autoscale_input *input,
                        const struct autoscale_state *state)
{
    int metric = find_metric(input, rules->queue_metric);
    if (rules->emergency_queue <= 0 || !is_usable(rules, input, metric))
        return 0;
    double queue = input->metrics[metric].value;
    if (queue < rules->emergency_queue || will_drain(rules, state, queue, input->now_ms))
        return 0;
    /* Of those that serve: who was asked for and is still starting comes first. */
    int more = whole_workers((double)input->ready * rules->emergency_percent / 100);
    return at_most(at_least(input->ready, 0) + at_least(more, 1), AUTOSCALE_MAX_WORKERS);
}

void autoscale_remember_queue(const struct autoscale_rules *rules,
                              const struct autoscale_input *input, struct autoscale_state *state)
{
    int metric = find_metric(input, rules->queue_metric);
    state->queue_known = is_usable(rules, input, metric);
    if (!state->queue_known)
        return;
    state->queue = input->metrics[metric].value;
    state->queue_ms = input->now_ms;
    if (rules->emergency_queue > 0 && state->queue >= rules->emergency_queue) {
        state->emergency_ms = input->now_ms;
        state->emergency_known = true;
    }
}
