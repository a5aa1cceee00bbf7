/* SPDX-License-Identifier: BSD-2-Clause
 *
 * contract - everything that musterd and muster-worker agree on.
 *
 * They talk over run_dir/control.sock (AF_UNIX, SOCK_SEQPACKET; the worker
 * connects). One datagram is one message: a header, then fields of
 * (tag, length, bytes). A receiver skips tags and messages it does not know
 * and takes a missing field as its default, so that neighbours in version
 * understand each other; a field or a number never changes its meaning.
 * Integers are in the byte order of the machine: both ends are on it.
 *
 *      worker                                master
 *        | HELLO slot pid generation version   |   checks SO_PEERCRED
 *        |------------------------------------>|
 *        |        WELCOME configuration (memfd), state, log descriptors
 *        |<------------------------------------|
 *        |        LISTENERS group, first slot, sockets  (as often as needed)
 *        |<------------------------------------|
 *        |        ASSIGN epoch, slots          |   the slots whose sockets to poll
 *        |<------------------------------------|
 *        | READY                               |   now the kernel may choose it
 *        |------------------------------------>|
 *        | ASSIGNED epoch                      |   answers every ASSIGN; once more, with STOPPING,
 *        |                                     |   when it has closed its listening sockets
 *        |------------------------------------>|
 *        | METRICS snapshot      (every report_interval, and before it exits)
 *        |------------------------------------>|
 *        | QUERY id view format  -> REPLY id status type document (memfd)
 *        |        STATE, LOGS, DRAIN           |
 *        |<------------------------------------|
 *
 * What the master sends is wanted state, not steps: ASSIGN carries the whole
 * set of slots, STATE the whole state. A message that was overtaken by a newer
 * one of its kind need not be delivered.
 *
 * When the connection breaks, a worker keeps serving and connects again with a
 * HELLO that tells what it is doing (FIELD_STATE, FIELD_SLOTS, FIELD_EPOCH),
 * followed by METRICS. A master that is new calls the roll: it asks one of them
 * for the listening sockets that all hold.
 *
 *        | HELLO, METRICS                      |
 *        |------------------------------------>|
 *        |        WELCOME, BOARD, CALL         |
 *        |<------------------------------------|
 *        | SOCKETS group, first slot, sockets  |   the last one with FIELD_LAST
 *        |------------------------------------>|
 *
 * Versions: 2 added BOARD, KEEP, CALL and SOCKETS. A worker of version 1 has no
 * board (its reports are all that is heard of it) and cannot answer CALL.
 */
#ifndef MUSTER_CONTRACT_H
#define MUSTER_CONTRACT_H

#ifndef CONTRACT_VERSION /* tests build an older worker */
#define CONTRACT_VERSION 2
#endif
#define CONTRACT_VERSION_OLDEST 1 /* the oldest that this build still talks to */

enum {
    CONTRACT_MAX_SLOTS = 1024,         /* the largest max_workers */
    CONTRACT_MAX_GROUPS = 16,          /* addresses listened on */
    CONTRACT_MAX_MESSAGE = 128 * 1024, /* bytes in one datagram */
    CONTRACT_MAX_FDS = 128,            /* descriptors in one datagram (the kernel takes 253) */
    CONTRACT_MAX_DOCUMENT = 64 << 20,  /* bytes in a memfd */
};

/* X(number, NAME) */
#define CONTRACT_MESSAGES(X)                                                                       \
    /* worker to master */                                                                         \
    X(1, HELLO)                                                                                    \
    X(2, READY)                                                                                    \
    X(3, ASSIGNED)                                                                                 \
    X(4, METRICS)                                                                                  \
    X(5, QUERY)                                                                                    \
    X(6, GOODBYE) /* the drain is over; the process exits next */                                  \
    X(7, SOCKETS) /* answers CALL: as LISTENERS, the other way round */                            \
    /* master to worker */                                                                         \
    X(32, WELCOME)                                                                                 \
    X(33, REFUSED) /* why HELLO was not accepted; the worker exits */                              \
    X(34, LISTENERS)                                                                               \
    X(35, ASSIGN)                                                                                  \
    X(36, STATE)                                                                                   \
    X(37, DRAIN)                                                                                   \
    X(38, LOGS)                                                                                    \
    X(39, REPLY)                                                                                   \
    X(40, CALL)  /* send back the listening sockets */                                             \
    X(41, BOARD) /* one descriptor: the page to beat in (common/board.h) */                        \
    X(42, KEEP)  /* one descriptor of a group, to be kept for the next master and not touched */

#define CONTRACT_ENUM_MESSAGE(number, name) MESSAGE_##name = (number),
enum message_type { CONTRACT_MESSAGES(CONTRACT_ENUM_MESSAGE) };

enum message_field {
    FIELD_SLOT = 1,       /* u32 */
    FIELD_PID = 2,        /* u32 */
    FIELD_GENERATION = 3, /* u64 */
    FIELD_CONTRACT = 4,   /* u32, CONTRACT_VERSION of the sender */
    FIELD_BUILD = 5,      /* string, the program's version */
    FIELD_STATE =
        6, /* u32, enum cluster_state (STATE, WELCOME) or enum worker_phase (HELLO, METRICS) */
    FIELD_SLOTS = 7,       /* bitmap, bit n of byte n/8 is slot n */
    FIELD_EPOCH = 8,       /* u64 */
    FIELD_GROUP = 9,       /* u32, index of the listener group */
    FIELD_FIRST_SLOT = 10, /* u32, slot of the first descriptor */
    FIELD_ADDRESS = 11,    /* string, what the group listens on, for people */
    FIELD_GROUP_KIND = 12, /* u32, enum listener_kind */
    FIELD_SNAPSHOT = 13,   /* bytes, metrics_encode() */
    FIELD_ID = 14,         /* u32, of a query */
    FIELD_VIEW = 15,       /* u32, enum view */
    FIELD_FORMAT = 16,     /* u32, enum view_format */
    FIELD_STATUS = 17,     /* u32, an HTTP status */
    FIELD_TYPE = 18,       /* string, a Content-Type */
    FIELD_REASON = 19,     /* string, for people */
    FIELD_TIMEOUT_MS = 20, /* u32, from now until what remains is cut (DRAIN; HELLO of a worker that
                              drains) */
    FIELD_GRACE_MS = 21,   /* u32, how long to go on accepting (DRAIN) */
    FIELD_STOPPING = 22,  /* u32, 1: the cluster stops, listeners are to be closed (DRAIN), they are
                             closed (ASSIGNED) */
    FIELD_LOG_KINDS = 23, /* u32, bit set of 1 << enum log_kind: what the descriptors are (LOGS,
                             WELCOME), in that order */
    FIELD_OLDEST_MS = 24, /* u32 */
    FIELD_LAST = 25,      /* u32, 1: no more of these follow (SOCKETS) */
    FIELD_INHERITED = 27, /* u32, 1: the service manager opened it (LISTENERS, SOCKETS) */
    FIELD_KEPT = 26,      /* u32, 1: what KEEP brought, not the socket of a slot (SOCKETS) */
};

/* Which sockets a listener group has. */
enum listener_kind {
    LISTENER_PER_SLOT = 0, /* one SO_REUSEPORT socket per slot; the slot's owner polls it */
    LISTENER_SHARED = 1,   /* one socket (Unix, or handed over by systemd); every worker polls it */
};

/* WELCOME carries its descriptors in this order: the configuration, then one
 * for each bit of FIELD_LOG_KINDS. */
enum log_kind { LOG_KIND_MAIN = 0, LOG_KIND_ACCESS = 1 };

/* What the cluster as a whole is doing. X(number, NAME, name) */
#define CLUSTER_STATES(X)                                                                          \
    X(0, STARTING, "starting")                                                                     \
    X(1, RUNNING, "running")                                                                       \
    X(2, DRAINING, "draining") /* /health says so, connections are still taken */                  \
    X(3, STOPPING, "stopping") /* no new connections */
#define CONTRACT_ENUM_CLUSTER(number, name, text) CLUSTER_##name = (number),
enum cluster_state { CLUSTER_STATES(CONTRACT_ENUM_CLUSTER) };

/* What a worker says of itself in HELLO. */
enum worker_phase {
    WORKER_PHASE_STARTING = 0,
    WORKER_PHASE_SERVING = 1,
    WORKER_PHASE_DRAINING = 2
};

/* Documents about the whole cluster that a worker may ask the master for. */
#define VIEWS(X)                                                                                   \
    X(0, HEALTH, "/health")                                                                        \
    X(1, HEALTH_LIVE, "/health/live")                                                              \
    X(2, HEALTH_READY, "/health/ready")                                                            \
    X(3, HEALTH_PERFORMANCE, "/health/performance")                                                \
    X(4, API_HEALTH, "/api/health")                                                                \
    X(5, METRICS, "/metrics")
#define CONTRACT_ENUM_VIEW(number, name, path) VIEW_##name = (number),
enum view { VIEWS(CONTRACT_ENUM_VIEW) VIEW_COUNT };

enum view_format {
    VIEW_FORMAT_DEFAULT = 0,     /* JSON, or Prometheus text 0.0.4 for metrics */
    VIEW_FORMAT_HEALTH_JSON = 1, /* application/health+json */
    VIEW_FORMAT_OPENMETRICS = 2,
};

/* How musterd starts a worker:
 *   muster-worker --slot N --generation G --control PATH
 * and nothing else: no secret and no configuration is in the arguments or the
 * environment. */

/* Exit statuses of a worker that the master explains. 0 is a finished drain. */
enum worker_exit {
    WORKER_EXIT_OK = 0,
    WORKER_EXIT_USAGE = 64,     /* wrong arguments */
    WORKER_EXIT_INTERNAL = 70,  /* could not build what it needs */
    WORKER_EXIT_NO_MASTER = 75, /* heard no master for orphan_timeout */
    WORKER_EXIT_REFUSED = 76, /* the master refused HELLO or what it sent could not be understood */
    WORKER_EXIT_PRIVILEGES = 77, /* could not become the configured user */
    WORKER_EXIT_CONFIG = 78,     /* the configuration cannot be served */
    WORKER_EXIT_CUT = 79,        /* the drain deadline cut connections */
};

#endif
