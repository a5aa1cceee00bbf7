/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_log - what lines look like, what happens when they cannot be written,
 * and the last line of a process that found a bug in itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/check.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

static char output[256 * 1024];

/* The log writes into a memory file; the descriptor returned reads it. */
static int capture(enum log_level level, enum log_format format)
{
    int fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(fd >= 0);
    int reader = dup(fd);
    assert_true(reader >= 0);
    log_init("worker 3", level, format);
    log_set_fd(fd);
    return reader;
}

/* Everything written so far, and the log back on standard error. */
static const char *captured(int reader)
{
    log_set_fd(STDERR_FILENO);
    ssize_t len = pread(reader, output, sizeof(output) - 1, 0);
    assert_true(len >= 0);
    output[len] = '\0';
    (void)close(reader);
    return output;
}

static size_t read_all(int fd, char *into, size_t size)
{
    ssize_t len = read(fd, into, size - 1);
    if (len < 0)
        len = 0;
    into[len] = '\0';
    return (size_t)len;
}

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    if (!found)
        print_error("%s\ndoes not match\n%s\n", text, pattern);
    return found;
}

#define TIME_PATTERN "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"

static void test_text_line(void **state)
{
    (void)state;
    int reader = capture(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("worker ready", LOG_INT("slot", 3), LOG_INT("pid", 4711));
    assert_true(matches(captured(reader),
                        "^" TIME_PATTERN " info worker 3: worker ready slot=3 pid=4711\n$"));
}

static void test_text_values(void **state)
{
    (void)state;
    static const struct {
        const char *value, *written;
    } cases[] = {
        {"plain", "plain"},
        {"/run/muster.sock", "/run/muster.sock"},
        {"two words", "\"two words\""},
        {"a=b", "\"a=b\""},
        {"say \"hi\"", "\"say \\\"hi\\\"\""},
        {"back\\slash", "\"back\\\\slash\""},
        {"", "\"\""},
        {NULL, "-"},
        {"line\nbreak\ttab\rreturn", "\"line\\nbreak\\ttab\\rreturn\""},
        {"\x01\x1b[31m\x7f", "\"\\x01\\x1b[31m\\x7f\""},
        {"\xC2\x9b"
         "31m",
         "\"\\u009b31m\""}, /* the one-character form of ESC [ */
        {"caf\xC3\xA9", "\"caf\xC3\xA9\""},
        {"\xff\xC3", "\"\\xff\\xc3\""},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int reader = capture(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
        log_info("x", LOG_STR("v", cases[i].value));
        const char *value = strstr(captured(reader), " v=");
        assert_non_null(value);
        assert_memory_equal(value + 3, cases[i].written, strlen(cases[i].written));
        assert_string_equal(value + 3 + strlen(cases[i].written), "\n");
    }
}

static void test_numbers(void **state)
{
    (void)state;
    int reader = capture(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("x", LOG_INT("min", INT64_MIN), LOG_INT("max", INT64_MAX), LOG_REAL("r", 0.25),
             LOG_REAL("big", 1e300), LOG_ERR(-ENOENT), LOG_ERR(ENOENT));
    assert_true(matches(captured(reader),
                        "x min=-9223372036854775808 max=9223372036854775807 r=0.25 big=1e\\+300 "
                        "error=\"No such file or directory\" error=\"No such file or directory\""));
    assert_non_null(log_strerror(INT_MIN));
}

static void test_levels(void **state)
{
    (void)state;
    int reader = capture(LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
    log_debug("one");
    log_info("two");
    log_notice("three");
    log_warning("four");
    log_error("five");
    assert_true(matches(captured(reader), "^[^ ]+ warning worker 3: four\n"
                                          "[^ ]+ error worker 3: five\n$"));
}

static json_t *parse_line(const char *line)
{
    json_error_t error;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL)
        fail_msg("%s: %s", error.text, line);
    assert_true(json_is_object(object));
    return object;
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    assert_non_null(value);
    return value;
}

static void test_json_line(void **state)
{
    (void)state;
    int reader = capture(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_notice("say \"x\"", LOG_STR("s", "a\"b\\\n\x01\x7f\xC2\x9b\xC3\xA9\xff z"),
               LOG_INT("n", -5), LOG_REAL("r", 1.5), LOG_REAL("nan", NAN),
               LOG_REAL("inf", INFINITY), LOG_STR("none", NULL));
    const char *line = captured(reader);
    assert_true(matches(line, "^\\{\"time\":\"" TIME_PATTERN "\",\"level\":\"notice\","
                              "\"process\":\"worker 3\",\"message\":"));
    json_t *object = parse_line(line);
    assert_string_equal(string_of(object, "message"), "say \"x\"");
    assert_string_equal(string_of(object, "s"), "a\"b\\\n\x01\x7f\xC2\x9b\xC3\xA9\xEF\xBF\xBD z");
    assert_int_equal(json_integer_value(json_object_get(object, "n")), -5);
    assert_true(json_real_value(json_object_get(object, "r")) == 1.5);
    assert_true(json_is_null(json_object_get(object, "nan")));
    assert_true(json_is_null(json_object_get(object, "inf")));
    assert_string_equal(string_of(object, "none"), "-");
    json_decref(object);
    assert_null(strchr(line, '\x7f')); /* nothing that a terminal would obey */
}

/* Whatever the bytes and the length, a line is valid JSON or one line of text, within PIPE_BUF. */
static void test_every_length_and_garbage(void **state)
{
    (void)state;
    static char value[3 * PIPE_BUF];
    unsigned random = 1;

    for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
        for (size_t len = PIPE_BUF - 260; len < PIPE_BUF + 40; len++) {
            for (int kind = 0; kind < 3; kind++) {
                for (size_t i = 0; i < len; i++) {
                    random = random * 1664525 + 1013904223;
                    value[i] = kind == 0 ? 'x' : (char)(1 + (random >> 16) % 255);
                }
                value[kind == 2 ? len / 6 : len] = '\0';
                int reader = capture(LOG_LEVEL_INFO, (enum log_format)format);
                log_info("long", LOG_STR("v", value), LOG_INT("n", 12345), LOG_STR("w", value));
                const char *line = captured(reader);
                size_t line_len = strlen(line);
                assert_true(line_len <= PIPE_BUF);
                assert_ptr_equal(strchr(line, '\n'), line + line_len - 1);
                bool cut =
                    strstr(line, "...") != NULL || strstr(line, "\"truncated\":true") != NULL;
                if (kind == 0)
                    assert_true(cut);
                if (format == LOG_FORMAT_JSON) {
                    json_t *object = parse_line(line);
                    assert_int_equal(json_is_true(json_object_get(object, "truncated")), cut);
                    json_decref(object);
                }
            }
        }
    }
}

static void test_text_cut_in_quotes_is_closed(void **state)
{
    (void)state;
    static char value[2 * PIPE_BUF];
    memset(value, ' ', sizeof(value) - 1);
    int reader = capture(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("long", LOG_STR("v", value));
    const char *line = captured(reader);
    assert_string_equal(line + strlen(line) - 5, "...\"\n");
    memset(value, 'x', sizeof(value) - 1);
    reader = capture(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("long", LOG_STR("v", value));
    line = captured(reader);
    assert_true(strlen(line) > PIPE_BUF - 40);
    assert_string_equal(line + strlen(line) - 5, "x...\n");
}

static void test_journal_prefix(void **state)
{
    (void)state;
    static const struct {
        enum log_level level;
        const char *line;
    } cases[] = {
        {LOG_LEVEL_DEBUG, "<7>debug worker 3: x n=1\n"},
        {LOG_LEVEL_INFO, "<6>info worker 3: x n=1\n"},
        {LOG_LEVEL_NOTICE, "<5>notice worker 3: x n=1\n"},
        {LOG_LEVEL_WARNING, "<4>warning worker 3: x n=1\n"},
        {LOG_LEVEL_ERROR, "<3>error worker 3: x n=1\n"},
    };
    int pair[2];
    struct stat st;
    char stream[64];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(fstat(pair[0], &st), 0);
    log_init("worker 3", LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    (void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
    assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
    log_set_fd(dup(pair[0]));
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct log_field field = LOG_INT("n", 1);
        log_write(cases[i].level, "x", &field, 1);
        read_all(pair[1], output, sizeof(output));
        assert_string_equal(output, cases[i].line);
    }
    log_init("worker 3", LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    log_info("x");
    read_all(pair[1], output, sizeof(output));
    assert_int_equal(output[0], '{');

    /* Another socket is not the journal, whatever the variable says. */
    (void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino + 1);
    const char *const others[] = {stream, "1:1", "", ":", "12", "x:y", "1:2x"};
    log_init("worker 3", LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        assert_int_equal(setenv("JOURNAL_STREAM", others[i], 1), 0);
        log_set_fd(dup(pair[0]));
        log_info("x");
        read_all(pair[1], output, sizeof(output));
        assert_true(matches(output, "^" TIME_PATTERN " info worker 3: x\n$"));
    }
    assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
    log_set_fd(STDERR_FILENO);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

/* poll(2) alone is not enough where several processes write to one pipe. */
static void test_pipe_is_opened_again(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    log_set_fd(fds[1]);
    assert_int_equal(log_fd(), fds[1]);
    assert_int_equal(fcntl(log_fd(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(fcntl(log_fd(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    log_set_fd(STDERR_FILENO);
    /* Nothing of it is left open: the reader is at the end. */
    char byte;
    assert_int_equal(read(fds[0], &byte, 1), 0);
    (void)close(fds[0]);

    /* Standard error stays what it is for the libraries that write to it. */
    int saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    (void)close(fds[1]);
    int other = memfd_create("other", MFD_CLOEXEC);
    log_set_fd(other);
    log_set_fd(STDERR_FILENO);
    bool nonblocking = (fcntl(log_fd(), F_GETFL) & O_NONBLOCK) != 0;
    bool shared_blocks = (fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK) == 0;
    log_info("x");
    read_all(fds[0], output, sizeof(output));
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    (void)close(saved);
    (void)close(fds[0]);
    log_set_fd(memfd_create("other", MFD_CLOEXEC));
    log_set_fd(STDERR_FILENO);
    assert_true(nonblocking && shared_blocks);
    assert_true(matches(output, ": x\n$"));
}

/* Fills what the log writes to; nothing blocks, and every lost line is told of. */
static void check_nobody_reads(int reader, int writer)
{
    uint64_t dropped_before = log_dropped_count();
    log_init("worker 3", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_set_fd(writer);
    int sent = 0;
    while (log_dropped_count() == dropped_before && sent < 1000000) {
        log_info("filling", LOG_INT("n", sent));
        sent++;
    }
    for (int i = 0; i < 9; i++)
        log_info("too much");
    uint64_t dropped = log_dropped_count() - dropped_before;
    assert_int_equal(dropped, 10);

    int lines = 0;
    size_t len;
    while ((len = read_all(reader, output, sizeof(output))) > 0) {
        for (size_t i = 0; i < len; i++)
            lines += output[i] == '\n';
    }
    assert_int_equal(lines, sent - 1);
    log_info("there is room again");
    log_info("and again");
    read_all(reader, output, sizeof(output));
    assert_true(matches(output, "^[^ ]+ warning worker 3: log lines lost count=10\n"
                                "[^ ]+ info worker 3: there is room again\n"
                                "[^ ]+ info worker 3: and again\n$"));
    assert_int_equal(log_dropped_count() - dropped_before, 10);
    log_set_fd(STDERR_FILENO);
    (void)close(reader);
}

static void test_pipe_that_nobody_reads(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    int shared = dup(fds[1]);
    check_nobody_reads(fds[0], fds[1]);
    /* Whoever else has the pipe still has it as it was. */
    assert_int_equal(fcntl(shared, F_GETFL) & O_NONBLOCK, 0);
    (void)close(shared);
}

static void test_socket_that_nobody_reads(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    int shared = dup(fds[1]);
    check_nobody_reads(fds[0], fds[1]);
    assert_int_equal(fcntl(shared, F_GETFL) & O_NONBLOCK, 0);
    (void)close(shared);
}

static void test_reader_that_went_away(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        int fds[2];
        uint64_t before = log_dropped_count();
        if (kind == 0)
            assert_int_equal(pipe(fds), 0);
        else
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        log_init("worker 3", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
        log_set_fd(fds[1]);
        (void)close(fds[0]);
        errno = ERANGE;
        log_info("lost");
        assert_int_equal(errno, ERANGE);
        assert_int_equal(log_dropped_count(), before + 1);
        int reader = capture(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
        log_info("found");
        assert_true(matches(captured(reader), "lost count=1\n.*: found\n$"));
    }
}

static void test_full_device(void **state)
{
    (void)state;
    uint64_t before = log_dropped_count();
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (full < 0)
        skip();
    log_init("worker 3", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_set_fd(full);
    for (int i = 0; i < 3; i++)
        log_info("lost");
    assert_int_equal(log_dropped_count(), before + 3);
    int reader = capture(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("found");
    assert_true(matches(captured(reader), "log lines lost count=3\n.*: found\n$"));
}

/* A disk that fills up in the middle of a line: the half is a line of its own. */
static void test_half_a_line(void **state)
{
    (void)state;
    struct rlimit saved, tight;
    uint64_t before = log_dropped_count();
    int reader = capture(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    tight = saved;
    tight.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    log_info("first line of the log");
    log_info("second line, which is cut");
    log_info("third line, which is lost");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
    assert_int_equal(log_dropped_count(), before + 2);
    log_info("fourth line");
    assert_true(matches(captured(reader), "^[^\n]+ first line of the log\n"
                                          "[^\n]{1,60}\n"
                                          "[^ ]+ warning worker 3: log lines lost count=2\n"
                                          "[^ ]+ info worker 3: fourth line\n$"));
}

static void test_set_fd_closes_the_one_before(void **state)
{
    (void)state;
    int reader = capture(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    int first = log_fd();
    log_set_fd(first); /* nothing happens */
    assert_true(fcntl(first, F_GETFD) >= 0);
    int second = memfd_create("second", MFD_CLOEXEC);
    log_set_fd(second);
    assert_int_equal(fcntl(first, F_GETFD), -1);
    assert_int_equal(log_fd(), second);
    (void)captured(reader);
    assert_int_equal(fcntl(second, F_GETFD), -1);
    assert_true(fcntl(STDERR_FILENO, F_GETFD) >= 0);
    reader = capture(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    assert_true(fcntl(STDERR_FILENO, F_GETFD) >= 0);
    (void)captured(reader);
}

static void test_process_name_is_bounded(void **state)
{
    (void)state;
    int reader = capture(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_init("0123456789012345678901234567890123456789", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("x");
    assert_true(matches(captured(reader), " info 0123456789012345678901234567890: x\n$"));
}

/* ---- check ---- */

static int run_failing_check(int log_to)
{
    int reader = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(reader >= 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(reader, STDERR_FILENO);
        if (log_to >= 0)
            log_set_fd(log_to);
        CHECK(1 + 1 == 2);
        CHECK(log_to == -12345);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    return reader;
}

static void test_check(void **state)
{
    (void)state;
    log_init("master", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    int log_to = memfd_create("log", MFD_CLOEXEC);
    int reader = run_failing_check(log_to);
    assert_int_equal(pread(reader, output, sizeof(output), 0), 0);
    ssize_t len = pread(log_to, output, sizeof(output) - 1, 0);
    assert_true(len > 0);
    output[len] = '\0';
    assert_true(matches(output, "^[^ ]+ error master: bug: check failed "
                                "at=unit/test_log.c:[0-9]+ condition=\"log_to == -12345\"\n$"));
    (void)close(reader);
    (void)close(log_to);

    /* Where the log cannot take it, standard error does. */
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (full < 0)
        return;
    reader = run_failing_check(full);
    len = pread(reader, output, sizeof(output) - 1, 0);
    assert_true(len > 0);
    output[len] = '\0';
    assert_true(matches(output, "^bug: check failed at unit/test_log.c:[0-9]+: "
                                "log_to == -12345\n$"));
    (void)close(reader);
    (void)close(full);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_line),
        cmocka_unit_test(test_text_values),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_json_line),
        cmocka_unit_test(test_every_length_and_garbage),
        cmocka_unit_test(test_text_cut_in_quotes_is_closed),
        cmocka_unit_test(test_journal_prefix),
        cmocka_unit_test(test_pipe_is_opened_again),
        cmocka_unit_test(test_pipe_that_nobody_reads),
        cmocka_unit_test(test_socket_that_nobody_reads),
        cmocka_unit_test(test_reader_that_went_away),
        cmocka_unit_test(test_full_device),
        cmocka_unit_test(test_half_a_line),
        cmocka_unit_test(test_set_fd_closes_the_one_before),
        cmocka_unit_test(test_process_name_is_bounded),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
