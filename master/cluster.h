/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cluster - the master's model of everything it can be asked about.
 *
 * Plain data, owned by master.c, which wires the parts; views read it and
 * never change it. No view needs anything that is not reachable from here.
 */
#ifndef MUSTER_CLUSTER_H
#define MUSTER_CLUSTER_H

#include "common/config.h"
#include "common/contract.h"
#include "master/events.h"
#include "master/reload_changes.h"
#include "master/roster.h"
#include "master/totals.h"
#include "master/worker_binary.h"

#include <stdbool.h>
#include <stdint.h>

enum { CLUSTER_TEXT_SIZE = 256, CLUSTER_ADDRESS_SIZE = 128, CLUSTER_MESSAGE_SIZE = 1024 };

/* What a listener group looks like from outside. */
struct cluster_listener {
    char name[64];
    char address[CLUSTER_ADDRESS_SIZE]; /* "0.0.0.0:3001", "[::]:3001", "unix:/run/x.sock" */
    enum listener_kind kind;
    int slot_count;        /* sockets in the group */
    bool inherited;        /* from the service manager */
    const char *policy;    /* the algorithm in force; "shared" when the kernel does not choose */
    const char *mechanism; /* "classic BPF", "shared" */
    int64_t queue; /* connections waiting to be accepted in all its sockets, -1: not known */
};

/* Who gets new connections. */
struct cluster_dispatch {
    enum balance_algorithm algorithm;
    uint64_t swaps;                   /* programs given to the kernel */
    double share[CONTRACT_MAX_SLOTS]; /* of new connections that each slot is to get, 0..1 */
};

struct cluster_reload {
    bool running;
    bool failed;
    uint64_t from_generation;
    uint64_t to_generation; /* 0: refused before it began */
    int64_t canary_time_ms;
    int64_t started_ms;  /* monotonic */
    int64_t duration_ms; /* once it is over */
    int replaced;        /* workers that were, when it was over */
    int to_replace;
    int64_t started_wall_ms; /* 0: never */
    int64_t finished_wall_ms;
    char message[CLUSTER_MESSAGE_SIZE];
    struct reload_changes changes;
};

/* This process becoming another program. */
struct cluster_upgrade {
    bool running;
    bool failed;
    int64_t started_wall_ms; /* 0: never */
    int64_t finished_wall_ms;
    char from_version[32];
    char to_version[32];
    char who[64];
    char message[CLUSTER_MESSAGE_SIZE];
};

struct cluster {
    const struct config *config; /* the one in force */
    const char *run_dir;
    enum cluster_state state;
    struct roster *roster;
    struct totals *totals;
    struct events *events; /* NULL: none are kept */
    int cpu_count;         /* usable processors */
    int min_workers, max_workers;
    int restart_budget; /* what "auto" means for it */

    int64_t started_ms; /* monotonic */
    int64_t started_wall_ms;
    bool was_ready; /* at least one worker has been READY since the start */

    struct cluster_listener listener[CONTRACT_MAX_GROUPS];
    int listener_count;
    struct cluster_dispatch dispatch;

    uint64_t masters; /* how many this cluster has had before this one */
    int adopted;      /* workers that lived before this master and were serving */

    uint64_t newest_generation; /* ever begun; generations are never used twice */
    struct cluster_reload reload;
    struct cluster_upgrade upgrade;
    struct worker_binary *binary; /* of the generation in force; may be NULL in tests */

    bool manual;             /* `desired` was set by a person */
    int64_t manual_until_ms; /* monotonic; 0: until further notice */
    int64_t manual_since_wall_ms;
    char manual_reason[CLUSTER_TEXT_SIZE];
    char manual_who[64];
    int configured_workers; /* what desired returns to */

    struct procfs_sample master_proc; /* of the master itself */
    double master_cpu_percent;
    int64_t master_lag_ns;     /* largest lateness of its loop in the last interval */
    uint64_t control_rejected; /* control connections closed for what they sent */
    uint64_t queries_answered; /* for workers */
    uint64_t wakeups;          /* turns of the master's loop */
};

#endif
