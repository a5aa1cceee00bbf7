/* SPDX-License-Identifier: BSD-2-Clause
 *
 * autoscale - how many workers there are to be, and why.
 */
#include "master/autoscale_private.h"

#include <string.h>

/* What the flap guard added is given back over so many times as long. */
enum { GUARD_SLOWNESS = 8 };

const char *autoscale_clip_name(enum autoscale_clip clip)
{
    static const char *const names[] = {
#define X(id, text) [AUTOSCALE_CLIP_##id] = (text),
        AUTOSCALE_CLIPS(X)
#undef X
    };
    return names[clip];
}

bool autoscale_was_clipped(const struct autoscale_decision *decision, enum autoscale_clip clip)
{
    for (int i = 0; i < decision->clip_count; i++)
        if (decision->clips[i].clip == clip)
            return true;
    return false;
}

/* `to` is what became of `from`, through `clip`. */
static int clipped(struct autoscale_decision *decision, enum autoscale_clip clip, int from, int to)
{
    if (from != to) {
        int at = decision->clip_count++;
        decision->clips[at].clip = clip;
        decision->clips[at].from = from;
        decision->clips[at].to = to;
    }
    return to;
}

static int within(const struct autoscale_rules *rules, int workers, struct autoscale_decision *out)
{
    workers = clipped(out, AUTOSCALE_CLIP_MIN, workers, at_least(workers, rules->min_workers));
    return clipped(out, AUTOSCALE_CLIP_MAX, workers, at_most(workers, rules->max_workers));
}

/* ---- the steps ---- */

static int ask_rules(const struct autoscale_rules *rules, const struct autoscale_input *input,
                     const struct autoscale_state *state, struct autoscale_decision *out)
{
    int emergency = autoscale_emergency(rules, input, state);
    /* One thing more at a time. */
    static const unsigned flags[] = {0, WISH_SETTLING, WISH_SETTLING | WISH_TOLERANCE,
                                     WISH_SETTLING | WISH_TOLERANCE | WISH_COOLDOWN, WISH_ALL};
    int wanted[ARRAY_COUNT(flags)];
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++)
        wanted[i] = autoscale_wanted(rules, input, state, flags[i], out);
    out->emergency = emergency > input->current ? emergency : 0;
    out->queue_unknown = autoscale_is_queue_unknown(rules, input);
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++)
        wanted[i] = at_least(wanted[i], emergency);
    out->raw = wanted[0];
    clipped(out, AUTOSCALE_CLIP_SETTLING, wanted[0], wanted[1]);
    clipped(out, AUTOSCALE_CLIP_TOLERANCE, wanted[1], wanted[2]);
    clipped(out, AUTOSCALE_CLIP_COOLDOWN, wanted[2], wanted[3]);
    if (wanted[4] < input->current && autoscale_is_missing(rules, input))
        wanted[4] = input->current;
    return clipped(out, AUTOSCALE_CLIP_MISSING, wanted[3], wanted[4]);
}

static int between(int workers, int low, int high)
{
    return at_most(at_least(workers, low), high);
}

static int stabilise(const struct autoscale_rules *rules, const struct autoscale_input *input,
                     const struct autoscale_state *state, int wanted,
                     struct autoscale_decision *out)
{
    int64_t now_ms = input->now_ms, window_ms = rules->down.window_ms;
    int low = autoscale_least_wanted(state, now_ms, rules->up.window_ms, wanted);
    low = at_least(low, out->emergency); /* which waits for nothing */
    int high = autoscale_most_wanted(state, now_ms, window_ms, wanted);
    int guarded = autoscale_most_wanted(state, now_ms, out->down_window_ms, wanted);
    int plain = between(input->current, low, high);
    int result = between(input->current, low, guarded);
    clipped(out, AUTOSCALE_CLIP_STABILISATION, wanted, plain);
    return clipped(out, AUTOSCALE_CLIP_FLAP_GUARD, plain, result);
}

/* As far as the rates of this direction let it go from `start`. */
static int farthest(const struct autoscale_rate *rate, int start, bool is_up)
{
    int step =
        rate->workers > 0 ? rate->workers : whole_workers((double)start * rate->percent / 100);
    return is_up ? start + step : start - step;
}

static int limit_rate(const struct autoscale_rules *rules, const struct autoscale_input *input,
                      const struct autoscale_state *state, int wanted,
                      struct autoscale_decision *out)
{
    bool is_up = wanted > input->current;
    const struct autoscale_direction *direction = is_up ? &rules->up : &rules->down;
    if (wanted == input->current)
        return wanted;
    const struct autoscale_changes *past = is_up ? &state->ups : &state->downs;
    if (autoscale_changes_within(past, input->now_ms, direction->pause_ms) > 0) {
        int allowed =
            is_up && out->emergency > 0 ? at_most(wanted, out->emergency) : input->current;
        wanted = clipped(out, AUTOSCALE_CLIP_RATE, wanted, allowed);
    }
    if (wanted == input->current)
        return wanted;
    if (direction->rate_count == 0)
        return wanted;
    int limit = input->current;
    for (int i = 0; i < direction->rate_count; i++) {
        const struct autoscale_rate *rate = &direction->rates[i];
        int done = autoscale_changes_within(past, input->now_ms, rate->period_ms);
        int start = is_up ? input->current - done : input->current + done;
        int end = farthest(rate, start, is_up);
        limit = is_up ? at_least(limit, end) : at_most(limit, end);
    }
    int result = is_up ? at_most(wanted, limit) : at_least(wanted, limit);
    return clipped(out, AUTOSCALE_CLIP_RATE, wanted, result);
}

static bool is_manual(const struct autoscale_input *input)
{
    return input->manual.set && input->now_ms < input->manual.until_ms;
}

static int overrule(const struct autoscale_rules *rules, const struct autoscale_input *input,
                    struct autoscale_decision *out)
{
    int result = out->automatic;
    if (is_manual(input)) {
        result = clipped(out, AUTOSCALE_CLIP_MANUAL, result, input->manual.instances);
        result = within(rules, result, out);
    }
    if (input->dry_run)
        result = clipped(out, AUTOSCALE_CLIP_DRY_RUN, result, input->current);
    return result;
}

/* ---- what stays behind ---- */

static void begin(const struct autoscale_rules *rules, const struct autoscale_input *input,
                  struct autoscale_state *state)
{
    if (!state->begun) {
        /* Nobody knows why there are as many as there are: keep them for one window. */
        autoscale_remember(state, input->now_ms, input->current, rules->down.window_ms);
        state->begun = true;
        state->looked_ms = input->now_ms;
    }
    int64_t passed_ms = input->now_ms - state->looked_ms;
    if (passed_ms > 0) {
        /* What is less than one step of the division stays for the next time. */
        int64_t back_ms = passed_ms / GUARD_SLOWNESS;
        state->guard_ms = back_ms < state->guard_ms ? state->guard_ms - back_ms : 0;
        state->looked_ms += back_ms * GUARD_SLOWNESS;
    }
    int64_t most_ms = rules->flap_windows * rules->down.window_ms;
    if (state->guard_ms > most_ms)
        state->guard_ms = most_ms;
}

static int64_t longest_window(const struct autoscale_rules *rules)
{
    int64_t down_ms = rules->down.window_ms * (1 + rules->flap_windows);
    return rules->up.window_ms > down_ms ? rules->up.window_ms : down_ms;
}

/* It goes up: was the last way down too early? */
static void guard_flap(const struct autoscale_rules *rules, struct autoscale_state *state,
                       const struct autoscale_decision *decision)
{
    bool is_flap = state->down_known && decision->at_ms - state->down_ms < decision->down_window_ms;
    state->down_known = false;
    if (!is_flap)
        return;
    int64_t most_ms = rules->flap_windows * rules->down.window_ms;
    state->guard_ms += rules->down.window_ms;
    if (state->guard_ms > most_ms)
        state->guard_ms = most_ms;
}

static void note_change(const struct autoscale_rules *rules, struct autoscale_state *state,
                        const struct autoscale_decision *decision)
{
    int change = decision->result - decision->current;
    if (change == 0)
        return;
    autoscale_changed(change > 0 ? &state->ups : &state->downs, decision->at_ms,
                      change > 0 ? change : -change);
    for (int i = 0; i < decision->wish_count; i++) {
        const struct autoscale_wish *wish = &decision->wishes[i];
        bool same_way =
            change > 0 ? wish->desired > decision->current : wish->desired < decision->current;
        if (wish->decided && wish->verdict == AUTOSCALE_WISHES && same_way)
            autoscale_fired(state, wish->rule, decision->at_ms);
    }
    if (change > 0) {
        guard_flap(rules, state, decision);
    } else {
        state->down_ms = decision->at_ms;
        state->down_known = true;
    }
}

void autoscale_decide(const struct autoscale_rules *rules, const struct autoscale_input *input,
                      struct autoscale_state *state, struct autoscale_decision *out)
{
    CHECK(input->metric_count >= 0 && input->metric_count <= AUTOSCALE_MAX_METRICS);
    CHECK(input->current >= 0 && input->current <= AUTOSCALE_MAX_WORKERS);
    *out = (struct autoscale_decision){
        .at_ms = input->now_ms,
        .current = input->current,
        .ready = input->ready,
        .metric_count = input->metric_count,
    };
    memcpy(out->metrics, input->metrics, (size_t)input->metric_count * sizeof(out->metrics[0]));
    begin(rules, input, state);
    out->down_window_ms = rules->down.window_ms + state->guard_ms;

    int wanted = ask_rules(rules, input, state, out);
    autoscale_remember_queue(rules, input, state);
    autoscale_remember(state, input->now_ms, wanted, longest_window(rules));
    wanted = stabilise(rules, input, state, wanted, out);
    wanted = limit_rate(rules, input, state, wanted, out);
    out->automatic = within(rules, wanted, out);
    out->result = overrule(rules, input, out);
    if (!is_manual(input))
        note_change(rules, state, out);
    autoscale_explain(out);
}
