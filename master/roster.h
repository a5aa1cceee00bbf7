/* SPDX-License-Identifier: BSD-2-Clause
 *
 * roster - who is in the cluster: the slots, the workers in them, and the
 * obituaries of those that were.
 *
 * Plain data and its transitions; no sockets, no processes, no clock. The
 * roster owns its slots and workers. A worker's handles (pidfd, control
 * connection) belong to other modules, which find them through `pid`.
 *
 * A slot is a position in the listener groups. It may hold several workers at
 * once while one generation replaces another: the newest one that is READY
 * owns the slot's sockets.
 *
 *   a worker:  STARTING -> READY <-> SUSPECT
 *                  |         |          |
 *                  |         v          v
 *                  |      DRAINING -----+--> (dead)
 *                  +---------------------^
 *
 *   a slot shows the state of its best worker; without one it is EMPTY, or
 *   BACKOFF while it waits to start one.
 */
#ifndef MUSTER_ROSTER_H
#define MUSTER_ROSTER_H

#include "common/board.h"
#include "common/ipc.h"
#include "common/metrics.h"
#include "common/procfs.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

/* X(NAME, name) */
#define WORKER_STATES(X)                                                                           \
    X(STARTING, "starting")                                                                        \
    X(READY, "ready")                                                                              \
    X(SUSPECT, "suspect")                                                                          \
    X(DRAINING, "draining")                                                                        \
    X(DEAD, "dead")
#define ROSTER_ENUM_WORKER(name, text) WORKER_##name,
enum worker_state { WORKER_STATES(ROSTER_ENUM_WORKER) WORKER_STATE_COUNT };

#define SLOT_STATES(X)                                                                             \
    X(EMPTY, "empty")                                                                              \
    X(BACKOFF, "backoff")                                                                          \
    X(STARTING, "starting")                                                                        \
    X(READY, "ready")                                                                              \
    X(SUSPECT, "suspect")                                                                          \
    X(DRAINING, "draining")
#define ROSTER_ENUM_SLOT(name, text) SLOT_##name,
enum slot_state { SLOT_STATES(ROSTER_ENUM_SLOT) SLOT_STATE_COUNT };

/* Why a worker ended or was told to; label of muster_worker_restarts_total. */
#define DEATH_REASONS(X)                                                                           \
    X(NONE, "none")                   /* still alive */                                            \
    X(CRASH, "crash")                 /* died of a signal that nobody here sent */                 \
    X(EXIT, "exit")                   /* exited by itself */                                       \
    X(SPAWN_FAILED, "spawn_failed")   /* could not be started at all */                            \
    X(START_TIMEOUT, "start_timeout") /* never said READY */                                       \
    X(HANG, "hang")                   /* reported nothing for hang_timeout */                      \
    X(PROTOCOL, "protocol")           /* sent nonsense on the control socket */                    \
    X(RESTART, "restart")             /* somebody asked */                                         \
    X(RELOAD, "reload")               /* replaced by a new generation */                           \
    X(RECYCLE, "recycle")             /* had its requests, its time or its memory */               \
    X(SCALE_DOWN, "scale_down")                                                                    \
    X(SHUTDOWN, "shutdown")
#define ROSTER_ENUM_REASON(name, text) DEATH_##name,
enum death_reason { DEATH_REASONS(ROSTER_ENUM_REASON) DEATH_REASON_COUNT };

const char *worker_state_name(enum worker_state state);
const char *slot_state_name(enum slot_state state);
const char *death_reason_name(enum death_reason reason);

enum {
    ROSTER_OBITUARIES = 8,       /* kept for each slot */
    ROSTER_WORKERS_PER_SLOT = 4, /* generations that can pile up in one slot */
    ROSTER_BUILD_SIZE = 32,
    ROSTER_CAUSE_SIZE = 96,
};

struct obituary {
    int64_t wall_ms;
    pid_t pid;
    uint64_t generation;
    int64_t age_ms;
    enum death_reason reason;
    int exit_code;   /* -1 when it died of a signal */
    int exit_signal; /* 0 when it exited */
    bool core_dumped;
    bool was_ready;
    uint64_t cut_requests;         /* in flight at the drain deadline */
    uint64_t cut_connections;      /* all that were open then */
    char why[ROSTER_CAUSE_SIZE];   /* the figures behind `reason`; may be empty */
    char cause[ROSTER_CAUSE_SIZE]; /* "killed by SIGSEGV (core dumped)", "exited with status 78: …"
                                    */
    uint64_t requests;             /* from its last report */
    int64_t connections;           /* open at its last report */
    uint64_t rss_bytes;
};

/* What was seen of a worker's progress (watch.h). Times are monotonic. */
struct watch {
    int64_t beat_ns;       /* what stood on its board at the last look */
    uint64_t turns;        /* the same */
    int64_t interval_ms;   /* between its beats; 0: none yet, its reports have to do */
    int64_t heard_ms;      /* its last beat */
    int64_t moved_ms;      /* when anything last changed on its board */
    int64_t turn_ms;       /* when the turn that its loop is in began, 0: it waits */
    int64_t looked_ms;     /* 0: never */
    int64_t excused_ms;    /* what lies before is not held against it */
    bool late;             /* at the last look */
    unsigned late_count;   /* times in a row, until it is forgotten */
    int64_t late_first_ms; /* of these */
    int64_t late_last_ms;
    int64_t late_beat_ns; /* its last beat before it was last late */
    int64_t probation_ms; /* 0: was not late again */

    /* What people were told of it, so that they are not told too often. */
    int64_t told_since_ms;
    unsigned told;
    bool told_last;
    int64_t traced_ms; /* 0: never */
};

struct worker {
    TAILQ_ENTRY(worker) in_roster; /* all workers, oldest first */
    TAILQ_ENTRY(worker) in_slot;   /* those of the slot, newest first */
    int slot;
    pid_t pid;
    uint64_t generation;
    enum worker_state state;
    char build[ROSTER_BUILD_SIZE]; /* version it reported, "" before HELLO */

    int64_t started_ms; /* monotonic; so are all below */
    int64_t state_since_ms;
    int64_t ready_ms;              /* 0: never was */
    int64_t last_report_ms;        /* 0: none yet */
    int64_t drain_deadline_ms;     /* when the worker cuts what remains */
    const char *drain_deadline_by; /* the key, or the rule, that set it; static */
    bool cut;                      /* its drain was ended for want of room in the slot */
    bool connected;                /* its control connection is up */
    int64_t connected_ms;          /* since when */
    bool adopted;                  /* a master before this one started it */
    bool unheard;                  /* adopted, and has not reported since */
    int state_cell;                /* of its record in the state file, -1: none */
    bool replace;                  /* to be replaced by a new one, as a reload does */
    bool drain_sent;
    bool leaving;                /* drains by itself: will not go on accepting */
    bool closed_listeners;       /* holds no listening socket any more */
    bool done;                   /* said GOODBYE */
    enum death_reason ending;    /* why it was told to end, NONE if it was not */
    bool recycle;                /* `replace` was set because of a bound of recycle { } */
    char why[ROSTER_CAUSE_SIZE]; /* the figures behind `ending`; may be empty */
    int kill_signal;             /* the last signal sent to end it by force, 0: none */
    int64_t kill_sent_ms;

    /* Handles of the modules that hold its process and its control connection. */
    struct child *child;
    struct peer *peer;
    const struct board *board; /* where it beats, mapped for reading; NULL: it has none */
    uint32_t contract;         /* version of the contract it speaks */
    struct watch watch;

    struct slot_set assigned;  /* what it was last told to poll */
    struct slot_set confirmed; /* what of it, it said it polls */
    uint64_t assign_epoch;     /* of `assigned`; 0: none was sent on this connection */

    struct metrics metrics;    /* its last snapshot */
    struct procfs_sample proc; /* zeros until sampled */
    int64_t sampled_ms;        /* when `proc` was read, 0: never */
    double cpu_percent;        /* of one processor, over the last interval */
    double request_rate;       /* per second, over the last interval */
    double accept_rate;
    double loop_busy; /* share of the last interval its loop worked, 0..1 */
};

TAILQ_HEAD(worker_list, worker);

struct slot {
    int index;
    bool wanted;                /* index is among the desired workers */
    struct worker_list workers; /* newest first */
    int worker_count;
    enum slot_state shown; /* last state logged */
    int64_t state_since_ms;

    int early_deaths;       /* in a row */
    int64_t backoff_ms;     /* the last one used, 0: none */
    int64_t start_at_ms;    /* not before (monotonic) */
    uint64_t suspected;     /* how often a worker of this slot became SUSPECT */
    uint64_t restarts;      /* replacements for workers that were not asked to end */
    bool needs_budget;      /* the next start replaces one that failed */
    uint64_t roll_failures; /* replacements that died before READY while the old worker served */
    uint64_t cuts;          /* drains ended because the slot was full */
    int recycled_early;     /* in a row, for memory: see policy_recycle.h */

    struct obituary obituary[ROSTER_OBITUARIES]; /* ring */
    unsigned obituary_count; /* ever; the newest is at (count - 1) % ROSTER_OBITUARIES */
};

/* A new generation that one worker, the canary, has to prove. Until it did, the
 * roster's generation stays in force for everybody else. */
struct roster_trial {
    uint64_t generation; /* 0: none */
    int64_t since_ms;
};

struct roster {
    int slot_count;
    struct slot *slots;
    struct worker_list workers;
    int worker_count;
    int desired;         /* workers wanted now */
    uint64_t generation; /* of workers started from now on, but for the canary */
    struct roster_trial trial;
    bool rolling; /* `generation` is being rolled out and may still be taken back */
    uint64_t
        restarts[DEATH_REASON_COUNT]; /* ever, by reason; including those that were asked to end */

    int64_t last_start_ms; /* of any worker, 0: never */

    /* the cluster's restart budget */
    int64_t budget_window_ms; /* start of the current window */
    int budget_used;
    bool budget_exhausted;
    bool budget_logged;
};

MUST_USE struct roster *roster_new(int slot_count); /* NULL: no memory */
void roster_free(struct roster **roster);

/* A new worker in STARTING. NULL: no memory, or the slot is full. */
struct worker *roster_add(struct roster *roster, int slot, pid_t pid, int64_t now_ms);
/* A worker that lived before this master: READY or DRAINING, or STARTING when
 * it was that. Older ones first. NULL as above. */
struct worker *roster_adopt(struct roster *roster, int slot, pid_t pid, uint64_t generation,
                            enum worker_state state, int64_t started_ms, int64_t now_ms);
/* Unlinks and frees a worker that is DEAD. */
void roster_remove(struct roster *roster, struct worker *worker);
struct worker *roster_find_pid(const struct roster *roster, pid_t pid);

/* The checked state change: an illegal one is our bug and aborts. */
void worker_enter(struct worker *worker, enum worker_state state, int64_t now_ms);

/* Makes slots 0..desired-1 wanted and the others not. */
void roster_set_desired(struct roster *roster, int desired);

/* STARTING, READY or SUSPECT: takes part in the cluster. */
bool worker_is_live(const struct worker *worker);
/* It was sent an ASSIGN: what it is to give up does not count as polled from now on. */
void worker_assign(struct worker *worker, const struct slot_set *slots, uint64_t epoch);
/* It answered the ASSIGN of that epoch: it polls `slots`. An answer to an older one cannot say
 * what it does by now, only what it did not do then. */
void worker_confirm(struct worker *worker, const struct slot_set *slots, uint64_t epoch);
/* Of another configuration than the one in force, or asked to be replaced. */
bool worker_is_outdated(const struct roster *roster, const struct worker *worker);

/* Of the generation on trial. */
bool worker_is_canary(const struct roster *roster, const struct worker *worker);
/* The live canary, or NULL. */
struct worker *roster_canary(const struct roster *roster);
/* Slots whose READY worker is of the generation in force, and up to date. */
int roster_count_replaced(const struct roster *roster);

/* The newest READY worker of a slot, or NULL. */
struct worker *slot_ready_worker(const struct slot *slot);
/* READY if any worker is, else SUSPECT, STARTING, DRAINING, BACKOFF, EMPTY. */
enum slot_state slot_state_now(const struct slot *slot, int64_t now_ms);

/* How many workers are in this state. */
int roster_count(const struct roster *roster, enum worker_state state);
int roster_count_slots(const struct roster *roster, enum slot_state state, int64_t now_ms);

void slot_add_obituary(struct slot *slot, const struct obituary *obituary);
/* n = 0 is the newest; NULL when there are not that many. */
const struct obituary *slot_obituary(const struct slot *slot, unsigned n);

#endif
