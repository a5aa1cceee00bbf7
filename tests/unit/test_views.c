/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_views - the documents about a cluster that is built by hand.
 */
#include "master/views.h"

#include "common/clock.h"
#include "master/views_private.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SLOTS = 4, NOW_MS = 100 * 1000, STARTED_MS = 40 * 1000 };

/* ---- a model to look at ---- */

static char no_file[] = "";

struct model {
    struct config config;
    struct totals totals;
    struct cluster cluster;
    struct buf out;
};

static struct model *model_new(int desired)
{
    struct model *model = calloc(1, sizeof(*model));
    assert_non_null(model);
    model->config.file = no_file;
    model->config.restart_budget_interval = 10 * 1000;
    model->config.drain_idle_grace = 1000;
    totals_init(&model->totals);
    struct cluster *cluster = &model->cluster;
    *cluster = (struct cluster){
        .config = &model->config,
        .run_dir = "/run/muster",
        .state = CLUSTER_RUNNING,
        .roster = roster_new(SLOTS),
        .totals = &model->totals,
        .cpu_count = 2,
        .min_workers = 1,
        .max_workers = SLOTS,
        .restart_budget = 15,
        .configured_workers = 2,
        .started_ms = STARTED_MS,
        .started_wall_ms = INT64_C(1700000000000),
        .listener_count = 1,
    };
    assert_non_null(cluster->roster);
    roster_set_desired(cluster->roster, desired);
    cluster->listener[0] = (struct cluster_listener){.name = "default",
                                                     .address = "0.0.0.0:3001",
                                                     .slot_count = SLOTS,
                                                     .policy = "round-robin",
                                                     .mechanism = "classic BPF",
                                                     .queue = 7};
    buf_init(&model->out, 0);
    return model;
}

static void model_free(struct model *model)
{
    roster_free(&model->cluster.roster);
    buf_fini(&model->out);
    free(model);
}

static struct worker *add_worker(struct model *model, int slot, enum worker_state state)
{
    static pid_t next_pid = 5000;
    struct worker *worker = roster_add(model->cluster.roster, slot, next_pid++, NOW_MS - 30000);
    assert_non_null(worker);
    if (state == WORKER_DRAINING || state == WORKER_READY || state == WORKER_SUSPECT)
        worker_enter(worker, WORKER_READY, NOW_MS - 29000);
    if (state != worker->state)
        worker_enter(worker, state, NOW_MS - 5000);
    worker->last_report_ms = NOW_MS - 250;
    worker->connected = true;
    return worker;
}

static struct model *model_with_ready(int desired, int ready)
{
    struct model *model = model_new(desired);
    for (int i = 0; i < ready; i++)
        (void)add_worker(model, i, WORKER_READY);
    return model;
}

/* ---- looking at documents ---- */

static json_t *parse(struct model *model)
{
    json_error_t error;
    assert_false(buf_failed(&model->out));
    assert_int_equal(model->out.ptr[model->out.len - 1], '\n');
    json_t *root = json_loadb(model->out.ptr, model->out.len, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        fail_msg("%s at %d: %.*s", error.text, error.position, (int)model->out.len, model->out.ptr);
    return root;
}

static json_t *render(struct model *model, enum view view, enum view_format format,
                      struct view_result *result)
{
    buf_reset(&model->out);
    view_render(&model->cluster, view, format, NOW_MS, &model->out, result);
    return parse(model);
}

static json_t *status_of(struct model *model)
{
    buf_reset(&model->out);
    view_cluster_status(&model->cluster, NOW_MS, &model->out);
    return parse(model);
}

/* "a.b.0.c" */
static json_t *at(json_t *root, const char *path)
{
    char key[64];
    json_t *value = root;
    while (*path != '\0') {
        size_t len = strcspn(path, ".");
        assert_true(len < sizeof(key));
        memcpy(key, path, len);
        key[len] = '\0';
        value = json_is_array(value) ? json_array_get(value, strtoul(key, NULL, 10))
                                     : json_object_get(value, key);
        if (value == NULL)
            fail_msg("there is no %s", key);
        path += len + (path[len] == '.');
    }
    return value;
}

static double number_at(json_t *root, const char *path)
{
    json_t *value = at(root, path);
    if (!json_is_number(value))
        fail_msg("%s is no number", path);
    return json_number_value(value);
}

#define assert_number(root, path, expected)                                                        \
    do {                                                                                           \
        double got_ = number_at((root), (path));                                                   \
        double wanted_ = (expected);                                                               \
        if (got_ < wanted_ - 1e-6 || got_ > wanted_ + 1e-6)                                        \
            fail_msg("%s is %g, not %g", (path), got_, wanted_);                                   \
    } while (0)
#define assert_text(root, path, expected)                                                          \
    assert_string_equal(json_string_value(at((root), (path))), (expected))
#define assert_null_at(root, path) assert_true(json_is_null(at((root), (path))))

static void assert_keys(json_t *object, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (json_object_get(object, keys[i]) == NULL)
            fail_msg("%s is missing", keys[i]);
    assert_int_equal(json_object_size(object), count);
}

/* ---- the JSON writer ---- */

static void numbers_are_short_and_exact(void **state)
{
    static const struct {
        double value;
        int decimals;
        const char *text;
    } cases[] = {
        {0, 3, "0"},
        {-0.0, 3, "0"},
        {45, 3, "45"},
        {0.5, 1, "0.5"},
        {0.0004, 3, "0"},
        {0.0005, 3, "0.001"},
        {1.25, 2, "1.25"},
        {-1.25, 2, "-1.25"},
        {-0.5, 1, "-0.5"},
        {99.999, 2, "100"},
        {12.034, 3, "12.034"},
        {1e11, 6, "100000000000"},
        {0.000001, 6, "0.000001"},
        {123456.7, 0, "123457"},
        {1.0 / 0.0, 2, "null"},
        {-1.0 / 0.0, 2, "null"},
        {0.0 / 0.0, 2, "null"},
        {1e300, 2, "1.0000000000000001e+300"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buf out;
        struct doc doc;
        buf_init(&out, 0);
        doc_begin(&doc, &out);
        doc_real(&doc, NULL, cases[i].value, cases[i].decimals);
        buf_append(&out, "", 1);
        assert_string_equal(out.ptr, cases[i].text);
        buf_fini(&out);
    }
}

static void integers_reach_their_limits(void **state)
{
    struct buf out;
    struct doc doc;
    (void)state;
    buf_init(&out, 0);
    doc_begin(&doc, &out);
    doc_array(&doc, NULL);
    doc_int(&doc, NULL, INT64_MIN);
    doc_int(&doc, NULL, INT64_MAX);
    doc_uint(&doc, NULL, UINT64_MAX);
    doc_bool(&doc, NULL, true);
    doc_array_end(&doc);
    buf_append(&out, "", 1);
    assert_string_equal(out.ptr,
                        "[-9223372036854775808,9223372036854775807,18446744073709551615,true]");
    buf_fini(&out);
}

static void strings_are_always_valid_json(void **state)
{
    static const struct {
        const char *value;
        const char *text;
    } cases[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\""},
        {"\n\r\t", "\"\\n\\r\\t\""},
        {"\x01\x1b[2J\x7f", "\"\\u0001\\u001b[2J\\u007f\""},
        {"gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""},
        {"\xe2\x82\xac \xf0\x9f\x98\x80", "\"\xe2\x82\xac \xf0\x9f\x98\x80\""},
        {"\xff", "\"\\ufffd\""},
        {"a\xc3", "\"a\\ufffd\""},                       /* cut */
        {"\xc0\xaf", "\"\\ufffd\\ufffd\""},              /* overlong */
        {"\xed\xa0\x80x", "\"\\ufffd\\ufffd\\ufffdx\""}, /* a surrogate */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buf out;
        struct doc doc;
        buf_init(&out, 0);
        doc_begin(&doc, &out);
        doc_str(&doc, NULL, cases[i].value);
        buf_append(&out, "", 1);
        assert_string_equal(out.ptr, cases[i].text);
        buf_fini(&out);
    }
}

/* ---- health ---- */

static void health_tells_whether_it_serves(void **state)
{
    static const struct {
        const char *word;
        const char *draft;
        enum cluster_state state;
        int desired, ready, status;
    } cases[] = {
        {"down", "fail", CLUSTER_STARTING, 2, 0, 503},
        {"degraded", "warn", CLUSTER_STARTING, 2, 1, 200},
        {"ok", "pass", CLUSTER_RUNNING, 2, 2, 200},
        {"degraded", "warn", CLUSTER_RUNNING, 2, 1, 200},
        {"down", "fail", CLUSTER_RUNNING, 2, 0, 503},
        {"ok", "pass", CLUSTER_RUNNING, 1, 2, 200}, /* scaling down */
        {"draining", "fail", CLUSTER_DRAINING, 2, 2, 503},
        {"draining", "fail", CLUSTER_STOPPING, 2, 0, 503},
    };
    static const char *const keys[] = {
        "status",    "healthy", "redis_connected", "active_connections",
        "timestamp", "version", "workers_ready"};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct model *model = model_with_ready(cases[i].desired, cases[i].ready);
        struct view_result result;
        model->cluster.state = cases[i].state;
        bool serves = cases[i].status == 200;
        assert_string_equal(view_health_word(&model->cluster, NOW_MS), cases[i].word);

        json_t *root = render(model, VIEW_HEALTH, VIEW_FORMAT_DEFAULT, &result);
        assert_keys(root, keys, ARRAY_COUNT(keys));
        assert_int_equal(result.status, cases[i].status);
        assert_string_equal(result.content_type, "application/json");
        assert_text(root, "status", cases[i].word);
        assert_int_equal(json_is_true(at(root, "healthy")), serves);
        assert_null_at(root, "redis_connected");
        assert_number(root, "workers_ready", cases[i].ready);
        double age = (double)clock_wall_ms() / 1000 - number_at(root, "timestamp");
        assert_true(age > -2 && age < 60);
        json_decref(root);

        root = render(model, VIEW_HEALTH_READY, VIEW_FORMAT_DEFAULT, &result);
        assert_int_equal(result.status, cases[i].status);
        assert_int_equal(json_is_true(at(root, "ready")), serves);
        json_decref(root);

        root = render(model, VIEW_HEALTH_LIVE, VIEW_FORMAT_DEFAULT, &result);
        assert_int_equal(result.status, 200);
        assert_number(root, "uptime", 60);
        json_decref(root);

        root = render(model, VIEW_HEALTH, VIEW_FORMAT_HEALTH_JSON, &result);
        assert_int_equal(result.status, cases[i].status);
        assert_string_equal(result.content_type, "application/health+json");
        assert_text(root, "status", cases[i].draft);
        assert_number(root, "checks.workers:ready.0.observedValue", cases[i].ready);
        assert_int_equal(json_object_get(root, "output") == NULL,
                         strcmp(cases[i].draft, "pass") == 0);
        json_decref(root);
        model_free(model);
    }
}

static void connections_are_those_of_all_workers(void **state)
{
    struct model *model = model_with_ready(2, 2);
    struct view_result result;
    struct worker *worker = NULL;
    (void)state;
    TAILQ_FOREACH (worker, &model->cluster.roster->workers, in_roster) {
        worker->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE] = 21;
    }
    json_t *root = render(model, VIEW_HEALTH, VIEW_FORMAT_DEFAULT, &result);
    assert_number(root, "active_connections", 42);
    json_decref(root);
    model_free(model);
}

/* What a worker reported at `second`, as master.c takes it over. */
static void report(struct model *model, struct worker *worker, int64_t now_ms, unsigned requests,
                   unsigned errors, uint64_t duration_ns)
{
    struct metrics before = worker->metrics;
    struct metrics *metrics = &worker->metrics;
    for (unsigned i = 0; i < requests; i++) {
        metrics->counter[METRIC_HTTP_REQUESTS]++;
        metrics_count_status(metrics, i < errors ? 500 : 200);
        histogram_record(&metrics->histogram[HISTOGRAM_REQUEST_DURATION], duration_ns);
    }
    totals_report(&model->totals, &before, metrics, now_ms);
}

static void api_health_has_the_promised_shape(void **state)
{
    static const char *const keys[] = {"status", "performance", "queue"};
    static const char *const performance[] = {"avgResponseTime", "errorRate", "totalRequests"};
    static const char *const queue[] = {"pending", "workers"};
    struct model *model = model_with_ready(1, 1);
    struct worker *worker = TAILQ_FIRST(&model->cluster.roster->workers);
    struct view_result result;
    (void)state;

    /* Nothing in the last ten seconds: since the start. */
    report(model, worker, NOW_MS - 20 * 1000, 1000, 10, 45 * 1000 * 1000);
    json_t *root = render(model, VIEW_API_HEALTH, VIEW_FORMAT_DEFAULT, &result);
    assert_keys(root, keys, ARRAY_COUNT(keys));
    assert_keys(at(root, "performance"), performance, ARRAY_COUNT(performance));
    assert_keys(at(root, "queue"), queue, ARRAY_COUNT(queue));
    assert_text(root, "status", "ok");
    assert_number(root, "performance.avgResponseTime", 45);
    assert_number(root, "performance.errorRate", 0.01);
    assert_number(root, "performance.totalRequests", 1000);
    assert_number(root, "queue.pending", 0);
    assert_number(root, "queue.workers", 0);
    json_decref(root);

    report(model, worker, NOW_MS - 2000, 100, 50, 2 * 1000 * 1000);
    root = render(model, VIEW_API_HEALTH, VIEW_FORMAT_DEFAULT, &result);
    assert_number(root, "performance.avgResponseTime", 2);
    assert_number(root, "performance.errorRate", 0.5);
    assert_number(root, "performance.totalRequests", 1100);
    json_decref(root);

    model->cluster.state = CLUSTER_DRAINING;
    root = render(model, VIEW_API_HEALTH, VIEW_FORMAT_DEFAULT, &result);
    assert_int_equal(result.status, 503);
    assert_text(root, "status", "draining");
    json_decref(root);
    model_free(model);
}

static void performance_is_total_and_per_worker(void **state)
{
    struct model *model = model_with_ready(2, 2);
    struct worker *first = TAILQ_FIRST(&model->cluster.roster->workers);
    struct worker *second = TAILQ_NEXT(first, in_roster);
    struct view_result result;
    (void)state;
    report(model, first, NOW_MS - 2000, 90, 9, 1000 * 1000);
    report(model, second, NOW_MS - 2000, 10, 0, 100 * 1000 * 1000);
    first->proc.rss_bytes = 4 << 20;
    second->proc.rss_bytes = 5 << 20;
    model->cluster.master_proc.rss_bytes = 1 << 20;
    second->metrics.gauge[GAUGE_LOOP_LAG_NS] = 3 * 1000 * 1000;

    json_t *root = render(model, VIEW_HEALTH_PERFORMANCE, VIEW_FORMAT_DEFAULT, &result);
    assert_int_equal(result.status, 200);
    assert_number(root, "total.requests", 100);
    assert_number(root, "total.errors", 9);
    assert_number(root, "total.request_rate", 10);
    assert_number(root, "total.error_rate", 0.09);
    assert_true(number_at(root, "total.latency_ms.p50") < 1.01);
    assert_true(number_at(root, "total.latency_ms.p95") > 99);
    assert_true(number_at(root, "total.latency_since_start_ms.p99") > 99);
    assert_number(root, "total.memory_bytes", 10 << 20);
    assert_number(root, "total.loop_lag_ms", 3);
    assert_int_equal(json_array_size(at(root, "workers")), 2);
    assert_number(root, "workers.0.requests", 90);
    assert_number(root, "workers.0.error_rate", 0.1);
    assert_number(root, "workers.1.memory_bytes", 5 << 20);
    assert_number(root, "workers.1.loop_lag_ms", 3);
    json_decref(root);
    model_free(model);
}

/* ---- the status ---- */

static void status_counts_workers_by_state(void **state)
{
    struct model *model = model_new(4);
    (void)state;
    (void)add_worker(model, 0, WORKER_READY);
    (void)add_worker(model, 0, WORKER_DRAINING);
    (void)add_worker(model, 1, WORKER_SUSPECT);
    (void)add_worker(model, 2, WORKER_STARTING);
    model->cluster.roster->slots[3].start_at_ms = NOW_MS + 1500;

    json_t *root = status_of(model);
    assert_text(root, "state", "running");
    assert_text(root, "health", "degraded");
    assert_number(root, "generation", 1);
    assert_number(root, "uptime", 60);
    assert_text(root, "started_at", "2023-11-14T22:13:20.000Z");
    assert_number(root, "worker_counts.desired", 4);
    assert_number(root, "worker_counts.configured", 2);
    assert_number(root, "worker_counts.min", 1);
    assert_number(root, "worker_counts.max", SLOTS);
    assert_number(root, "worker_counts.ready", 1);
    assert_number(root, "worker_counts.suspect", 1);
    assert_number(root, "worker_counts.starting", 1);
    assert_number(root, "worker_counts.draining", 1);
    assert_number(root, "worker_counts.backoff", 1);
    assert_int_equal(json_array_size(at(root, "workers")), 4);
    assert_text(root, "workers.0.state", "ready");
    assert_text(root, "workers.1.state", "suspect");
    assert_text(root, "workers.2.state", "starting");
    assert_text(root, "workers.3.state", "backoff");
    assert_null_at(root, "workers.3.pid");
    assert_number(root, "workers.3.backoff_remaining_ms", 1500);
    assert_null_at(root, "workers.0.backoff_remaining_ms");
    /* Every slot has the same keys, whatever is in it. */
    assert_int_equal(json_object_size(at(root, "workers.0")),
                     json_object_size(at(root, "workers.3")));
    json_decref(root);
    model_free(model);
}

static void slots_that_nobody_wants_are_left_out(void **state)
{
    struct model *model = model_with_ready(1, 1);
    (void)state;
    json_t *root = status_of(model);
    assert_int_equal(json_array_size(at(root, "workers")), 1);
    json_decref(root);
    (void)add_worker(model, 3, WORKER_DRAINING); /* scaled away, not gone yet */
    root = status_of(model);
    assert_int_equal(json_array_size(at(root, "workers")), 2);
    assert_number(root, "workers.1.slot", 3);
    assert_text(root, "workers.1.state", "draining");
    json_decref(root);
    model_free(model);
}

static void status_describes_a_worker(void **state)
{
    struct model *model = model_with_ready(2, 2);
    struct worker *worker = TAILQ_FIRST(&model->cluster.roster->workers);
    (void)state;
    worker->cpu_percent = 12.345;
    worker->proc = (struct procfs_sample){.rss_bytes = 4242, .fd_count = 17};
    worker->request_rate = 99.5;
    worker->metrics.counter[METRIC_HTTP_REQUESTS] = 1234;
    worker->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE] = 5;
    worker->metrics.gauge[GAUGE_WEBSOCKETS] = 2;
    worker->metrics.gauge[GAUGE_LOOP_LAG_NS] = 1500000;
    slot_set_add(&worker->confirmed, 0);
    slot_set_add(&worker->confirmed, 3);
    model->cluster.roster->slots[0].restarts = 3;
    slot_add_obituary(&model->cluster.roster->slots[0],
                      &(struct obituary){.wall_ms = INT64_C(1700000000000),
                                         .pid = 77,
                                         .reason = DEATH_CRASH,
                                         .age_ms = 61000,
                                         .exit_code = -1,
                                         .exit_signal = 11,
                                         .cause = "killed by SIGSEGV"});

    json_t *root = status_of(model);
    assert_number(root, "workers.0.slot", 0);
    assert_number(root, "workers.0.pid", worker->pid);
    assert_number(root, "workers.0.generation", 1);
    assert_number(root, "workers.0.uptime", 30);
    assert_number(root, "workers.0.restarts", 3);
    assert_number(root, "workers.0.report_age_ms", 250);
    assert_number(root, "workers.0.cpu_percent", 12.35);
    assert_number(root, "workers.0.rss_bytes", 4242);
    assert_number(root, "workers.0.fds", 17);
    assert_number(root, "workers.0.connections", 5);
    assert_number(root, "workers.0.websockets", 2);
    assert_number(root, "workers.0.requests", 1234);
    assert_number(root, "workers.0.request_rate", 99.5);
    assert_number(root, "workers.0.loop_lag_ms", 1.5);
    assert_int_equal(json_array_size(at(root, "workers.0.adopted_slots")), 1);
    assert_number(root, "workers.0.adopted_slots.0", 3);
    assert_text(root, "workers.0.last_exit.when", "2023-11-14T22:13:20.000Z");
    assert_text(root, "workers.0.last_exit.cause", "killed by SIGSEGV");
    assert_text(root, "workers.0.last_exit.reason", "crash");
    assert_number(root, "workers.0.last_exit.age", 61);
    assert_null_at(root, "workers.1.last_exit");
    assert_number(root, "totals.requests", 1234);
    assert_number(root, "totals.restarts", 3);
    json_decref(root);
    model_free(model);
}

static void draining_workers_tell_what_they_wait_for(void **state)
{
    struct model *model = model_new(1);
    (void)state;
    struct worker *old = add_worker(model, 0, WORKER_DRAINING);
    (void)add_worker(model, 0, WORKER_READY);
    struct worker *next = add_worker(model, 0, WORKER_STARTING);
    old->ending = DEATH_RELOAD;
    old->drain_deadline_ms = NOW_MS + 12000;
    old->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE] = 3;
    old->metrics.gauge[GAUGE_REQUESTS_IN_FLIGHT] = 1;
    old->metrics.gauge[GAUGE_CONNECTIONS_IDLE] = 1;
    old->drain_deadline_by = "reload_drain_timeout";
    old->metrics.gauge[GAUGE_OLDEST_REQUEST_MS] = 4321;
    next->generation = 9;

    json_t *root = status_of(model);
    assert_text(root, "workers.0.state", "ready");
    assert_int_equal(json_array_size(at(root, "workers.0.draining")), 1);
    assert_number(root, "workers.0.draining.0.pid", old->pid);
    assert_text(root, "workers.0.draining.0.reason", "reload");
    assert_number(root, "workers.0.draining.0.connections", 3);
    assert_number(root, "workers.0.draining.0.in_flight", 1);
    /* Its last report is a quarter of a second old: so much older is the request by now. */
    assert_number(root, "workers.0.draining.0.oldest_request_ms", 4571);
    assert_text(root, "workers.0.draining.0.deadline_by", "reload_drain_timeout");
    assert_text(root, "workers.0.draining.0.waits_for",
                "waits for 1 request, the oldest for 4.6 s; 1 idle connection closes within 1.0 s; "
                "1 connection waits for the client to close; cut in 12.0 s (reload_drain_timeout)");
    assert_number(root, "workers.0.draining.0.deadline_in", 12);
    assert_number(root, "workers.0.replacement.pid", next->pid);
    assert_number(root, "workers.0.replacement.generation", 9);
    json_decref(root);
    model_free(model);
}

static void a_reload_tells_how_it_goes(void **state)
{
    struct model *model = model_new(2);
    struct cluster *cluster = &model->cluster;
    struct worker_binary binary = {.path = "/x/muster-worker", .fd = -1, .changed_on_disk = true};
    (void)state;
    struct worker *old = add_worker(model, 0, WORKER_READY);
    (void)add_worker(model, 1, WORKER_READY);
    struct worker *canary = add_worker(model, 0, WORKER_READY);
    canary->generation = 2;
    canary->state_since_ms = NOW_MS - 500;
    canary->connected = true;
    cluster->roster->trial = (struct roster_trial){.generation = 2, .since_ms = NOW_MS - 900};
    cluster->binary = &binary;
    cluster->reload = (struct cluster_reload){.running = true,
                                              .from_generation = 1,
                                              .to_generation = 2,
                                              .canary_time_ms = 2000,
                                              .started_ms = NOW_MS - 1000,
                                              .started_wall_ms = INT64_C(1700000000000)};
    reload_changes_add(&cluster->reload.changes, "workers", "2", "3", true);
    json_t *root = status_of(model);
    assert_text(root, "reload.phase", "canary");
    assert_number(root, "reload.canary.slot", 0);
    assert_number(root, "reload.canary.pid", canary->pid);
    assert_number(root, "reload.canary.remaining", 1.5);
    assert_number(root, "reload.replaced", 0);
    assert_number(root, "reload.to_replace", 2);
    assert_number(root, "reload.duration", 1);
    assert_text(root, "reload.changes.0.key", "workers");
    assert_text(root, "reload.changes.0.from", "2");
    assert_text(root, "reload.changes.0.to", "3");
    assert_true(json_is_true(at(root, "worker_binary.binary_changed_on_disk")));
    assert_text(root, "worker_binary.path", "/x/muster-worker");
    /* The slot's own worker is the one in force. */
    assert_number(root, "workers.0.pid", old->pid);
    assert_number(root, "workers.0.replacement.pid", canary->pid);
    json_decref(root);

    /* Not well: its time stands still. */
    canary->connected = false;
    root = status_of(model);
    assert_null_at(root, "reload.canary.remaining");
    json_decref(root);

    cluster->roster->trial = (struct roster_trial){0};
    cluster->roster->generation = 2;
    cluster->roster->rolling = true;
    root = status_of(model);
    assert_text(root, "reload.phase", "rolling");
    assert_number(root, "reload.replaced", 1);
    assert_null_at(root, "reload.canary");
    json_decref(root);
    model_free(model);
}

static void status_tells_the_rest(void **state)
{
    struct model *model = model_with_ready(1, 1);
    struct cluster *cluster = &model->cluster;
    (void)state;
    cluster->reload = (struct cluster_reload){.failed = true,
                                              .from_generation = 3,
                                              .started_wall_ms = INT64_C(1700000000000),
                                              .finished_wall_ms = INT64_C(1700000001000),
                                              .message = "muster.conf:3: no"};
    cluster->manual = true;
    cluster->manual_until_ms = NOW_MS + 90 * 1000;
    cluster->manual_since_wall_ms = INT64_C(1700000000000);
    strcpy(cluster->manual_reason, "a sale");
    strcpy(cluster->manual_who, "uid 0");
    cluster->roster->budget_window_ms = NOW_MS - 1000;
    cluster->roster->budget_used = 15;
    cluster->roster->budget_exhausted = true;
    cluster->master_lag_ns = 2500000;

    cluster->dispatch.algorithm = BALANCE_LEAST_CONNECTIONS;
    cluster->dispatch.swaps = 12;
    cluster->dispatch.share[1] = 0.75;
    model->totals.dead.slot_accepted[1] = 30;
    model->totals.dead.slot_accepted[2] = 20;

    json_t *root = status_of(model);
    assert_text(root, "listeners.0.address", "0.0.0.0:3001");
    assert_text(root, "listeners.0.policy", "round-robin");
    assert_text(root, "listeners.0.mechanism", "classic BPF");
    assert_text(root, "listeners.0.kind", "per-slot");
    assert_text(root, "dispatch.algorithm", "least-connections");
    assert_number(root, "dispatch.program_swaps", 12);
    assert_number(root, "dispatch.slots.1.slot", 1);
    assert_number(root, "dispatch.slots.1.weight", 0.75);
    assert_number(root, "dispatch.slots.1.connections", 30);
    assert_number(root, "dispatch.slots.1.share_since_start", 0.6);
    assert_number(root, "dispatch.slots.1.share", 0);
    assert_number(root, "listeners.0.slots", SLOTS);
    assert_number(root, "listeners.0.queue", 7);
    assert_true(json_is_true(at(root, "reload.failed")));
    assert_text(root, "reload.message", "muster.conf:3: no");
    assert_text(root, "reload.finished_at", "2023-11-14T22:13:21.000Z");
    assert_number(root, "manual.instances", 1);
    assert_number(root, "manual.remaining", 90);
    assert_text(root, "manual.reason", "a sale");
    assert_number(root, "restart_budget.used", 15);
    assert_number(root, "restart_budget.limit", 15);
    assert_true(json_is_true(at(root, "restart_budget.exhausted")));
    assert_number(root, "master.loop_lag_ms", 2.5);
    json_decref(root);

    /* A budget whose interval is over binds nobody any more. */
    cluster->roster->budget_window_ms = NOW_MS - 60 * 1000;
    cluster->reload.started_wall_ms = 0;
    cluster->manual = false;
    cluster->listener[0].queue = -1;
    root = status_of(model);
    assert_number(root, "restart_budget.used", 0);
    assert_false(json_is_true(at(root, "restart_budget.exhausted")));
    assert_null_at(root, "reload");
    assert_null_at(root, "manual");
    assert_null_at(root, "listeners.0.queue");
    json_decref(root);
    model_free(model);
}

static void obituaries_are_newest_first(void **state)
{
    struct model *model = model_with_ready(2, 1);
    struct slot *slot = &model->cluster.roster->slots[1];
    (void)state;
    for (int i = 1; i <= ROSTER_OBITUARIES + 2; i++)
        slot_add_obituary(
            slot,
            &(struct obituary){
                .pid = i, .exit_code = i, .wall_ms = i, .reason = DEATH_EXIT, .cause = "exited"});
    assert_true(view_worker(&model->cluster, 1, NOW_MS, &model->out));
    json_t *root = parse(model);
    assert_text(root, "state", "empty");
    assert_int_equal(json_array_size(at(root, "obituaries")), ROSTER_OBITUARIES);
    assert_number(root, "obituaries.0.pid", ROSTER_OBITUARIES + 2);
    assert_number(root, "obituaries.1.pid", ROSTER_OBITUARIES + 1);
    assert_number(root, "obituaries.0.exit_code", ROSTER_OBITUARIES + 2);
    assert_null_at(root, "obituaries.0.signal");
    assert_null_at(root, "http");
    json_decref(root);

    buf_reset(&model->out);
    struct worker *worker = TAILQ_FIRST(&model->cluster.roster->workers);
    report(model, worker, NOW_MS - 2000, 10, 1, 1000 * 1000);
    assert_true(view_worker(&model->cluster, 0, NOW_MS, &model->out));
    root = parse(model);
    assert_number(root, "http.by_status.200", 9);
    assert_number(root, "http.by_status.500", 1);
    assert_int_equal(json_object_size(at(root, "http.by_status")), 2);
    assert_number(root, "http.latency_ms.count", 10);
    json_decref(root);

    buf_reset(&model->out);
    assert_false(view_worker(&model->cluster, SLOTS, NOW_MS, &model->out));
    assert_false(view_worker(&model->cluster, -1, NOW_MS, &model->out));
    assert_int_equal(model->out.len, 0);
    model_free(model);
}

static void nonsense_of_a_worker_does_no_harm(void **state)
{
    const int64_t most = INT64_C(1) << 50; /* what metrics_decode() lets through */
    struct model *model = model_with_ready(2, 2);
    struct worker *worker = NULL;
    struct view_result result;
    (void)state;
    TAILQ_FOREACH (worker, &model->cluster.roster->workers, in_roster) {
        for (int i = 0; i < METRIC_GAUGE_COUNT; i++)
            worker->metrics.gauge[i] = i % 2 == 0 ? most : -most;
        strcpy(worker->build, "0.1\xff\x01\"");
    }
    json_t *root = status_of(model);
    assert_true(number_at(root, "now.connections") > 0);
    assert_number(root, "now.idle", 0);
    assert_text(root, "workers.0.version", "0.1\xef\xbf\xbd\x01\"");
    json_decref(root);
    json_decref(render(model, VIEW_HEALTH_PERFORMANCE, VIEW_FORMAT_DEFAULT, &result));
    model_free(model);
}

static void scaling_tells_who_decides(void **state)
{
    struct model *model = model_with_ready(3, 2);
    struct worker *worker = NULL;
    (void)state;
    TAILQ_FOREACH (worker, &model->cluster.roster->workers, in_roster) {
        worker->cpu_percent = 60;
        worker->loop_busy = 0.25;
        worker->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE] = 50;
        report(model, worker, NOW_MS - 2000, 100, 10, 8 * 1000 * 1000);
    }
    view_scaling_status(&model->cluster, NOW_MS, &model->out);
    json_t *root = parse(model);
    assert_text(root, "mode", "fixed");
    assert_number(root, "current", 2);
    assert_number(root, "desired", 3);
    assert_number(root, "configured", 2);
    assert_number(root, "min", 1);
    assert_number(root, "max", SLOTS);
    assert_number(root, "metrics.cpu", 60);
    assert_number(root, "metrics.connections", 50);
    assert_number(root, "metrics.requests", 10);
    assert_number(root, "metrics.error_rate", 0.1);
    assert_number(root, "metrics.loop_busy", 25);
    assert_true(number_at(root, "metrics.response_time") > 7.9);
    assert_null_at(root, "manual");
    assert_int_equal(json_array_size(at(root, "rules")), 0);
    assert_int_equal(json_array_size(at(root, "decisions")), 0);
    json_decref(root);

    model->cluster.manual = true;
    buf_reset(&model->out);
    view_scaling_status(&model->cluster, NOW_MS, &model->out);
    root = parse(model);
    assert_text(root, "mode", "manual");
    assert_number(root, "manual.instances", 3);
    assert_null_at(root, "manual.until");
    json_decref(root);
    model_free(model);
}

/* ---- /metrics ---- */

static char *metrics_text(struct model *model, enum view_format format)
{
    struct view_result result;
    struct buf out;
    buf_init(&out, 0);
    view_render(&model->cluster, VIEW_METRICS, format, NOW_MS, &out, &result);
    assert_int_equal(result.status, 200);
    buf_append(&out, "", 1);
    assert_false(buf_failed(&out));
    return out.ptr;
}

static bool has_sample(const char *text, const char *sample)
{
    size_t len = strlen(sample);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, sample, len) == 0 && (line[len] == ' ' || line[len] == '{'))
            return true;
    }
    return false;
}

static double sample_value(const char *text, const char *sample)
{
    size_t len = strlen(sample);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, sample, len) == 0 && line[len] == ' ')
            return strtod(line + len, NULL);
    }
    fail_msg("there is no sample %s", sample);
    return 0;
}

static void every_promised_name_is_there(void **state)
{
    static const char *const names[] = {
        "muster_build_info{version=",
        "muster_workers{state=\"ready\"}",
        "muster_workers{state=\"backoff\"}",
        "muster_worker_restarts_total{reason=\"crash\"}",
        "muster_http_requests_total{code=\"200\"}",
        "muster_http_request_duration_seconds_bucket",
        "muster_http_request_duration_seconds_count",
        "muster_http_request_duration_seconds_sum",
        "muster_connections_active{kind=\"http\"}",
        "muster_connections_active{kind=\"websocket\"}",
        "muster_connections_accepted_total",
        "muster_dispatch_connections_total{slot=\"3\"}",
        "muster_dispatch_weight{slot=\"3\"}",
        "muster_dispatch_share{slot=\"3\"}",
        "muster_dispatch_program_swaps_total",
        "muster_websocket_connections",
        "muster_websocket_messages_total{direction=\"in\"}",
        "muster_process_cpu_seconds_total{process=\"master\"}",
        "muster_process_cpu_seconds_total{process=\"workers\"}",
        "muster_process_resident_memory_bytes{process=\"worker-1\"}",
        "muster_loop_lag_seconds{process=\"master\"}",
        "muster_scaling_desired_workers",
        "muster_scaling_decisions_total{action=\"scale-up\"}",
        "active_websocket_connections",
        "websocket_active_connections",
        "messages_per_second",
        "messages_total",
        "muster_loop_busy_seconds_total",
        "muster_http_timeouts_total{phase=\"header\"}",
    };
    struct model *model = model_with_ready(2, 2);
    (void)state;
    char *text = metrics_text(model, VIEW_FORMAT_DEFAULT);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        size_t len = strlen(names[i]);
        if (names[i][len - 1] == '=' ? strstr(text, names[i]) == NULL : !has_sample(text, names[i]))
            fail_msg("%s is missing", names[i]);
    }
    /* Units are base units. */
    assert_null(strstr(text, "nanoseconds"));
    assert_null(strstr(text, "microseconds"));
    assert_null(strstr(text, "# EOF"));
    free(text);

    text = metrics_text(model, VIEW_FORMAT_OPENMETRICS);
    assert_non_null(strstr(text, "\n# EOF\n"));
    assert_non_null(strstr(text, "# TYPE messages_per_second gauge\n"));
    assert_non_null(strstr(text, "# TYPE muster_http_requests counter\n"));
    free(text);
    model_free(model);
}

/* Fills every counter, so that none can hide behind zeros. */
static void count_everything(struct worker *worker)
{
    struct metrics *metrics = &worker->metrics;
    for (unsigned i = 0; i < METRIC_COUNTER_COUNT; i++)
        metrics->counter[i] += 5000000 + i;
    metrics_count_status(metrics, 200);
    metrics_count_status(metrics, 503);
    for (unsigned i = 0; i < SLOTS; i++)
        metrics->slot_accepted[i] += i + 1;
    histogram_record(&metrics->histogram[HISTOGRAM_REQUEST_DURATION], 1000000);
}

static bool is_counter(const char *text, const char *name, size_t len)
{
    char type[128];
    static const char *const suffixes[] = {"", "_bucket", "_sum", "_count"};
    for (size_t i = 0; i < ARRAY_COUNT(suffixes); i++) {
        size_t suffix = strlen(suffixes[i]);
        if (len < suffix || strncmp(name + len - suffix, suffixes[i], suffix) != 0)
            continue;
        (void)snprintf(type, sizeof(type), "# TYPE %.*s %s\n", (int)(len - suffix), name,
                       suffix == 0 ? "counter" : "histogram");
        if (strstr(text, type) != NULL)
            return true;
    }
    return false;
}

static void no_counter_falls_when_a_worker_dies(void **state)
{
    struct model *model = model_with_ready(2, 2);
    struct worker *worker = TAILQ_FIRST(&model->cluster.roster->workers);
    (void)state;
    count_everything(worker);
    count_everything(TAILQ_NEXT(worker, in_roster));
    char *before = metrics_text(model, VIEW_FORMAT_DEFAULT);

    worker_enter(worker, WORKER_DEAD, NOW_MS);
    totals_bury(&model->totals, &worker->metrics);
    roster_remove(model->cluster.roster, worker);
    (void)add_worker(model, 0, WORKER_STARTING);
    char *after = metrics_text(model, VIEW_FORMAT_DEFAULT);

    unsigned compared = 0;
    for (char *line = before; *line != '\0';) {
        char *end = strchr(line, '\n');
        char *value = memrchr(line, ' ', (size_t)(end - line));
        if (*line != '#' && is_counter(before, line, strcspn(line, "{ "))) {
            char sample[256];
            (void)snprintf(sample, sizeof(sample), "%.*s", (int)(value - line), line);
            double was = strtod(value, NULL);
            double is = sample_value(after, sample);
            if (is < was)
                fail_msg("%s fell from %g to %g", sample, was, is);
            compared++;
        }
        line = end + 1;
    }
    assert_true(compared > 40);
    assert_true(sample_value(after, "muster_http_requests_total{code=\"503\"}") > 1.5);
    assert_true(sample_value(after, "muster_process_cpu_seconds_total{process=\"workers\"}") > 19);
    free(before);
    free(after);
    model_free(model);
}

static void too_little_memory_is_an_answer(void **state)
{
    struct model *model = model_with_ready(1, 1);
    struct view_result result;
    struct buf small;
    (void)state;
    buf_init(&small, 200);
    view_render(&model->cluster, VIEW_METRICS, VIEW_FORMAT_DEFAULT, NOW_MS, &small, &result);
    assert_int_equal(result.status, 500);
    assert_false(buf_failed(&small));
    buf_append(&small, "", 1);
    assert_non_null(strstr(small.ptr, "out of memory"));
    buf_fini(&small);
    model_free(model);
}

static void an_unknown_document_is_not_found(void **state)
{
    struct model *model = model_with_ready(1, 1);
    struct view_result result;
    (void)state;
    json_t *root = render(model, (enum view)999, VIEW_FORMAT_DEFAULT, &result);
    assert_int_equal(result.status, 404);
    json_decref(root);
    model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_short_and_exact),
        cmocka_unit_test(integers_reach_their_limits),
        cmocka_unit_test(strings_are_always_valid_json),
        cmocka_unit_test(health_tells_whether_it_serves),
        cmocka_unit_test(connections_are_those_of_all_workers),
        cmocka_unit_test(api_health_has_the_promised_shape),
        cmocka_unit_test(performance_is_total_and_per_worker),
        cmocka_unit_test(status_counts_workers_by_state),
        cmocka_unit_test(slots_that_nobody_wants_are_left_out),
        cmocka_unit_test(status_describes_a_worker),
        cmocka_unit_test(draining_workers_tell_what_they_wait_for),
        cmocka_unit_test(a_reload_tells_how_it_goes),
        cmocka_unit_test(status_tells_the_rest),
        cmocka_unit_test(obituaries_are_newest_first),
        cmocka_unit_test(nonsense_of_a_worker_does_no_harm),
        cmocka_unit_test(scaling_tells_who_decides),
        cmocka_unit_test(every_promised_name_is_there),
        cmocka_unit_test(no_counter_falls_when_a_worker_dies),
        cmocka_unit_test(too_little_memory_is_an_answer),
        cmocka_unit_test(an_unknown_document_is_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
