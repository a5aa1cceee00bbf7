/* SPDX-License-Identifier: BSD-2-Clause
 *
 * watch - whether a worker makes progress, and what to make of it if it does not.
 */
#include "master/watch.h"

#include <inttypes.h>
#include <stdio.h>

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What a worker says of a time is a claim: it is not in the future. */
static int64_t claimed_ms(int64_t claim_ns, int64_t now_ms)
{
    return claim_ns < 0 ? 0 : smaller(claim_ns / 1000000, now_ms);
}

static bool beats(const struct worker *worker)
{
    return worker->watch.interval_ms != 0;
}

/* ---- how long ago ---- */

static int64_t heard_ms(const struct worker *worker)
{
    return larger(larger(worker->watch.heard_ms, worker->last_report_ms), worker->ready_ms);
}

static int64_t moved_ms(const struct worker *worker)
{
    return larger(larger(worker->watch.moved_ms, worker->last_report_ms), worker->ready_ms);
}

int64_t watch_stuck_ms(const struct worker *worker, int64_t now_ms)
{
    return now_ms - moved_ms(worker);
}

int64_t watch_beat_age_ms(const struct worker *worker, int64_t now_ms)
{
    return larger(now_ms - heard_ms(worker), 0);
}

int64_t watch_turn_ms(const struct worker *worker)
{
    const struct watch *watch = &worker->watch;
    return watch->turn_ms == 0 ? 0 : larger(watch->looked_ms - watch->turn_ms, 0);
}

/* ---- lateness ---- */

/* Whoever beats seldom, by another configuration, is not late for that. */
static int64_t patience_ms(const struct worker *worker, const struct policy_rules *rules)
{
    int64_t needed_ms =
        beats(worker) ? worker->watch.interval_ms * 5 / 2 : 2 * rules->report_interval_ms;
    return larger(rules->suspect_timeout_ms, needed_ms);
}

enum watch_lateness watch_lateness(const struct worker *worker, const struct policy_rules *rules,
                                   int64_t now_ms)
{
    if (now_ms - heard_ms(worker) >= patience_ms(worker, rules))
        return WATCH_SILENT;
    if (rules->stall_timeout_ms > 0 && watch_turn_ms(worker) >= rules->stall_timeout_ms)
        return WATCH_STALLED;
    return WATCH_FINE;
}

int64_t watch_late_at_ms(const struct worker *worker, const struct policy_rules *rules,
                         int64_t now_ms)
{
    if (watch_lateness(worker, rules, now_ms) != WATCH_FINE)
        return INT64_MAX;
    int64_t at_ms = heard_ms(worker) + patience_ms(worker, rules);
    if (worker->watch.turn_ms != 0 && rules->stall_timeout_ms > 0)
        at_ms = smaller(at_ms, worker->watch.turn_ms + rules->stall_timeout_ms);
    return at_ms;
}

/* ---- probation ---- */

static void count_lateness(struct watch *watch, int64_t now_ms)
{
    if (now_ms - watch->late_last_ms > watch->probation_ms + WATCH_MEMORY_MS) {
        watch->late_count = 0;
        watch->probation_ms = 0;
    }
    if (watch->late_count++ == 0)
        watch->late_first_ms = now_ms;
    else if (watch->probation_ms == 0)
        watch->probation_ms = WATCH_PROBATION_MS;
    else
        watch->probation_ms = smaller(2 * watch->probation_ms, WATCH_PROBATION_MAX_MS);
    watch->late_last_ms = now_ms;
    watch->late_beat_ns = watch->beat_ns;
}

bool watch_on_probation(const struct worker *worker, int64_t now_ms)
{
    const struct watch *watch = &worker->watch;
    return watch->probation_ms != 0 && now_ms < watch->late_last_ms + watch->probation_ms;
}

bool watch_probation_holds(const struct roster *roster, const struct policy_rules *rules,
                           int64_t now_ms)
{
    int going_on = 0, on_probation = 0;
    const struct worker *worker;
    TAILQ_FOREACH (worker, &roster->workers, in_roster) {
        if ((worker->state != WORKER_READY && worker->state != WORKER_SUSPECT) || worker->leaving ||
            watch_lateness(worker, rules, now_ms) != WATCH_FINE)
            continue;
        going_on++;
        on_probation += watch_on_probation(worker, now_ms);
    }
    return 2 * on_probation < going_on;
}

/* ---- looking ---- */

void watch_new_board(struct worker *worker, int64_t now_ms)
{
    struct watch *watch = &worker->watch;
    watch->beat_ns = 0;
    watch->turns = 0;
    watch->turn_ms = 0;
    watch->interval_ms = 0;
    watch->excused_ms = now_ms;
    watch->heard_ms = now_ms;
    watch->moved_ms = now_ms;
}

/* True when it has beaten since the last look. */
static bool read_sample(struct watch *watch, const struct watch_sample *sample, int64_t now_ms)
{
    bool has_beaten = sample->beat_ns != watch->beat_ns;
    if (has_beaten) {
        watch->heard_ms = larger(watch->heard_ms, claimed_ms(sample->beat_ns, now_ms));
        int64_t interval_ms = sample->interval_ns / 1000000;
        watch->interval_ms = smaller(larger(interval_ms, 1), WATCH_INTERVAL_MAX_MS);
    }
    if (has_beaten || sample->turns != watch->turns)
        watch->moved_ms = now_ms;
    watch->beat_ns = sample->beat_ns;
    watch->turns = sample->turns;
    watch->turn_ms = 0;
    if (sample->turn_started_ns != 0)
        watch->turn_ms = larger(claimed_ms(sample->turn_started_ns, now_ms), watch->excused_ms);
    return has_beaten;
}

void watch_look(struct worker *worker, const struct watch_sample *sample,
                const struct policy_rules *rules, int64_t now_ms)
{
    struct watch *watch = &worker->watch;
    int64_t beat_before_ns = watch->beat_ns, heard_before_ms = watch->heard_ms;
    bool has_beaten = false;
    if (sample != NULL && sample->beat_ns != 0)
        has_beaten = read_sample(watch, sample, now_ms);
    watch->looked_ms = now_ms;

    bool late = watch_lateness(worker, rules, now_ms) != WATCH_FINE;
    /* A stall that was over before anybody looked, and has not been counted. */
    bool was_late = has_beaten && beat_before_ns != 0 && rules->stall_timeout_ms > 0 &&
                    sample->lag_ns / 1000000 >= rules->stall_timeout_ms &&
                    watch->late_beat_ns != beat_before_ns && heard_before_ms >= watch->excused_ms;
    if (late ? !watch->late : was_late)
        count_lateness(watch, now_ms);
    if (late)
        watch->late_last_ms = now_ms;
    watch->late = late;
}

void watch_excuse(struct worker *worker, int64_t missed_ms, int64_t now_ms)
{
    struct watch *watch = &worker->watch;
    watch->heard_ms = smaller(heard_ms(worker) + missed_ms, now_ms);
    watch->moved_ms = smaller(moved_ms(worker) + missed_ms, now_ms);
    watch->excused_ms = watch->turn_ms != 0 ? smaller(watch->turn_ms + missed_ms, now_ms) : now_ms;
    if (watch->turn_ms != 0)
        watch->turn_ms = watch->excused_ms;
}

/* ---- the verdict ---- */

enum watch_verdict watch_judge(const struct worker *worker, const struct policy_rules *rules,
                               bool holds, int64_t now_ms)
{
    bool keep_away = watch_lateness(worker, rules, now_ms) != WATCH_FINE ||
                     (holds && watch_on_probation(worker, now_ms));
    if (worker->state == WORKER_READY)
        return keep_away ? WATCH_SUSPECT : WATCH_KEEP;
    if (watch_stuck_ms(worker, now_ms) >= rules->hang_timeout_ms)
        return WATCH_HUNG;
    /* Without a connection it can be told nothing, however well it beats. */
    return keep_away || !worker->connected ? WATCH_KEEP : WATCH_TRUST;
}

int64_t watch_wake_ms(const struct worker *worker, const struct policy_rules *rules, int64_t now_ms)
{
    if (worker->state == WORKER_READY)
        return beats(worker) ? INT64_MAX : heard_ms(worker) + patience_ms(worker, rules);
    int64_t at_ms = moved_ms(worker) + rules->hang_timeout_ms;
    if (watch_on_probation(worker, now_ms))
        at_ms = smaller(at_ms, worker->watch.late_last_ms + worker->watch.probation_ms);
    return at_ms;
}

void watch_explain(const struct worker *worker, int64_t now_ms, char out[WATCH_TEXT_SIZE])
{
    const struct watch *watch = &worker->watch;
    const char *what = beats(worker) ? "beat" : "report";
    if (watch->late && watch->turn_ms != 0)
        (void)snprintf(out, WATCH_TEXT_SIZE, "one loop turn lasts %" PRId64 " ms",
                       watch_turn_ms(worker));
    else if (!watch->late && !watch_on_probation(worker, now_ms) && !worker->connected)
        (void)snprintf(out, WATCH_TEXT_SIZE, "not connected to the master");
    else if (watch->late || !watch_on_probation(worker, now_ms))
        (void)snprintf(out, WATCH_TEXT_SIZE, "no %s for %" PRId64 " ms", what,
                       watch_beat_age_ms(worker, now_ms));
    else
        (void)snprintf(out, WATCH_TEXT_SIZE,
                       "on probation for %.1f s more: late %u times in %.1f s",
                       (double)(watch->late_last_ms + watch->probation_ms - now_ms) / 1e3,
                       watch->late_count, (double)(now_ms - watch->late_first_ms) / 1e3);
}
