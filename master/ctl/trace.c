/* SPDX-License-Identifier: BSD-2-Clause
 *
 * trace - reading a recorded or invented load.
 */
#include "master/ctl/trace.h"

#include "common/check.h"
#include "common/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_WORDS = 4, MOST_WORKERS = 4096 };
static const double MOST_LOAD = 1e6;

struct line {
    const char *path;
    int number;
    char *words[MOST_WORDS];
    int count;
    char *error;
};

static int refuse(const struct line *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int refuse(const struct line *line, const char *format, ...)
{
    va_list arguments;
    int len = snprintf(line->error, TRACE_ERROR_SIZE, "%.100s:%d: ", line->path, line->number);
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it was begun one line above */
    vsnprintf(line->error + len, TRACE_ERROR_SIZE - (size_t)len, format, arguments);
    va_end(arguments);
    return -1;
}

/* ---- values ---- */

static bool read_decimal(const char *text, double *out)
{
    size_t len = strspn(text, "0123456789.");
    char *end;
    if (len == 0 || text[len] != '\0' || len > 20)
        return false;
    double value = strtod(text, &end);
    if (*end != '\0')
        return false;
    *out = value;
    return true;
}

static int set_percent(const struct line *line, double *out)
{
    double value;
    if (!read_decimal(line->words[1], &value) || value <= 0 || value > 100)
        return refuse(line, "%s must be above 0 and at most 100 percent, not \"%s\"",
                      line->words[0], line->words[1]);
    *out = value;
    return 0;
}

static int set_duration(const struct line *line, int64_t unit_ms, int64_t most_ms, int64_t *out)
{
    int64_t value;
    const char *why = "";
    if (units_parse_duration(slice_from_str(line->words[1]), &value, &why) != 0)
        return refuse(line, "%s \"%s\" %s", line->words[0], line->words[1], why);
    if (value < unit_ms || value > most_ms || value % unit_ms != 0)
        return refuse(line, "%s \"%s\" must be whole %s, up to %lld s", line->words[0],
                      line->words[1], unit_ms == 1000 ? "seconds" : "milliseconds",
                      (long long)most_ms / 1000);
    *out = value;
    return 0;
}

static int set_number(const struct line *line, int word, int64_t most, int64_t *out)
{
    int64_t value;
    if (units_parse_number(slice_from_str(line->words[word]), &value, NULL) != 0 || value < 1 ||
        value > most)
        return refuse(line, "%s must be 1 to %lld, not \"%s\"", line->words[0], (long long)most,
                      line->words[word]);
    *out = value;
    return 0;
}

static int set_workers(const struct line *line, struct trace *trace)
{
    if (set_number(line, 1, MOST_WORKERS, &trace->min_workers) != 0 ||
        set_number(line, 2, MOST_WORKERS, &trace->max_workers) != 0)
        return -1;
    if (trace->max_workers < trace->min_workers)
        return refuse(line, "workers: %s is more than %s", line->words[1], line->words[2]);
    return 0;
}

static int set(const struct line *line, struct trace *trace)
{
    static const int64_t hour_ms = 3600 * 1000;
    const char *name = line->words[0];
    int wanted = strcmp(name, "workers") == 0 ? 3 : 2;
    if (line->count != wanted)
        return refuse(line, "%s needs %s", name, wanted == 3 ? "two numbers" : "one value");
    if (trace->run_count > 0)
        return refuse(line, "%s must stand before the first load", name);
    if (wanted == 3)
        return set_workers(line, trace);
    if (strcmp(name, "threshold") == 0)
        return set_percent(line, &trace->threshold);
    if (strcmp(name, "target") == 0)
        return set_percent(line, &trace->target);
    if (strcmp(name, "step") == 0)
        return set_duration(line, 1000, 24 * hour_ms, &trace->step_ms);
    if (strcmp(name, "start_time") == 0)
        return set_duration(line, 1000, hour_ms, &trace->start_time_ms);
    if (strcmp(name, "down_window") == 0)
        return set_duration(line, 1000, 24 * hour_ms, &trace->down_window_ms);
    if (strcmp(name, "evaluate") == 0)
        return set_duration(line, 1000, hour_ms, &trace->evaluate_ms);
    if (strcmp(name, "request") == 0)
        return set_duration(line, 1, hour_ms, &trace->request_ms);
    return set_number(line, 1, 1000000000, &trace->queue_requests);
}

/* ---- loads ---- */

static int add_run(const struct line *line, struct trace *trace, const struct trace_run *run)
{
    int64_t seconds = run->steps * (trace->step_ms / 1000);
    if (trace->run_count == TRACE_MAX_RUNS || seconds > TRACE_MAX_SECONDS - trace->seconds)
        return refuse(line, "the trace is longer than %d days or %d lines",
                      TRACE_MAX_SECONDS / 86400, TRACE_MAX_RUNS);
    if (trace->run_count == trace->run_capacity) {
        size_t capacity = trace->run_capacity > 0 ? 2 * trace->run_capacity : 64;
        struct trace_run *runs = reallocarray(trace->runs, capacity, sizeof(*runs));
        if (runs == NULL)
            return refuse(line, "out of memory");
        trace->runs = runs;
        trace->run_capacity = capacity;
    }
    trace->runs[trace->run_count++] = *run;
    trace->seconds += seconds;
    return 0;
}

static int add_load(const struct line *line, struct trace *trace)
{
    struct trace_run run = {.measured = strcmp(line->words[0], "-") != 0, .steps = 1};
    if (trace->run_count > 0)
        run.load = trace->runs[trace->run_count - 1].load;
    if (run.measured && (!read_decimal(line->words[0], &run.load) || run.load > MOST_LOAD))
        return refuse(line, "\"%s\" is neither a setting nor a load of 0 to %.0f workers",
                      line->words[0], MOST_LOAD);
    if (line->count != 1 && (line->count != 3 || strcmp(line->words[1], "x") != 0))
        return refuse(line, "a load is \"%s\" or \"%s x STEPS\"", line->words[0], line->words[0]);
    if (line->count == 3 && (units_parse_number(slice_from_str(line->words[2]), &run.steps, NULL) ||
                             run.steps < 1 || run.steps > TRACE_MAX_SECONDS))
        return refuse(line, "\"%s\" is no number of steps", line->words[2]);
    return add_run(line, trace, &run);
}

static int read_line(struct line *line, char *text, struct trace *trace)
{
    static const char *const settings[] = {"workers",   "step",    "start_time",
                                           "threshold", "target",  "down_window",
                                           "evaluate",  "request", "queue"};
    char *rest = NULL;
    text[strcspn(text, "#\r\n")] = '\0';
    line->count = 0;
    for (char *word = strtok_r(text, " \t", &rest); word != NULL;
         word = strtok_r(NULL, " \t", &rest)) {
        if (line->count == MOST_WORDS)
            return refuse(line, "there is too much on this line");
        line->words[line->count++] = word;
    }
    if (line->count == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_COUNT(settings); i++)
        if (strcmp(line->words[0], settings[i]) == 0)
            return set(line, trace);
    return add_load(line, trace);
}

int trace_parse(int fd, const char *name, struct trace *out, char error[TRACE_ERROR_SIZE])
{
    struct trace trace = {
        .min_workers = 2,
        .max_workers = 32,
        .step_ms = 1000,
        .start_time_ms = 2000,
        .threshold = 80,
        .target = 60,
        .down_window_ms = 300 * 1000,
        .evaluate_ms = 5000,
        .request_ms = 10,
        .queue_requests = 4096,
    };
    struct line line = {.path = name, .error = error};
    char *text = NULL;
    size_t size = 0;
    int failed = 0;
    FILE *file = fdopen(fd, "r");
    if (file == NULL) {
        snprintf(error, TRACE_ERROR_SIZE, "%.200s: %s", name, strerror(errno));
        close(fd);
        return -1;
    }
    while (failed == 0 && getline(&text, &size, file) >= 0) {
        line.number++;
        failed = read_line(&line, text, &trace);
    }
    if (failed == 0 && !feof(file)) {
        snprintf(error, TRACE_ERROR_SIZE, "%.200s cannot be read", name);
        failed = -1;
    } else if (failed == 0 && trace.run_count == 0) {
        snprintf(error, TRACE_ERROR_SIZE, "%.200s has no load; a load is a line such as \"2.5\"",
                 name);
        failed = -1;
    }
    free(text);
    fclose(file);
    if (failed == 0)
        *out = trace;
    else
        trace_fini(&trace);
    return failed;
}

int trace_read(const char *path, struct trace *out, char error[TRACE_ERROR_SIZE])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(error, TRACE_ERROR_SIZE, "%.200s: %s", path, strerror(errno));
        return -1;
    }
    return trace_parse(fd, path, out, error);
}

void trace_fini(struct trace *trace)
{
    free(trace->runs);
    trace->runs = NULL;
    trace->run_count = 0;
}
