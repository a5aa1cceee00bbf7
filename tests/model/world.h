/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world - one state of a small cluster, and every step that can happen in it.
 *
 * The master in it is the real one as far as it decides: master/policy.c and
 * master/roster.c. What carries its plans out (master_plan.c, master_workers.c,
 * master_deaths.c, master_reload.c, master_roll.c) needs sockets and processes and
 * is repeated here in a few lines each (world_plan.c, world_master.c): who changes
 * it there changes it here. The workers, the control connections and the kernel
 * are fakes:
 *
 * - A connection is two queues of messages. When the master dies, what it had
 *   sent is still read before the end of the connection is noticed; what it had
 *   not read is lost.
 * - The kernel is the dispatch program (the last STEER) and, for each slot, who
 *   polls its socket. Connections are not modelled one by one: a handshake that
 *   is under way reaches its socket long after the program has changed, so any
 *   socket can have one in its queue at any time, and whether somebody polls it
 *   is asked in every state.
 * - There is no clock. A deadline that has something to wait for may pass at any
 *   time, as a step of its own, so that every order of events and deadlines is seen.
 *
 * A world is plain bytes without padding: two worlds are the same state exactly
 * when they are the same bytes. Processes are in the order of their birth.
 */
#ifndef MUSTER_TESTS_MODEL_WORLD_H
#define MUSTER_TESTS_MODEL_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
    WORLD_SLOTS = 3,     /* the most of them */
    WORLD_PROCESSES = 8, /* that exist at a time */
    WORLD_INBOX = 10,    /* messages under way to a worker */
    WORLD_OUTBOX = 10,   /* messages under way to the master */
    WORLD_EVENTS = 128,  /* that are possible in one state */
    WORLD_TEXT = 160,
};

/* What people and misfortune do; each state has a number left of each. */
#define WORLD_FAULTS(X)                                                                            \
    X(CRASH, "crash")                                                                              \
    X(HANG, "hang")                                                                                \
    X(SCALE, "scale")                                                                              \
    X(RELOAD, "reload")                                                                            \
    X(MASTER, "master")                                                                            \
    X(TERM, "term")
#define WORLD_FAULT_ENUM(name, text) FAULT_##name,
enum fault { WORLD_FAULTS(WORLD_FAULT_ENUM) FAULT_COUNT };

#define WORLD_LIVES(X)                                                                             \
    X(STARTING, "starting")                                                                        \
    X(SERVING, "serving")                                                                          \
    X(DRAINING, "draining")                                                                        \
    X(DEAD, "dead") /* and the master does not know */
#define WORLD_LIFE_ENUM(name, text) LIFE_##name,
enum life { WORLD_LIVES(WORLD_LIFE_ENUM) LIFE_COUNT };

#define WORLD_MAILS(X)                                                                             \
    X(NONE, "nothing")                                                                             \
    X(ASSIGN, "ASSIGN")                                                                            \
    X(DRAIN, "DRAIN")                                                                              \
    X(REFUSED, "REFUSED")                                                                          \
    X(HELLO, "HELLO")                                                                              \
    X(READY, "READY")                                                                              \
    X(ASSIGNED, "ASSIGNED")                                                                        \
    X(REPORT, "METRICS")
#define WORLD_MAIL_ENUM(name, text) MAIL_##name,
enum mail_kind { WORLD_MAILS(WORLD_MAIL_ENUM) MAIL_COUNT };

enum link { LINK_NONE, LINK_UP, LINK_BROKEN /* and the worker does not know */ };
enum seat { SEAT_EMPTY /* no master */, SEAT_CALLING /* the roll */, SEAT_TAKEN };

struct mail {
    uint8_t kind;
    uint8_t slots; /* bit set */
    uint8_t lag;   /* of ASSIGN and ASSIGNED: how many newer ASSIGNs were sent on this connection */
    uint8_t life;  /* of HELLO and METRICS: what the sender does */
};

/* What the master's roster says of a process: struct worker, as far as anything depends on it.
 * It outlives the master as the state file. */
struct entry {
    uint8_t listed;
    uint8_t state; /* enum worker_state */
    uint8_t connected, replace, leaving;
    uint8_t ending;              /* enum death_reason */
    uint8_t killed;              /* a signal is on its way */
    uint8_t assigned, confirmed; /* bit sets */
    uint8_t told;                /* an ASSIGN was sent on this connection */
    uint8_t was_ready;
    uint8_t late;      /* deadlines that passed in this state */
    uint8_t proven;    /* READY for canary_time */
    uint8_t probation; /* was late again: not trusted at once */
};

struct process {
    uint8_t life;
    uint8_t slot, generation;
    uint8_t hung;
    uint8_t signalled; /* a signal that kills it is on its way */
    uint8_t finishing; /* told to end by somebody else: closes its sockets after a while */
    uint8_t polls;     /* bit set */
    uint8_t link;
    struct mail inbox[WORLD_INBOX];
    struct mail outbox[WORLD_OUTBOX];
    struct entry entry;
};

struct world {
    uint8_t slot_count;
    uint8_t process_count;
    uint8_t program; /* bit set: the slots that the kernel chooses among */

    /* the master in charge */
    uint8_t seat;
    uint8_t steered; /* what it believes of `program` */
    uint8_t generation, newest_generation, previous_generation;
    uint8_t desired;
    uint8_t trial;         /* the generation on trial, 0: none */
    uint8_t trial_overdue; /* the time for its canary is over */
    uint8_t rolling;
    uint8_t early_deaths[WORLD_SLOTS];
    uint8_t backing_off[WORLD_SLOTS];

    uint8_t left[FAULT_COUNT]; /* of each kind */
    uint8_t left_in_all;
    uint8_t troubled; /* a worker crashed or hung: the past tense of left[] */
    struct process process[WORLD_PROCESSES];
};

/* Rules broken on purpose, to prove that the search finds what it is for. */
#define WORLD_MUTATIONS(X)                                                                         \
    X(NONE, "none")                                                                                \
    X(TRUST_UNCONFIRMED, "trust-unconfirmed")   /* ASSIGN counts as done when it is sent */        \
    X(BELIEVE_LATE_REPLY, "believe-late-reply") /* ASSIGNED of an older ASSIGN counts */           \
    X(FORGET_HELLO_SLOTS, "forget-hello-slots") /* the roll call does not ask who polls what */    \
    X(STEER_LAST, "steer-last")                 /* a plan is carried out in reverse */             \
    X(NO_STATE_FILE, "no-state-file")           /* a new master knows of nobody */                 \
    X(NEVER_SUSPECT, "never-suspect")           /* a silent worker is trusted */
#define WORLD_MUTATION_ENUM(name, text) MUTATION_##name,
enum mutation { WORLD_MUTATIONS(WORLD_MUTATION_ENUM) MUTATION_COUNT };

#define WORLD_EVENT_KINDS(X)                                                                       \
    X(CONNECT)       /* a worker reaches the master and says HELLO */                              \
    X(READ)          /* a worker reads a message */                                                \
    X(NOTICE)        /* a worker that starts finds no master */                                    \
    X(HEAR)          /* the master reads a message */                                              \
    X(END)           /* a worker that drains and polls nothing exits */                            \
    X(BURY)          /* the master notices a death */                                              \
    X(LATE)          /* a deadline of the master for a worker passes */                            \
    X(SIGNAL)        /* a signal takes effect */                                                   \
    X(PROVEN)        /* a worker of a new generation was READY for canary_time */                  \
    X(OVERDUE)       /* the canary had time enough */                                              \
    X(PROBATION)     /* the probation of a worker is over */                                       \
    X(BACKOFF)       /* a slot has waited long enough */                                           \
    X(MASTER_STARTS) /* somebody starts a new master */                                            \
    X(CALL_OVER)     /* the roll call ends */                                                      \
    X(RESUME)        /* a worker that hung goes on */                                              \
    X(CRASH)                                                                                       \
    X(HANG)                                                                                        \
    X(SCALE)                                                                                       \
    X(RELOAD)                                                                                      \
    X(MASTER_DIES)                                                                                 \
    X(TERM) /* somebody else tells a worker to end */
#define WORLD_EVENT_ENUM(name) EVENT_##name,
enum event_kind { WORLD_EVENT_KINDS(WORLD_EVENT_ENUM) EVENT_COUNT };

struct event {
    uint8_t kind;
    uint8_t who; /* index of a process, or of a slot */
    uint8_t arg; /* SCALE: how many. RESUME: 1 with probation */
};

/* The faults left, and the cluster, are set by the caller; then the first worker
 * of each wanted slot is spawned. NULL, or the rule that was broken. */
const char *world_begin(struct world *world);
/* The steps that are possible, those that need no fault first. */
int world_events(const struct world *world, struct event *out);
/* A step that goes on by itself when everybody is left alone. */
bool world_is_calm(struct event event);
/* Takes the step. NULL, or the rule that was broken. */
const char *world_step(struct world *world, struct event event);
/* What must be true when nothing is left to happen by itself. */
const char *world_check_end(const struct world *world);

const char *mutation_name(enum mutation mutation);
/* For all worlds of this program. */
void world_set_mutation(enum mutation mutation);

/* Tells the story of the steps that follow to `out`; NULL: silence. */
void world_narrate(FILE *out);

#endif
