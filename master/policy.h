/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy - what the master does next: (roster, rules, now) -> a plan.
 *
 * Pure: it changes nothing. master.c carries the plan out, changes the roster
 * accordingly and asks again when something happens or `wake_at_ms` comes.
 * Asking twice gives the same plan, so nothing is lost when a step fails.
 *
 * The order of a plan is the order that loses nothing: steer new connections
 * away first, then let the new owner of a socket poll it, and only when it
 * said so let the old owner stop.
 */
#ifndef MUSTER_POLICY_H
#define MUSTER_POLICY_H

#include "master/policy_recycle.h"
#include "master/roster.h"

#include <stdbool.h>
#include <stdint.h>

struct policy_rules {
    bool stopping; /* the cluster ends: start nobody, move no sockets */
    int64_t start_timeout_ms;
    int64_t report_interval_ms;
    int64_t suspect_timeout_ms; /* without a beat */
    int64_t stall_timeout_ms;   /* in one turn of its loop; 0: any time */
    int64_t hang_timeout_ms;    /* without any progress */
    int64_t canary_time_ms;     /* how long the first worker of a new generation must stay well */
    int64_t drain_timeout_ms;   /* of a worker that was replaced */
    int64_t scale_drain_timeout_ms; /* of one that was scaled away */
    int64_t kill_grace_ms;          /* from a gentle signal, or a missed deadline, to SIGKILL */
    int64_t backoff_min_ms;
    int64_t backoff_max_ms;
    int64_t healthy_after_ms;
    int budget; /* restarts in budget_interval_ms */
    int64_t budget_interval_ms;
    int64_t last_resort_ms; /* with nobody serving, no back-off is longer than this */
    struct recycle_rules recycle;
};

#define POLICY_ACTIONS(X)                                                                          \
    X(STEER, "steer")         /* the kernel chooses among `slots` */                               \
    X(SPAWN, "spawn")         /* start a worker of `generation` in `slot` */                       \
    X(ASSIGN, "assign")       /* `worker` polls exactly `slots` */                                 \
    X(DRAIN, "drain")         /* `worker` ends gracefully, because of `reason` */                  \
    X(SUSPECT, "suspect")     /* `worker` is late */                                               \
    X(TRUST, "trust")         /* a suspect `worker` goes on */                                     \
    X(KILL, "kill")           /* send `signal` to `worker`, because of `reason` */                 \
    X(CUT, "cut")             /* `worker` drains and is in the way: it ends now */                 \
    X(RECYCLE, "recycle")     /* `worker` is past a bound (`recycle`): to be replaced */           \
    X(PROMOTE, "promote")     /* the generation on trial is in force from now on */                \
    X(TAKE_BACK, "take back") /* the trial has failed, because of `why` */
#define POLICY_ENUM(name, text) POLICY_##name,
enum policy_action_kind { POLICY_ACTIONS(POLICY_ENUM) POLICY_ACTION_COUNT };

struct policy_action {
    enum policy_action_kind kind;
    int slot;
    struct worker *worker;
    enum death_reason reason;
    int signal;
    uint64_t generation;
    const char *why; /* static */
    struct recycle_verdict recycle;
    struct slot_set slots;
};

struct policy_plan {
    struct policy_action *actions; /* grown as needed, reused between calls */
    int count;
    int capacity;
    bool failed;        /* out of memory: carry out what is there, ask again */
    int64_t wake_at_ms; /* ask again then; INT64_MAX: only when something happens */
};

/* Fills `plan` (zeroed before its first use). `steered` is the set that the
 * kernel chooses among now. */
void policy_decide(const struct roster *roster, const struct policy_rules *rules,
                   const struct slot_set *steered, int64_t now_ms, struct policy_plan *plan);
void policy_plan_fini(struct policy_plan *plan);

const char *policy_action_name(enum policy_action_kind kind);

/* When a slot whose worker died may start the next one. */
struct policy_backoff {
    int early_deaths;
    int64_t backoff_ms; /* 0: at once */
};

/* `killed_from_outside`: SIGKILL that nobody here sent to a worker that was
 * READY. Somebody's doing, not the worker's: no back-off for it. */
struct policy_backoff policy_after_death(const struct policy_rules *rules, int early_deaths,
                                         int64_t age_ms, bool was_ready, bool killed_from_outside);

/* Whether the cluster may start another worker now; counts it if so. The
 * budget is a number of restarts per interval; beyond it one a second. */
bool policy_spend_budget(struct roster *roster, const struct policy_rules *rules, int64_t now_ms);

/* Whether this death, which nobody asked for, ends the roll-out of a new
 * generation: that of the canary, or of another of its workers that was READY
 * for less than canary_time. A SIGKILL from outside counts, too: it may be the
 * kernel that ran out of memory, and a reload is easily tried again. */
bool policy_death_ends_roll(const struct roster *roster, const struct policy_rules *rules,
                            const struct worker *worker, int64_t now_ms);

/* Whether every wanted slot has a worker that is up to date and serves (READY, or
 * on probation), and no other. */
bool policy_settled(const struct roster *roster);

#endif
