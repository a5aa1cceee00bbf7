/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config - the configuration: its keys, their defaults, reading and printing.
 *
 * One table (config_keys.h) describes every key; the parser, the checks, the
 * environment overrides, `musterd -T`, the comparison of two configurations
 * and the form in which the master hands it to workers all come from it.
 * A configuration is immutable once loaded; who loads it frees it.
 * Durations are milliseconds, sizes are bytes, an empty string is "not set".
 */
#ifndef MUSTER_CONFIG_H
#define MUSTER_CONFIG_H

#include "common/buf.h"
#include "common/check.h"
#include "common/log.h"
#include "common/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* Who gets a new connection (balance { algorithm }), in the order of its words. */
enum balance_algorithm {
    BALANCE_ROUND_ROBIN,
    BALANCE_WEIGHTED,
    BALANCE_LEAST_CONNECTIONS,
    BALANCE_IP_HASH,
    BALANCE_CONSISTENT_HASH,
};

enum access_log_mode { ACCESS_LOG_OFF, ACCESS_LOG_SAMPLED, ACCESS_LOG_ALL };

/* listen "name" { address = "*" port = 3001 path = "" backlog = 4096 }
 * Without any listen section there is one named "default" with these values. */
struct config_listen {
    char *name;
    char *address; /* "*": every IPv4 and IPv6 address; else one numeric address */
    int port;
    char *path; /* a Unix socket instead of address and port */
    int mode;   /* permissions of the Unix socket, written in octal: mode = 0666 */
    int backlog;
};

/* route "/hello" { text = "hi\n" content_type = "text/plain" status = 200 }
 * route "/files/" { root = "/srv/www" }: a title that ends in "/" is a prefix. */
struct config_route {
    char *path;
    char *text;
    char *content_type;
    int status;
    char *root; /* directory of files, served below the path */
};

struct config {
    char *file; /* where it was read from; empty: built-in defaults */

    /* cluster */
    bool cluster_enabled;    /* false: one worker (CLUSTER_ENABLED) */
    int workers;             /* 0: auto, one per processor this process may use */
    int min_workers;         /* MIN_INSTANCES, 1 */
    int max_workers;         /* MAX_INSTANCES, 0: auto, twice the processors, at least 4 */
    char *run_dir;           /* empty: chosen by config_default_run_dir() */
    char *state_dir;         /* empty: run_dir */
    char *pid_file;          /* empty: run_dir/musterd.pid */
    char *worker_path;       /* empty: muster-worker beside musterd, else in libexecdir */
    char *user;              /* empty: when root, "muster" if it exists, else "nobody" */
    char *group;             /* empty: the user's */
    int64_t max_connections; /* per worker */
    int64_t open_files;      /* RLIMIT_NOFILE of workers; 0: what max_connections needs */
    bool core_dumps;

    /* timing, ms */
    int64_t report_interval;      /* 1 s */
    int64_t start_timeout;        /* 10 s */
    int64_t drain_delay;          /* 1 s */
    int64_t drain_timeout;        /* 30 s */
    int64_t reload_drain_timeout; /* 60 s: a worker that was replaced */
    int64_t scale_drain_timeout;  /* 60 s: a worker that was scaled away */
    int64_t canary_time;          /* 2 s: trial of a new generation's first worker */
    int64_t drain_idle_grace; /* 1 s: how long an idle keep-alive connection is kept in a drain */
    int64_t orphan_timeout;   /* 60 s without a master */
    int64_t suspect_timeout;  /* 250 ms without a beat */
    int64_t stall_timeout;    /* 100 ms in one turn of its loop */
    int64_t hang_timeout;     /* 30 s without progress */

    /* restart { backoff_min backoff_max healthy_after budget budget_interval } */
    int64_t restart_backoff_min;     /* 100 ms */
    int64_t restart_backoff_max;     /* 30 s */
    int64_t restart_healthy_after;   /* 10 s */
    int64_t restart_budget_interval; /* 10 s */
    int restart_budget; /* restarts in restart_budget_interval, whole cluster; 0: auto, 10 + 5 x
                           workers */

    /* recycle { requests lifetime memory jitter min_age } */
    int recycle_jitter;       /* per cent */
    int64_t recycle_requests; /* 0: no bound; so are the next two */
    int64_t recycle_lifetime;
    int64_t recycle_memory;
    int64_t recycle_min_age; /* 1 min */

    /* balance { algorithm weights } */
    enum balance_algorithm balance_algorithm; /* LB_ALGORITHM */
    char *balance_weights;                    /* "3 1 1", see weights.h */

    /* http { ... } */
    int64_t http_header_timeout;  /* 10 s from the first byte of a request to the end of its head */
    int64_t http_body_timeout;    /* 15 s between two pieces of a body */
    int64_t http_request_timeout; /* 30 s for the whole request */
    int64_t http_keepalive_timeout; /* 75 s */
    int64_t http_write_timeout;     /* 30 s without progress */
    int64_t http_max_header_bytes;  /* 16k, request line included */
    int64_t http_max_line_bytes;    /* 8k, request line */
    int http_max_headers;           /* 100 */
    int64_t http_max_body_bytes;    /* 1m */
    int64_t http_max_requests;      /* per connection; 0: no limit */
    char *http_server_header;       /* "muster"; empty: no Server header */

    /* log { level format file access access_file access_sample } */
    enum log_level log_level;
    enum log_format log_format;
    char *log_file; /* empty: standard error */
    enum access_log_mode log_access;
    char *log_access_file; /* empty: where the log goes */
    int log_access_sample; /* one line in N when sampled */

    /* management { enabled address port token token_file allowed_hosts max_connections } */
    bool management_enabled;  /* false: the address is empty, too */
    char *management_address; /* 127.0.0.1; empty: only the Unix socket */
    int management_port;      /* 9001 */
    char *management_token;
    char *management_token_file;    /* read instead of token: a file with one line */
    char *management_allowed_hosts; /* more Host names to accept, separated by commas */
    int management_max_connections; /* 64 */

    bool metrics_enabled; /* METRICS_ENABLED: /metrics on the public port */
    bool health_enabled;  /* HEALTH_CHECKS_ENABLED: /health* on the public port */

    struct config_listen *listens;
    struct config_route *routes;
    int listen_count;
    int route_count;

    struct config_origins *origins; /* where each value came from, for messages; may be NULL */
};

/* Mistakes, one per line as people read them: "file:line: reason". */
struct config_errors {
    struct buf text;
    int count;
};

void config_errors_init(struct config_errors *errors);
void config_errors_fini(struct config_errors *errors);
void config_errors_add(struct config_errors *errors, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Reads `path` (NULL: built-in defaults), then the environment variables of
 * `environment` (an environ-style array; NULL: none), then checks all of it.
 * NULL when there is any mistake; `errors` then has every one. */
struct config *config_load(const char *path, char *const *environment,
                           struct config_errors *errors);

/* Reads what config_print() wrote; unknown keys are skipped, so that a worker
 * of another version understands it. NULL and a mistake, as above. */
struct config *config_parse_text(struct slice text, struct config_errors *errors);

void config_free(struct config **config);

enum config_print_mode {
    CONFIG_PRINT_PEOPLE, /* with comments; the token is shown as "(set)" */
    CONFIG_PRINT_WIRE,   /* everything, token included, for config_parse_text() */
};
void config_print(const struct config *config, enum config_print_mode mode, struct buf *out);

/* Calls `on_change` for every key whose value differs, with the printed
 * values (secrets as "(set)"). Returns the number of differences. */
typedef void config_on_change(void *context, const char *key, const char *before, const char *after,
                              bool live /* can change without a restart of the master */);
int config_compare(const struct config *before, const struct config *after,
                   config_on_change *on_change, void *context);

/* /run/muster for root, else $XDG_RUNTIME_DIR/muster, else /tmp/muster-<uid>. */
void config_default_run_dir(char *const *environment, char *out, size_t size);

/* Resolved values: "auto" replaced by what it means on this machine. */
int config_worker_count(const struct config *config, int cpu_count);
int config_max_workers(const struct config *config, int cpu_count);

#endif
