/* SPDX-License-Identifier: BSD-2-Clause
 *
 * state_file - what must outlive a master that is killed: run_dir/cluster.state.
 *
 * One record about the cluster and one for each worker, so that a new master
 * knows whom to expect at the roll call, and no counter falls. Every record is
 * kept twice and written in turn with a check sum, so that a write that was
 * cut short leaves the one before. The record of the cluster lists the records
 * of workers that count: burying a worker (its counts join those of the dead,
 * its record leaves the list) is one write.
 *
 * Written with pwrite(2) into a directory that is memory on every usual machine
 * (/run); never synchronised: it is to survive the process, not the machine.
 * Only the master's user can read or write it.
 */
#ifndef MUSTER_STATE_FILE_H
#define MUSTER_STATE_FILE_H

#include "common/buf.h"
#include "common/check.h"
#include "common/metrics.h"
#include "master/child.h"
#include "master/roster.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    STATE_TEXT_SIZE = 256,
    STATE_MAX_WORKERS = CONTRACT_MAX_SLOTS * ROSTER_WORKERS_PER_SLOT,
};

struct state_worker {
    pid_t pid;
    struct child_identity identity; /* of the process: a recycled pid has another */
    int slot;
    uint64_t generation;
    enum worker_state state;
    int64_t started_wall_ms;
    struct slice snapshot; /* metrics_encode(), what was last known; borrowed */
};

struct state_cluster {
    char version[ROSTER_BUILD_SIZE]; /* of the master that wrote it */
    uint64_t generation;             /* of workers started from now on */
    uint64_t newest_generation;
    uint64_t config_id; /* of the configuration in force, state_config_id() */
    bool manual;
    int instances;         /* manual: how many workers */
    int64_t until_wall_ms; /* manual: 0: until further notice */
    int64_t since_wall_ms; /* manual */
    char reason[STATE_TEXT_SIZE];
    char who[64];
    uint64_t restarts[DEATH_REASON_COUNT];
    uint64_t slot_restarts[CONTRACT_MAX_SLOTS];
    uint64_t slot_suspected[CONTRACT_MAX_SLOTS];
    int slot_count;      /* sockets per listening address */
    uint64_t sockets_id; /* of all of them, listeners_id() */
    /* What the master itself has counted; of the processor time the part of masters
     * before it apart, for an upgrade goes on in the same process. */
    uint64_t wakeups;
    uint64_t queries_answered;
    uint64_t control_rejected;
    uint64_t program_swaps;
    uint64_t cpu_user_ms, cpu_system_ms;
    uint64_t cpu_user_before_ms, cpu_system_before_ms;
    uint64_t masters; /* how many masters this cluster has had before this one */

    /* An upgrade in place: the same process goes on as the new program. */
    pid_t upgrade_pid; /* 0: none */
    int64_t upgrade_started_wall_ms;
    char upgrade_who[64];
};

/* ---- writing ---- */

struct state_file;

/* A new file beside the one that is there; nobody sees it before
 * state_file_publish(). 0 or -errno. */
MUST_USE int state_file_new(const char *path, struct state_file **out);
/* Puts it in the place of the one before. 0 or -errno. */
MUST_USE int state_file_publish(struct state_file *file);
/* False: somebody has removed it, and nobody would find it. */
bool state_file_is_there(const struct state_file *file);
/* `remove`: the cluster has ended in good order and leaves nothing behind. */
void state_file_free(struct state_file **file, bool remove);

/* A place for a worker's record, or -ENOSPC. It counts once the cluster's
 * record was written after it. */
MUST_USE int state_file_add(struct state_file *file);
void state_file_drop(struct state_file *file, int cell);
/* 0 or -errno. */
MUST_USE int state_file_put_worker(struct state_file *file, int cell,
                                   const struct state_worker *worker);
MUST_USE int state_file_put_cluster(struct state_file *file, const struct state_cluster *cluster,
                                    const struct metrics *dead);

/* ---- reading ---- */

struct state {
    struct state_cluster cluster;
    struct metrics dead;
    struct state_worker *workers; /* owned; oldest first */
    int worker_count;
    int damaged_count; /* of records that cannot be read: workers that are not known */
    struct buf bytes;  /* what snapshots point into */
};

/* 0, or -ENOENT; -ESTALE: of another boot of the machine; -EPERM: somebody
 * else could have written it; -EPROTO: damaged. `out` is empty then. */
MUST_USE int state_file_load(const char *path, struct state *out);
void state_fini(struct state *state);

/* A number that differs when the text does. */
uint64_t state_config_id(struct slice text);

#endif
