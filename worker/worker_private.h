/* SPDX-License-Identifier: BSD-2-Clause
 *
 * worker_private - the wired worker, shared by worker.c (start, loop),
 * worker_messages.c (the master), worker_drain.c (the end) and worker_report.c.
 */
#ifndef MUSTER_WORKER_WORKER_PRIVATE_H
#define MUSTER_WORKER_WORKER_PRIVATE_H

#include "common/config.h"
#include "common/contract.h"
#include "common/metrics.h"
#include "worker/access_log.h"
#include "worker/conn.h"
#include "worker/documents.h"
#include "worker/handlers.h"
#include "worker/link.h"
#include "worker/listener.h"
#include "worker/loop.h"
#include "worker/worker.h"

#include <event2/event_struct.h>
#include <stdbool.h>

/*
 *   STARTING --first ASSIGN--> SERVING --DRAIN, SIGTERM, no master--> DRAINING --> ENDED
 *       \                                                                          ^
 *        \--REFUSED, bad configuration, DRAIN, SIGTERM ---------------------------/
 */
#define WORKER_STATES(X)                                                                           \
    X(STARTING, "starting")                                                                        \
    X(SERVING, "serving")                                                                          \
    X(DRAINING, "draining")                                                                        \
    X(ENDED, "ended")
#define WORKER_ENUM_STATE(name, text) WORKER_##name,
enum worker_state { WORKER_STATES(WORKER_ENUM_STATE) };

struct worker {
    struct worker_options options;
    enum worker_state state;
    int exit_status; /* an enum worker_exit */
    struct loop loop;
    enum cluster_state cluster_state;

    /* From WELCOME on. */
    struct config *config;
    struct response_common common;
    struct access_log access_log;
    struct documents *documents;
    struct handlers *handlers;
    struct conns *conns;
    struct listeners *listeners;

    struct link *link;
    uint64_t epoch; /* of the last ASSIGN */
    bool listening_ended;
    bool cutting;

    struct event beat_due;
    int beat_fd;           /* a timerfd; -1: not yet */
    int64_t beat_ns;       /* between two beats */
    unsigned beats;        /* to a report */
    unsigned beats_left;   /* until the next report */
    int64_t report_lag_ns; /* the largest since the last report */
    struct event documents_timer;
    struct event grace_timer;
    struct event deadline_timer;
    struct event orphan_timer;
    struct event terminate;
    int64_t documents_wake_ns; /* 0: not armed */
    int64_t drain_deadline_ns;
    int64_t beat_due_ns;
    struct buf snapshot;
    struct metrics metrics;
};

/* worker.c */
void worker_enter(struct worker *worker, enum worker_state state);
void worker_arm(struct worker *worker, struct event *timer, int64_t in_ms);
/* Builds what serving needs from the configuration, as the user it names. 0, or
 * an enum worker_exit. */
int worker_build(struct worker *worker, const struct config *config);

/* worker_messages.c */
extern const struct link_callbacks worker_link_callbacks;
int worker_ask_master(void *context, uint32_t id, enum view view, enum view_format format);

/* worker_drain.c */
/* Finishes what there is and ends, after `timeout_ms` at the latest. With
 * `stop_listening` connections are accepted for `grace_ms` more; without, the
 * sockets are somebody else's already. May be called again. */
void worker_drain(struct worker *worker, int64_t timeout_ms, int64_t grace_ms, bool stop_listening);
/* A connection was closed; the drain may be over. */
void worker_check_drained(struct worker *worker);
void worker_end(struct worker *worker, int exit_status);
void worker_init_drain(struct worker *worker);

/* worker_report.c */
MUST_USE int worker_report_start(struct worker *worker); /* 0 or -errno */
void worker_report_stop(struct worker *worker);
void worker_report(struct worker *worker);
/* Beats on this board from now on; takes the descriptor. */
void worker_take_board(struct worker *worker, int fd);
/* Tells the master that no listening socket is open here any more. */
void worker_say_closed(struct worker *worker);

#endif
