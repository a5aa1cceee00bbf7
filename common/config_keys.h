/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_keys - the table of every configuration key.
 *
 * X(ID, section, name, field, KIND, default, min, max, changes, environment,
 *   choices, help)
 *
 * - field: member of struct config, config_listen or config_route.
 * - KIND: enum config_kind (config_private.h); min and max are in what it
 *   counts: the number, milliseconds, bytes, or bytes of text. Text with
 *   min 0 may be empty.
 * - changes: LIVE when a reload takes it over, FIXED when only a restart of
 *   the master does.
 * - choices: the words of a CHOICE in the order of its enum.
 *
 * The example configuration and muster.conf(5) contain what is written here;
 * test_config_docs compares them (and rewrites them when asked to).
 */
#ifndef MUSTER_CONFIG_KEYS_H
#define MUSTER_CONFIG_KEYS_H

/* clang-format off */
#define SECOND_MS (INT64_C(1000))
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)
#define KIB (INT64_C(1) << 10)
#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)

/* X(ID, name, what it is about) */
#define CONFIG_SECTIONS(X) \
    X(TOP, "", "The cluster and its processes") \
    X(RESTART, "restart", "Starting workers again when they died") \
    X(RECYCLE, "recycle", "Replacing workers that have served long enough, one at a time: the new one is ready before the old one drains") \
    X(BALANCE, "balance", "Which worker gets a new connection") \
    X(HTTP, "http", "Deadlines and limits of HTTP connections") \
    X(LOG, "log", "The log and the access log") \
    X(MANAGEMENT, "management", "The management port, for musterctl, dashboards and scripts") \
    X(HEALTH, "health", "Health checks on the public port") \
    X(METRICS, "metrics", "Prometheus metrics on the public port") \
    X(LISTEN, "listen", "An address to serve on; as many sections as there are addresses, each with a name of its own. Without any there is one named default with the defaults below") \
    X(ROUTE, "route", "Something to answer: the title is the path, and everything below it when it ends in /. Each section has either text or root")

#define CONFIG_KEYS(X) \
    X(CLUSTER_ENABLED, "", "cluster_enabled", cluster_enabled, BOOL, "true", 0, 0, FIXED, "CLUSTER_ENABLED", "", \
      "Run a cluster. false: one single worker, whatever workers says.") \
    X(WORKERS, "", "workers", workers, AUTO, "auto", 1, 1024, LIVE, "CLUSTER_WORKERS", "", \
      "How many workers to run. auto: one for each processor that this process may really use (affinity and cgroup quota).") \
    X(MIN_WORKERS, "", "min_workers", min_workers, NUMBER, "1", 1, 1024, LIVE, "MIN_INSTANCES", "", \
      "The fewest workers that scaling may leave.") \
    X(MAX_WORKERS, "", "max_workers", max_workers, AUTO, "auto", 1, 1024, FIXED, "MAX_INSTANCES", "", \
      "The most workers there can ever be; every address listened on gets that many sockets. auto: twice the processors, at least 4.") \
    X(RUN_DIR, "", "run_dir", run_dir, PATH, "", 0, 90, FIXED, "MUSTER_RUN_DIR", "", \
      "Directory of the control socket, the management socket and the pid file. Empty: /run/muster for root, else $XDG_RUNTIME_DIR/muster, else /tmp/muster-UID.") \
    X(STATE_DIR, "", "state_dir", state_dir, PATH, "", 0, 1024, FIXED, "MUSTER_STATE_DIR", "", \
      "Directory of what must outlive a restart. Empty: the same as run_dir.") \
    X(PID_FILE, "", "pid_file", pid_file, PATH, "", 0, 1024, FIXED, "", "", \
      "File with the process number of the master, locked while it runs. Empty: musterd.pid in run_dir.") \
    X(WORKER_PATH, "", "worker_path", worker_path, PATH, "", 0, 1024, LIVE, "", "", \
      "The program to run as a worker. Empty: muster-worker beside musterd, else the installed one.") \
    X(USER, "", "user", user, USER, "", 0, 64, FIXED, "", "", \
      "Account that workers run as when musterd is started by root. Empty: muster if there is such an account, else nobody.") \
    X(GROUP, "", "group", group, GROUP, "", 0, 64, FIXED, "", "", \
      "Group that workers run as when musterd is started by root. Empty: the group of the user.") \
    X(MAX_CONNECTIONS, "", "max_connections", max_connections, NUMBER, "10000", 1, 1000000, LIVE, "", "", \
      "Connections that one worker holds open; with that many it leaves new ones waiting until one closes.") \
    X(OPEN_FILES, "", "open_files", open_files, AUTO, "auto", 64, 10000000, LIVE, "", "", \
      "Limit of open files of a worker. auto: what max_connections needs.") \
    X(CORE_DUMPS, "", "core_dumps", core_dumps, BOOL, "false", 0, 0, LIVE, "", "", \
      "Let a worker that crashes leave a core dump. It holds what the worker had in memory, secrets included.") \
    X(REPORT_INTERVAL, "", "report_interval", report_interval, DURATION, "1s", 100, MINUTE_MS, LIVE, "", "", \
      "How often a worker reports its metrics to the master.") \
    X(START_TIMEOUT, "", "start_timeout", start_timeout, DURATION, "10s", 100, 10 * MINUTE_MS, LIVE, "", "", \
      "How long a worker may take from its start until it is ready; then it is killed and started again later.") \
    X(DRAIN_DELAY, "", "drain_delay", drain_delay, DURATION, "1s", 0, 10 * MINUTE_MS, LIVE, "", "", \
      "After SIGTERM: how long the cluster goes on accepting connections while /health already says draining, so that load balancers can turn away.") \
    X(DRAIN_TIMEOUT, "", "drain_timeout", drain_timeout, DURATION, "30s", 0, HOUR_MS, LIVE, "", "", \
      "After SIGTERM: when requests that are still running are cut, drain_delay included.") \
    X(RELOAD_DRAIN_TIMEOUT, "", "reload_drain_timeout", reload_drain_timeout, DURATION, "1m", 0, DAY_MS, LIVE, "", "", \
      "How long a worker that was replaced (reload, restart, recycling) may take to finish its requests.") \
    X(SCALE_DRAIN_TIMEOUT, "", "scale_drain_timeout", scale_drain_timeout, DURATION, "1m", 0, DAY_MS, LIVE, "", "", \
      "How long a worker that was scaled away may take to finish its requests.") \
    X(DRAIN_IDLE_GRACE, "", "drain_idle_grace", drain_idle_grace, DURATION, "1s", 0, 10 * MINUTE_MS, LIVE, "", "", \
      "How long a draining worker keeps an idle keep-alive connection, in case a request is already on its way.") \
    X(CANARY_TIME, "", "canary_time", canary_time, DURATION, "2s", 0, 10 * MINUTE_MS, LIVE, "", "", \
      "How long the first worker of a reload must stay healthy before the others follow. A worker that dies sooner takes the whole reload back. 0: being ready is enough.") \
    X(ORPHAN_TIMEOUT, "", "orphan_timeout", orphan_timeout, DURATION, "1m", SECOND_MS, DAY_MS, LIVE, "", "", \
      "How long workers go on serving without a master before they drain and leave.") \
    X(SUSPECT_TIMEOUT, "", "suspect_timeout", suspect_timeout, DURATION, "250ms", 100, 10 * MINUTE_MS, LIVE, "", "", \
      "A worker that has shown no sign of life for this long gets no new connections until it does, and others serve what waits for it.") \
    X(STALL_TIMEOUT, "", "stall_timeout", stall_timeout, DURATION, "100ms", 20, 10 * MINUTE_MS, LIVE, "", "", \
      "The same for a worker whose loop has been busy with one turn for this long. Who is late again soon after is kept away from new connections for a while.") \
    X(HANG_TIMEOUT, "", "hang_timeout", hang_timeout, DURATION, "30s", 500, HOUR_MS, LIVE, "", "", \
      "A worker that has made no progress at all for this long is killed and replaced. At least suspect_timeout and stall_timeout.") \
    \
    X(RESTART_BACKOFF_MIN, "restart", "backoff_min", restart_backoff_min, DURATION, "100ms", 10, HOUR_MS, LIVE, "", "", \
      "Pause before the second attempt to start a worker that keeps dying early; it doubles with every further one. The first attempt is made at once.") \
    X(RESTART_BACKOFF_MAX, "restart", "backoff_max", restart_backoff_max, DURATION, "30s", 10, HOUR_MS, LIVE, "", "", \
      "The longest such pause. There is no last attempt.") \
    X(RESTART_HEALTHY_AFTER, "restart", "healthy_after", restart_healthy_after, DURATION, "10s", 100, HOUR_MS, LIVE, "", "", \
      "A worker that lived this long did not die early; the pauses start from the beginning.") \
    X(RESTART_BUDGET, "restart", "budget", restart_budget, AUTO, "auto", 1, 100000, LIVE, "", "", \
      "Restarts that the whole cluster may make in budget_interval. auto: 10, and 5 for each worker.") \
    X(RESTART_BUDGET_INTERVAL, "restart", "budget_interval", restart_budget_interval, DURATION, "10s", SECOND_MS, HOUR_MS, LIVE, "", "", \
      "The interval that budget counts in.") \
    \
    X(RECYCLE_REQUESTS, "recycle", "requests", recycle_requests, NUMBER, "0", 0, INT64_C(1000000000000), LIVE, "", "", \
      "Replace a worker after so many requests. 0: never.") \
    X(RECYCLE_LIFETIME, "recycle", "lifetime", recycle_lifetime, DURATION, "0", 0, 365 * DAY_MS, LIVE, "", "", \
      "Replace a worker of this age. 0: never.") \
    X(RECYCLE_MEMORY, "recycle", "memory", recycle_memory, SIZE, "0", 0, 1024 * GIB, LIVE, "", "", \
      "Replace a worker whose resident memory is this large. 0: never. A bound that a fresh worker reaches at once makes min_age double, up to 64 times.") \
    X(RECYCLE_JITTER, "recycle", "jitter", recycle_jitter, NUMBER, "10", 0, 100, LIVE, "", "", \
      "Makes each of these bounds larger by up to so many per cent, differently for each worker, so that they do not all reach it together.") \
    X(RECYCLE_MIN_AGE, "recycle", "min_age", recycle_min_age, DURATION, "1m", SECOND_MS, DAY_MS, LIVE, "", "", \
      "No worker is recycled younger than this, whatever it has reached.") \
    \
    X(BALANCE_ALGORITHM, "balance", "algorithm", balance_algorithm, CHOICE, "least-connections", 0, 0, LIVE, "LB_ALGORITHM", "round-robin weighted least-connections ip-hash consistent-hash", \
      "round-robin spreads evenly, weighted as weights say; least-connections prefers workers that have fewer connections and answer at once; ip-hash sends a client address (of IPv6 its /64 network) always to the same worker; consistent-hash, too, and when the number of workers changes few clients move.") \
    X(BALANCE_WEIGHTS, "balance", "weights", balance_weights, WEIGHTS, "", 0, 4096, LIVE, "", "", \
      "How much the workers in slots 0, 1, ... can take in relation to each other, such as 3 1 1; slots that are not mentioned have 1. round-robin ignores it.") \
    \
    X(HTTP_HEADER_TIMEOUT, "http", "header_timeout", http_header_timeout, DURATION, "10s", 100, HOUR_MS, LIVE, "", "", \
      "From the first byte of a request to the end of its head; then 408.") \
    X(HTTP_BODY_TIMEOUT, "http", "body_timeout", http_body_timeout, DURATION, "15s", 100, HOUR_MS, LIVE, "", "", \
      "Between two pieces of a request body; then 408.") \
    X(HTTP_REQUEST_TIMEOUT, "http", "request_timeout", http_request_timeout, DURATION, "30s", 100, DAY_MS, LIVE, "", "", \
      "From the first byte of a request until it was read and handled; then 408.") \
    X(HTTP_KEEPALIVE_TIMEOUT, "http", "keepalive_timeout", http_keepalive_timeout, DURATION, "75s", 100, DAY_MS, LIVE, "", "", \
      "How long a connection may be idle between two requests.") \
    X(HTTP_WRITE_TIMEOUT, "http", "write_timeout", http_write_timeout, DURATION, "30s", 100, HOUR_MS, LIVE, "", "", \
      "How long a client may take none of the bytes that are waiting for it.") \
    X(HTTP_MAX_HEADER_BYTES, "http", "max_header_bytes", http_max_header_bytes, SIZE, "16k", 512, MIB, LIVE, "", "", \
      "The head of a request, request line included; more gets 431.") \
    X(HTTP_MAX_LINE_BYTES, "http", "max_line_bytes", http_max_line_bytes, SIZE, "8k", 128, MIB, LIVE, "", "", \
      "The request line; more gets 414. At most max_header_bytes.") \
    X(HTTP_MAX_HEADERS, "http", "max_headers", http_max_headers, NUMBER, "100", 1, 256, LIVE, "", "", \
      "How many header fields a request may have; more gets 431.") \
    X(HTTP_MAX_BODY_BYTES, "http", "max_body_bytes", http_max_body_bytes, SIZE, "1m", 0, 64 * GIB, LIVE, "", "", \
      "The body of a request; more gets 413.") \
    X(HTTP_MAX_REQUESTS, "http", "max_requests", http_max_requests, NUMBER, "0", 0, 1000000000, LIVE, "", "", \
      "Requests on one connection before it is closed. 0: no limit.") \
    X(HTTP_SERVER_HEADER, "http", "server_header", http_server_header, HEADER, "muster", 0, 128, LIVE, "", "", \
      "The Server field of answers. Empty: none.") \
    \
    X(LOG_LEVEL, "log", "level", log_level, CHOICE, "info", 0, 0, LIVE, "MUSTER_LOG_LEVEL", "debug info notice warning error", \
      "The least important lines to write.") \
    X(LOG_FORMAT, "log", "format", log_format, CHOICE, "text", 0, 0, LIVE, "MUSTER_LOG_FORMAT", "text json", \
      "How lines look.") \
    X(LOG_FILE, "log", "file", log_file, PATH, "", 0, 1024, LIVE, "", "", \
      "File to write to; SIGUSR1 opens it again after it was moved away. Empty: standard error.") \
    X(LOG_ACCESS, "log", "access", log_access, CHOICE, "off", 0, 0, LIVE, "", "off sampled all", \
      "Whether requests are logged: none, one in access_sample, or all.") \
    X(LOG_ACCESS_FILE, "log", "access_file", log_access_file, PATH, "", 0, 1024, LIVE, "", "", \
      "File for the lines about requests. Empty: where the log goes.") \
    X(LOG_ACCESS_SAMPLE, "log", "access_sample", log_access_sample, NUMBER, "100", 1, 1000000, LIVE, "", "", \
      "With access = sampled: log one request in so many.") \
    \
    X(MANAGEMENT_ENABLED, "management", "enabled", management_enabled, BOOL, "true", 0, 0, FIXED, "", "", \
      "Serve management on a TCP port. false: only on the Unix socket muster.sock in run_dir, which is always there.") \
    X(MANAGEMENT_ADDRESS, "management", "address", management_address, ADDRESS, "127.0.0.1", 0, 64, FIXED, "", "", \
      "Address of the management port. Anything but a loopback address needs a token. Empty: the same as enabled = false.") \
    X(MANAGEMENT_PORT, "management", "port", management_port, NUMBER, "9001", 1, 65535, FIXED, "MANAGEMENT_PORT", "", \
      "TCP port of the management server.") \
    X(MANAGEMENT_TOKEN, "management", "token", management_token, SECRET, "", 16, 512, LIVE, "MANAGEMENT_TOKEN", "", \
      "What a client must present as Authorization: Bearer TOKEN to change anything over TCP. Empty: changes only over the Unix socket. Better kept in token_file.") \
    X(MANAGEMENT_TOKEN_FILE, "management", "token_file", management_token_file, PATH, "", 0, 1024, LIVE, "", "", \
      "File with the token as its only line, readable by its owner alone. Not read when MANAGEMENT_TOKEN is in the environment.") \
    X(MANAGEMENT_ALLOWED_HOSTS, "management", "allowed_hosts", management_allowed_hosts, HOSTS, "", 0, 4096, LIVE, "", "", \
      "More names that clients may use for this server in their Host field. Numeric addresses and localhost are always allowed.") \
    X(MANAGEMENT_MAX_CONNECTIONS, "management", "max_connections", management_max_connections, NUMBER, "64", 1, 4096, LIVE, "", "", \
      "Connections that the management server holds open.") \
    \
    X(HEALTH_ENABLED, "health", "enabled", health_enabled, BOOL, "true", 0, 0, LIVE, "HEALTH_CHECKS_ENABLED", "", \
      "Answer /health, /health/live, /health/ready, /health/performance and /api/health on the public port.") \
    \
    X(METRICS_ENABLED, "metrics", "enabled", metrics_enabled, BOOL, "true", 0, 0, LIVE, "METRICS_ENABLED", "", \
      "Answer /metrics on the public port.")

#define CONFIG_LISTEN_KEYS(X) \
    X(LISTEN_ADDRESS, "listen", "address", address, ADDRESS, "*", 1, 64, FIXED, "", "", \
      "Where to listen. *: on every IPv4 and IPv6 address.") \
    X(LISTEN_PORT, "listen", "port", port, NUMBER, "3001", 1, 65535, FIXED, "PORT", "", \
      "TCP port. The environment variable sets it when no more than one section listens on TCP.") \
    X(LISTEN_PATH, "listen", "path", path, PATH, "", 0, 107, FIXED, "", "", \
      "Listen on this Unix socket instead of an address and a port.") \
    X(LISTEN_MODE, "listen", "mode", mode, MODE, "0666", 0, 0777, FIXED, "", "", \
      "Permissions of the Unix socket.") \
    X(LISTEN_BACKLOG, "listen", "backlog", backlog, NUMBER, "4096", 1, 1000000, FIXED, "", "", \
      "Connections that may wait to be accepted, for each socket. The kernel lowers it to net.core.somaxconn.")

#define CONFIG_ROUTE_KEYS(X) \
    X(ROUTE_TEXT, "route", "text", text, TEXT, "", 0, 256 * KIB, LIVE, "", "", \
      "Answer with this text.") \
    X(ROUTE_CONTENT_TYPE, "route", "content_type", content_type, MEDIA_TYPE, "text/plain; charset=utf-8", 1, 128, LIVE, "", "", \
      "The Content-Type of the text.") \
    X(ROUTE_STATUS, "route", "status", status, NUMBER, "200", 200, 599, LIVE, "", "", \
      "The HTTP status that goes with the text.") \
    X(ROUTE_ROOT, "route", "root", root, PATH, "", 0, 1024, LIVE, "", "", \
      "Serve the files below this directory, which must exist; the title must end in /.")
/* clang-format on */

#endif
