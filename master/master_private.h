/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_private - what the files of master.c share: the object that wires the
 * parts. Nobody else includes it.
 *
 *   master.c           the loop, the tick, signals
 *   master_start.c     what can be refused before anything runs
 *   master_workers.c   messages to and from workers
 *   master_deaths.c    obituaries and back-off
 *   master_plan.c      carries out the plans of policy.c
 *   master_commands.c  what people ask for, and how it ended
 *   master_reload.c    a new configuration
 *   master_generation.c  what a generation is started with
 *   master_dispatch.c  tells the kernel who gets new connections
 *   master_stop.c      the drain of the whole cluster
 *   master_roll.c      the roll call: workers of a master that is gone
 *   master_state.c     what is written down for the next master
 */
#ifndef MUSTER_MASTER_PRIVATE_H
#define MUSTER_MASTER_PRIVATE_H

#include "common/clock.h"
#include "common/config.h"
#include "common/ipc.h"
#include "master/balance.h"
#include "master/child.h"
#include "master/cluster.h"
#include "master/command.h"
#include "master/control.h"
#include "master/death_log.h"
#include "master/listeners.h"
#include "master/management.h"
#include "master/master.h"
#include "master/notify.h"
#include "master/policy.h"
#include "master/state_file.h"
#include "master/succession.h"
#include "master/views.h"
#include "master/worker_binary.h"
#include "version.h"

#include <event2/event.h>
#include <stdbool.h>
#include <sys/queue.h>

enum { MASTER_SIGNALS = 8 };

/* A command that waits for its end. */
struct pending_command {
    TAILQ_ENTRY(pending_command) entry;
    struct command command;
    command_on_done *on_done;
    void *context;
    int64_t deadline_ms;
    uint64_t reload_round; /* RELOAD: the reload that answers it */
};
TAILQ_HEAD(pending_list, pending_command);

/* While the roll is called, before anything else runs. */
struct roll_call {
    bool running;
    struct worker *asked; /* for the listening sockets */
    bool answered;
    uint64_t sockets_id; /* of those that the master before had, 0: not known */
    bool outdated;       /* the workers have another configuration than this master */
    struct found_sockets found;
};

/* What the workers of one generation are started with. */
struct edition {
    uint64_t generation;
    uint64_t config_id;
    struct config *config; /* owned; NULL: that in force */
    int document;          /* sealed memfd for WELCOME, -1: none */
    struct worker_binary binary;
};

struct master {
    struct event_base *base;
    struct config *config; /* in force; owned */
    const struct master_options *options;
    struct cluster cluster;
    struct totals totals;
    struct events events;
    struct metrics scratch; /* a snapshot being decoded */
    struct roster *roster;
    struct listeners listeners;
    uint64_t sockets_id; /* of `listeners` as they were opened */
    struct control *control;
    struct management *management;
    struct roll_call roll;
    struct state_file *state_file; /* NULL: cannot be written */
    uint64_t config_id;            /* of the configuration in force */
    char program_path[4096];       /* what an upgrade executes */
    struct upgrade_check *upgrade_check;
    int upgrade_clients[SUCCESSION_CLIENTS]; /* wait for the result */
    int upgrade_client_count;

    struct policy_rules rules;
    struct policy_plan plan;
    struct balance balance;
    struct dispatch_choice choice;         /* what the kernel was last told, for `steered` */
    uint16_t capacity[CONTRACT_MAX_SLOTS]; /* balance { weights } */
    struct event *balance_due;
    int quiet_looks; /* looks in a row that found nothing going on */
    struct slot_set steered;
    bool steer_failed;           /* the kernel refused the program for `steered` */
    int restored_before;         /* what control_restore() said last */
    int64_t state_complained_ms; /* when it was last said that the state file cannot be written */
    bool suspected_unsaved;      /* counts of suspicions that are not in the state file yet */
    uint64_t assign_epoch;
    struct event *reconcile; /* due when the plan may have changed */
    struct event *tick;      /* once a second */
    struct event *watch;     /* the next look at the boards */
    int64_t look_due_ms;     /* 0: there is nobody to look at */
    struct event *stop_timer;
    struct event *signal[MASTER_SIGNALS];
    int64_t tick_due_ns;
    uint64_t rejected_before; /* what masters before this one had counted */
    uint64_t cpu_user_before_ms, cpu_system_before_ms;
    int64_t sampled_ms;   /* when cluster.master_proc was read */
    struct procfs procfs; /* of this process */

    char run_dir[108];
    char control_path[128];
    char pid_path[512];
    char lock_path[128];
    char state_path[128];
    int pid_fd;
    int lock_fd;
    int config_document;         /* sealed memfd for WELCOME */
    struct worker_binary binary; /* of the generation in force */
    struct edition trial;        /* of the canary, while there is one */
    struct edition previous;     /* while a reload may still be rolled back */
    int access_log_fd;           /* -1: the access log goes where the log goes */
    uid_t worker_uid;

    struct buf message; /* scratch for one message */
    struct death_log deaths;
    struct pending_list pending;
    uint64_t reload_round; /* counts reloads */
    bool reload_again;
    bool ran; /* it could start */
    bool ready_notified;
    bool cut;                     /* the drain was cut short */
    bool handshakes_done;         /* those that had begun before the stop */
    int64_t drain_since_ms;       /* when the drain began */
    int64_t stop_listening_ms;    /* since when nobody can begin a connection */
    int64_t close_deadline_ms;    /* close the listening sockets then, whoever still has them */
    int64_t watchdog_interval_ms; /* 0: none asked for */
    int64_t watchdog_sent_ms;
    char status_text[160]; /* last STATUS= sent */
};

/* master.c */
/* For people: /events. */
#define master_event(master, kind, slot, pid, ...)                                                 \
    events_add(&(master)->events, clock_wall_ms(), EVENT_##kind, (slot), (pid), __VA_ARGS__)
void master_reconcile_soon(struct master *master);
void master_set_rules(struct master *master);
/* Whether the log files of a configuration can be opened. */
int master_check_logs(const struct master *master, const struct config *config, char *error,
                      size_t size);
int master_open_logs(struct master *master, const struct config *config, char *error,
                     size_t error_size);

/* master_start.c: 0, or -errno with the reason in `error`. */
int master_prepare(struct master *master, char *error, size_t size);
/* The program that a configuration means. */
void master_find_worker_path(const struct config *config, char *out, size_t size);

/* master_workers.c */
extern const struct control_callbacks master_control_callbacks;
/* Sends master->message; the descriptors stay the caller's. */
void master_send(struct master *master, const struct worker *worker, const int *fds, int fd_count);
void master_send_state(struct master *master);
void master_send_drain(struct master *master, struct worker *worker, int64_t timeout_ms,
                       int64_t grace_ms, bool stopping);
void master_send_logs(struct master *master);
void master_send_listeners(struct master *master, const struct worker *worker);
void master_sample_worker(struct master *master, struct worker *worker, int64_t now_ms);
void master_log_slot(struct master *master, int slot);

/* master_watch.c */
/* A new board, sent to the worker; whatever it had is forgotten. */
void master_send_board(struct master *master, struct worker *worker);
void master_drop_board(struct worker *worker);
MUST_USE int master_watch_init(struct master *master); /* 0 or -ENOMEM */
/* Reads all boards, and will again soon. */
void master_look(struct master *master, int64_t now_ms);
void master_on_suspect(struct master *master, struct worker *worker, int64_t now_ms);
void master_on_trust(struct master *master, struct worker *worker, int64_t now_ms);
bool master_majority_progresses(const struct master *master);

/* master_deaths.c */
child_on_exit master_on_child_exit;
void master_book_death(struct master *master, struct slot *slot, const struct obituary *obituary,
                       bool canary, int64_t now_ms);
void master_book_backoff(struct master *master, struct slot *slot, int64_t age_ms, bool was_ready,
                         bool from_outside, int64_t now_ms);

/* master_plan.c: makes plans and carries them out until there is nothing left to do. */
void master_carry_out(struct master *master);

/* master_dispatch.c: before anything is steered, and when the configuration changed. */
MUST_USE int master_dispatch_start(struct master *master);
void master_dispatch_configure(struct master *master);
void master_dispatch_stop(struct master *master);
/* The kernel chooses among `slots` from now on. */
void master_steer(struct master *master, const struct slot_set *slots);
/* Tries again when the kernel refused the last program. */
void master_steer_again(struct master *master);
/* Something happened at a worker: look at the weights again soon. */
void master_dispatch_wake(struct master *master);

/* master_commands.c */
void master_finish_commands(struct master *master, int64_t now_ms);
void master_finish_upgrade_commands(struct master *master, bool ok, const char *message);
void master_finish_reload_commands(struct master *master, bool ok, const char *message);
void master_end_manual(struct master *master, const char *why);
void master_scale_by(struct master *master, int change);
/* min_workers may have grown past a number that was set by hand. True: there will be more. */
bool master_raise_to_min(struct master *master);

/* master_reload.c: starts a reload; 0, or a negative value with the reason. */
int master_reload(struct master *master, char *message, size_t message_size);
/* Starts a new generation with the worker binary that is on disk now, and with
 * a configuration that is taken over (NULL: the one in force). What it changes
 * is in cluster.reload.changes. 0, or a negative value with the reason, and the
 * configuration stays the caller's. */
int master_begin_generation(struct master *master, struct config *config, char *message,
                            size_t message_size);
/* The same for the configuration in force: what the workers have is older. */
void master_roll_out(struct master *master);
/* The canary, or another worker of the new generation, has failed. */
void master_reload_failed(struct master *master, const char *reason);
/* The canary has proven itself: the others follow. */
void master_reload_promote(struct master *master);
/* The cluster begins to stop: what is not promoted never will be. */
void master_reload_abandon(struct master *master);
void master_reload_check(struct master *master);

/* master_generation.c */
int master_config_document(struct master *master, const struct config *config);
/* Opens what is needed to start workers with this configuration; it is owned
 * by `out` then. 0, or -errno with the reason in `message`. */
int edition_open(struct config *config, const struct config *in_force, struct edition *out,
                 char *message, size_t size);
void edition_init(struct edition *edition);
void edition_close(struct edition *edition); /* initialised again */
/* Puts an edition in force; `out` gets what was in force before. */
void master_put_in_force(struct master *master, struct edition *edition, struct edition *out);
/* What a worker of this generation gets: the document and the program. */
int master_document_for(const struct master *master, const struct worker *worker);
const struct worker_binary *master_binary_for(const struct master *master, uint64_t generation);

/* master_roll.c: adopts the living workers in `state`, waits until they have
 * said who they are, and asks for the listening sockets. */
void master_call_roll(struct master *master, const struct state *state);
/* Tells them what is new, once the sockets are in place. */
void master_end_roll(struct master *master);
void master_roll_hello(struct master *master, struct worker *worker,
                       const struct control_hello *hello);
void master_roll_socket(void *context, struct worker *worker, const struct found_socket *socket);

/* master_state.c: nothing here fails; what cannot be written is said once. */
void master_open_state(struct master *master);
void master_restore(struct master *master, const struct state *state);
void master_save_cluster(struct master *master);
/* Without a snapshot the last one known is written. */
void master_save_worker(struct master *master, struct worker *worker, struct slice snapshot);
void master_forget_worker(struct master *master, struct worker *worker);

/* master_upgrade.c: starts the check of the new program. 0, or a negative value
 * with the reason. */
int master_upgrade(struct master *master, const char *who, char *message, size_t size);
/* The loop is about to run: is this the new program, or the old one again? */
void master_upgrade_arrived(struct master *master);
/* The workers of the new program have taken over, or have not. */
void master_upgrade_result(struct master *master, bool failed, const char *message);
/* The cluster begins to stop. */
void master_upgrade_abandon(struct master *master);
void master_upgrade_fini(struct master *master);
pid_t master_upgrade_check_pid(const struct master *master); /* 0: none is under way */

/* master_stop.c */
void master_drain(struct master *master, const char *who);
void master_cut(struct master *master);
void master_stop_check(struct master *master);

#endif
