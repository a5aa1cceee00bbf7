/* SPDX-License-Identifier: BSD-2-Clause
 *
 * log - one event per line, to standard error or to a file.
 *
 * A line is built in memory, never longer than PIPE_BUF (so that lines of
 * several processes on one pipe do not mix), and leaves with one system call.
 * Room for the end of a line is kept back while it is built: a line that is
 * too long is still a well-formed one.
 */
#include "common/log.h"

#include "common/clock.h"
#include "common/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE_SIZE = PIPE_BUF, LINE_TAIL = 32, NUMBER_SIZE = 32 };

/* What the descriptor is decides how to write without blocking. */
enum target { TARGET_POLLED, TARGET_FILE, TARGET_SOCKET };

static struct {
    char process[32];
    enum log_level level;
    enum log_format format;
    int fd;
    enum target target;
    bool journal;        /* the journal reads what we write */
    bool partial;        /* the last write left half a line */
    uint64_t dropped;    /* lines, ever */
    uint64_t unreported; /* of these, not yet told */
} state = {.process = "muster", .level = LOG_LEVEL_INFO, .fd = STDERR_FILENO};

struct line {
    char text[LINE_SIZE];
    size_t len;
    bool quoted; /* inside a quoted value */
    bool full;   /* something was left out */
};

/* ---- where lines go ---- */

/* Whether the other end is journald (of a journal namespace, too). */
static bool leads_to_journal(int fd)
{
    static const char prefix[] = "/run/systemd/journal", suffix[] = "/stdout";
    struct sockaddr_un peer = {0};
    socklen_t size = sizeof(peer) - 1; /* so that the path ends */
    if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0 || peer.sun_family != AF_UNIX)
        return false;
    size_t len = strlen(peer.sun_path);
    return strncmp(peer.sun_path, prefix, sizeof(prefix) - 1) == 0 && len >= sizeof(suffix) &&
           strcmp(peer.sun_path + len - (sizeof(suffix) - 1), suffix) == 0;
}

/* systemd says which socket is the journal: JOURNAL_STREAM=device:inode. That is the one this
 * process was started with; a worker gets another when a new master takes it over. */
static bool is_journal(int fd, const struct stat *st)
{
    if (S_ISSOCK(st->st_mode) && leads_to_journal(fd))
        return true;
    const char *stream = getenv("JOURNAL_STREAM");
    if (stream == NULL)
        return false;
    char *end;
    errno = 0;
    unsigned long long device = strtoull(stream, &end, 10);
    if (errno != 0 || *end != ':')
        return false;
    unsigned long long inode = strtoull(end + 1, &end, 10);
    return errno == 0 && *end == '\0' && device == st->st_dev && inode == st->st_ino;
}

/* A pipe or terminal is opened again so that O_NONBLOCK is ours alone; the
 * flag on the descriptor that we were given would be seen by everyone who
 * shares it. Where that is not allowed, poll(2) before each write has to do. */
static int reopen_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK) != 0)
        return fd;
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int again = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (again < 0)
        return fd;
    if (fd == STDERR_FILENO)
        return again;
    /* Under the same number: somebody may have kept it. */
    (void)dup3(again, fd, O_CLOEXEC);
    (void)close(again);
    return fd;
}

static void use_fd(int fd)
{
    struct stat st;

    state.target = TARGET_POLLED;
    state.journal = false;
    state.partial = false;
    if (fstat(fd, &st) == 0) {
        state.journal = is_journal(fd, &st);
        if (S_ISREG(st.st_mode))
            state.target = TARGET_FILE;
        else if (S_ISSOCK(st.st_mode))
            state.target = TARGET_SOCKET;
        else
            fd = reopen_nonblocking(fd);
    }
    state.fd = fd;
}

void log_init(const char *process, enum log_level level, enum log_format format)
{
    (void)snprintf(state.process, sizeof(state.process), "%s", process);
    state.level = level;
    state.format = format;
    use_fd(state.fd);
}

void log_set_fd(int fd)
{
    int before = state.fd;
    if (fd == before)
        return;
    use_fd(fd);
    if (before != STDERR_FILENO)
        (void)close(before);
}

int log_fd(void)
{
    return state.fd;
}

enum log_level log_get_level(void)
{
    return state.level;
}

uint64_t log_dropped_count(void)
{
    return state.dropped;
}

const char *log_strerror(int err)
{
    return strerror(err < 0 && err != INT_MIN ? -err : err);
}

/* ---- building a line ---- */

static size_t line_room(const struct line *line)
{
    return sizeof(line->text) - LINE_TAIL - line->len;
}

/* All of it or nothing; after the first refusal nothing at all. */
static bool line_put(struct line *line, const char *text, size_t len)
{
    if (line->full || len > line_room(line)) {
        line->full = true;
        return false;
    }
    memcpy(line->text + line->len, text, len);
    line->len += len;
    return true;
}

static void line_put_str(struct line *line, const char *text)
{
    (void)line_put(line, text, strlen(text));
}

/* An escape such as \x1b or \u001b. */
static void line_put_hex(struct line *line, const char *prefix, int digits, unsigned value)
{
    char escape[16];
    (void)snprintf(escape, sizeof(escape), "%s%0*x", prefix, digits, value);
    line_put_str(line, escape);
}

/* What was kept back in LINE_TAIL. */
static void line_put_tail(struct line *line, const char *text)
{
    size_t len = strlen(text);
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

/* U+0080..U+009F: control characters that some terminals obey. */
static bool is_c1(const char *text, size_t length)
{
    return length == 2 && (unsigned char)text[0] == 0xC2 && (unsigned char)text[1] < 0xA0;
}

/* Writes one character, or its escape, and returns how many bytes it was. */
static size_t put_escaped(struct line *line, const char *text, size_t len, bool json)
{
    unsigned char c = (unsigned char)text[0];
    size_t length = utf8_length(text, len);

    if (length == 0) {
        if (json)
            line_put_str(line, "\xEF\xBF\xBD"); /* U+FFFD */
        else
            line_put_hex(line, "\\x", 2, c);
        return 1;
    }
    switch (c) {
    case '"':
        line_put_str(line, "\\\"");
        return 1;
    case '\\':
        line_put_str(line, "\\\\");
        return 1;
    case '\n':
        line_put_str(line, "\\n");
        return 1;
    case '\r':
        line_put_str(line, "\\r");
        return 1;
    case '\t':
        line_put_str(line, "\\t");
        return 1;
    default:
        break;
    }
    if (c < 0x20 || c == 0x7F || is_c1(text, length)) {
        if (json || length == 2)
            line_put_hex(line, "\\u", 4, length == 2 ? (unsigned char)text[1] : c);
        else
            line_put_hex(line, "\\x", 2, c);
        return length;
    }
    (void)line_put(line, text, length);
    return length;
}

static void put_escaped_str(struct line *line, const char *text, bool json)
{
    size_t len = strlen(text);
    while (len > 0 && !line->full) {
        size_t taken = put_escaped(line, text, len, json);
        text += taken;
        len -= taken;
    }
}

static void put_quoted(struct line *line, const char *text, bool json)
{
    if (!line_put(line, "\"", 1))
        return;
    line->quoted = true;
    put_escaped_str(line, text, json);
    if (line_put(line, "\"", 1))
        line->quoted = false;
}

static bool needs_quotes(const char *text)
{
    if (*text == '\0')
        return true;
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7F)
            return true;
    }
    return false;
}

static void put_value(struct line *line, const struct log_field *field, bool json)
{
    char number[NUMBER_SIZE];
    const char *string;

    switch (field->type) {
    case LOG_FIELD_INT:
        (void)snprintf(number, sizeof(number), "%lld", (long long)field->integer);
        line_put_str(line, number);
        break;
    case LOG_FIELD_REAL:
        (void)snprintf(number, sizeof(number), "%.6g", field->real);
        line_put_str(line, json && !isfinite(field->real) ? "null" : number);
        break;
    case LOG_FIELD_STR:
        string = field->string == NULL ? "-" : field->string;
        if (json || needs_quotes(string))
            put_quoted(line, string, json);
        else
            put_escaped_str(line, string, json);
        break;
    }
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_DEBUG:
        return "debug";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_NOTICE:
        return "notice";
    case LOG_LEVEL_WARNING:
        return "warning";
    case LOG_LEVEL_ERROR:
        return "error";
    }
    return "error";
}

/* The priorities of sd-daemon(3). */
static const char *level_priority(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_DEBUG:
        return "<7>";
    case LOG_LEVEL_INFO:
        return "<6>";
    case LOG_LEVEL_NOTICE:
        return "<5>";
    case LOG_LEVEL_WARNING:
        return "<4>";
    case LOG_LEVEL_ERROR:
        return "<3>";
    }
    return "<3>";
}

static void build_text(struct line *line, enum log_level level, const char *message,
                       const struct log_field *fields, int count)
{
    if (state.journal) {
        line_put_str(line, level_priority(level)); /* the journal has its own clock */
    } else {
        char now[CLOCK_RFC3339_SIZE];
        clock_format_rfc3339(clock_wall_ms(), now);
        line_put_str(line, now);
        line_put_str(line, " ");
    }
    line_put_str(line, level_name(level));
    line_put_str(line, " ");
    put_escaped_str(line, state.process, false);
    line_put_str(line, ": ");
    put_escaped_str(line, message, false);
    for (int i = 0; i < count; i++) {
        line_put_str(line, " ");
        line_put_str(line, fields[i].key);
        line_put_str(line, "=");
        put_value(line, &fields[i], false);
    }
    if (line->full)
        line_put_tail(line, "...");
    if (line->quoted)
        line_put_tail(line, "\"");
    line_put_tail(line, "\n");
}

static void build_json(struct line *line, enum log_level level, const char *message,
                       const struct log_field *fields, int count)
{
    char now[CLOCK_RFC3339_SIZE];
    clock_format_rfc3339(clock_wall_ms(), now);

    line_put_str(line, "{\"time\":\"");
    line_put_str(line, now);
    line_put_str(line, "\",\"level\":\"");
    line_put_str(line, level_name(level));
    line_put_str(line, "\",\"process\":");
    put_quoted(line, state.process, true);
    line_put_str(line, ",\"message\":");
    put_quoted(line, message, true);
    for (int i = 0; i < count; i++) {
        /* A key without a value would not be JSON: there is room for a number or nothing. */
        if (line_room(line) < strlen(fields[i].key) + NUMBER_SIZE + 4) {
            line->full = true;
            break;
        }
        line_put_str(line, ",");
        put_quoted(line, fields[i].key, true);
        line_put_str(line, ":");
        put_value(line, &fields[i], true);
    }
    if (line->quoted)
        line_put_tail(line, "...\"");
    if (line->full)
        line_put_tail(line, ",\"truncated\":true");
    line_put_tail(line, "}\n");
}

/* ---- writing it ---- */

static ssize_t write_once(const char *text, size_t len)
{
    if (state.target == TARGET_SOCKET)
        return send(state.fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (state.target == TARGET_POLLED) {
        struct pollfd ready = {.fd = state.fd, .events = POLLOUT};
        if (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0)
            return -1;
    }
    return write(state.fd, text, len);
}

static bool write_line(const struct line *line)
{
    ssize_t written = write_once(line->text, line->len);
    if (written <= 0)
        return false;
    /* Half a line (a full disk): the next one has to begin on a new line. */
    state.partial = (size_t)written < line->len;
    return !state.partial;
}

static bool write_event(enum log_level level, const char *message, const struct log_field *fields,
                        int count)
{
    struct line line;
    line.len = 0;
    line.quoted = false;
    line.full = false;

    if (state.partial)
        line_put_str(&line, "\n");
    if (state.format == LOG_FORMAT_JSON)
        build_json(&line, level, message, fields, count);
    else
        build_text(&line, level, message, fields, count);
    return write_line(&line);
}

void log_write(enum log_level level, const char *message, const struct log_field *fields, int count)
{
    int saved = errno;

    if (level >= state.level) {
        if (state.unreported > 0) {
            const struct log_field lost = LOG_INT("count", state.unreported);
            if (write_event(LOG_LEVEL_WARNING, "log lines lost", &lost, 1))
                state.unreported = 0;
        }
        /* While the loss cannot be told, later lines are lost as well: the log never has a gap
         * that it does not mention. */
        if (state.unreported > 0 || !write_event(level, message, fields, count)) {
            state.dropped++;
            state.unreported++;
        }
    }
    errno = saved;
}
