/* SPDX-License-Identifier: BSD-2-Clause
 *
 * log - one event per line, to standard error or to a file.
 *
 * Lines look like
 *   text: 2026-01-31T23:59:59.999Z info master: worker ready slot=3 pid=4711
 *   json: {"time":"…","level":"info","process":"master","message":"worker
 * ready","slot":3,"pid":4711} and start with a priority prefix ("<6>") when standard error is the
 * journal. A line is written with one write(2) and never blocks: when the descriptor cannot take it
 * (a full disk, a pipe nobody reads) the line is dropped and counted. One log per process; not for
 * use in signal handlers or threads.
 */
#ifndef MUSTER_LOG_H
#define MUSTER_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_ERROR
};
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* `process` is kept ("master", "worker 3"): at most 31 bytes are copied. */
void log_init(const char *process, enum log_level level, enum log_format format);

/* Writes to `fd` from now on; the log owns it and closes the one before
 * unless that was standard error. A pipe or terminal is opened again without
 * blocking, under the same number but for standard error, which others share. */
void log_set_fd(int fd);
int log_fd(void);
enum log_level log_get_level(void);
uint64_t log_dropped_count(void);

/* The message is constant text; everything that varies goes into fields made
 * with the macros below: log_info("worker ready", LOG_INT("slot", slot)). */
struct log_field {
    const char *key;
    enum { LOG_FIELD_INT, LOG_FIELD_STR, LOG_FIELD_REAL } type;
    union {
        int64_t integer;
        const char *string; /* NULL is written as "-" */
        double real;
    };
};

#define LOG_INT(k, v)                                                                              \
    ((struct log_field){.key = (k), .type = LOG_FIELD_INT, .integer = (int64_t)(v)})
#define LOG_STR(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .string = (v)})
#define LOG_REAL(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_REAL, .real = (v)})
/* err: a positive errno or our negative -errno; written as error="text". */
#define LOG_ERR(err) LOG_STR("error", log_strerror(err))

const char *log_strerror(int err);

void log_write(enum log_level level, const char *message, const struct log_field *fields,
               int count);

/* The array always holds one dummy so that no-field calls stay valid C. */
#define LOG_AT(level, message, ...)                                                                \
    do {                                                                                           \
        if ((level) >= log_get_level()) {                                                          \
            const struct log_field log_fields_[] = {LOG_INT("", 0), ##__VA_ARGS__};                \
            log_write((level), (message), log_fields_ + 1,                                         \
                      (int)(sizeof(log_fields_) / sizeof(log_fields_[0])) - 1);                    \
        }                                                                                          \
    } while (0)

#define log_debug(message, ...) LOG_AT(LOG_LEVEL_DEBUG, message, ##__VA_ARGS__)
#define log_info(message, ...) LOG_AT(LOG_LEVEL_INFO, message, ##__VA_ARGS__)
#define log_notice(message, ...) LOG_AT(LOG_LEVEL_NOTICE, message, ##__VA_ARGS__)
#define log_warning(message, ...) LOG_AT(LOG_LEVEL_WARNING, message, ##__VA_ARGS__)
#define log_error(message, ...) LOG_AT(LOG_LEVEL_ERROR, message, ##__VA_ARGS__)

#endif
