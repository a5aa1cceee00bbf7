/* SPDX-License-Identifier: BSD-2-Clause
 *
 * watch - whether a worker makes progress, and what to make of it if it does not.
 *
 * Pure bookkeeping over `struct watch` of a worker: no board, no clock, no
 * signal. Whoever holds the boards looks at them often, tells what stands there
 * (watch_look) and how much time it missed itself (watch_excuse), and asks for a
 * verdict.
 *
 *   LATE      no beat for suspect_timeout, or one turn of the loop longer than
 *             stall_timeout. A late worker is SUSPECT until it goes on.
 *   probation who is late again soon after stays SUSPECT for a while after it
 *             goes on, twice as long each time, so that nobody new meets the
 *             next stall. It never holds more than a minority of those that make
 *             progress: then capacity matters more.
 *   hung      nothing has moved for hang_timeout. Only that is a reason to kill.
 */
#ifndef MUSTER_WATCH_H
#define MUSTER_WATCH_H

#include "master/policy.h"
#include "master/roster.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    WATCH_PROBATION_MS = 2000, /* the first; each further one is twice as long */
    WATCH_PROBATION_MAX_MS = 30000,
    WATCH_MEMORY_MS = 10000,       /* after a probation without lateness it is forgotten */
    WATCH_INTERVAL_MAX_MS = 10000, /* the longest time between beats that is believed */
    WATCH_TEXT_SIZE = 128,
};

/* What stands on a board. */
struct watch_sample {
    int64_t beat_ns;
    int64_t turn_started_ns;
    int64_t lag_ns;
    int64_t interval_ns;
    uint64_t turns;
};

/* One look at a READY or SUSPECT worker. `sample` is NULL without a board, and
 * counts from its first beat on. */
void watch_look(struct worker *worker, const struct watch_sample *sample,
                const struct policy_rules *rules, int64_t now_ms);

/* The master itself missed so much time (it was stopped, or the machine was):
 * that is held against nobody. Call it before the next look. */
void watch_excuse(struct worker *worker, int64_t missed_ms, int64_t now_ms);

/* It has a new board, which nobody has written on yet. */
void watch_new_board(struct worker *worker, int64_t now_ms);

enum watch_lateness { WATCH_FINE, WATCH_SILENT, WATCH_STALLED };
enum watch_lateness watch_lateness(const struct worker *worker, const struct policy_rules *rules,
                                   int64_t now_ms);

/* Whether it is to be kept away from new connections although it goes on. */
bool watch_on_probation(const struct worker *worker, int64_t now_ms);
/* Whether probation is in force, given all workers. */
bool watch_probation_holds(const struct roster *roster, const struct policy_rules *rules,
                           int64_t now_ms);

/* For how long nothing has moved. */
int64_t watch_stuck_ms(const struct worker *worker, int64_t now_ms);

enum watch_verdict {
    WATCH_KEEP,    /* as it is */
    WATCH_SUSPECT, /* READY, and is not to get new connections */
    WATCH_TRUST,   /* SUSPECT, and may get them again */
    WATCH_HUNG,    /* SUSPECT, and has not moved for hang_timeout */
};
/* About a READY or SUSPECT worker; `holds` is watch_probation_holds(). */
enum watch_verdict watch_judge(const struct worker *worker, const struct policy_rules *rules,
                               bool holds, int64_t now_ms);

/* When the verdict may change although nobody looks (it has no board, or hangs);
 * INT64_MAX: only a look can tell. */
int64_t watch_wake_ms(const struct worker *worker, const struct policy_rules *rules,
                      int64_t now_ms);
/* When it will be late if it does not move; INT64_MAX: it is already. */
int64_t watch_late_at_ms(const struct worker *worker, const struct policy_rules *rules,
                         int64_t now_ms);

/* Why it is SUSPECT: "no beat for 310 ms". */
void watch_explain(const struct worker *worker, int64_t now_ms, char out[WATCH_TEXT_SIZE]);

/* Milliseconds since its last beat or report; how long the turn of its loop
 * lasted at the last look, 0 while it waits. */
int64_t watch_beat_age_ms(const struct worker *worker, int64_t now_ms);
int64_t watch_turn_ms(const struct worker *worker);

#endif
