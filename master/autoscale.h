/* SPDX-License-Identifier: BSD-2-Clause
 *
 * autoscale - how many workers there are to be, and why.
 *
 * Pure: (rules, metric windows, state, now) -> decision. No clock, no I/O, no
 * allocation; the same input gives the same decision. Whoever calls it measures,
 * carries the result out, keeps the decision for people to read, and passes the
 * same state again the next time: every some seconds, and each second while the
 * accept queue fills.
 *
 *   wishes         each rule says how many workers it wants, or nothing
 *   raw            of the wishes with the highest priority the largest one; the
 *                  accept queue may ask for more than all of them
 *   settling       for a window after that, what piled up is no reason for more
 *   missing data   a metric that nobody measures keeps workers from leaving and
 *                  never makes any come
 *   stabilisation  up only to the least, down only to the most that was wanted
 *                  within the window of that direction
 *   flap guard     a down that an up follows was too early: the window for the way
 *                  down becomes longer, and is given back slowly
 *   rate           a pause between changes of one direction (not for the queue), and
 *                  so many workers or percent in so much time; of several such rates
 *                  the one that allows most counts
 *   min, max       always
 *   manual         people have the last word, within min and max
 *
 * The decision names each of these that changed the number.
 */
#ifndef MUSTER_AUTOSCALE_H
#define MUSTER_AUTOSCALE_H

#include "common/check.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    AUTOSCALE_MAX_RULES = 32,
    AUTOSCALE_MAX_METRICS = 32,
    AUTOSCALE_MAX_RATES = 4,
    AUTOSCALE_MAX_WORKERS = 65535,
    AUTOSCALE_NAME_SIZE = 32,
    AUTOSCALE_TEXT_SIZE = 1024,
    AUTOSCALE_REMEMBERED = 256, /* runs of wants; they always cover the longest window */
    AUTOSCALE_CHANGES = 64,     /* changes in each direction */
    AUTOSCALE_WINDOW_MAX_MS = 24 * 3600 * 1000,
};

enum autoscale_operator { AUTOSCALE_GT, AUTOSCALE_GTE, AUTOSCALE_LT, AUTOSCALE_LTE };

enum autoscale_action {
    AUTOSCALE_SCALE_UP,
    AUTOSCALE_SCALE_DOWN,
    AUTOSCALE_TRACK, /* keep the metric, a mean per worker, at the threshold */
};

struct autoscale_rule {
    char name[AUTOSCALE_NAME_SIZE];
    char metric[AUTOSCALE_NAME_SIZE];
    enum autoscale_operator op; /* not of AUTOSCALE_TRACK */
    enum autoscale_action action;
    double threshold;    /* the target of AUTOSCALE_TRACK, above 0 */
    int amount;          /* workers, 1 or more; not of AUTOSCALE_TRACK */
    int64_t cooldown_ms; /* after it took part in a change */
    int priority;        /* the highest that wishes anything decides */
};

/* At most so much change per period: workers, or percent of what there were when
 * the period began (rounded to the generous side), whichever is set. */
struct autoscale_rate {
    int workers;
    int percent;
    int64_t period_ms;
};

/* One direction. Without rates and pause it is not limited. */
struct autoscale_direction {
    int64_t pause_ms;  /* so long between two changes; an emergency does not wait */
    int64_t window_ms; /* of stabilisation, AUTOSCALE_WINDOW_MAX_MS at most */
    struct autoscale_rate rates[AUTOSCALE_MAX_RATES];
    int rate_count;
};

struct autoscale_rules {
    struct autoscale_rule rules[AUTOSCALE_MAX_RULES];
    int rule_count;
    int min_workers; /* 1 or more */
    int max_workers;
    double tolerance; /* of targets: 0.1 is a tenth off */
    int64_t stale_ms; /* an older metric is a missing one */
    struct autoscale_direction up, down;
    int flap_windows;           /* the guard adds at most so many windows; 0: no guard */
    double emergency_queue;     /* percent of the accept queue in use; 0: no emergencies */
    int64_t emergency_drain_ms; /* but not if it will be empty in this time */
    int emergency_percent;      /* then so many percent more workers, at least one */
    char queue_metric[AUTOSCALE_NAME_SIZE];
};

/* A metric over the window that ends now. */
struct autoscale_metric {
    char name[AUTOSCALE_NAME_SIZE];
    bool known;
    double value;
    int64_t window_ms;
    int64_t age_ms; /* of the newest sample in it */
    double workers; /* of a mean per worker: on how many, over the window; 0: on those ready */
    int silent;     /* ready workers that it should have been measured on and was not */
};

/* What people said. */
struct autoscale_manual {
    bool set;
    int instances;
    int64_t until_ms; /* INT64_MAX: until it is taken back */
};

struct autoscale_input {
    int64_t now_ms; /* any clock that does not go back */
    int current;    /* workers wanted until now */
    int ready;      /* those that serve */
    struct autoscale_metric metrics[AUTOSCALE_MAX_METRICS];
    int metric_count;
    struct autoscale_manual manual;
    bool dry_run; /* say what would be done, do nothing */
};

/* ---- what it remembers; zeros are a good beginning ---- */

/* What was wanted from..until. */
struct autoscale_run {
    int64_t from_ms, until_ms;
    int low, high;
};

struct autoscale_change {
    int64_t at_ms;
    int workers;
};

/* Changes in one direction, the oldest first. */
struct autoscale_changes {
    struct autoscale_change list[AUTOSCALE_CHANGES];
    int count;
};

struct autoscale_state {
    struct autoscale_run runs[AUTOSCALE_REMEMBERED]; /* a ring */
    int first_run, run_count;
    struct {
        char name[AUTOSCALE_NAME_SIZE];
        int64_t at_ms;
    } fired[AUTOSCALE_MAX_RULES]; /* who cools down */
    struct autoscale_changes ups, downs;
    int64_t looked_ms;
    int64_t guard_ms;     /* what the flap guard adds to the window at present */
    int64_t down_ms;      /* the last time it scaled down, if down_known */
    int64_t emergency_ms; /* the last one, if emergency_known */
    int64_t queue_ms;     /* when the queue was looked at, if queue_known */
    double queue;         /* percent, then */
    int fired_count;
    bool begun, down_known, emergency_known, queue_known;
};

/* ---- what it says ---- */

#define AUTOSCALE_CLIPS(X)                                                                         \
    X(SETTLING, "settling")                                                                        \
    X(TOLERANCE, "tolerance")                                                                      \
    X(COOLDOWN, "cooldown")                                                                        \
    X(MISSING, "missing data")                                                                     \
    X(STABILISATION, "stabilisation")                                                              \
    X(FLAP_GUARD, "flap guard")                                                                    \
    X(RATE, "rate")                                                                                \
    X(MIN, "min")                                                                                  \
    X(MAX, "max")                                                                                  \
    X(MANUAL, "manual")                                                                            \
    X(DRY_RUN, "dry run")

enum autoscale_clip {
#define X(id, text) AUTOSCALE_CLIP_##id,
    AUTOSCALE_CLIPS(X)
#undef X
        AUTOSCALE_CLIP_COUNT
};
const char *autoscale_clip_name(enum autoscale_clip clip);

enum autoscale_verdict {
    AUTOSCALE_QUIET,     /* its threshold is not reached */
    AUTOSCALE_WISHES,    /* `desired` is what it wants */
    AUTOSCALE_IN_BAND,   /* a target, and within the tolerance: wants what there is */
    AUTOSCALE_COOLS,     /* would want `desired`, but had its way a short while ago */
    AUTOSCALE_NO_METRIC, /* missing, stale, or no number */
    AUTOSCALE_SETTLES,   /* would want more, but sees the work that had piled up */
    AUTOSCALE_IN_PART,   /* would want fewer, but not all workers were measured */
};

struct autoscale_wish {
    char rule[AUTOSCALE_NAME_SIZE];
    enum autoscale_verdict verdict;
    int desired;       /* of WISHES, IN_BAND (what there is), COOLS, IN_PART */
    int metric;        /* its index among the metrics of the decision; -1: none */
    bool decided;      /* raw is its wish */
    int64_t cooled_ms; /* of COOLS: until it may again */
};

struct autoscale_decision {
    int64_t at_ms;
    int current, ready;
    struct autoscale_metric metrics[AUTOSCALE_MAX_METRICS];
    int metric_count;
    struct autoscale_wish wishes[AUTOSCALE_MAX_RULES];
    int wish_count;
    int emergency;      /* what the accept queue asks for, if that is more than there are */
    bool queue_unknown; /* it would, if it could be seen */
    int raw;            /* before anything clipped it */
    /* Which clips changed the number, from what to what, in this order. TOLERANCE,
     * COOLDOWN: what that rule would have made of it. */
    struct {
        enum autoscale_clip clip;
        int from, to;
    } clips[AUTOSCALE_CLIP_COUNT + 3]; /* pause and rate; MIN and MAX for people, too */
    int clip_count;
    int64_t down_window_ms;         /* with what the flap guard adds */
    int automatic;                  /* what the rules come to */
    int result;                     /* how many workers there are to be */
    char text[AUTOSCALE_TEXT_SIZE]; /* one sentence */
};

/* The rules that are shipped. */
void autoscale_default_rules(int min_workers, int max_workers, struct autoscale_rules *out);

/* NULL, or what is wrong with them: "rule \"x\": its amount must be 1 or more". */
const char *autoscale_check_rules(const struct autoscale_rules *rules, char *buffer,
                                  int buffer_size);

/* The rules must have passed the check. */
void autoscale_decide(const struct autoscale_rules *rules, const struct autoscale_input *input,
                      struct autoscale_state *state, struct autoscale_decision *out);

bool autoscale_was_clipped(const struct autoscale_decision *decision, enum autoscale_clip clip);

#endif
