/* SPDX-License-Identifier: BSD-2-Clause
 *
 * events - the last things that happened to the cluster, for people.
 *
 * A ring of a fixed size: the newest take the place of the oldest. What happens
 * again and again is the caller's to hold back. Pure; given the time.
 */
#ifndef MUSTER_EVENTS_H
#define MUSTER_EVENTS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* X(NAME, name) */
#define EVENT_KINDS(X)                                                                             \
    X(START, "start")             /* the master began, or took over */                             \
    X(STOP, "stop")               /* the cluster drains, or is cut */                              \
    X(SUSPECT, "suspect")         /* a worker is late and steered away from */                     \
    X(TRUSTED, "trusted")         /* it gets new connections again */                              \
    X(HANG_KILLED, "hang_killed") /* it made no progress for hang_timeout */                       \
    X(DEATH, "death")             /* a worker ended that nobody had asked to */                    \
    X(RELOAD, "reload")                                                                            \
    X(UPGRADE, "upgrade")                                                                          \
    X(SCALE, "scale")                                                                              \
    X(RECYCLE, "recycle")                                                                          \
    X(RESTART, "restart") /* somebody asked */                                                     \
    X(ADOPTED, "adopted") /* a worker that was there before this master */                         \
    X(DISPATCH, "dispatch")
#define EVENTS_ENUM(name, text) EVENT_##name,
enum event_kind { EVENT_KINDS(EVENTS_ENUM) EVENT_KIND_COUNT };

const char *event_kind_name(enum event_kind kind);

enum { EVENTS_KEPT = 512, EVENT_TEXT_SIZE = 160, EVENT_NO_SLOT = -1 };

struct event_record {
    uint64_t id; /* 1 is the first ever */
    int64_t wall_ms;
    enum event_kind kind;
    int slot;  /* EVENT_NO_SLOT: the whole cluster */
    pid_t pid; /* 0: of no process */
    char text[EVENT_TEXT_SIZE];
};

struct events {
    uint64_t count; /* ever */
    struct event_record ring[EVENTS_KEPT];
};

/* `format` makes the text; what does not fit is cut. NULL for `events`: nobody
 * wants to know. */
void events_add(struct events *events, int64_t wall_ms, enum event_kind kind, int slot, pid_t pid,
                const char *format, ...) __attribute__((format(printf, 6, 7)));

/* n = 0 is the newest; NULL when there are not that many any more. */
const struct event_record *events_at(const struct events *events, size_t n);

#endif
