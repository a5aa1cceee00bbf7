/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_access_log - lines, escaping, sampling, and a log that cannot take them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/access_log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct access_entry some_entry = {
    .method = {"GET", 3},
    .target = {"/hello?x=1", 10},
    .minor_version = 1,
    .status = 200,
    .body_bytes = 13,
    .duration_ns = 123456,
};

static void check_line(enum log_format format, const struct access_entry *entry,
                       const char *expected)
{
    char line[ACCESS_LOG_MAX_LINE];
    size_t len = access_log_format_line(line, format, "TIME", "127.0.0.1", entry);
    assert_int_equal(len, strlen(line));
    assert_string_equal(line, expected);
}

static void test_lines(void **state)
{
    (void)state;
    check_line(LOG_FORMAT_TEXT, &some_entry,
               "127.0.0.1 - - [TIME] \"GET /hello?x=1 HTTP/1.1\" 200 13 0.000123\n");
    check_line(LOG_FORMAT_JSON, &some_entry,
               "{\"time\":\"TIME\",\"remote\":\"127.0.0.1\",\"method\":\"GET\","
               "\"target\":\"/hello?x=1\",\"status\":200,\"bytes\":13,\"duration\":0.000123}\n");
    const struct access_entry unreadable = {.status = 400, .duration_ns = 1500000000};
    check_line(LOG_FORMAT_TEXT, &unreadable, "127.0.0.1 - - [TIME] \"-\" 400 0 1.500000\n");
}

static void test_escaping(void **state)
{
    (void)state;
    struct access_entry entry = some_entry;
    static const char target[] = "/a\"b\\c\nd\x7f\xc3\xa9\xff";
    entry.target = SLICE_LITERAL(target);
    check_line(LOG_FORMAT_TEXT, &entry,
               "127.0.0.1 - - [TIME] \"GET /a\\x22b\\x5cc\\x0ad\\x7f\\xc3\\xa9\\xff HTTP/1.1\" "
               "200 13 0.000123\n");
    check_line(LOG_FORMAT_JSON, &entry,
               "{\"time\":\"TIME\",\"remote\":\"127.0.0.1\",\"method\":\"GET\","
               "\"target\":\"/a\\u0022b\\u005cc\\u000ad\\u007f\xc3\xa9\\u00ff\",\"status\":200,"
               "\"bytes\":13,\"duration\":0.000123}\n");
}

/* Whatever the target is, a line is one line and fits into PIPE_BUF. */
static void test_long_targets(void **state)
{
    (void)state;
    static const char fills[] = {'a', '\n', '"', '\xff'};
    static char target[20000];
    for (size_t f = 0; f < sizeof(fills); f++) {
        memset(target, fills[f], sizeof(target));
        struct access_entry entry = some_entry;
        entry.target = slice_from(target, sizeof(target));
        entry.method = slice_from(target, sizeof(target));
        for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
            char line[ACCESS_LOG_MAX_LINE];
            size_t len =
                access_log_format_line(line, (enum log_format)format, "2026-01-31T23:59:59.999Z",
                                       "0000:0000:0000:0000:0000:ffff:255.255.255.255", &entry);
            assert_true(len <= PIPE_BUF);
            assert_ptr_equal(memchr(line, '\n', len), line + len - 1);
            assert_non_null(strstr(line, "..."));
        }
    }
}

static void test_remotes(void **state)
{
    (void)state;
    char text[ACCESS_REMOTE_SIZE];
    struct access_remote v4 = {.address = {192, 0, 2, 1}, .family = AF_INET};
    access_remote_format(&v4, text);
    assert_string_equal(text, "192.0.2.1");
    struct access_remote v6 = {.address = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}, .family = AF_INET6};
    access_remote_format(&v6, text);
    assert_string_equal(text, "2001:db8::1");
    struct access_remote local = {.family = AF_UNIX};
    access_remote_format(&local, text);
    assert_string_equal(text, "unix:");
}

static void test_sampling(void **state)
{
    (void)state;
    uint64_t dropped = 0;
    struct access_log log;
    assert_int_equal(access_log_init(&log, ACCESS_LOG_SAMPLED, LOG_FORMAT_TEXT, 10, &dropped), 0);
    int wanted = 0;
    for (int i = 0; i < 1000; i++)
        wanted += access_log_wants(&log);
    assert_int_equal(wanted, 100);
    access_log_fini(&log);

    assert_int_equal(access_log_init(&log, ACCESS_LOG_OFF, LOG_FORMAT_TEXT, 10, &dropped), 0);
    assert_null(log.buffer);
    assert_false(access_log_wants(&log));
    access_log_flush(&log);
    access_log_fini(&log);
}

static void add_lines(struct access_log *log, int count)
{
    struct access_remote remote = {.address = {127, 0, 0, 1}, .family = AF_INET};
    for (int i = 0; i < count; i++)
        access_log_add(log, &remote, &some_entry, INT64_C(1769903999999));
}

static int count_in_pipe(int fd, bool *whole_lines)
{
    char bytes[PIPE_BUF];
    int count = 0;
    ssize_t got;
    *whole_lines = true;
    while ((got = read(fd, bytes, sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < got; i++)
            count += bytes[i] == '\n';
        *whole_lines = bytes[got - 1] == '\n';
    }
    return count;
}

/* A pipe that nobody reads: what does not fit is dropped and counted, nothing blocks. */
static void test_full_pipe(void **state)
{
    (void)state;
    enum { LINES = 5000 };
    uint64_t dropped = 0;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0); /* blocking, as a service manager gives it */
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    struct access_log log;
    assert_int_equal(access_log_init(&log, ACCESS_LOG_ALL, LOG_FORMAT_TEXT, 1, &dropped), 0);
    access_log_set_fd(&log, fds[1], true);
    add_lines(&log, LINES);
    assert_true(dropped > 0);
    bool whole;
    int seen = count_in_pipe(fds[0], &whole);
    assert_true(whole);
    access_log_flush(&log); /* what waited in the buffer */
    seen += count_in_pipe(fds[0], &whole);
    assert_true(whole);
    assert_int_equal(seen + (int)dropped, LINES);
    access_log_fini(&log);
    (void)close(fds[0]);
}

static void test_file(void **state)
{
    (void)state;
    uint64_t dropped = 0;
    char name[] = "/tmp/muster-access-XXXXXX";
    int fd = mkostemp(name, O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    (void)unlink(name);
    struct access_log log;
    assert_int_equal(access_log_init(&log, ACCESS_LOG_ALL, LOG_FORMAT_TEXT, 1, &dropped), 0);
    access_log_set_fd(&log, fd, false);
    add_lines(&log, 1);
    assert_int_equal(lseek(fd, 0, SEEK_END), 0); /* buffered */
    access_log_flush(&log);
    char line[256] = "";
    assert_true(pread(fd, line, sizeof(line) - 1, 0) > 0);
    assert_string_equal(line, "127.0.0.1 - - [31/Jan/2026:23:59:59 +0000] \"GET /hello?x=1 "
                              "HTTP/1.1\" 200 13 0.000123\n");
    add_lines(&log, 2000);
    access_log_fini(&log);
    assert_int_equal(dropped, 0);
    assert_int_equal(lseek(fd, 0, SEEK_END), 2001 * (off_t)strlen(line));
    (void)close(fd);
}

static void test_nowhere(void **state)
{
    (void)state;
    uint64_t dropped = 0;
    struct access_log log;
    assert_int_equal(access_log_init(&log, ACCESS_LOG_ALL, LOG_FORMAT_JSON, 1, &dropped), 0);
    add_lines(&log, 3);
    access_log_flush(&log);
    assert_int_equal(dropped, 3);
    access_log_fini(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),        cmocka_unit_test(test_escaping),
        cmocka_unit_test(test_long_targets), cmocka_unit_test(test_remotes),
        cmocka_unit_test(test_sampling),     cmocka_unit_test(test_full_pipe),
        cmocka_unit_test(test_file),         cmocka_unit_test(test_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
